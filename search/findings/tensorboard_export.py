"""A search as TensorBoard's files: a folder per trial, with its curves and, for the HParams page, its setting."""

from __future__ import annotations

import math
import shutil
import uuid
from pathlib import Path
from typing import Any

from search.errors import BadInput, StorageFull
from search.findings.snapshot import Snapshot
from search.record.trial import Trial
from search.storage import checkpoints
from search.storage.runs import home_of

BEST = "best/"
"""How the names of what a trial came to begin. They are other ones than those of its curves, as HParams wants it."""


def write_events(run: Path, folder: Path) -> int:
    """Write the search in `run` into `folder`, which must be new or empty; returns how many trials it has.

    All of it or nothing: raises BadInput for a folder that cannot be had, StorageFull where there is no room,
    EnvironmentFault for a damaged record, and leaves nothing behind.
    """
    search = Snapshot.read(run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists and is not empty; give the name of a new folder")
    aside = folder.parent / f".tensorboard-{uuid.uuid4().hex}"
    try:
        aside.mkdir(parents=True)
        for trial in search.trials:
            _write(search, trial, aside / home_of(trial.number))
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except OSError as error:
        if checkpoints.is_full(error):
            raise StorageFull(f"no space left for {folder}; free some, or give another folder") from None
        raise BadInput(f"{folder} cannot be made ({error.strerror}); give another folder") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(search.trials)


def _write(search: Snapshot, trial: Trial, folder: Path) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    objective = search.objective
    with SummaryWriter(str(folder)) as writer:
        for row in trial.epochs:
            for name, value in {**row.metrics, "seconds": row.seconds}.items():
                writer.add_scalar(name, value, row.number, walltime=row.at)
        came_to = {f"{BEST}{objective.metric}": trial.best_value(objective) if trial.epochs else math.nan}
        tested = trial.tested_at_best(objective) if trial.has_value(objective) else None
        if tested is not None and tested.test_accuracy is not None:
            came_to[f"{BEST}test_accuracy"] = tested.test_accuracy
        setting = {name: _plain(value) for name, value in search.header.full_config(trial.point).items()}
        epoch = trial.best_epoch(objective).number if trial.has_value(objective) else None
        told = {**setting, "state": str(trial.state), "origin": trial.origin}
        # Not by add_hparams: it opens a second file, which has the name of the first if it is made in the same second.
        for each in hparams(told, came_to):
            writer.file_writer.add_summary(each)
        for name, value in came_to.items():
            writer.add_scalar(name, value, epoch)


def _plain(value: Any) -> bool | float | str:
    """`value` as HParams takes it: numbers and truth values as they are, all else as text."""
    return value if isinstance(value, (bool, int, float)) else str(value)
