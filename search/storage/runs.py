"""The folder of searches: which there are, where one is, and the command that does something to it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from search.errors import BadInput
from search.record.reader import FILE
from search.settings import check_name, nearest
from search.storage import mirror
from search.storage.bucket import shown

REPORT = "report.html"
"""The report of a search, beside its record."""
RESULT = "result.json"
"""What the last process of a search came to, beside its record: the document of `--json`."""

TRIALS = "trials"
"""Folders of trials that a search keeps, beside its record."""
LOGS = "logs"
"""Here lies what trials printed, a file each."""
STACKS = "stacks"
"""Here lie the stacks of trials that were silent, a file per attempt."""


def home_of(trial: int) -> str:
    """The name of the folder that is kept for a trial, below TRIALS."""
    return f"trial-{trial:04d}"


def log_file(folder: Path, trial: int) -> Path:
    """Where the log of `trial` is, in the `folder` of its search."""
    return folder / LOGS / f"{home_of(trial)}.log"


def log_there(folder: Path, trial: int) -> Path | None:
    """The log of `trial`, or of the script that it was; None if there is none, or a link in its place."""
    for file in (log_file(folder, trial), folder / TRIALS / home_of(trial) / "log.txt"):
        if file.is_file() and not any(each.is_symlink() for each in (file, file.parent, file.parent.parent)):
            return file
    return None


def stacks_there(folder: Path, trial: int) -> list[Path]:
    """The files of stacks of `trial` that say something; none where there is a link in their place."""
    place = folder / STACKS
    if place.is_symlink() or not place.is_dir():
        return []
    files = sorted(place.glob(f"{home_of(trial)}-attempt-*.txt"))
    return [file for file in files if file.is_file() and not file.is_symlink() and file.stat().st_size]


def searches(runs: Path) -> list[Path]:
    """The folders of the searches in `runs`, in the order in which they were last worked on; mirrors are up to date."""
    mirror.pull_all(runs)
    files = [folder / FILE for folder in runs.glob("*") if not folder.name.startswith(".")]
    files = [file for file in files if os.path.lexists(file)]  # what is no record there is to be told, not passed over
    return [file.parent for file in sorted(files, key=lambda file: file.lstat().st_mtime)]


def find_search(name: str, runs: Path) -> Path:
    """The folder of the search `name` in `runs`. Raises BadInput, with the nearest name, if there is none.

    If it is a mirror, it is up to date.
    """
    check_name(name)
    mirror.pull(runs / name)
    if not (runs / name / FILE).is_file():
        known = sorted(folder.name for folder in searches(runs))
        raise BadInput(nearest("search", name, known) if known else f"no search {name!r}: {shown(runs)} holds none")
    return runs / name


def command(verb: str, folder: Path) -> str:
    """The command that does `verb` to the search in `folder`."""
    return f"python -m search {verb} {folder.name}{elsewhere(folder.parent)}"


def elsewhere(runs: Path) -> str:
    """The option that a command needs to find `runs`, none if they are where it looks."""
    return "" if runs.resolve() == Path("runs").resolve() else f" --runs {shlex.quote(shown(runs))}"
