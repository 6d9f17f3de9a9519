"""Which trials have been silent for too long."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

LEAST_SECONDS = 600.0
TIMES_MEDIAN = 10.0


class Watchdog:
    """Told of starts, reports and ends of whatever has a name; says who is overdue.

    `limit` seconds without a word are too long; None means ten times the median of the last hundred waits, and at least
    ten minutes. The wait for the first report counts from the start.
    """

    def __init__(self, limit: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._heard: dict[Any, float] = {}
        self._sign_of_life = clock()
        self._waits: deque[float] = deque(maxlen=100)

    @property
    def limit(self) -> float:
        """Seconds of silence that are allowed at present."""
        if self._limit is not None:
            return self._limit
        return max(LEAST_SECONDS, TIMES_MEDIAN * statistics.median(self._waits or [0.0]))

    def began(self, who: Any) -> None:
        """`who` started."""
        self._heard[who] = self._sign_of_life = self._clock()

    def heard(self, who: Any) -> None:
        """`who` reported."""
        now = self._clock()
        self._waits.append(now - self._heard.get(who, now))
        self._heard[who] = now

    def ended(self, who: Any) -> None:
        """Nothing more is expected of `who`."""
        self._heard.pop(who, None)
        self._sign_of_life = self._clock()

    def idle(self) -> float:
        """For how many seconds nobody has been at work; 0 while somebody is."""
        return 0.0 if self._heard else self._clock() - self._sign_of_life

    def overdue(self) -> dict[Any, float]:
        """Who has been silent for longer than is allowed, and for how many seconds."""
        now, limit = self._clock(), self.limit
        return {who: now - since for who, since in self._heard.items() if now - since > limit}
