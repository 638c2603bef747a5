"""A storm over a running session: seeded steps of everything that can happen to it, then whether anything was left behind.

    storm.py SESSION_PID CARD STEPS SEED OUT

Its clients, targets and terminals are its own; the first target is the one that the session was started with.
"""

import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

session, card, steps, seed, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
config = "/sys/kernel/config/vkms/wall"
outputs = ["Virtual-2", "Virtual-3"]
connectors = dict(zip(outputs, ["k0", "k1"]))
rng = random.Random(seed)
patience = int(os.environ.get("LAB_PATIENCE", "1"))
windows, targets = [], []
plugged = set(outputs)
present, here = True, True


def say(text):
    print(f"[{open('/proc/uptime').read().split()[0]}] {text}", file=sys.stderr, flush=True)


def msg(*words, must=True):
    done = subprocess.run(["memory-glass", "msg", "--json", *words], capture_output=True, text=True, timeout=60 * patience)
    if done.returncode and must:
        raise SystemExit(f"msg {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)["Ok"] if done.returncode == 0 and done.stdout.strip() else None


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def wait(what, condition, seconds=90):
    until = time.monotonic() + seconds * patience
    while not condition():
        alive()
        if time.monotonic() > until:
            raise SystemExit(f"waited in vain for: {what}; {msg('outputs')}")
        time.sleep(0.2)


def alive():
    state = open(f"/proc/{session}/stat").read().rsplit(")", 1)[1].split()[0]
    if state in "ZX":
        raise SystemExit("the session has ended")


def plug(name, on):
    write(f"{config}/connectors/{connectors[name]}/status", "1" if on else "2")
    (plugged.add if on else plugged.discard)(name)


def is_let_go():
    """Whether nobody holds anything of the card that was pulled: until then the kernel gives its numbers to no other."""
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if re.fullmatch(r"/dev/dri/card\d+ \(deleted\)", os.readlink(link)):
                return False
        except OSError:
            pass
    return not re.search(r"\bvkms\b", open("/sys/kernel/debug/dma_buf/bufinfo").read())


def card_present(on):
    global present
    if on:
        wait("everything of the pulled card to be let go", is_let_go)
    write(f"{config}/enabled", "1" if on else "0")
    present = on
    if on:
        subprocess.run(["udevadm", "settle"], check=True)


def terminal(vt):
    global here
    subprocess.run(["chvt", str(vt)], check=True)
    here = vt == 1


def open_window():
    if len(windows) < 4:
        program = rng.choice([["foot", "sleep", "36000"], ["weston-simple-shm"], ["foot", "top"]])
        environment = dict(os.environ, WAYLAND_DISPLAY=os.environ["STORM_DISPLAY"])
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        windows.append(subprocess.Popen(program, env=environment, **quiet))


def close_window():
    if windows:
        window = windows.pop(rng.randrange(len(windows)))
        window.send_signal(rng.choice([signal.SIGTERM, signal.SIGKILL]))
        window.wait()


def stop_window():
    """A client that answers nothing for a while must not hold anybody up."""
    if windows:
        window = rng.choice(windows)
        window.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        window.send_signal(signal.SIGCONT)


def new_target():
    if len(targets) < 3:
        pattern = rng.choice(["block", "stride", "mixed"])
        targets.append(subprocess.Popen(["memory-glass", "exercise", "--pattern", pattern, "--mib", "8"], stdout=subprocess.DEVNULL))
        time.sleep(0.3)


def watch():
    if targets:
        where = rng.choice([[], ["--output", rng.choice(outputs)]])
        msg("watch", str(rng.choice(targets).pid), *where, must=False)


def kill_target():
    if targets:
        target = targets.pop(rng.randrange(len(targets)))
        target.kill()
        target.wait()


def placement():
    where = rng.choice([[], ["--output", rng.choice(outputs)]])
    msg("placement", rng.choice(["beside", "over", "full", "off"]), *where, must=False)


def power():
    where = rng.choice([[], ["--output", rng.choice(outputs)]])
    msg("power", rng.choice(["on", "off"]), *where, must=False)


def clock():
    subprocess.run(["date", "-s", f"@{int(time.time()) + rng.choice([-3600, 3600])}"], check=True, capture_output=True)


def plug_one():
    if present:
        name = rng.choice(outputs)
        plug(name, name not in plugged)


def settle():
    """Everything as at the beginning, and the maps on their planes again."""
    if not present:
        card_present(True)
    if not here:
        terminal(1)
    for name in outputs:
        plug(name, True)
    while windows:
        close_window()
    msg("power", "on")
    msg("placement", "beside")
    for name in outputs:
        msg("unwatch", "--output", name, must=False)
    msg("watch", os.environ["STORM_TARGET"])
    while targets:
        kill_target()

    def on_planes():
        seen = {output["connector"]: output["map"] for output in msg("outputs")["outputs"]}
        return all("on_plane" in seen.get(name, "") for name in outputs)

    wait("both maps on their planes", on_planes)


def holdings():
    """What the session holds: descriptors, framebuffers, the card's buffers, shared buffers, memory."""
    time.sleep(2)
    # It may have got another number each time that it was plugged.
    number = os.path.realpath(card).removeprefix("/dev/dri/card")
    handles = subprocess.run(["kms-probe", "handles", str(session), card], capture_output=True, text=True, check=True)
    framebuffers = open(f"/sys/kernel/debug/dri/{number}/framebuffer").read()
    shared = re.findall(r"Total (\d+) objects", open("/sys/kernel/debug/dma_buf/bufinfo").read())
    status = open(f"/proc/{session}/status").read()
    resident = {kind: int(re.search(rf"Rss{kind}:\s+(\d+)", status)[1]) for kind in ("Anon", "Shmem", "File")}
    return {
        "descriptors": len(os.listdir(f"/proc/{session}/fd")),
        "threads": len(os.listdir(f"/proc/{session}/task")),
        "framebuffers": len(re.findall(r"^framebuffer\[", framebuffers, re.M)),
        "handles": int(handles.stdout),
        "shared_buffers": int(shared[0]) if shared else 0,
        # What is its own. Pages of programs and libraries are the kernel's, who reads them in ahead and drops them as it likes.
        "own_kib": resident["Anon"] + resident["Shmem"],
        "file_kib": resident["File"],
    }


actions = {
    plug_one: 6,
    placement: 5,
    open_window: 5,
    close_window: 4,
    stop_window: 1,
    watch: 4,
    new_target: 3,
    kill_target: 3,
    power: 2,
    clock: 1,
    lambda: terminal(2 if here else 1): 4,
    lambda: card_present(not present): 1,
}


def step():
    (action,) = rng.choices(list(actions), list(actions.values()))
    action()
    # A step may come while the one before is still at work, or long after.
    time.sleep(rng.choice([0, 0.05, 0.3, 1.0]))
    alive()


# Once through everything, so that what is made on first use is there.
for action in list(actions) * 2:
    action()
settle()
first = holdings()
say(f"before: {first}")
middle = None
for at in range(1, steps + 1):
    step()
    if at % 20 == 0 or at == steps // 2:
        settle()
    if at % 100 == 0 or at == steps // 2:
        now = holdings()
        say(f"{at} steps: {now}")
        middle = now if at == steps // 2 else middle
settle()
last = holdings()
say(f"after: {last}")
json.dump({"seed": seed, "steps": steps, "before": first, "half": middle, "after": last}, open(f"{out}/storm.json", "w"))
for what in ("descriptors", "threads", "framebuffers", "handles", "shared_buffers"):
    # The display's queue may hold one buffer more or less.
    if last[what] > first[what] + 2:
        raise SystemExit(f"{what}: {first[what]} before, {last[what]} after")
grown = last["own_kib"] - middle["own_kib"]
if grown > 24 * 1024:
    raise SystemExit(f"in the second half the session has grown by {grown} KiB")
