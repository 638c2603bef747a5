# Functions for scenarios: . "$LAB/lib.sh"
# shellcheck shell=bash

note() { printf '[%s] %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*" >&2; }
fail() { note "FAILED: $*"; exit 1; }

# wait_for SECONDS COMMAND...: until COMMAND succeeds; says what never came. $LAB_PATIENCE times as long.
wait_for() {
    local until=$((SECONDS + $1 * ${LAB_PATIENCE:-1}))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= until)); then
            note "FAILED: waited in vain for: $*"
            "$@" || true
            return 1
        fi
        sleep 0.1
    done
}

# --- Displays ---

# wall N: a vkms card with N outputs (connectors k0, k1, …), each with a primary, an overlay and a cursor plane
# and a writeback connector. Prints its node; whatever number that has after it was pulled, /dev/dri/wall leads to it.
wall() {
    local outputs=$1 config=/sys/kernel/config/vkms/wall i kind plane
    mkdir -p /run/udev/rules.d
    echo 'SUBSYSTEM=="drm", KERNEL=="card*", DEVPATH=="*/wall/drm/card*", SYMLINK+="dri/wall"' >/run/udev/rules.d/90-wall.rules
    udevadm control --reload
    modprobe vkms create_default_dev=0
    mkdir "$config"
    for ((i = 0; i < outputs; i++)); do
        mkdir "$config/crtcs/c$i" "$config/encoders/e$i" "$config/connectors/k$i"
        echo 1 >"$config/crtcs/c$i/writeback"
        ln -s "$config/crtcs/c$i" "$config/encoders/e$i/possible_crtcs/"
        ln -s "$config/encoders/e$i" "$config/connectors/k$i/possible_encoders/"
        # vkms has no zpos: it stacks planes in the order in which they are made.
        for kind in primary:1 overlay:0 cursor:2; do
            plane=$config/planes/${kind%:*}$i
            mkdir "$plane"
            echo "${kind#*:}" >"$plane/type"
            ln -s "$config/crtcs/c$i" "$plane/possible_crtcs/"
        done
    done
    hotplug on
}

# hotplug on|off: the wall's card appears, and its node is printed; or it is pulled out, whoever uses it.
hotplug() {
    case $1 in
    on)
        echo 1 >/sys/kernel/config/vkms/wall/enabled
        udevadm settle
        card_of vkms
        ;;
    off) echo 0 >/sys/kernel/config/vkms/wall/enabled ;;
    *) fail "hotplug: on or off, not $1" ;;
    esac
}

# connector_status CONNECTOR connected|disconnected: plugs and unplugs one of the wall's screens.
connector_status() {
    local status
    case $2 in
    connected) status=1 ;;
    disconnected) status=2 ;;
    *) fail "connector_status: connected or disconnected, not $2" ;;
    esac
    echo "$status" >"/sys/kernel/config/vkms/wall/connectors/$1/status"
}

# card_of DRIVER: the node of that driver's card (vkms, virtio_gpu).
card_of() {
    local name driver
    for name in /sys/kernel/debug/dri/[0-9]*/name; do
        read -r driver _ <"$name"
        name=${name%/name}
        if [[ $driver = "$1" ]] && ((${name##*/} < 64)); then
            echo "/dev/dri/card${name##*/}"
            return
        fi
    done
    note "no card of $1"
    return 1
}

# plane_state CARD: what the kernel says is on each of the card's planes.
plane_state() { cat "/sys/kernel/debug/dri/${1#/dev/dri/card}/state"; }

# --- The seat ---

# start_seatd: seatd in the background, and libseat told to ask it.
start_seatd() {
    seatd -l info >"$OUT/seatd.log" 2>&1 &
    export LIBSEAT_BACKEND=seatd
    wait_for 10 test -S /run/seatd.sock
}

# --- QEMU: the keyboard, the pointer and the screen of virtio-gpu ---

# qmp COMMAND ARGUMENTS [COMMAND ARGUMENTS]...: asks the machine's own monitor, prints its answers.
qmp() (
    exec 8>/run/lab-monitor.lock
    flock 8
    exec 9<>/dev/virtio-ports/lab.monitor
    # Once is enough for the monitor; from the second time on it complains, and nobody listens.
    echo '{"execute": "qmp_capabilities"}' >&9
    while (($#)); do
        printf '{"execute": "%s", "arguments": %s, "id": "asked"}\n' "$1" "$2" >&9
        answer=
        until [[ $answer = *'"id": "asked"'* ]]; do
            read -r -t 20 answer <&9 || fail "qmp $1 $2: no answer"
        done
        [[ $answer != *'"error": {'* ]] || fail "qmp $1 $2: $answer"
        echo "$answer"
        shift 2
    done
)

# key COMBO...: presses keys together, by QEMU's names for them: key meta_l-shift-e, key ctrl-alt-f2, key a b c.
key() {
    local combo commands=()
    for combo; do
        combo=$(sed -E 's/[^-]+/{"type": "qcode", "data": "&"}/g; s/-/, /g' <<<"$combo")
        # The time between any two events, in ms; QEMU's own 100 would make a line of text take half a minute.
        commands+=(send-key "{\"keys\": [$combo], \"hold-time\": 20}")
    done
    qmp "${commands[@]}" >/dev/null
}

# type_text TEXT: on a US keyboard.
type_text() {
    local i char combos=()
    for ((i = 0; i < ${#1}; i++)); do
        char=${1:i:1}
        case $char in
        [a-z0-9]) ;;
        [A-Z]) char=shift-${char,} ;;
        ' ') char=spc ;;
        $'\n') char=ret ;;
        $'\t') char=tab ;;
        -) char=minus ;;
        _) char=shift-minus ;;
        =) char=equal ;;
        +) char=shift-equal ;;
        .) char=dot ;;
        '>') char=shift-dot ;;
        ,) char=comma ;;
        '<') char=shift-comma ;;
        /) char=slash ;;
        '?') char=shift-slash ;;
        ';') char=semicolon ;;
        :) char=shift-semicolon ;;
        "'") char=apostrophe ;;
        '"') char=shift-apostrophe ;;
        '\') char=backslash ;;
        '|') char=shift-backslash ;;
        '`') char=grave_accent ;;
        '~') char=shift-grave_accent ;;
        '[') char=bracket_left ;;
        ']') char=bracket_right ;;
        '{') char=shift-bracket_left ;;
        '}') char=shift-bracket_right ;;
        '!') char=shift-1 ;;
        '@') char=shift-2 ;;
        '#') char=shift-3 ;;
        '$') char=shift-4 ;;
        '%') char=shift-5 ;;
        '^') char=shift-6 ;;
        '&') char=shift-7 ;;
        '*') char=shift-8 ;;
        '(') char=shift-9 ;;
        ')') char=shift-0 ;;
        *) fail "type_text: no key for $char" ;;
        esac
        combos+=("$char")
    done
    key "${combos[@]}"
}

# pointer X Y: moves the tablet's pointer, in thousandths of the screen.
pointer() {
    qmp input-send-event "{\"events\": [
        {\"type\": \"abs\", \"data\": {\"axis\": \"x\", \"value\": $(($1 * 32767 / 1000))}},
        {\"type\": \"abs\", \"data\": {\"axis\": \"y\", \"value\": $(($2 * 32767 / 1000))}}]}" >/dev/null
}

# button left|middle|right|wheel-up|wheel-down [down|up]: presses and releases it, or only one of the two.
button() {
    local down
    for down in ${2:-down up}; do
        qmp input-send-event "{\"events\": [{\"type\": \"btn\", \"data\":
            {\"button\": \"$1\", \"down\": $([[ $down = down ]] && echo true || echo false)}}]}" >/dev/null
    done
}

# screendump NAME.png: the screen of virtio-gpu, as $OUT/NAME.png.
screendump() {
    qmp screendump "{\"filename\": \"$1\", \"format\": \"png\", \"device\": \"gpu0\"}" >/dev/null
    [[ -s $OUT/$1 ]] || fail "screendump: no $1"
}
