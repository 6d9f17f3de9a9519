"""What a record says of its search as a whole: what it is, how it was left, how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from search.record.events import BEGINNINGS, Body, Event, Finished, Kind
from search.record.header import Header
from spaces.ranges import from_plain_range
from spaces.space import Space
from spaces.study import Objective
from spaces.values import config_from_plain

B = TypeVar("B", bound=Body)


def objective_of(events: Sequence[Event]) -> Objective:
    """The objective of the search that `events` record."""
    return Objective(**events[0].body["objective"])


def space_of(events: Sequence[Event]) -> Space:
    """What the search that `events` record varies."""
    definition = events[0].body["definition"]
    ranges = {each["name"]: from_plain_range(each) for each in definition["space"]}
    return Space(ranges, config_from_plain(definition.get("fixed", {})))


def last(events: Sequence[Event], body: type[B]) -> B | None:
    """What the last event with such a `body` says; None if there is none."""
    return next((body.of(event) for event in reversed(events) if event.kind == body.kind), None)


def header_of(events: Sequence[Event]) -> Header:
    """What the search is and how it runs: as it began, with what each process that went on and each request changed."""
    merged = dict(events[0].body)
    for event in events:
        if event.kind == Kind.RESUMED:
            merged |= event.body
        elif event.kind == Kind.STEERED:
            merged |= {name: event.body[name] for name in ("trials", "time_budget") if name in event.body}
    return Header.from_plain(merged)


def finished(events: Sequence[Event]) -> Finished | None:
    """How the last process left the search; None if it died, or still works."""
    for event in reversed(events):
        if event.kind == Kind.FINISHED:
            return Finished.of(event)
        if event.kind in BEGINNINGS:
            break
    return None


def spent(events: Sequence[Event]) -> float:
    """Seconds that processes have worked on the search, each from its command's start.

    The time between does not count, nor the time in which it was paused.
    """
    total = start = end = rested = 0.0
    since: float | None = None
    left = False
    for event in events:
        if event.kind in BEGINNINGS:
            total += end - start - rested
            start, left, rested, since = event.at - event.body["after_s"], False, 0.0, None
        left = left or bool(event.body.get("posthumous"))
        if not left:
            end = event.at
        if event.kind == Kind.STEERED and "refused" not in event.body and event.body["verb"] in ("pause", "go-on"):
            rested += 0.0 if since is None else event.at - since
            since = event.at if event.body["verb"] == "pause" else None
        # What others add after a search was left is no work on it.
        left = left or event.kind == Kind.FINISHED
        if left and since is not None:
            rested, since = rested + end - since, None
    return total + end - start - rested - (0.0 if since is None else end - since)
