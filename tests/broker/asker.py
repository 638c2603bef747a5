"""A client of the broker's that is not ours: asks for attachments, and the kernel for the same.

asker.py SOCKET MODE ARGUMENT... prints one JSON value a line.
"""
import array, ctypes, json, os, select, socket, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206


def connect():
    broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    broker.connect(sys.argv[1])
    return broker


def receive(broker):
    try:
        text, others, _, _ = broker.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 253))
    except ConnectionResetError:
        # Said once; what was sent before is there.
        text, others, _, _ = broker.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 253))
    fds = array.array("i")
    for _, _, data in others:
        fds.frombytes(data[: len(data) - len(data) % 4])
    return (json.loads(text) if text else None), list(fds)


def proof(pid):
    try:
        return os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        return None


def attach(broker, pid, shown):
    """The answer to one request; when it says so, it is asked again later. Who is turned away is told why before the door is closed."""
    fds = [] if shown is None else [shown]
    others = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    while True:
        try:
            broker.sendmsg([json.dumps({"attach": {"pid": pid}}).encode()], others)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer, got = receive(broker)
        again = (answer or {}).get("refused", {}).get("again_ms")
        if again is None:
            return answer, got
        time.sleep(again / 1000)
        door = select.poll()
        door.register(broker, 0)
        if door.poll(0):
            broker = connect()


def seize(pid):
    """The kernel's own answer, 0 where it allows it; a process of its own asks, so that nothing stays traced."""
    child = os.fork()
    if child == 0:
        answer = libc.ptrace(PTRACE_SEIZE, pid, None, None)
        os._exit(ctypes.get_errno() if answer else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def confine():
    """A Landlock domain that forbids nothing but what every domain forbids."""
    rules = struct.pack("Q", 1 << 11)
    ruleset = libc.syscall(444, rules, len(rules), 0)
    if ruleset < 0:
        print(json.dumps("no Landlock"))
        sys.exit()
    libc.prctl(38, 1, 0, 0, 0)
    assert libc.syscall(446, ruleset, 0) == 0, "landlock_restrict_self"


def matrix(pids):
    """For each process: the kernel's answer, and the broker's to a request with and without what can be shown."""
    for pid in map(int, pids):
        kernel = seize(pid)
        handed = []
        for shown in (None, proof(pid)):
            answer, fds = attach(connect(), pid, shown)
            for fd in fds:
                os.close(fd)
            handed.append([len(fds), json.dumps(answer)])
        print(json.dumps({"pid": pid, "kernel": kernel, "handed": handed}))


def storm(pid, seconds, early):
    """Asks as fast as it can; the memory maps of all that it got."""
    held, until, maps = proof(pid), time.time() + seconds, []
    broker = connect()
    while time.time() < until:
        shown = held if early else proof(pid)
        try:
            answer, fds = attach(broker, pid, shown)
        except OSError:
            broker = connect()
            continue
        if fds:
            maps.append(os.pread(fds[3], 1 << 16, 0).decode())
        for fd in fds + ([shown] if shown is not None and not early else []):
            os.close(fd)
    print(json.dumps(maps))


def mute():
    """Asks for much and reads nothing."""
    broker = connect()
    for _ in range(18):
        broker.send(json.dumps({"may_watch": {"pids": [1] * 300}}).encode())
    print(json.dumps("sent"), flush=True)
    time.sleep(600)


def crowd(count):
    """As many connections as it gets; those of them that are served."""
    served, all_of_them = 0, []
    for _ in range(count):
        broker = connect()
        all_of_them.append(broker)
        try:
            broker.send(json.dumps({"may_watch": {"pids": []}}).encode())
            served += "may_watch" in (receive(broker)[0] or {})
        except OSError:
            pass
    print(json.dumps(served), flush=True)
    time.sleep(600)


def many(pid, count):
    """Asks about many processes at once; the lengths of the messages that answer, and the number of words in all."""
    broker = connect()
    broker.send(json.dumps({"may_watch": {"pids": [pid] * count}}).encode())
    words, lengths = [], []
    while len(words) < count:
        text = broker.recv(1 << 17)
        lengths.append(len(text))
        words += json.loads(text)["may_watch"]
    print(json.dumps({"words": len(words), "refused": sum(word is not None for word in words), "lengths": lengths}))


mode, arguments = sys.argv[2], sys.argv[3:]
if mode == "confined":
    confine()
    mode = "matrix"
if mode == "matrix":
    matrix(arguments)
elif mode == "storm":
    storm(int(arguments[0]), float(arguments[1]), arguments[2] == "early")
elif mode == "mute":
    mute()
elif mode == "crowd":
    crowd(int(arguments[0]))
elif mode == "many":
    many(int(arguments[0]), int(arguments[1]))
