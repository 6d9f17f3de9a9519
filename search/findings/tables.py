"""The trials and epochs of a search as tables."""

from __future__ import annotations

import math
from typing import Any

from search.findings.snapshot import Snapshot
from spaces.objective import TAKEN

Table = tuple[list[str], list[dict[str, Any]]]
"""Names of columns, and rows in which a column may be missing."""


def trial_table(search: Snapshot) -> Table:
    """One row per trial, the best first: number, state, why, origin, epochs, value, and what was searched."""
    columns = ["trial", "state", "why", "origin", "epochs", "value", *search.header.space]
    rows = [{**row, **row["point"]} for row in leaderboard(search)]
    return columns, [{name: row[name] for name in columns if name in row} for row in rows]


def curve_table(search: Snapshot) -> Table:
    """One row per epoch, by trial: number of the trial and of the epoch, seconds, and every metric.

    A metric that is called as one of the first three is in the column `metrics/NAME`.
    """
    metrics = sorted({name for trial in search.trials for row in trial.epochs for name in row.metrics})
    columns = {name: f"metrics/{name}" if name in TAKEN else name for name in metrics}
    rows = [
        {
            **{"trial": trial.number, "epoch": row.number, "seconds": row.seconds},
            **{columns[name]: value for name, value in row.metrics.items()},
        }
        for trial in search.trials
        for row in trial.epochs
    ]
    return [*TAKEN, *columns.values()], rows


def leaderboard(search: Snapshot) -> list[dict[str, Any]]:
    """Every trial, the best first, those without a result last: number, state, epochs, value, curve, point, why."""
    objective, ranked = search.objective, search.trials.ranking()
    placed = {trial.number for trial in ranked}
    return [
        {
            "trial": trial.number,
            "state": str(trial.state),
            "why": trial.why,
            "traceback": trial.traceback,
            "origin": search.origin(trial),
            "epochs": len(trial.epochs),
            "value": trial.best_value(objective) if trial.has_value(objective) else None,
            "curve": [value if math.isfinite(value) else None for value in trial.values(objective)],
            "point": dict(trial.point),
        }
        for trial in [*ranked, *(trial for trial in search.trials if trial.number not in placed)]
    ]
