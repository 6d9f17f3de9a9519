"""What a record says of its search, as the document that `--json` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.findings import audit, confirmed
from search.record.events import BEGINNINGS, Event, Kind
from search.record.header import Header
from search.record.reading import finished, header_of, last, objective_of, spent
from search.record.record import FILE, read
from search.record.trials import Trials, replayed
from search.storage import lock
from search.storage.bucket import shown
from search.storage.runs import REPORT, command, elsewhere


def summarize(folder: Path, events: Sequence[Event] | None = None) -> dict[str, Any]:
    """The search in `folder` as a JSON document.

    `trials` counts them by end state; `training_s` sums seconds in training steps and validation, and `utilisation` is
    their share of cores times `wall_s`; `first_trial_s` passed from the command to the first trial's first epoch.
    `audit` and `confirmation` are those of `audit.document` and `confirmation.document`.
    """
    events = events or read(folder / FILE)
    header = header_of(events)
    ending = finished(events)
    starts = [event.body["began"] for event in events if event.kind == Kind.EPOCH and "began" in event.body]
    trials = replayed(events, objective_of(events))
    seconds = sum(row.seconds for trial in trials for row in trial.epochs)
    wall = ending.get("wall_s", round(spent(events), 1))
    return {
        "name": header.name,
        "study": header.study,
        "state": ending.get("state") or ("running" if lock.is_held(folder) else "interrupted"),
        "why": ending.get("why", ""),
        "dataset": header.dataset,
        "stand_in": header.stand_in,
        "seed": header.seed,
        "trials": trials.counts(),
        "epochs": trials.epochs,
        "wall_s": wall,
        "training_s": round(seconds, 1),
        "utilisation": round(seconds * header.cpus / (header.process.cores * wall), 3)
        if wall and header.process.cores
        else None,
        "first_trial_s": round(min(starts) - header.started_at, 1) if starts else None,
        "sessions": sum(event.kind in BEGINNINGS for event in events),
        "best": best(header, trials),
        "published": _claim(header, trials),
        "settled": trials.settled,
        "audit": audit.document(events, trials),
        "confirmation": confirmed.document(header.fixed, trials),
        "warm_start": list(header.warm_start),
        "test_openings": sum(event.kind == Kind.TESTED for event in events),
        "run_dir": shown(folder.resolve()),
        "report": shown((folder / REPORT).resolve()) if (folder / REPORT).is_file() else None,
        "mlflow": last(events, Kind.PUBLISHED) or {"tracking_uri": header.tracking_uri},
        "command": header.command,
        "resume": command("resume", folder),
        "ui": f"python -m search ui{elsewhere(folder.parent)}",
    }


def _claim(header: Header, trials: Trials) -> dict[str, Any] | None:
    """The published test accuracy of the study on these data, and whether that setting was trained here; or None."""
    claimed = header.published
    if claimed is None:
        return None
    return {"test_accuracy": claimed, "trained": any(trial.published for trial in trials)}


def best(header: Header, trials: Trials) -> dict[str, Any] | None:
    """The best trial: its number, epoch, configuration, what it was best in and its accuracies, or None."""
    trial = trials.best()
    if trial is None:
        return None
    row = trial.best_epoch(trials.objective)
    known = trial.tested if trial.tested.get("epoch") == row.number else {}
    metric = trials.objective.metric
    return {
        "trial": trial.number,
        "confirmed_from": trial.confirms,
        "epoch": row.number,
        "complete": trial.state == "complete",
        "config": header.full_config(trial.point),
        "metric": metric,
        **{name: value for name, value in row.metrics.items() if name in (metric, "val_accuracy")},
        "test_accuracy": known.get("test_accuracy"),
        "test_images": known.get("images"),
        "checkpoint": row.checkpoint,
    }


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
