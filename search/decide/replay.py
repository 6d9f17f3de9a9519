"""Proof that a record's decisions follow from it: every suggestion and every stop is derived anew, without training."""

from __future__ import annotations

from collections.abc import Sequence

from search.decide.search import Search
from search.record.events import (
    Continued,
    Ended,
    Entry,
    EpochReport,
    Event,
    Kind,
    Lost,
    Repeated,
    Restarted,
    Steered,
)
from search.record.reading import header_of
from search.record.state import FINISHED_EARLY, State
from search.record.steering import Request
from spaces.study import Study

DECIDED = (
    Kind.ASKED,
    Kind.LOST,
    Kind.EPOCH,
    Kind.REPEATED,
    Kind.DECIDED,
    Kind.CONTINUED,
    Kind.ENDED,
    Kind.SETTLED,
    Kind.CONFIRMING,
    Kind.STEERED,
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
    memory = _Memory()
    search = Search.of(header_of(events[:1]), study, memory)
    pending: list[Event] = []
    for event in events:
        if event.kind not in DECIDED or _mended(event, search):
            if event.kind == Kind.RESTARTED:
                waiting, attempt = search.again(), Restarted.of(event).attempt
                if waiting is None or (waiting.number, waiting.attempt + 1) != (event.trial, attempt):
                    due = f"trial {waiting.number}, attempt {waiting.attempt + 1}" if waiting else "no trial"
                    told = f"trial {event.trial}, attempt {attempt}"
                    return [f"event {event.id}: {told} was restarted, but {due} was to be"]
            search.apply(event)
            continue
        if not pending:
            memory.events.clear()
            _tell(search, event)
            pending = list(memory.events)
        expected = pending.pop(0) if pending else None
        if expected is None or (expected.kind, expected.trial, expected.body) != (event.kind, event.trial, event.body):
            says = f"{expected.kind} {expected.body}" if expected else "nothing"
            return [f"event {event.id}: recorded is {event.kind} {event.body}, derived is {says}"]
    return []


def _mended(event: Event, search: Search) -> bool:
    """Whether `event` is of a checkpoint that the doctor made once more, of a trial that had ended."""
    return event.kind == Kind.REPEATED and search.trials[event.trial].state is not State.RUNNING


def _tell(search: Search, event: Event) -> None:
    """Tell `search` what led to `event`."""
    number = event.trial or 0
    if event.kind in (Kind.ASKED, Kind.SETTLED):
        search.ask()
    elif event.kind == Kind.CONFIRMING:  # when is up to the clock, too; of what is not
        search.confirm()
    elif event.kind == Kind.STEERED:
        search.steer(Request.of(Steered.of(event)))
    elif event.kind == Kind.EPOCH:
        search.report(number, EpochReport.of(event))
    elif event.kind == Kind.REPEATED:
        again = Repeated.of(event)
        # Of its metrics it keeps only whether they were those known.
        metrics = search.trials[number].epochs[again.epoch - 1].metrics if again.same else {}
        search.report(number, EpochReport(again.epoch, metrics, 0.0, again.checkpoint, again.sha256, again.bytes))
    elif event.kind == Kind.CONTINUED:
        if Continued.of(event).at_once:
            search.goes_on_at_once(number)
        else:
            search.let_go_on()
    elif event.kind == Kind.LOST:
        lost = Lost.of(event)
        search.lost(number, lost.state, lost.why)
    elif event.kind == Kind.ENDED:
        end = Ended.of(event)
        if end.state is State.COMPLETE and end.why.startswith(FINISHED_EARLY):
            search.finish_early(number)
        elif end.state not in (State.STOPPED, State.COMPLETE):  # which nobody else says
            search.end(number, end.state, end.why, end.traceback or "")
