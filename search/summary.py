"""What a record says of its search, as the document that `--json` prints."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search import audit, confirmation, lock, mirror
from search.bucket import shown
from search.errors import BadInput
from search.record import FILE, Event, read
from search.settings import check_name, nearest
from search.trials import Trial, Trials, replayed
from spaces.space import Space, from_plain
from spaces.study import Objective

REPORT = "report.html"
"""The report of a search, beside its record."""


def searches(runs: Path) -> list[Path]:
    """The folders of the searches in `runs`, in the order in which they were last worked on; mirrors are up to date."""
    mirror.pull_all(runs)
    files = [file for file in runs.glob(f"*/{FILE}") if not file.parent.name.startswith(".")]
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime)]


def found(name: str, runs: Path) -> Path:
    """The folder of the search `name` in `runs`. Raises BadInput, with the nearest name, if there is none.

    If it is a mirror, it is up to date.
    """
    check_name(name)
    mirror.pull(runs / name)
    if not (runs / name / FILE).is_file():
        known = sorted(folder.name for folder in searches(runs))
        raise BadInput(nearest("search", name, known) if known else f"no search {name!r}: {shown(runs)} holds none")
    return runs / name


def objective_of(events: Sequence[Event]) -> Objective:
    """The objective of the search that `events` record."""
    return Objective(**events[0].body["objective"])


def space_of(events: Sequence[Event]) -> Space:
    """What the search that `events` record varies."""
    return Space({each["name"]: from_plain(each) for each in about(events)["definition"]["space"]})


def last(events: Sequence[Event], kind: str) -> Mapping[str, Any]:
    """The body of the last event of `kind`, or an empty one."""
    return next((event.body for event in reversed(events) if event.kind == kind), {})


def about(events: Sequence[Event]) -> dict[str, Any]:
    """What the search is and how it runs: as it began, with the changes of every process that went on with it."""
    merged = dict(events[0].body)
    for event in events:
        if event.kind == "resumed":
            merged |= event.body
    return merged


def finished(events: Sequence[Event]) -> Mapping[str, Any]:
    """How the last process left the search; empty if it died, or still works."""
    for event in reversed(events):
        if event.kind == "finished":
            return event.body
        if event.kind in ("search", "resumed"):
            break
    return {}


def spent(events: Sequence[Event]) -> float:
    """Seconds that processes have worked on the search, each from its command's start; the time between not counted."""
    total = start = end = 0.0
    left = False
    for event in events:
        if event.kind in ("search", "resumed"):
            total += end - start
            start, left = event.at - event.body["after_s"], False
        left = left or bool(event.body.get("posthumous"))
        if not left:
            end = event.at
        # What others add after a search was left is no work on it.
        left = left or event.kind == "finished"
    return total + end - start


def summarize(folder: Path, events: Sequence[Event] | None = None) -> dict[str, Any]:
    """The search in `folder` as a JSON document.

    `trials` counts them by end state; `training_s` sums seconds in training steps and validation, and `utilisation` is
    their share of cores times `wall_s`; `first_trial_s` passed from the command to the first trial's first epoch.
    `audit` and `confirmation` are those of `audit.document` and `confirmation.document`.
    """
    events = events or read(folder / FILE)
    first, how = events[0].body, about(events)
    ending = finished(events)
    starts = [event.body["began"] for event in events if event.kind == "epoch" and "began" in event.body]
    trials = replayed(events, objective_of(events))
    seconds = sum(row.seconds for trial in trials for row in trial.epochs)
    wall = ending.get("wall_s", round(spent(events), 1))
    return {
        "name": first["name"],
        "study": first["study"],
        "state": ending.get("state") or ("running" if lock.is_held(folder) else "interrupted"),
        "why": ending.get("why", ""),
        "dataset": first["dataset"],
        "stand_in": first["stand_in"],
        "seed": first["seed"],
        "trials": trials.counts(),
        "epochs": trials.epochs,
        "wall_s": wall,
        "training_s": round(seconds, 1),
        "utilisation": round(seconds * how["cpus"] / (how["cores"] * wall), 3) if wall and how["cores"] else None,
        "first_trial_s": round(min(starts) - first["started_at"], 1) if starts else None,
        "sessions": sum(event.kind in ("search", "resumed") for event in events),
        "best": best(events, trials),
        "published": _claim(how, trials),
        "settled": trials.settled,
        "audit": audit.document(events, trials),
        "confirmation": confirmation.document(first["fixed"], trials),
        "warm_start": first.get("warm_start", []),
        "test_openings": sum(event.kind == "tested" for event in events),
        "run_dir": shown(folder.resolve()),
        "report": shown((folder / REPORT).resolve()) if (folder / REPORT).is_file() else None,
        "mlflow": last(events, "published") or {"tracking_uri": how["tracking_uri"]},
        "command": first["command"],
        "resume": command("resume", folder),
        "ui": f"python -m search ui{_elsewhere(folder.parent)}",
    }


def _claim(how: Mapping[str, Any], trials: Trials) -> dict[str, Any] | None:
    """The published test accuracy of the study on these data, and whether that setting was trained here; or None."""
    claimed = how.get("published")
    if claimed is None:
        return None
    return {"test_accuracy": claimed, "trained": any(trial.published for trial in trials)}


def command(verb: str, folder: Path) -> str:
    """The command that does `verb` to the search in `folder`."""
    return f"python -m search {verb} {folder.name}{_elsewhere(folder.parent)}"


def _elsewhere(runs: Path) -> str:
    """The option that a command needs to find `runs`, none if they are where it looks."""
    return "" if runs.resolve() == Path("runs").resolve() else f" --runs {shlex.quote(shown(runs))}"


def best(events: Sequence[Event], trials: Trials) -> dict[str, Any] | None:
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
        "config": full_config(events, trial),
        "metric": metric,
        **{name: value for name, value in row.metrics.items() if name in (metric, "val_accuracy")},
        "test_accuracy": known.get("test_accuracy"),
        "test_images": known.get("images"),
        "checkpoint": row.checkpoint,
    }


def full_config(events: Sequence[Event], trial: Trial) -> dict[str, Any]:
    """Every hyperparameter of `trial`: what was fixed and what was searched."""
    return dict(sorted({**events[0].body["fixed"], **trial.point}.items()))


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
