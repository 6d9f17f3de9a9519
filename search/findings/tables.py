"""The trials and epochs of a search as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from search.record.events import Event
from search.record.reading import objective_of
from search.record.trials import replayed

Table = tuple[list[str], list[dict[str, Any]]]
"""Names of columns, and rows in which a column may be missing."""


def trial_table(events: Sequence[Event]) -> Table:
    """One row per trial, the best first: number, state, why, origin, epochs, value, and what was searched."""
    columns = ["trial", "state", "why", "origin", "epochs", "value", *events[0].body["space"]]
    rows = [{**row, **row["point"]} for row in leaderboard(events)]
    return columns, [{name: row[name] for name in columns if name in row} for row in rows]


def curve_table(events: Sequence[Event]) -> Table:
    """One row per epoch, by trial: number of the trial and of the epoch, seconds, and every metric."""
    trials = replayed(events, objective_of(events))
    metrics = sorted({name for trial in trials for row in trial.epochs for name in row.metrics})
    rows = [
        {"trial": trial.number, "epoch": row.number, "seconds": row.seconds, **row.metrics}
        for trial in trials
        for row in trial.epochs
    ]
    return ["trial", "epoch", "seconds", *metrics], rows


def leaderboard(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Every trial, the best first, those without a result last: number, state, epochs, value, curve, point, why."""
    trials = replayed(events, objective_of(events))
    ranked = trials.ranking()
    rest = [trial for trial in trials if trial not in ranked]
    rows = []
    for trial in [*ranked, *rest]:
        rows.append(
            {
                "trial": trial.number,
                "state": str(trial.state),
                "why": trial.why,
                "traceback": trial.traceback,
                "origin": trial.origin,
                "epochs": len(trial.epochs),
                "value": trial.best_value(trials.objective) if trial.has_value(trials.objective) else None,
                "curve": [v if math.isfinite(v) else None for v in trial.values(trials.objective)],
                "point": dict(trial.point),
            }
        )
    return rows
