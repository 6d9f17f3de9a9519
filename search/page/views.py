"""What the page is told, as plain data: of all searches, of one, of a trial, of several side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from search.findings import one_trial, side_by_side
from search.findings.figures import interactive
from search.findings.progress import Progress, progress
from search.findings.sections import course, hyperparameters
from search.findings.snapshot import Snapshot
from search.findings.summary import summary_of
from search.record.events import Decided, Kind
from search.record.reading import spent
from search.record.steering import Steering, in_words
from search.record.trial import Trial
from spaces.space import Choice

STEERING = (Kind.STEERED, Kind.ASKED, Kind.RESUMED)
MOST_TOLD = 20
MANY = (Kind.SEARCH, Kind.RESUMED, Kind.CONFIRMING, Kind.FINISHED)
"""After these, trials may stand otherwise of which no event tells."""

Plain = dict[str, Any]


def how_far(search: Snapshot, *, running: bool) -> Progress:
    """How far `search` is; of one that runs the time since its last event counts."""
    seconds = spent(search.events) + (max(0.0, time.time() - search.events[-1].at) if running else 0.0)
    return progress(search.trials, search.header.trials, seconds, search.header.time_budget)


def head(search: Snapshot) -> Plain:
    """What is said of a search wherever it is named."""
    summary, trials = summary_of(search), search.trials
    running = summary["state"] == "running"
    far, best = how_far(search, running=running), summary["best"]
    value = best[summary["best"]["metric"]] if best else None
    return {
        "name": search.folder.name,
        "study": summary["study"],
        "about": search.header.about,
        "data": summary["dataset"],
        "stand_in": search.header.where if summary["stand_in"] else "",
        "state": summary["state"],
        "why": summary["why"],
        "ended": far.ended,
        "trials": far.trials,
        "share": far.share,
        "progress": str(far) if running else far.done(),
        "left_s": far.left_s if running else None,
        "metric": search.metric,
        "mode": search.objective.mode,
        "best": value,
        "best_trial": best["trial"] if best else None,
        "best_epoch": best["epoch"] if best else None,
        "test": best["test_accuracy"] if best else None,
        "counts": summary["trials"],
        "epochs": trials.epochs,
        "started": search.header.started_at or search.events[0].at,
        "took_s": far.spent_s,
        "event": len(search.events),
    }


def one(search: Snapshot, after: int = 0) -> Plain:
    """A search, and the rows of its trials that are not known to who has seen event `after`."""
    drawn, events = course.build(search), search.events
    fresh = events[after:] if 0 <= after <= len(events) else events
    every = fresh is events or any(event.kind in MANY for event in fresh)
    touched = {event.trial for event in fresh}
    said = head(search)
    return {
        **said,
        "full": every,
        "budget": search.header.epochs,
        "rungs": list(search.header.rungs),
        "columns": columns(search),
        "order": [trial.number for trial in search.trials.ranking()],
        "rows": [row(search, trial) for trial in search.trials if every or trial.number in touched],
        "running": [running(search, trial) for trial in search.trials.running()] if said["state"] == "running" else [],
        "plots": {name: interactive.plot(getattr(drawn, name)) for name in ("history", "curves")} if drawn else {},
        "compared_at": rungs(search),
        "workers": search.header.process.concurrent,
        "steering": steering(search),
    }


def steering(search: Snapshot) -> Plain:
    """What was asked of the search while it ran, the latest last, and what of it is in force."""
    asked = Steering(event for event in search.events if event.kind in STEERING)
    return {
        "paused": asked.paused,
        "next": [dict(point) for point, _ in asked.next],
        "told": [{"id": told.id, "at": at, "text": in_words(told)} for at, told in asked.told[-MOST_TOLD:]],
        "timed": search.header.time_budget is not None,
    }


def columns(search: Snapshot) -> list[Plain]:
    """The hyperparameters that were searched, each with its short name and whether it is a number."""
    short = [name.rpartition("/")[2] for name in search.space]
    return [
        {"name": name, "short": each if short.count(each) == 1 else name, "number": not isinstance(range_, Choice)}
        for (name, range_), each in zip(search.space.items(), short, strict=True)
    ]


def row(search: Snapshot, trial: Trial) -> Plain:
    """A trial in the table of all of them."""
    objective = search.objective
    return {
        "trial": trial.number,
        "state": str(trial.state),
        "value": trial.best_value(objective) if trial.has_value(objective) else None,
        "epochs": len(trial.epochs),
        "budget": search.budget(trial),
        "seconds": round(sum(each.seconds for each in trial.epochs), 2),
        "origin": search.origin(trial),
        "why": trial.why,
        "point": dict(trial.point),
    }


def running(search: Snapshot, trial: Trial) -> Plain:
    """A trial that runs: its curve, the next epoch at which it is compared, and how long ago it was heard of."""
    values, had = trial.values(search.objective), len(trial.epochs)
    ahead = [rung for rung in search.header.rungs if rung > had and not trial.exempt]
    last = trial.epochs[-1].at if trial.epochs else trial.began
    return {
        "trial": trial.number,
        "origin": search.origin(trial),
        "epochs": had,
        "budget": search.budget(trial),
        "values": [value if math.isfinite(value) else None for value in values],
        "next_rung": ahead[0] if ahead else None,
        "passed": [Decided.of(event).rung for event in _decisions(search, trial)],
        "heard_s": round(max(0.0, time.time() - last), 1),
    }


def _decisions(search: Snapshot, trial: Trial) -> list[Any]:
    # A trial that runs was asked for not long ago, so the end of the record is enough, as a rule.
    found = []
    for event in reversed(search.events):
        if event.trial == trial.number:
            if event.kind == Kind.DECIDED and event.body["go_on"]:
                found.append(event)
            if event.kind == Kind.ASKED:
                break
    return found[::-1]


def trial(search: Snapshot, number: int) -> Plain:
    """One trial in full, with a plot per metric. Raises KeyError if there is none of this number."""
    told = one_trial.build(search, number)
    plots = {
        name: interactive.lines({name: points}, "epoch", name)
        for name, points in one_trial.curves(search, number).items()
    }
    return {**told, "plots": plots, "head": head(search)}


def compared(searches: Sequence[Snapshot]) -> Plain:
    """Several searches side by side."""
    told = side_by_side.build(searches)
    metric = told.metric
    plots: Mapping[str, Any] = {
        "time": interactive.lines(told.over_time, "seconds", metric, step=True),
        "epochs": interactive.lines(told.over_epochs, "epochs trained, in all trials", metric, step=True),
    }
    return {
        "heads": [head(search) for search in searches],
        "plots": plots,
        "winners": told.winners,
        "settings": told.settings,
        "note": told.note,
    }


def rungs(search: Snapshot) -> list[int]:
    """The epochs at which hyperparameters can be looked at."""
    return hyperparameters.rungs_of(search)
