"""The events of a record: what kinds there are, and what each says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What happened; the table in record.py says what the body of each kind holds."""

    SEARCH = "search"
    RESUMED = "resumed"
    ASKED = "asked"
    LOST = "lost"
    RESTARTED = "restarted"
    EPOCH = "epoch"
    REPEATED = "repeated"
    DECIDED = "decided"
    ENDED = "ended"
    CONFIRMING = "confirming"
    SETTLED = "settled"
    TESTED = "tested"
    PUBLISHED = "published"
    FINISHED = "finished"


BEGINNINGS = (Kind.SEARCH, Kind.RESUMED)
"""With one of these each process begins that works on the search."""


@dataclass(frozen=True)
class Event:
    """One row: `id` counts from 1 without gaps, `at` is the time in seconds since 1970.

    Between the events of one process `at` advances by the monotonic clock, so a clock that is set while a search runs
    changes no duration. `body` is as it was stored.
    """

    id: int
    at: float
    kind: Kind
    trial: int | None
    body: Mapping[str, Any]


Entry = tuple[Kind, int | None, Mapping[str, Any]]
"""An event before it is written: kind, trial, body."""
