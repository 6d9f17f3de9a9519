"""What a record says of its search, as the document that `--json` prints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.record import FILE, Event, read
from search.trials import Trial, Trials, replayed
from spaces.study import Objective


def objective_of(events: Sequence[Event]) -> Objective:
    """The objective of the search that `events` record."""
    return Objective(**events[0].body["objective"])


def last(events: Sequence[Event], kind: str) -> Mapping[str, Any]:
    """The body of the last event of `kind`, or an empty one."""
    return next((event.body for event in reversed(events) if event.kind == kind), {})


def summarize(folder: Path, events: Sequence[Event] | None = None) -> dict[str, Any]:
    """The search in `folder` as a JSON document.

    `trials` counts them by end state; `training_s` sums seconds in training steps and validation, and `utilisation` is
    their share of cores times `wall_s`; `first_trial_s` passed from the command to the first trial's first epoch.
    """
    events = events or read(folder / FILE)
    about, finished = events[0].body, last(events, "finished")
    starts = [event.body["began"] for event in events if event.kind == "epoch" and "began" in event.body]
    trials = replayed(events, objective_of(events))
    began, ended = events[0].at, events[-1].at
    seconds = sum(row.seconds for trial in trials for row in trial.epochs)
    wall = finished.get("wall_s", round(ended - began, 1))
    return {
        "name": about["name"],
        "study": about["study"],
        "state": finished.get("state") or ("running" if alive(about) else "interrupted"),
        "why": finished.get("why", ""),
        "dataset": about["dataset"],
        "stand_in": about["stand_in"],
        "seed": about["seed"],
        "trials": trials.counts(),
        "epochs": trials.epochs,
        "wall_s": wall,
        "training_s": round(seconds, 1),
        "utilisation": round(seconds * about["cpus"] / (about["cores"] * wall), 3) if wall and about["cores"] else None,
        "first_trial_s": round(min(starts) - about["started_at"], 1) if starts else None,
        "best": best(events, trials),
        "run_dir": str(folder.resolve()),
        "mlflow": last(events, "published") or {"tracking_uri": about["tracking_uri"]},
        "command": about["command"],
        "resume": None,
    }


def alive(about: Mapping[str, Any]) -> bool:
    """Whether the process that writes the record still runs; of another machine's we assume so."""
    if about["node"] != os.uname().nodename:
        return True
    try:
        os.kill(about["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def best(events: Sequence[Event], trials: Trials) -> dict[str, Any] | None:
    """The best trial: its number, epoch, configuration and accuracies, or None."""
    trial = trials.best()
    if trial is None:
        return None
    row, tested = trial.best_epoch(trials.objective), last(events, "tested")
    known = tested if tested.get("trial") == trial.number else {}
    metric = trials.objective.metric
    return {
        "trial": trial.number,
        "epoch": row.number,
        "complete": trial.state == "complete",
        "config": full_config(events, trial),
        metric: row.metrics[metric],
        "test_accuracy": known.get("test_accuracy"),
        "test_images": known.get("images"),
        "checkpoint": row.checkpoint,
    }


def full_config(events: Sequence[Event], trial: Trial) -> dict[str, Any]:
    """Every hyperparameter of `trial`: what was fixed and what was searched."""
    return dict(sorted({**events[0].body["fixed"], **trial.point}.items()))


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
