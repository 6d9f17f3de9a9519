"""Runs one program and leaves nothing of it behind: started by its path, with the standard library alone.

    python -I -S guard.py LOCK SECONDS PROGRAM ARGUMENT…

Whoever starts it holds the other end of its standard input. When that closes (asked to, or because its holder was
killed) the program and all that it started, in whatever session, gets SIGTERM and, SECONDS later, SIGKILL. What the
program leaves running when it ends by itself goes the same way. The exit code is the program's, or 128 and the number
of the signal that it died of.

LOCK is held all the while, so that a program that goes on from another's files begins after its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's prctl: die with one's parent; be the parent of all orphans below."""
NOT_STARTED = 127
"""The exit code where there was no program to run, as shells have it."""
TICK_SECONDS = 0.02
SURE_SECONDS = 10.0
"""So long after SIGKILL this process waits for ends; one that the kernel holds, or another user's, may not come."""


class Ended(Exception):
    """This process was asked to end."""


def main(lock: str, seconds: float, words: list[str]) -> int:
    """Run the program `words` while `lock` is held and standard input is open; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    _prctl(SET_CHILD_SUBREAPER, 1)
    try:
        with open(lock, "w") as held:
            _take(held.fileno())
            return _run(words, seconds)
    except Ended:
        return 128 + signal.SIGTERM


def _run(words: list[str], seconds: float) -> int:
    try:
        program = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_guard)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{words[0]} cannot be started: {error}", file=sys.stderr)
        return NOT_STARTED
    try:
        _wait(program)
    finally:
        _sweep(program, seconds)
    code = program.returncode
    return code if code >= 0 else 128 - code


def _wait(program: subprocess.Popen[bytes]) -> None:
    """Wait until `program` ends. Raises Ended if nobody wants it any more."""
    try:
        end = os.pidfd_open(program.pid)
    except (OSError, AttributeError):  # not on this system
        end = None
    while program.poll() is None:
        if _closed(TICK_SECONDS if end is None else None, *([] if end is None else [end])):
            raise Ended


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended


def _closed(seconds: float | None, *others: int) -> bool:
    """Whether nobody holds the other end of standard input any more; waits so long for that, or for one of `others`."""
    ready, _, _ = select.select([0, *others], [], [], seconds)
    return 0 in ready and not os.read(0, 1)


def _take(lock: int) -> None:
    """Wait until nobody else holds `lock`. Raises Ended."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if _closed(TICK_SECONDS):
                raise Ended from None
        except OSError:  # a file system without locks
            return


def _die_with_guard() -> None:
    _prctl(SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _sweep(program: subprocess.Popen[bytes], seconds: float) -> None:
    """End the program and all below this process, and wait until none is left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + seconds
    asked: set[int] = set()
    while (left := _left(program)) and time.monotonic() < deadline + SURE_SECONDS:
        late = time.monotonic() >= deadline
        for pid in left if late else left - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= left
        time.sleep(TICK_SECONDS)


def _left(program: subprocess.Popen[bytes]) -> set[int]:
    """The processes below this one that still run; those that have ended are forgotten."""
    program.poll()
    found = below(os.getpid())
    for pid in found - {program.pid}:
        with contextlib.suppress(ChildProcessError):  # not a child of this process itself
            if os.waitpid(pid, os.WNOHANG)[0]:
                found.discard(pid)
    if program.returncode is None:
        found.add(program.pid)
    return found


def below(pid: int) -> set[int]:
    """The processes that `pid` has started, and those that they have; where there is no /proc, none is known."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                    children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo += new
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
