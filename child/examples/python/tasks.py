#!/usr/bin/env python3
"""Tasks of Bulkhead in Python: the protocol, and three tasks. Standard library only.

Start it with `supervisor --spawn launch --child tasks.py`. The protocol is described in the guide,
"A child in another language".
"""

import json
import os
import resource
import signal
import struct
import sys
import time
import traceback

HELLO = b"BLKH" + struct.pack("<HH", 1, 5)
JOBS, RESULTS = 3, 4
FRAME_LIMIT = 33 << 20

# ToTask and FromTask, by their places.
RUN, LIMITS = 0, 6
READY, PROGRESS, DONE = 0, 1, 2
RETURNED, FAILED = 0, 1


class Stopping(BaseException):
    """SIGTERM has come: the task is to end."""


class Refused(Exception):
    """The same job would fail the same way again."""

    def __init__(self, name, text):
        super().__init__(text)
        self.name = name


class Reader:
    """Numbers, texts and bytes out of a frame."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise ValueError("a frame is too short")
        self.at += count
        return part

    def number(self):
        first = self.take(1)[0]
        if first < 251:
            return first
        size = {251: 2, 252: 4, 253: 8}[first]
        return int.from_bytes(self.take(size), "little")

    def bytes(self):
        return self.take(self.number())

    def text(self):
        return self.bytes().decode()

    def option(self, read):
        return read() if self.take(1)[0] else None


def number(value):
    if value < 251:
        return bytes([value])
    for mark, size in ((251, 2), (252, 4), (253, 8)):
        if value < 1 << (8 * size):
            return bytes([mark]) + value.to_bytes(size, "little")
    raise ValueError("a number is too large")


def blob(value):
    return number(len(value)) + value


def send(frame):
    data = struct.pack("<I", len(frame)) + frame
    while data:
        data = data[os.write(RESULTS, data) :]


def read_exactly(count):
    """So many bytes of the job pipe; nothing at its end."""
    data = b""
    while len(data) < count:
        part = os.read(JOBS, min(count - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return data


class Context:
    """What a task may know and say about its job."""

    def __init__(self, nonce, uuid, attempt, timeout):
        self.nonce, self.uuid, self.attempt = nonce, uuid, attempt
        self.deadline = time.monotonic() + timeout

    def progress(self, details):
        send(number(PROGRESS) + number(self.nonce) + blob(json.dumps(details).encode()))


# -- The tasks ---------------------------------------------------------------


def add(context, a, b):
    return a + b


def count(context, to):
    """Counts, and says how far it is."""
    for step in range(to):
        context.progress({"step": step + 1, "of": to})
    return to


def wait(context, seconds):
    """Waits, unless its deadline comes first."""
    context.progress({"seconds": seconds})
    time.sleep(seconds)


def give_up(context):
    raise Refused("hopeless", "no attempt will ever succeed")


TASKS = {
    "py.add": (add, ["a", "b"], {}),
    "py.count": (count, ["to"], {"queue": "python"}),
    "py.wait": (wait, ["seconds"], {"max_retries": 0}),
    "py.give_up": (give_up, [], {}),
}


# -- The protocol ------------------------------------------------------------


def describe():
    specs = [
        {"name": name, "params": params, **options}
        for name, (_, params, options) in TASKS.items()
    ]
    print(json.dumps(specs))


def call(name, payload, context):
    """What the task returns, as JSON."""
    if name not in TASKS:
        raise Refused("unknown-task", f"task `{name}` is unknown to this child")
    function, params, _ = TASKS[name]
    try:
        given = json.loads(payload)
        args, kwargs = given.get("args", []), given.get("kwargs", {})
        if len(args) > len(params):
            raise ValueError(f"it takes {len(params)} arguments")
        arguments = dict(zip(params, args))
        for key, value in kwargs.items():
            if key in arguments or key not in params:
                raise ValueError(f"parameter `{key}` is unknown, or given twice")
            arguments[key] = value
        missing = [name for name in params if name not in arguments]
        if missing:
            raise ValueError(f"parameter `{missing[0]}` is missing")
    except (ValueError, AttributeError, TypeError) as error:
        raise Refused("arguments", str(error)) from None
    return json.dumps(function(context, **arguments)).encode()


def text(value):
    # The end may be in the middle of a character.
    cut = value.encode("utf-8", "replace")[: 64 << 10]
    return blob(cut.decode("utf-8", "ignore").encode())


def failed(name, error, is_final):
    trace = "".join(traceback.format_exception(error))
    return (
        number(FAILED)
        + text(name)
        + text(str(error))
        + b"\x01"
        + text(trace)
        + bytes([is_final])
    )


def usage(before):
    now = resource.getrusage(resource.RUSAGE_SELF)
    micros = lambda seconds: max(0, int(seconds * 1_000_000))
    user, system = now.ru_utime - before.ru_utime, now.ru_stime - before.ru_stime
    return number(micros(user)) + number(micros(system)) + b"\x00"


def limits(frame):
    """The call that has limits of its own, and these."""
    nonce = frame.number()
    count = frame.number()
    return nonce, [tuple(frame.number() for _ in range(3)) for _ in range(count)]


def lower(which, soft, hard):
    """Lowers a limit for good; one that is lower already stays."""
    _, most = resource.getrlimit(which)
    within = lambda value: value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (within(soft), within(hard)))


def run(frame, own):
    nonce = frame.number()
    uuid = frame.take(16)
    name = frame.text()
    frame.text()  # the queue
    attempt = frame.number()
    frame.number()  # the fence
    timeout = frame.number() / 1000
    memory = frame.option(frame.number)
    header = json.loads(frame.bytes())
    payload = frame.bytes()
    # In a chain, what the job before returned stands behind the arguments.
    payload = payload[: len(payload) - (header.get("previous_bytes") or 0)]
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        if header.get("encoding", "json") != "json":
            raise Refused("arguments", "this child reads arguments in JSON only")
        if memory is not None:
            lower(resource.RLIMIT_DATA, memory, memory)
        for limit in own.get(nonce, []):
            lower(*limit)
        answer = number(RETURNED) + blob(call(name, payload, Context(nonce, uuid, attempt, timeout)))
    except Refused as error:
        answer = failed(error.name, error, True)
    except Exception as error:
        answer = failed(type(error).__name__, error, False)
    sys.stdout.flush()
    sys.stderr.flush()
    send(number(DONE) + number(nonce) + answer + usage(before))


def serve(jobs):
    # Programs that a task starts must not have the pipes.
    for pipe in (JOBS, RESULTS):
        os.set_inheritable(pipe, False)

    def stop(*_):
        raise Stopping

    signal.signal(signal.SIGTERM, stop)
    send_hello()
    served, own = 0, {}
    while jobs == 0 or served < jobs:
        prefix = read_exactly(4)
        if prefix is None:
            return 0
        (length,) = struct.unpack("<I", prefix)
        if length > FRAME_LIMIT:
            return 65
        data = read_exactly(length)
        if data is None:
            return 65
        frame = Reader(data)
        # What this child does not know is not for it.
        kind = frame.number()
        if kind == LIMITS:
            own = dict([limits(frame)])
        elif kind == RUN:
            run(frame, own)
            served, own = served + 1, {}
    return 0


def send_hello():
    os.write(RESULTS, HELLO)
    send(number(READY))


def main():
    if sys.argv[1:] == ["--describe"]:
        describe()
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "__task":
        try:
            return serve(int(sys.argv[2]))
        except Stopping:
            # No answer: the supervisor knows why, and what that means.
            return 0
        except (ValueError, KeyError) as error:
            print(f"a frame cannot be read: {error}", file=sys.stderr)
            return 65
        except BrokenPipeError:
            return 0
    print("This is a Bulkhead child: supervisor --spawn launch --child PATH", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
