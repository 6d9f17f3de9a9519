"""Checkpoints, on disk or in a bucket: written aside and moved, checked by SHA-256, removed when no longer needed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault, StorageFull, shortage
from search.record.state import State
from search.record.trial import EpochRow, Trial
from search.record.trials import Trials
from search.record.validity import CHECKPOINT
from search.storage import bucket as storage
from search.storage import inside
from search.storage.bucket import Bucket

LEVELS = 3
"""So many folders deep checkpoints lie."""
FULL = (errno.ENOSPC, errno.EDQUOT)
BUDGET = "--checkpoint-budget"
PATIENCE_SECONDS = 5.0
"""How long a writer that finds no room waits for the driver to remove what is no longer needed."""


@dataclass(frozen=True)
class Written:
    """A checkpoint: its name relative to the root, its digest, its size in bytes, how many files it has."""

    name: str
    sha256: str
    bytes: int
    files: int


class Shelf:
    """Where the checkpoints of one search are kept: in the folder `root`, which all workers see."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(
        self,
        trial: int,
        epoch: int,
        save: Callable[[Path], None],
        *,
        attempt: int = 1,
        budget: int | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Written:
        """Let `save` fill a folder on the shelf, which appears whole or not at all.

        Each attempt of a trial writes into a folder of its own, so that one which is taken for dead, and is not, spoils
        nothing. `budget` bounds the bytes of all checkpoints on the shelf. Where there is no room, on the disk or in
        the budget, the writer waits up to `patience` seconds for some, then raises OSError (ENOSPC or EDQUOT).
        """
        name = f"trial-{trial:04d}/attempt-{attempt}/epoch-{epoch:04d}"
        final, aside = self.root / name, self.root / f"{name}.part"
        deadline = time.monotonic() + patience
        while True:
            inside.remove(self.root, f"{name}.part")
            try:
                inside.make(self.root, f"{name}.part")
                save(aside)
                size = bytes_under(aside)
                if budget is not None and self.bytes() > budget:
                    raise OSError(errno.EDQUOT, f"checkpoints need more than the {budget:,} bytes of {BUDGET}")
                files = sum(len(names) for _, _, names in os.walk(aside))
                written = Written(name, digest(aside), size, files)
                inside.remove(self.root, name)  # a trainable that yields an epoch twice
                os.replace(aside, final)
                return written
            except Exception as error:
                if not is_full(error):
                    raise
                if time.monotonic() > deadline:
                    if BUDGET in str(error):  # the disk has room
                        raise
                    free = shutil.disk_usage(self.root).free
                    needed = max([bytes_under(aside), *(bytes_under(self.root / each) for each in self.names())])
                    number = getattr(error, "errno", None) or errno.ENOSPC
                    text = getattr(error, "strerror", None) or error
                    raise OSError(number, f"{text}: {shortage(free, needed)}") from None
            finally:
                inside.remove(self.root, f"{name}.part")
            time.sleep(0.2)

    def fetched(self, name: str) -> Path:
        """The folder in which the checkpoint `name` is, if it is there."""
        return self.root / name

    @contextlib.contextmanager
    def lent(self, name: str) -> Iterator[Path]:
        """The same for as long as a trial needs it to go on from."""
        yield self.root / name

    def names(self) -> set[str]:
        """All checkpoints there are, also those half written (`.part`)."""
        there = inside.folders(self.root, LEVELS)
        return {name for name in there if CHECKPOINT.fullmatch(name.removesuffix(".part"))}

    def bytes(self) -> int:
        """The bytes of all of them."""
        return bytes_under(self.root)

    def missing(self) -> str:
        """Why no checkpoint can be written from here, or ""."""
        return "" if self.root.is_dir() else f"does not see {self.root}, which all nodes must share"

    def remove(self, names: Iterable[str]) -> None:
        """Remove checkpoints; folders of attempt and trial go with their last one."""
        for name in names:
            inside.remove(self.root, name, empty_above=True)

    def remove_empty(self) -> None:
        """Remove folders with nothing in them."""
        inside.remove_empty(self.root, LEVELS)

    def links(self) -> list[str]:
        """The links that lie where checkpoints belong; they are nobody's checkpoints, and are left alone."""
        return inside.links(self.root, LEVELS)


class BucketShelf(Shelf):
    """Checkpoints in a bucket, on their way through its mirror on the machine that writes or reads them."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket.mirror)
        self.bucket, self._tried = bucket, False

    def __reduce__(self) -> tuple[type[BucketShelf], tuple[Bucket]]:
        return BucketShelf, (self.bucket,)  # the mirror of another machine may lie elsewhere

    def write(self, trial: int, epoch: int, save: Callable[[Path], None], **how: Any) -> Written:
        """As in a folder; returns once the bucket has all of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        written = super().write(trial, epoch, save, **how)
        folder = self.root / written.name
        try:
            self.bucket.upload(self.root, sorted(path for path in folder.rglob("*") if path.is_file()))
        except StorageFull as fault:
            raise OSError(errno.ENOSPC, str(fault)) from None
        finally:
            super().remove([written.name])
        return written

    def fetched(self, name: str) -> Path:
        """The folder here into which the checkpoint `name` was fetched, if it is there."""
        folder = self.root / name
        if not folder.is_dir():
            aside = self.root / f"{name}.part"
            shutil.rmtree(aside, ignore_errors=True)
            part = self.bucket / name
            part.download(aside, [each.key for each in part.objects()])
            if aside.is_dir():
                os.replace(aside, folder)
        return folder

    @contextlib.contextmanager
    def lent(self, name: str) -> Iterator[Path]:
        """The same for as long as a trial needs it to go on from."""
        try:
            yield self.fetched(name)
        finally:
            super().remove([name])

    def names(self) -> set[str]:
        """All checkpoints there are, also those of which only a part has arrived."""
        return {"/".join(each.key.split("/")[:3]) for each in self.bucket.objects("trial-")}

    def bytes(self) -> int:
        """The bytes of all of them, and of what is on its way from here."""
        return bytes_under(self.root) + sum(each.bytes for each in self.bucket.objects("trial-"))

    def missing(self) -> str:
        """Why no checkpoint can be written from here, or ""."""
        if not self._tried:
            try:
                self.bucket.check()
            except EnvironmentFault as fault:
                return f"cannot keep checkpoints: {fault}"
            self._tried = True
        return ""

    def remove(self, names: Iterable[str]) -> None:
        """Remove checkpoints."""
        names = list(names)
        super().remove(name for name in names if (self.root / name).is_dir())
        self.bucket.remove(each.key for name in names for each in self.bucket.objects(f"{name}/"))


def shelf(folder: Path) -> Shelf:
    """The checkpoints of the search in `folder`: in it, or in its bucket if it is a mirror."""
    root = folder.absolute() / "checkpoints"
    bucket = storage.of(root)
    return BucketShelf(bucket) if bucket else Shelf(root)


def is_full(error: BaseException) -> bool:
    """Whether `error` says that a disk or a quota is full; safetensors wraps the system's error into one of its own."""
    return getattr(error, "errno", None) in FULL or "No space left" in str(error)


def as_fault(error: OSError) -> StorageFull | None:
    """What to tell the user where a disk is full; None if `error` says something else."""
    if not is_full(error):
        return None
    return StorageFull(f"no space left for {error.filename or 'the search'}; free some, then resume")


def bytes_under(folder: Path) -> int:
    """The size of all files in `folder`; what disappears meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in `folder`."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        whole.update(str(file.relative_to(folder)).encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def verified(shelf: Shelf, name: str, sha256: str) -> Path:
    """The folder of the checkpoint `name`. Raises EnvironmentFault if it is missing or not what was recorded."""
    if not CHECKPOINT.fullmatch(name):
        raise EnvironmentFault(f"{name[:100]!r} is no checkpoint's name")
    folder = shelf.fetched(name)
    if not inside.is_own(shelf.root, name):
        why = "is behind a link, which is not followed" if folder.is_dir() else "is missing"
        raise EnvironmentFault(f"the checkpoint {folder} {why}")
    try:
        same = digest(folder) == sha256
    except OSError as error:
        raise EnvironmentFault(f"the checkpoint {folder} cannot be read: {error.strerror}") from None
    if not same:
        raise EnvironmentFault(f"the checkpoint {folder} is damaged: its SHA-256 is not the recorded one")
    return folder


def winning(shelf: Shelf, trials: Trials) -> Path | None:
    """The checkpoint of the best trial's best epoch, verified; None if there is no winner, or it saved nothing."""
    best = trials.best()
    row = best.best_epoch(trials.objective) if best else None
    if row is None or row.checkpoint is None or row.sha256 is None:
        return None
    return verified(shelf, row.checkpoint, row.sha256)


def newest(shelf: Shelf, trial: Trial) -> tuple[EpochRow | None, str]:
    """The last epoch of `trial` whose checkpoint is whole, and what is wrong with the later ones that should be there.

    None if there is no such epoch: the trial starts from the beginning.
    """
    faults = []
    for row in reversed(trial.epochs):
        if row.checkpoint is None or row.sha256 is None:
            continue
        try:
            verified(shelf, row.checkpoint, row.sha256)
        except EnvironmentFault as fault:
            # Only the last two and the best are kept, so that others are missing is as it should be.
            if row in trial.epochs[-2:] or shelf.fetched(row.checkpoint).is_dir():
                faults.append(str(fault))
            continue
        return row, "; ".join(faults)
    return None, "; ".join(faults)


class Retention:
    """Keeps best and last two checkpoints of each live trial and the best of the best trial, and removes the rest.

    Of a paused trial it keeps the best and the last one: there may be hundreds. Of each setting that was confirmed, the
    best of its best run is kept too.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._present: set[str] = set()
        self._newest: dict[str, str] = {}

    def added(self, name: str) -> None:
        """A checkpoint was written."""
        self._present.add(name)
        self._newest[name.partition("/")[0]] = name

    def sweep(self, trials: Trials) -> None:
        """Remove what is no longer needed."""
        keep = set(needed(trials))
        # A trial that repeats epochs, because its checkpoints were damaged, is behind the last two that are recorded.
        keep |= {self._newest.get(f"trial-{trial.number:04d}", "") for trial in trials.running()}
        self._shelf.remove(sorted(self._present - keep))
        self._present &= keep

    def tidy(self, trials: Trials) -> None:
        """Remove all that is not needed, also what was written after the last report, or half written.

        Only while no worker writes.
        """
        self._present = self._shelf.names()
        self.sweep(trials)
        self._shelf.remove_empty()


def needed(trials: Trials) -> Iterable[str]:
    """The names of the checkpoints from which trials go on, or of which the winner may be made."""
    live = trials.going()
    # A running trial may be ahead and still come to nothing, so the best that has ended is kept beside it.
    ended = trials.leader()
    # The means of what was confirmed may still change, and with them who wins.
    confirmed = [each.best for each in trials.confirmed() if each.complete]
    for trial in ([ended] if ended else []) + confirmed + live:
        # Two, so that a damaged one costs one epoch and not the trial.
        last = {State.RUNNING: 2, State.INTERRUPTED: 2, State.PAUSED: 1}.get(trial.state, 0)
        rows = trial.epochs[len(trial.epochs) - min(last, len(trial.epochs)) :]
        if trial.has_value(trials.objective):
            rows = [*rows, trial.best_epoch(trials.objective)]
        yield from (row.checkpoint for row in rows if row.checkpoint)
