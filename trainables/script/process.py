"""A program that runs under guard: its output as it comes, written to a log, and how it ended."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from trainables.script import guard

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL, for a program that writes its checkpoint when it is told to end."""
LEAVE_SECONDS = 1.0
"""Who ends a program waits so long for its end, as Ray gives a worker two seconds only; the guard goes on alone."""
LONGEST_LINE = 10**6
"""Bytes; the rest of a longer line is passed over."""
COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What terminals take for colours, and do not show."""
LARGEST_LOG = 20 * 10**6
LAST_LINES = 20
"""So many of the last lines are kept in memory, to say what a program said."""


class Process:
    """The program `words`, started in `folder` with the environment `env`; both its outputs go to the file `log`.

    While it runs it holds the file `lock`, and waits for whoever holds that. Use it in `with`: on leaving the program
    is ended, with all that it started.
    """

    def __init__(self, words: Sequence[str], *, folder: Path, env: Mapping[str, str], log: Path, lock: Path) -> None:
        self.code: int | None = None
        """The exit code, 128 and the number of a signal, or None while it runs."""
        self.said: deque[str] = deque(maxlen=LAST_LINES)
        """The last lines of standard output that are not empty."""
        self.complained: deque[str] = deque(maxlen=LAST_LINES)
        """Those of standard error."""
        self._log, self._logged = log.open("ab"), 0
        self._halves: dict[int, bytes] = {}
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(lock), str(GRACE_SECONDS), *words],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the search, which then ends its trials
        )
        self._pipes = selectors.DefaultSelector()
        for pipe in (self._guard.stdout, self._guard.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._pipes.register(pipe, selectors.EVENT_READ)

    @property
    def guard(self) -> int:
        """The process below which all runs that the program has started."""
        return self._guard.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def lines(self, seconds: float) -> list[str]:
        """The lines of standard output that have come; waits so long for the first. `code` is known after the last."""
        if not self._pipes.get_map():
            self._wait(seconds)
            return []
        found: list[str] = []
        for key, _ in self._pipes.select(seconds):
            pipe = key.fileobj
            assert not isinstance(pipe, int)
            told = self._read(pipe)  # type: ignore[arg-type]
            if pipe is self._guard.stdout:
                found += told
                self.said.extend(line for line in told if line.strip())
            else:
                self.complained.extend(line for line in told if line.strip())
        if not self._pipes.get_map():
            self._wait(LEAVE_SECONDS)
        return found

    def note(self, text: str) -> None:
        """Write a line of ours into the log."""
        self._write(f"[search] {text}\n".encode())

    def end(self) -> None:
        """End the program, and wait a moment for that; its guard goes on alone."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:  # somebody has to take note of its end all the same
            threading.Thread(target=self._guard.wait, daemon=True).start()
        self._pipes.close()
        for pipe in (self._guard.stdout, self._guard.stderr):
            assert pipe is not None
            pipe.close()
        self._log.close()

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.code = self._guard.wait(seconds)

    def _read(self, pipe: IO[bytes]) -> list[str]:
        """The whole lines that have come through `pipe`; at its end also what has none."""
        key = pipe.fileno()
        try:
            came = os.read(key, 1 << 16)
        except BlockingIOError:
            return []
        if came:
            self._write(came)
        else:
            self._pipes.unregister(pipe)
        # Bars of progress go back to the beginning of their line.
        whole = (self._halves.get(key, b"") + came).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, half = whole.split(b"\n")
        if not came and half:
            lines.append(half)
        self._halves[key] = half[:LONGEST_LINE]
        return [COLOUR.sub("", line[:LONGEST_LINE].decode(errors="replace")) for line in lines]

    def _write(self, text: bytes) -> None:
        if self._logged <= LARGEST_LOG < self._logged + len(text):
            text = f"\n[search] the log ends here, after {LARGEST_LOG // 10**6} MB\n".encode()
            self._logged = LARGEST_LOG + 1
        elif self._logged > LARGEST_LOG:
            return
        else:
            self._logged += len(text)
        self._log.write(text)
        self._log.flush()


def death(code: int) -> str:
    """`exit code 1`, or which signal it was."""
    if code > 128 and code - 128 in {each.value for each in signal.Signals}:
        return signal.Signals(code - 128).name
    return f"exit code {code}"
