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
    """What the search is and how it runs: as it began, with the changes of every process that went on with it."""
    merged = dict(events[0].body)
    for event in events:
        if event.kind == Kind.RESUMED:
            merged |= event.body
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
    """Seconds that processes have worked on the search, each from its command's start; the time between not counted."""
    total = start = end = 0.0
    left = False
    for event in events:
        if event.kind in BEGINNINGS:
            total += end - start
            start, left = event.at - event.body["after_s"], False
        left = left or bool(event.body.get("posthumous"))
        if not left:
            end = event.at
        # What others add after a search was left is no work on it.
        left = left or event.kind == Kind.FINISHED
    return total + end - start
