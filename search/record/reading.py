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


class Spent:
    """Seconds that processes have worked on a search, each from its command's start; events are taken in, in order.

    The time between does not count, nor the time in which it was paused.
    """

    def __init__(self) -> None:
        self._total = self._start = self._end = self._rested = 0.0
        self._paused: float | None = None
        self._left = False

    def take(self, event: Event) -> None:
        """Take in the next event."""
        if event.kind in BEGINNINGS:
            self._total += self._end - self._start - self._rested
            self._start, self._left, self._rested, self._paused = (
                event.at - event.body.get("after_s", 0.0),
                False,
                0.0,
                None,
            )
        self._left = self._left or bool(event.body.get("posthumous"))
        if not self._left:
            self._end = event.at
        if event.kind == Kind.STEERED and "refused" not in event.body and event.body["verb"] in ("pause", "go-on"):
            self._rested += 0.0 if self._paused is None else event.at - self._paused
            self._paused = event.at if event.body["verb"] == "pause" else None
        # What others add after a search was left is no work on it.
        self._left = self._left or event.kind == Kind.FINISHED
        if self._left and self._paused is not None:
            self._rested, self._paused = self._rested + self._end - self._paused, None

    @property
    def seconds(self) -> float:
        """So many by now."""
        resting = 0.0 if self._paused is None else self._end - self._paused
        return self._total + self._end - self._start - self._rested - resting


def spent(events: Sequence[Event]) -> float:
    """Seconds that processes have worked on the search that `events` record; see `Spent`."""
    clock = Spent()
    for event in events:
        clock.take(event)
    return clock.seconds
