"""A search as plain files, for people and programs that know nothing of us."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from search.errors import BadInput, StorageFull
from search.findings import mistaken, model_files, winner_model
from search.findings.exported_folder import MODEL
from search.findings.model_files import Examples
from search.findings.optuna_export import write_study
from search.findings.snapshot import Snapshot
from search.findings.summary import summary_of
from search.findings.tables import Table, curve_table, trial_table
from search.storage import checkpoints

WRITTEN = ("summary.json", "config.json", "trials.csv", "curves.csv", "mistakes.csv", "optuna.db", MODEL)
"""What an export writes, and what `--force` replaces."""


def export_search(
    run: Path,
    folder: Path,
    examples: Examples | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write the search in `run` into `folder`, which must be new or empty, and return the files.

    `summary.json`; `trials.csv`, one row per trial; `curves.csv`, one row per epoch; `optuna.db`, a study file of
    Optuna's; `mistakes.csv`, if what the winner made of the pictures was kept; and, if there is a winner, `config.json`
    and `model/`, see `model_files`. Graph and ONNX are written if there are `examples` to check them on; `say` hears
    how they did. With `force` what an earlier export wrote is replaced, and all else in the folder stays. All of them
    or none: raises BadInput for a folder that cannot be had, StorageFull where there is no room, EnvironmentFault for a
    damaged record or checkpoint, and leaves nothing behind.
    """
    search = Snapshot.read(run)
    summary = summary_of(search)
    network = winner_model.found(run, search.trials)
    mistakes = mistaken.mistaken(search)
    with _whole(folder, force=force) as aside:
        _write_csv(aside / "trials.csv", trial_table(search))
        _write_csv(aside / "curves.csv", curve_table(search))
        if mistakes is not None:
            _write_csv(aside / "mistakes.csv", mistaken.table(mistakes))
        write_study(aside / "optuna.db", search.events, running=summary["state"] == "running")
        (aside / "summary.json").write_text(json.dumps(summary, indent=1))
        if summary["best"]:
            (aside / "config.json").write_text(json.dumps(summary["best"]["config"], indent=1))
        if network is not None:
            (aside / MODEL).mkdir()
            for line in model_files.write(aside / MODEL, search, network, examples).lines:
                say(line)
    names = {*WRITTEN} & {entry.name for entry in folder.iterdir()}
    files = [file for name in names for file in ([folder / name] if name != MODEL else (folder / name).rglob("*"))]
    return sorted(file for file in files if file.is_file())


@contextlib.contextmanager
def _whole(folder: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write into, whose contents become those of `folder` at the end, or are gone if that fails."""
    made: list[Path] = []
    moved: list[Path] = []
    replaced: list[tuple[Path, Path]] = []
    aside = None
    try:
        exists = folder.exists()
        if exists and (not folder.is_dir() or any(folder.iterdir())):
            _check_replaceable(folder, force=force)
        # Inside of one that is there: it may be a mount, or where somebody's shell stands, and cannot be replaced.
        aside = (folder if exists else folder.parent) / f".export-{uuid.uuid4().hex}"
        for parent in reversed(aside.parents):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        aside.mkdir()
        yield aside
        if exists:
            entries = list(aside.iterdir())
            for name in WRITTEN:
                if os.path.lexists(folder / name):
                    replaced.append(((folder / name).rename(aside / f".before-{name}"), folder / name))
            for entry in entries:
                moved.append(entry.rename(folder / entry.name))
            replaced.clear()
            shutil.rmtree(aside)
        else:
            aside.rename(folder)
    except BaseException as error:
        _undo(moved, replaced, aside, made)
        if isinstance(error, OSError):
            if checkpoints.is_full(error):
                raise StorageFull(f"no space left for {folder}; free some, or give another folder") from None
            raise BadInput(f"{folder} cannot be made ({error.strerror}); give another folder") from None
        raise


def _check_replaceable(folder: Path, *, force: bool) -> None:
    """Raise BadInput unless what is in `folder` was exported, and may be replaced."""
    exported = folder.is_dir() and (folder / "summary.json").is_file() and (folder / "trials.csv").is_file()
    if exported and force:
        return
    if exported:
        raise BadInput(f"{folder} exists and is not empty; give the name of a new folder, or --force to export again")
    asked = ", and no export, which --force would replace" if force else ""
    raise BadInput(f"{folder} exists and is not empty{asked}; give the name of a new folder")


def _undo(moved: list[Path], replaced: list[tuple[Path, Path]], aside: Path | None, made: list[Path]) -> None:
    """Put everything back as it was before an export that failed."""
    for entry in moved:
        _remove(entry)
    for before, name in replaced:
        with contextlib.suppress(OSError):
            before.rename(name)
    if aside is not None:
        _remove(aside)
    for parent in reversed(made):
        with contextlib.suppress(OSError):  # somebody else has put something into it
            parent.rmdir()


def _remove(entry: Path) -> None:
    shutil.rmtree(entry, ignore_errors=True)
    with contextlib.suppress(OSError):  # a folder, which is gone by now
        entry.unlink()


def _write_csv(path: Path, table: Table) -> None:
    columns, rows = table
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
