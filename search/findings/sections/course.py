"""The course of the search: what each trial came to, and the learning curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.findings.figures import course as figures
from search.findings.snapshot import Snapshot
from search.record.state import WORTHLESS, State
from search.record.trial import Trial


@dataclass(frozen=True)
class Course:
    """Both figures; `rungs` says whether trials were compared at some."""

    history: figures.History
    curves: figures.Curves
    rungs: bool


def build(search: Snapshot) -> Course | None:
    """The course of `search`; None while no trial has a finite value."""
    if not any(trial.has_value(search.objective) for trial in search.trials):
        return None
    return Course(_history(search), _curves(search), bool(search.header.rungs))


def _history(search: Snapshot) -> figures.History:
    searched = search.trials.searched
    values = {trial.number: _value(search, trial) for trial in searched}
    points = [figures.Point(t.number, values[t.number], str(t.state), t.published or t.given) for t in searched]
    # As the winner is chosen: once a trial is complete, those that are not lead no more.
    finite = [trial for trial in searched if math.isfinite(values[trial.number])]
    candidates = [trial for trial in finite if trial.state is State.COMPLETE] or finite
    leader: list[tuple[int, float]] = []
    for trial in candidates:
        if not leader or search.objective.better(values[trial.number], leader[-1][1]):
            leader.append((trial.number, values[trial.number]))
    return figures.History(points, leader, search.metric, search.objective.mode)


def _value(search: Snapshot, trial: Trial) -> float:
    """What `trial` is worth, NaN if nothing."""
    if trial.state in WORTHLESS or not trial.has_value(search.objective):
        return math.nan
    return trial.best_value(search.objective)


def _curves(search: Snapshot) -> figures.Curves:
    lines = []
    for trial in search.trials:
        is_winner = trial is search.winner
        if not trial.has_value(search.objective) or (trial.confirms is not None and not is_winner):
            continue
        if is_winner:
            role, label = "winner", f"winner, trial {trial.number}"
        elif trial.published or trial.given:
            role, label = "start", f"trial {trial.number}, {trial.origin}"
        else:
            role, label = "other", f"trial {trial.number}"
        lines.append(figures.Curve(label, trial.values(search.objective), role, trial.number))
    return figures.Curves(lines, search.header.rungs, search.metric, search.objective.mode)
