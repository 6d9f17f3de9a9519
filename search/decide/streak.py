"""When so many trials fail alike that going on is no use."""

from __future__ import annotations

import re
from collections import deque

from search.record.state import State

FAILURES_IN_A_ROW = 5
"""So many trials that fail alike, without another end between them, are a fault of the code, not of configurations."""


class Streak:
    """The last ends of trials, in the order in which they came.

    `why` is what so many in a row failed with that no further trial is to begin; "" if there is no such row. It stays,
    whatever trials that ran beside them come to.
    """

    def __init__(self) -> None:
        self._last: deque[tuple[State, str]] = deque(maxlen=FAILURES_IN_A_ROW)
        self.why = ""

    def ended(self, state: State, why: str) -> None:
        """A trial has ended."""
        # Without its numbers, which differ from trial to trial, a message tells one fault from another.
        self._last.append((state, re.sub(r"\d+", "#", why)))
        alike = len(self._last) == FAILURES_IN_A_ROW and len(set(self._last)) == 1
        if alike and state is State.FAILED:
            self.why = why

    def went_on(self) -> None:
        """A trial has begun all the same: an earlier version let them."""
        self.why = ""

    def forget(self) -> None:
        """Another process goes on: what made the trials fail may have been mended."""
        self._last.clear()
        self.why = ""
