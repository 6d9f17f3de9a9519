"""Proof that a record's decisions follow from it: every suggestion and every stop is derived anew, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.search import Search
from search.record.events import Entry, Event, Kind
from search.record.reading import header_of
from search.record.trials import State
from spaces.study import Study

DECIDED = (
    Kind.ASKED,
    Kind.LOST,
    Kind.EPOCH,
    Kind.REPEATED,
    Kind.DECIDED,
    Kind.ENDED,
    Kind.SETTLED,
    Kind.CONFIRMING,
)
"""What the search writes by itself, given what it hears."""


class _Memory:
    """A record that keeps what is appended since it was last emptied."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, *events: Entry) -> list[Event]:
        """See `Record.append`."""
        made = [Event(0, 0.0, kind, trial, body) for kind, trial, body in events]
        self.events += made
        return made


def differences(events: Sequence[Event], study: Study) -> list[str]:
    """Where the search that `events` record would decide otherwise if it heard the same again; empty if nowhere.

    The very class that ran the search runs again, with sampler and scheduler made afresh; it is told of each epoch, end
    and loss in the recorded order, and what it writes is compared with what is recorded. It ends at the first
    difference, because all that follows would differ too.
    """
    # The budgets are those it began with; what a later process changed in them is told in its event.
    header, memory = header_of(events[:1]), _Memory()
    search = Search(
        study,
        memory,
        SAMPLERS[header.sampler](study, header.seed),
        SCHEDULERS[header.scheduler](study),
        seed=header.seed,
        trials=header.trials,
        confirm=header.confirm,
        until_settled=header.until_settled,
        audit=header.audit,
        confirm_seeds=header.confirm_seeds,
    )
    pending: list[Event] = []
    for event in events:
        if event.kind not in DECIDED or _mended(event, search):
            if event.kind == Kind.RESTARTED:
                waiting = search.again()
                if waiting is None or (waiting.number, waiting.attempt + 1) != (event.trial, event.body["attempt"]):
                    first = f"trial {waiting.number}, attempt {waiting.attempt + 1}" if waiting else "no trial"
                    told = f"trial {event.trial}, attempt {event.body['attempt']}"
                    return [f"event {event.id}: {told} was restarted, but {first} was to be"]
            search.note(event.kind, event.body, event.trial)
            memory.events.clear()
            continue
        if not pending:
            memory.events.clear()
            _tell(search, event)
            pending = list(memory.events)
        expected = pending.pop(0) if pending else None
        if expected is None or _said(expected) != _said(event):
            says = f"{expected.kind} {_said(expected)[2]}" if expected else "nothing"
            return [f"event {event.id}: recorded is {event.kind} {_said(event)[2]}, derived is {says}"]
    return []


def _mended(event: Event, search: Search) -> bool:
    """Whether `event` is of a checkpoint that the doctor made once more, of a trial that had ended."""
    return event.kind == Kind.REPEATED and search.trials[event.trial].state is not State.RUNNING


def _tell(search: Search, event: Event) -> None:
    body = event.body
    if event.kind in (Kind.ASKED, Kind.SETTLED):
        search.ask()
    elif event.kind == Kind.CONFIRMING:  # when is up to the clock, too; of what is not
        search.confirm()
    elif event.kind in (Kind.EPOCH, Kind.REPEATED):
        metrics = body.get("metrics")
        if metrics is None:  # a repeated epoch keeps only whether its metrics were those known
            known = search.trials[event.trial].epochs[body["epoch"] - 1].metrics
            metrics = known if body["same"] else {}
        search.report(
            event.trial or 0,
            body["epoch"],
            metrics,
            seconds=body.get("seconds", 0.0),
            checkpoint=body["checkpoint"],
            sha256=body["sha256"],
            size=body["bytes"],
        )
    elif event.kind == Kind.LOST:
        search.lost(event.trial or 0, body["state"], body["why"])
    elif event.kind == Kind.ENDED and body["state"] not in (State.STOPPED, State.COMPLETE):  # which nobody else says
        search.end(event.trial or 0, body["state"], body["why"], body.get("traceback", ""))


def _said(event: Event) -> tuple[str, int | None, dict[str, Any]]:
    """What of an event the search decides: not where and when it happened."""
    places = ("pid", "node", "began")
    return event.kind, event.trial, {key: value for key, value in event.body.items() if key not in places}
