"""The folder of a trial of a script: what it keeps there, as it was after each epoch, and what else lies beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.script.guard import below
from trainables.script.metrics import Metrics

STATE, FILES = "trial.json", "files"
"""In a checkpoint: the numbers of the epochs as the program said them, and what it said by then; and what it kept."""
QUIET_SECONDS = 5.0
"""A file that is written is waited for so long."""


@dataclass(frozen=True)
class Past:
    """What a program had said when its files were kept."""

    numbers: Sequence[float] = ()
    """How it numbered the epochs up to that of the checkpoint; nothing if it does not number them."""
    ahead: Sequence[Metrics] = ()
    """The metrics of later epochs: it ran on while its files were copied, so that they may be of these epochs."""


@dataclass(frozen=True)
class Home:
    """What lies in the folder `path` of one trial, for all its attempts."""

    path: Path

    @property
    def files(self) -> Path:
        """What stands for `{folder}`: kept for the program, and handed back where it goes on."""
        return self.path / "files"

    @property
    def log(self) -> Path:
        """All that the program printed."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Held while the program runs."""
        return self.path / "lock"

    @property
    def asked(self) -> Path:
        """Values and budget of the trial, for `search.report`."""
        return self.path / "config.json"

    @property
    def reports(self) -> Path:
        """The epochs that `search.report` has written, a JSON object a line."""
        return self.path / "reports.jsonl"

    @property
    def taken(self) -> Path:
        """How many of these lines were taken; the program waits for that."""
        return self.path / "taken"

    def begin(self, resume: Path | None) -> Past:
        """Make the folder as it was at the checkpoint `resume`, and return what the program had said by then.

        Empty without a checkpoint, and for a program that does not number its epochs: it could not tell that it goes
        on, so it begins again, with nothing of what it kept.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for path in (self.reports, self.taken):
            path.unlink(missing_ok=True)
        if self.files.is_symlink():
            self.files.unlink()
        shutil.rmtree(self.files, ignore_errors=True)
        past = _past(resume) if resume else Past()
        if resume and past.numbers and (resume / FILES).is_dir():
            _copy(resume / FILES, self.files)
        self.files.mkdir(exist_ok=True)
        return past

    def hand_out(self, checkpoint: Path | None) -> None:
        """Make the folder with the files that the program kept in `checkpoint`, and no others."""
        self.begin(None)
        if checkpoint is not None and (checkpoint / FILES).is_dir():
            self.files.rmdir()
            _copy(checkpoint / FILES, self.files)

    def take(self, count: int) -> None:
        """Say that so many epochs of `search.report` were taken."""
        aside = self.path / "taken.new"
        aside.write_text(str(count))
        aside.replace(self.taken)

    def save(self, into: Path, said: Sequence[float], guard: int | None, ahead: Callable[[], Sequence[Metrics]]) -> str:
        """Write a checkpoint into the folder `into`: the program's files, if it has any, and what it has said.

        `said` are its numbers of epochs; `ahead` asks, once the files are copied, for what it has said meanwhile. While
        a program below the process `guard` writes one of the files, it is waited for. Returns the name of one that was
        still written after QUIET_SECONDS, so that its copy may be of two moments; else "".
        """
        if not any(self.files.iterdir()):
            return ""
        writing = self._copy_into(into / FILES, guard)
        (into / STATE).write_text(json.dumps({"epochs": list(said), "ahead": list(ahead())}))
        return writing

    def _copy_into(self, target: Path, guard: int | None) -> str:
        """Copy the program's files; see `save`."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            late = time.monotonic() > deadline
            writing = _writing(self.files, guard)
            if not writing or late:
                before = _signature(self.files)
                shutil.rmtree(target, ignore_errors=True)
                try:
                    _copy(self.files, target)
                except (FileNotFoundError, shutil.Error):  # something was renamed or removed meanwhile
                    if late:
                        raise
                else:
                    # One that was opened before, and emptied, looks the same before and after as long as it is open.
                    # In this order: if it has been closed by then, it looks otherwise.
                    if late or (not _writing(self.files, guard) and _signature(self.files) == before):
                        return writing
            time.sleep(0.02)


def _copy(source: Path, target: Path) -> None:
    """Copy files and folders; a link becomes what it leads to, if that lies in `source` too, and is left out if not."""
    root = source.resolve()

    def apart(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        return [path.name for path in paths if not (_is_plain(path) and path.resolve().is_relative_to(root))]

    shutil.copytree(source, target, ignore=apart)


def _is_plain(path: Path) -> bool:
    """Whether `path` leads to a file or folder; not a pipe, nor nowhere."""
    return path.is_file() or path.is_dir()


def _past(checkpoint: Path) -> Past:
    try:
        told = json.loads((checkpoint / STATE).read_text())
        ahead = [{name: float(value) for name, value in each.items()} for each in told.get("ahead", [])]
        return Past([float(each) for each in told["epochs"]], ahead)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Past()


def _signature(folder: Path) -> Mapping[str, tuple[int, int]]:
    return {str(path): (told.st_size, told.st_mtime_ns) for path, told in _files(folder)}


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield Path(parent, name), os.lstat(os.path.join(parent, name))


def _writing(folder: Path, guard: int | None) -> str:
    """The name of a file in `folder` that a process below `guard` has open to write; "" without any, or guard."""
    if guard is None:
        return ""
    root = f"{folder.resolve()}/"
    for process in below(guard):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    target = os.readlink(f"/proc/{process}/fd/{number}")
                    if target.startswith(root):
                        told = Path(f"/proc/{process}/fdinfo/{number}").read_text()
                        flags = int(next(line for line in told.splitlines() if line.startswith("flags:")).split()[1], 8)
                        if flags & (os.O_WRONLY | os.O_RDWR):
                            return target.removeprefix(root)
    return ""
