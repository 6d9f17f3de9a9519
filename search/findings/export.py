"""A search as plain files, for people and programs that know nothing of us."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from search.errors import BadInput, StorageFull
from search.findings import mistaken, winner_model
from search.findings.optuna_export import write_study
from search.findings.snapshot import Snapshot
from search.findings.summary import summary_of
from search.findings.tables import Table, curve_table, trial_table
from search.storage import checkpoints


def export_search(run: Path, folder: Path) -> list[Path]:
    """Write the search in `run` into `folder`, which must be new or empty, and return the files.

    `summary.json`; `trials.csv`, one row per trial; `curves.csv`, one row per epoch; `optuna.db`, a study file of
    Optuna's; `mistakes.csv`, if what the winner made of the pictures was kept; and, if there is a winner, `config.json`
    and `model/` with its weights (safetensors) and architecture (JSON), or, of a network of one's own, weights and
    graph (`model.pt2`, of torch.export). All of them or none: raises BadInput for a folder that cannot be had,
    StorageFull where there is no room, EnvironmentFault for a damaged record or checkpoint, and leaves nothing behind.
    """
    search = Snapshot.read(run)
    summary = summary_of(search)
    network = winner_model.found(run, search.trials)
    mistakes = mistaken.mistaken(search)
    with _whole(folder) as aside:
        _write_csv(aside / "trials.csv", trial_table(search))
        _write_csv(aside / "curves.csv", curve_table(search))
        if mistakes is not None:
            _write_csv(aside / "mistakes.csv", mistaken.table(mistakes))
        write_study(aside / "optuna.db", search.events, running=summary["state"] == "running")
        (aside / "summary.json").write_text(json.dumps(summary, indent=1))
        if summary["best"]:
            (aside / "config.json").write_text(json.dumps(summary["best"]["config"], indent=1))
        if network is not None:
            (aside / "model").mkdir()
            network.copy_to(aside / "model")
    return sorted(file for file in folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, whose contents become those of `folder` at the end, or are gone if that fails."""
    made: list[Path] = []
    moved: list[Path] = []
    aside = None
    try:
        exists = folder.exists()
        if exists and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder} exists and is not empty; give the name of a new folder")
        # Inside of one that is there: it may be a mount, or where somebody's shell stands, and cannot be replaced.
        aside = (folder if exists else folder.parent) / f".export-{uuid.uuid4().hex}"
        for parent in reversed(aside.parents):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        aside.mkdir()
        yield aside
        if exists:
            for entry in list(aside.iterdir()):
                moved.append(entry.rename(folder / entry.name))
            aside.rmdir()
        else:
            aside.rename(folder)
    except BaseException as error:
        for entry in [*moved, *([aside] if aside else [])]:
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # a folder, which is gone by now
                entry.unlink()
        for parent in reversed(made):
            with contextlib.suppress(OSError):  # somebody else has put something into it
                parent.rmdir()
        if isinstance(error, OSError):
            if checkpoints.is_full(error):
                raise StorageFull(f"no space left for {folder}; free some, or give another folder") from None
            raise BadInput(f"{folder} cannot be made ({error.strerror}); give another folder") from None
        raise


def _write_csv(path: Path, table: Table) -> None:
    columns, rows = table
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
