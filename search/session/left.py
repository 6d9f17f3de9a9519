"""What is left to do of a recorded search: trials to run, its end to come to, its last word."""

from __future__ import annotations

from collections.abc import Sequence

from search.prepared import Prepared
from search.record.events import Entry, Event, Finished, Kind
from search.record.reading import finished, header_of, objective_of, spent
from search.record.state import State
from search.record.steering import Steering
from search.record.trials import replayed
from search.signals import ending_seconds


def something_left(prepared: Prepared) -> bool:
    """Whether a recalled search has trials to run, or its end to come to; else it is finished as it is."""
    events, limit = prepared.past, prepared.settings.time_budget
    ending = finished(events)
    if ending is None or ending.state == "interrupted":
        return True
    if ending.state == "done" and not _published(events):
        return True
    if limit is not None and limit - spent(events) <= ending_seconds(limit):
        return False
    if Steering(events).finished and not _more(prepared):
        return False
    trials = replayed(events, objective_of(events))
    reopened = prepared.changes.get("reopened", False)
    unfinished = [trial for trial in trials if trial.state in (State.RUNNING, State.INTERRUPTED)]
    if trials.confirming is not None and not reopened:  # what the search proper left behind stays so
        return bool(trials.due(trials.confirming)) or any(trial.confirms is not None for trial in unfinished)
    if prepared.header.confirm and (reopened or trials.confirming is None):
        return True
    fewer = len(trials.searched) < prepared.header.trials and (trials.settled is None or _more(prepared))
    return bool(unfinished) or fewer or ending.state == "failed"


def _more(prepared: Prepared) -> bool:
    """Whether the search is given more than it had."""
    now, before = prepared.header, header_of(prepared.past)
    return (now.trials, now.time_budget) != (before.trials, before.time_budget)


def _published(events: Sequence[Event]) -> bool:
    kinds = [event.kind for event in events if event.kind in (Kind.SEARCH, Kind.RESUMED, Kind.PUBLISHED)]
    return kinds[-1] == Kind.PUBLISHED


def closing_event(events: Sequence[Event]) -> Entry | None:
    """What the process of a search would have written in the end, if it died without; None if it has said its word."""
    if finished(events):
        return None
    why, wall = "its process died; the search can be resumed", round(spent(events), 1)
    return Finished("interrupted", why, wall, posthumous=True).entry()
