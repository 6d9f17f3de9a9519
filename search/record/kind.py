"""The kinds of events; what each says stands in `events.py`."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What happened."""

    SEARCH = "search"
    RESUMED = "resumed"
    ASKED = "asked"
    LOST = "lost"
    RESTARTED = "restarted"
    EPOCH = "epoch"
    REPEATED = "repeated"
    DECIDED = "decided"
    CONTINUED = "continued"
    ENDED = "ended"
    CONFIRMING = "confirming"
    SETTLED = "settled"
    CLOSING = "closing"
    STEERED = "steered"
    TESTED = "tested"
    PUBLISHED = "published"
    FINISHED = "finished"
