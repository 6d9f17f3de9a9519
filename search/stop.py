"""When a search must end: its time is up, or a signal came."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def ending_seconds(budget: float) -> float:
    """What is kept of a time budget for the end: test set, MLflow, Ray; it takes 8 s for `fashion_cnn` on 2 cores."""
    return min(12.0, 0.25 * budget)


class Stop:
    """Why the search should end now: the clock or a signal.

    `began` is when the command did, on the monotonic clock; `budget` counts from there, in seconds, None for no limit.
    `deadline`, on the same clock, is when trials end, so that the end of the search fits into the budget.
    """

    def __init__(self, began: float, budget: float | None) -> None:
        self._began = began
        self.deadline = None if budget is None else began + budget - ending_seconds(budget)
        self.signal: signal.Signals | None = None

    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def __call__(self) -> str:
        """The reason, or "" to go on."""
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time budget is spent"
        return ""

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, SIGINT and SIGTERM ask for the end; a second one raises KeyboardInterrupt at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = signal.Signals(number)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
