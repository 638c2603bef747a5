# What the scenarios with a session have in common: a target, a session on one card, and what is on its planes.
# shellcheck shell=bash

background=204080

# start_target PATTERN MIB: an exercise in the background; its announcement is in $OUT/exercise.json, its process $target.
start_target() {
    memory-glass exercise --pattern "$1" --mib "$2" >"$OUT/exercise.json" &
    target=$!
    wait_for 30 grep -q '"pid"' "$OUT/exercise.json"
}

# plain: where pixels are compared, the map has no names in it, and every page is seen in every window; unless there is a
# configuration already.
plain() {
    if [[ -z ${XDG_CONFIG_HOME:-} ]]; then
        export XDG_CONFIG_HOME=/tmp/plain
        mkdir -p "$XDG_CONFIG_HOME/memory-glass"
        printf 'outlines = false\nanimation = false\nexact = true\n' >"$XDG_CONFIG_HOME/memory-glass/config.toml"
    fi
}

# start_session CARD [ARGUMENT...]: a session that shows $target and, as its client, a terminal all in one colour.
start_session() {
    local card=$1
    shift
    plain
    memory-glass session --backend tty --card "$card" --target "$target" --order 6 "$@" \
        -- foot --override "colors.background=$background" --override cursor.blink=no sleep 3600 \
        >"$OUT/session.log" 2>&1 &
    session=$!
}

# in_use CARD KIND: the line of the plane of that kind that shows something.
in_use() {
    kms-probe planes "$1" | python3 -c '
import json, sys
for plane in json.load(sys.stdin):
    if plane["kind"] == sys.argv[1]:
        print(json.dumps(plane))
        sys.exit()
sys.exit(1)' "$2"
}

# field NAME: of the JSON object on stdin.
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

not() { ! "$@"; }

# The target goes on as if nothing had been: it runs, nothing of ours is in it, nobody traces it.
target_is_as_it_was() {
    local link
    kill -0 "$target" || fail "the target is gone"
    for link in /proc/"$target"/fd/*; do
        [[ $(readlink "$link") != *userfaultfd* ]] || fail "the target still has a userfaultfd"
    done
    grep -q 'TracerPid:.0$' "/proc/$target/status" || fail "the target is traced: $(grep TracerPid "/proc/$target/status")"
}

# start_wall [ARGUMENT...]: a session on every card, with the same target and terminal.
start_wall() {
    plain
    memory-glass session --backend tty --target "$target" --order 6 "$@" \
        -- foot --override "colors.background=$background" --override cursor.blink=no sleep 36000 \
        >"$OUT/session.log" 2>&1 &
    session=$!
}

# of REQUEST EXPRESSION: what Python makes of the session's answer, as `a`; `outputs` has the outputs by name.
of() {
    # shellcheck disable=SC2086
    memory-glass msg --json $1 | python3 -c "
import json, sys
a = json.load(sys.stdin)['Ok']
outputs = {output['connector']: output for output in a['outputs']} if 'outputs' in a else {}
print($2)"
}

# is REQUEST EXPRESSION VALUE: whether that is what it says.
is() { [[ $(of "$1" "$2") = "$3" ]]; }

# holds EXPRESSION: whether this is so of the outputs.
holds() { is outputs "bool($1)" True; }

# shown_on CARD OUTPUT KIND: the line of the plane of that kind that shows something on that output.
shown_on() {
    kms-probe planes "$1" | python3 -c '
import json, sys
for plane in json.load(sys.stdin):
    if (plane["output"], plane["kind"]) == tuple(sys.argv[1:3]):
        print(json.dumps(plane))
        sys.exit()
sys.exit(1)' "$2" "$3"
}
