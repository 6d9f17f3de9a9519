"""Searches as they are at this moment: each record is followed, and read on from where it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import BadInput, EnvironmentFault
from search.findings.snapshot import Snapshot
from search.record.reader import FILE, Follower
from search.record.reading import objective_of
from search.record.trials import Trials
from search.settings import check_name, nearest
from search.storage import bucket, lock, mirror
from search.storage.bucket import shown
from search.storage.runs import searches

PULL_SECONDS = 2.0
"""How often a bucket is asked for news at most."""


class Live:
    """One search that is followed; several threads may look at it, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = Follower(folder / FILE)
        self._trials: Trials | None = None
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()

    @contextmanager
    def now(self) -> Iterator[Snapshot]:
        """The search as it is now; it does not change inside. Raises EnvironmentFault for a damaged record."""
        with self._lock:
            fresh, anew = self._record.news()
            if anew or self._trials is None:
                self._trials, self._snapshot, fresh = (
                    Trials(objective_of(self._record.events)),
                    None,
                    self._record.events,
                )
            for event in fresh:
                self._trials.apply(event)
            if fresh or self._snapshot is None:
                self._snapshot = Snapshot(self.folder, tuple(self._record.events), self._trials)
            yield self._snapshot


class House:
    """All searches in `runs`: a folder, or the mirror of a bucket, which is then brought up to date now and then."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._lives: dict[str, Live] = {}
        self._lock = threading.Lock()
        self._pulled: dict[Path, float] = {}

    def all(self) -> list[Live]:
        """All searches, the newest first."""
        if self._due(self.runs):
            folders = searches(self.runs)
        else:
            folders = [folder for folder in self._there() if not folder.name.startswith(".")]
        return [self._live(folder) for folder in reversed(folders)]

    def get(self, name: str) -> Live:
        """The search `name`. Raises BadInput, with the nearest name, if there is none."""
        check_name(name)
        folder = self.runs / name
        if self._due(folder):
            mirror.pull(folder)
        if not (folder / FILE).is_file():
            known = sorted(each.name for each in self._there())
            raise BadInput(nearest("search", name, known) if known else f"{shown(self.runs)} holds no search")
        return self._live(folder)

    def _live(self, folder: Path) -> Live:
        with self._lock:
            return self._lives.setdefault(folder.name, Live(folder))

    def _there(self) -> list[Path]:
        files = [file for file in self.runs.glob(f"*/{FILE}") if file.is_file()]
        return [file.parent for file in sorted(files, key=lambda file: file.lstat().st_mtime)]

    def _due(self, folder: Path) -> bool:
        """Whether a mirror is to be brought up to date now; never for a folder that is none."""
        if bucket.of(folder) is None:
            return False
        now = time.monotonic()
        due = now > self._pulled.get(folder, -PULL_SECONDS) + PULL_SECONDS
        if due:
            self._pulled[folder] = now
        return due

    def versions(self, names: list[str]) -> dict[str, str]:
        """For each search of `names`, or for all if there are none, what is another word whenever it has changed."""
        told: dict[str, str] = {}
        for live in [self.get(name) for name in names] or self.all():
            try:
                with live.now() as search:
                    held = lock.is_held_here(live.folder)
                    told[live.folder.name] = f"{len(search.events)}{'' if held else ', left'}"
            except EnvironmentFault as error:
                told[live.folder.name] = str(error)
        return told
