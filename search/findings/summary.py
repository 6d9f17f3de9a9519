"""What a record says of its search, as the document that `--json` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.decide.agenda import own_seed
from search.findings import mlflow_link
from search.findings.progress import progress
from search.findings.snapshot import Snapshot
from search.record.events import BEGINNINGS, EpochReport, InMLflow, Kind
from search.record.reading import finished, last, spent
from search.record.state import State
from search.record.trial import Trial
from search.storage import lock
from search.storage.bucket import shown
from search.storage.runs import REPORT, TRIALS, command, home_of
from spaces.study import epochs_of, script_of

VALIDATION = ("val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_roc_auc")


def summarize(folder: Path) -> dict[str, Any]:
    """The search in `folder` as a JSON document; see `summary_of`. Raises EnvironmentFault for a damaged record."""
    return summary_of(Snapshot.read(folder))


def summary_of(search: Snapshot) -> dict[str, Any]:
    """`search` as a JSON document.

    `trials` counts them by end state; `progress` tells how many have `ended` of how many there will be; `training_s`
    sums seconds in training steps and validation, and `utilisation` is their share of cores times `wall_s`;
    `first_trial_s` passed from the command to the first trial's first epoch.
    `audit`, `confirmation` and `experience` are those of `audit.document`, `confirmed.document` and
    `experience.document`.
    """
    folder, events, header, trials = search.folder, search.events, search.header, search.trials
    ending, published = finished(events), last(events, InMLflow)
    reports = (EpochReport.from_plain(event.body) for event in events if event.kind == Kind.EPOCH)
    starts = [report.began for report in reports if report.began is not None]
    seconds = sum(row.seconds for trial in trials for row in trial.epochs)
    wall = ending.wall_s if ending else round(spent(events), 1)
    available = header.process.cores * wall
    place = published.to_plain() if published else {"tracking_uri": header.tracking_uri}
    far = progress(trials, header.trials, wall, header.time_budget)
    return {
        "name": header.name,
        "study": header.study,
        "state": ending.state if ending else "running" if lock.is_held(folder) else "interrupted",
        "why": ending.why if ending else "",
        "dataset": header.dataset,
        "stand_in": header.stand_in,
        "seed": header.seed,
        "trials": trials.counts(),
        "progress": {"ended": far.ended, "trials": far.trials, "share": round(far.share, 4)},
        "started_at": header.started_at or events[0].at,
        "epochs": trials.epochs,
        "wall_s": wall,
        "training_s": round(seconds, 1),
        "utilisation": round(seconds * header.cpus / available, 3) if available else None,
        "first_trial_s": round(min(starts) - header.started_at, 1) if starts else None,
        "sessions": sum(event.kind in BEGINNINGS for event in events),
        "best": _best(search),
        "published": _claim(search),
        "settled": trials.settled.to_plain() if trials.settled else None,
        "audit": search.audit,
        "confirmation": search.confirmation,
        "warm_start": list(header.warm_start),
        "experience": search.experience,
        "test_openings": sum(event.kind == Kind.TESTED for event in events),
        "run_dir": shown(folder.resolve()),
        "report": shown((folder / REPORT).resolve()) if (folder / REPORT).is_file() else None,
        "mlflow": {**place, "link": mlflow_link.of_search(place)},
        "command": header.command,
        "resume": command("resume", folder),
        "ui": command("ui", folder),
    }


def _claim(search: Snapshot) -> dict[str, Any] | None:
    """The published test accuracy of the study on these data, and whether that setting was trained here; or None."""
    claimed = search.header.published
    if claimed is None:
        return None
    return {"test_accuracy": claimed, "trained": any(trial.published for trial in search.trials)}


def _best(search: Snapshot) -> dict[str, Any] | None:
    """The best trial: its number, epoch, configuration, what it was best in and its accuracies, or None."""
    trial, tested, metric = search.winner, search.tested, search.objective.metric
    if trial is None:
        return None
    row = trial.best_epoch(search.objective)
    return {
        "trial": trial.number,
        "confirmed_from": trial.confirms,
        "origin": search.origin(search.proposal or trial),
        "epoch": row.number,
        "complete": trial.state is State.COMPLETE,
        "config": search.header.full_config(trial.point),
        "metric": metric,
        **{name: value for name, value in row.metrics.items() if name == metric or name in VALIDATION},
        "test_accuracy": tested.value if tested else None,
        "test_metrics": dict(tested.beyond) if tested else None,
        "no_better_than_largest_class": tested.no_better if tested else None,
        "test_images": tested.images if tested else None,
        "checkpoint": row.checkpoint,
        "command": _command(search, trial),
    }


def _command(search: Snapshot, trial: Trial) -> str | None:
    """The command that runs a script with the setting of `trial`; None if it is no script that was searched."""
    header = search.header
    script = script_of(header.definition, header.source)
    if script is None:
        return None
    config = {
        **header.full_config(trial.point),
        "train/epochs": epochs_of(trial.point, header.epochs),
        "train/seed": own_seed(header.seed, trial.number),
    }
    written = search.folder / TRIALS / home_of(trial.number) / script.file
    return script.shown(config, folder=f"{header.name}-best", file=str(written))
