"""Which places for trials are taken, and of which kind the next one is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from search.engine.places import Places

RECOUNT_SECONDS = 1.0
"""How often the places are counted again; nodes come and go, and other searches begin and end."""

GPU_WAIT_SECONDS = 30.0
"""A trial that has waited longer for its GPU may lack the CPU beside it, which one of ours without a GPU has taken."""


class Occupancy:
    """The places that `count` gives, of which attempts at trials, each with an id, take one and leave it again."""

    def __init__(self, count: Callable[[], Places]) -> None:
        self._count, self._places, self._counted = count, Places(0), -math.inf
        self._cpu_only: dict[str, bool] = {}
        """Whether the place of each attempt is one without a GPU."""
        self._waiting: dict[str, float] = {}
        """Since when those wait that have not begun yet and do not lack a GPU."""

    def __bool__(self) -> bool:
        """Whether any place is taken."""
        return bool(self._cpu_only)

    @property
    def places(self) -> Places:
        """How many there are."""
        if time.monotonic() > self._counted + RECOUNT_SECONDS:
            self._places, self._counted = self._count(), time.monotonic()
        return self._places

    @property
    def taken(self) -> Places:
        """How many of each kind are taken."""
        cpu_only = sum(self._cpu_only.values())
        return Places(len(self._cpu_only) - cpu_only, cpu_only)

    def next_is_cpu_only(self) -> bool | None:
        """Whether the place of the next trial is one without a GPU: if no other is free. None if there is no place.

        While a trial waits for its GPU for long, and others of ours run without one, no more of these begin, so that
        no device stands idle for want of a CPU that they hand on from one to the next.
        """
        places, taken = self.places, self.taken
        if sum(taken) >= sum(places):
            return None
        if taken.asked < places.asked:
            return False
        oldest = min(self._waiting.values(), default=math.inf)
        long = time.monotonic() > oldest + GPU_WAIT_SECONDS
        starved = taken.cpu_only > 0 and taken.asked == places.asked and long
        return None if taken.cpu_only >= places.cpu_only or starved else True

    def take(self, attempt: str, *, cpu_only: bool) -> None:
        """`attempt` has a place of this kind from now on, and waits for a worker on it."""
        self._cpu_only[attempt] = cpu_only
        if not cpu_only:
            self._waiting[attempt] = time.monotonic()

    def began(self, attempt: str) -> None:
        """A worker begins with `attempt`."""
        self._waiting.pop(attempt, None)

    def left(self, attempt: str) -> None:
        """The place of `attempt` is free again."""
        self._cpu_only.pop(attempt, None)
        self._waiting.pop(attempt, None)

    def overfull(self, attempt: str) -> bool:
        """Whether more trials run on places of the kind that `attempt` has than there are for us by now."""
        kind = self._cpu_only.get(attempt, False)
        return self.taken[kind] > self.places[kind]

    def recount(self) -> None:
        """Count anew at the next question: a node may be gone, and with it places for which one would wait."""
        self._counted = -math.inf
