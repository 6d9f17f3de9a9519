"""When a search must end: its time is up, or a signal came."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal came. Not an Exception, so that nothing on the way takes it for an error of its own."""

    def __init__(self, number: int, then: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}{then}")
        self.exit_code = 128 + number


class _Held:
    """Whether an exception would come at a bad moment, and the signal that waits for a better one."""

    depth = 0
    signal: int | None = None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside, no Interrupted is raised; a signal that came is raised at the end. For steps that belong together.

    Not by a mask: a signal goes to any thread that lets it in, of Ray's many, and Python handles it in this one.
    """
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        if not _Held.depth and _Held.signal is not None:
            number, _Held.signal = _Held.signal, None
            raise Interrupted(number)


def ending_seconds(budget: float) -> float:
    """What is kept of a time budget for the end: test set, MLflow, Ray, report.

    For `fashion_cnn` on 2 cores the first three take 8 s. A report of 64 made-up trials takes 2.1 to 2.7 s of processor
    time with what it imports, 3.6 to 4.8 s by the clock on a machine that was busy with other work.
    """
    return min(15.0, 0.25 * budget)


class Stop:
    """Why the search should end now: the clock or a signal.

    `began` is when the command did, on the monotonic clock; `budget` counts from there, in seconds, None for no limit.
    `deadline`, on the same clock, is when trials end, so that the end of the search fits into the budget.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._gentle = False
        self.deadline: float | None = None
        self._budget, self._measuring = 0.0, 0.0
        self.signal: signal.Signals | None = None
        self.asked = ""
        """Why somebody wants the search to end now, with what is there."""
        self._paused_at: float | None = None
        self._rested = 0.0
        self.lost = ""
        """What the search cannot go on without, and lost; may be set by another thread."""

    def allow(self, budget: float | None) -> None:
        """Set the time budget."""
        self.deadline = None if budget is None else self._began + budget - ending_seconds(budget)
        self._budget, self._measuring = budget or 0.0, 0.0

    def keep(self, seconds: float) -> None:
        """Keep so much of the time budget, a quarter of it at most, for measuring the winner, beside `ending_seconds`.

        May be called again, once more is known of that.
        """
        if self.deadline is not None:
            seconds = min(seconds, 0.25 * self._budget)
            self.deadline += self._measuring - seconds
            self._measuring = seconds

    def more(self, seconds: float) -> None:
        """Give the search so much more time, if it has a limit."""
        if self.deadline is not None:
            self.deadline += seconds

    def pause(self) -> None:
        """Stop the clock until `go_on`."""
        self._paused_at = self._paused_at or time.monotonic()

    def go_on(self) -> None:
        """Let the clock go on; the deadline is later by as much as it stood still."""
        if self._paused_at is not None:
            rested, self._paused_at = time.monotonic() - self._paused_at, None
            self._rested += rested
            self.more(rested)

    def elapsed(self) -> float:
        """Seconds since the command began, without those in which the clock stood still."""
        return (self._paused_at or time.monotonic()) - self._began - self._rested

    def left(self) -> float:
        """Seconds until trials must end; infinite without a time budget."""
        return math.inf if self.deadline is None else max(0.0, self.deadline - (self._paused_at or time.monotonic()))

    def __call__(self) -> str:
        """The reason, or "" to go on."""
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if self.lost:
            return self.lost
        if self.asked:
            return self.asked
        if self.deadline is not None and (self._paused_at or time.monotonic()) >= self.deadline:
            return "the time budget is spent"
        return ""

    def install(self) -> None:
        """Take the signals, here and after whoever else took them (Ray does). `nohup` stays what it is.

        Only the main thread can; a search on another one ends by its budgets.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals, and give them back at the end to whoever has them now."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.install()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    if handler is not None:  # None: taken by code that is not Python, which cannot be asked for it
                        signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, self.signal or signal.Signals(number)
        if first and self._gentle:
            return
        if _Held.depth:
            _Held.signal = number
        else:
            raise Interrupted(number)

    @contextmanager
    def gently(self) -> Iterator[None]:
        """Inside, the first signal only asks for the end; elsewhere, and the second, raises Interrupted at once."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False
