"""Checkpoints on disk: written aside and moved, checked by SHA-256, removed when no longer needed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from search.errors import EnvironmentFault
from search.trials import State, Trials


def write(root: Path, trial: int, epoch: int, save: Callable[[Path], None]) -> tuple[str, str]:
    """Let `save` fill a folder under `root` and return its name (relative to `root`) and digest.

    The folder appears whole or not at all.
    """
    name = f"trial-{trial:04d}/epoch-{epoch:04d}"
    final, aside = root / name, root / f"{name}.{os.getpid()}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        save(aside)
        sha256 = digest(aside)
        if final.exists():  # a repeated epoch after a crash
            shutil.rmtree(final)
        os.replace(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return name, sha256


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in `folder`."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(str(file.relative_to(folder)).encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def verified(root: Path, name: str, sha256: str) -> Path:
    """The checkpoint `name` under `root`. Raises EnvironmentFault if it is missing or not what was recorded."""
    folder = root / name
    if not folder.is_dir():
        raise EnvironmentFault(f"the checkpoint {folder} is missing")
    if digest(folder) != sha256:
        raise EnvironmentFault(f"the checkpoint {folder} is damaged: its SHA-256 is not the recorded one")
    return folder


class Retention:
    """Keeps best and last checkpoint of each live trial and the best of the best trial, and removes the rest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._present: set[str] = set()

    def added(self, name: str) -> None:
        """A checkpoint was written."""
        self._present.add(name)

    def sweep(self, trials: Trials) -> None:
        """Remove what is no longer needed."""
        keep = set(self._needed(trials))
        for name in self._present - keep:
            shutil.rmtree(self._root / name, ignore_errors=True)
            # The trial's own folder goes with its last checkpoint.
            if not any((self._root / name).parent.glob("*")):
                shutil.rmtree((self._root / name).parent, ignore_errors=True)
        self._present &= keep

    def finish(self, trials: Trials) -> None:
        """Remove all that is not needed, also what a worker wrote after its last report, or half wrote."""
        self._present = {str(path.relative_to(self._root)) for path in self._root.glob("trial-*/*")}
        self.sweep(trials)

    def _needed(self, trials: Trials) -> Iterable[str]:
        # A running trial may be ahead and still come to nothing, so the best that has ended is kept beside it.
        ended = next((trial for trial in trials.ranking() if trial.state is not State.RUNNING), None)
        for trial in ([ended] if ended else []) + trials.running():
            rows = trial.epochs[-1:] if trial.state is State.RUNNING else []
            if trial.has_value(trials.objective):
                rows = [*rows, trial.best_epoch(trials.objective)]
            yield from (row.checkpoint for row in rows if row.checkpoint)
