"""One trial in full: its configuration, its course, where it was trained, why it ended, what it left behind."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.findings.snapshot import Snapshot
from search.record.events import Decided, EpochReport, Kind
from search.storage import inside
from search.storage.runs import STACKS, log_there

MOST_BYTES = 200_000
"""So much of the end of a log or of stacks is shown."""


def build(search: Snapshot, number: int) -> dict[str, Any]:
    """Trial `number` of `search` as plain data. Raises KeyError if there is none."""
    if not 0 <= number < len(search.trials):
        raise KeyError(number)
    trial, objective = search.trials[number], search.objective
    config = search.header.full_config(trial.point)
    reports = {
        event.body["epoch"]: EpochReport.of(event)
        for event in search.events
        if event.trial == number and event.kind == Kind.EPOCH
    }
    best = trial.best_epoch(objective).number if trial.has_value(objective) else None
    return {
        "trial": number,
        "state": str(trial.state),
        "why": trial.why,
        "origin": search.origin(trial),
        "winner": trial is search.winner,
        "metric": objective.metric,
        "value": trial.best_value(objective) if best is not None else None,
        "best_epoch": best,
        "budget": search.budget(trial),
        "attempts": trial.attempt,
        "began": trial.began,
        "ended": trial.ended,
        "traceback": trial.traceback,
        "config": [{"name": name, "value": value, "searched": name in trial.point} for name, value in config.items()],
        "epochs": [_epoch(report) for report in reports.values()],
        "decisions": [
            Decided.of(event).to_plain()
            for event in search.events
            if event.trial == number and event.kind == Kind.DECIDED
        ],
        "log": _ended_with(log_there(search.folder, number)),
        "stacks": left_behind(search.folder / STACKS, number),
    }


def _epoch(report: EpochReport) -> dict[str, Any]:
    metrics = {name: value if math.isfinite(value) else None for name, value in report.metrics.items()}
    return {
        "epoch": report.epoch,
        "metrics": metrics,
        "seconds": report.seconds,
        "node": report.node,
        "pid": report.pid,
        "gpus": report.gpus,
        "bytes": report.bytes,
    }


def curves(search: Snapshot, number: int) -> dict[str, list[tuple[int, float]]]:
    """Each metric of trial `number`, the objective's first, as (epoch, value)."""
    trial, first = search.trials[number], search.objective.metric
    names = sorted({name for row in trial.epochs for name in row.metrics}, key=lambda name: (name != first, name))
    return {name: [(row.number, row.metrics.get(name, math.nan)) for row in trial.epochs] for name in names}


def left_behind(folder: Path, number: int) -> str:
    """The end of the files of trial `number` in `folder`, one after the other; no link is followed."""
    if folder.is_symlink() or not folder.is_dir():
        return ""
    return "\n".join(filter(None, (_ended_with(file) for file in sorted(folder.glob(f"trial-{number:04d}*")))))


def _ended_with(file: Path | None) -> str:
    """The end of `file`, below its name; "" if it is empty, or cannot be read."""
    try:
        descriptor = inside.plain_file(file, os.O_RDONLY) if file is not None else None
    except (OSError, EnvironmentFault):
        return ""
    if file is None or descriptor is None:
        return ""
    with open(descriptor, "rb") as opened:
        length = os.fstat(descriptor).st_size
        opened.seek(max(0, length - MOST_BYTES))
        text = opened.read(MOST_BYTES).decode(errors="replace")
    cut = f" (the last {MOST_BYTES:,} of {length:,} bytes)" if length > MOST_BYTES else ""
    return f"{file.name}{cut}\n{text}" if text else ""
