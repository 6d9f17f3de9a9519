"""What the winner takes pictures for, kept beside the record: of the test set from the one time that it was open
(`test.npz`), of the validation part from the end of the search (`val.npz`).
"""

from __future__ import annotations

import math
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search.errors import EnvironmentFault, StorageFull, shortage
from search.storage.checkpoints import is_full

if TYPE_CHECKING:  # names and no more, for which nobody who looks at a search need wait for torch
    from torch import Tensor

    from trainables.data import Split

FILE, OF_VAL = "test.npz", "val.npz"
MOST = 40
"""Pictures that are kept; of points in the plane, which take 8 bytes each, all are."""
RIGHT = 8
"""How many of them show right answers, at least, if there are so many."""


@dataclass(frozen=True)
class Predictions:
    """Epoch `epoch` of trial `trial` on the test set, or on the validation part.

    `labels` are true, `predicted` what the model took each image for, both `(N,)` and from 0; `confidence` lies in
    (0, 1]. `images` `(M, C, H, W)` are the first of them to look at, and `shown` `(M,)` says which of the N they are:
    mistakes first, the most confident first of all. `files` are the names of all N; () where they are no files, and in
    what earlier versions kept.
    """

    trial: int
    epoch: int
    labels: Any
    predicted: Any
    confidence: Any
    shown: Any
    images: Any
    files: Sequence[str] = ()

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float((self.labels == self.predicted).mean())

    def matrix(self, classes: int) -> Any:
        """How many images of each class (row) were taken for each (column): `(classes, classes)` int64."""
        places = self.labels.astype(np.int64) * classes + self.predicted
        return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def chosen(
    trial: int, epoch: int, split: Split, predicted: Tensor, confidence: Tensor, files: Sequence[str] = ()
) -> Predictions:
    """All predictions, and the images worth keeping: mistakes, the most confident first, then some right answers."""
    labels, sure = split.labels.cpu().numpy(), confidence.cpu().numpy().astype(np.float32)
    taken = predicted.cpu().numpy().astype(labels.dtype)
    wrong, right = np.flatnonzero(labels != taken), np.flatnonzero(labels == taken)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    if tuple(split.images.shape[1:]) == (2, 1, 1):
        shown = np.concatenate([wrong, right])
    else:
        mistakes = wrong[: MOST - min(RIGHT, len(right))]
        # Evenly over the set, which may be sorted by class.
        step = math.ceil(len(right) / max(1, MOST - len(mistakes))) if len(right) else 1
        shown = np.concatenate([mistakes, right[::step]])[:MOST]
    return Predictions(trial, epoch, labels, taken, sure, shown, split.images[shown].cpu().numpy(), files)


def write(folder: Path, predictions: Predictions, name: str = FILE) -> Path:
    """Write `predictions` into `folder` as `name`, whole or not at all. Raises StorageFull, or EnvironmentFault."""
    path = folder / name
    aside = folder / f".{name}-{uuid.uuid4().hex}"
    told = {each.name: getattr(predictions, each.name) for each in fields(predictions)}
    arrays = {key: np.asarray(value) for key, value in told.items() if key != "files"}
    if predictions.files:  # as one run of bytes: an array of text would be as wide as its longest name
        arrays["files"] = np.frombuffer("\0".join(predictions.files).encode(), np.uint8)
    try:
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if is_full(error):
            free, needed = shutil.disk_usage(folder).free, sum(array.nbytes for array in arrays.values())
            raise StorageFull(f"no space for {path}: {shortage(free, needed)}; free some, then resume") from None
        raise EnvironmentFault(f"{path} cannot be written ({error.strerror})") from None
    finally:
        aside.unlink(missing_ok=True)
    return path


def read(folder: Path, name: str = FILE) -> Predictions | None:
    """What is kept in `folder` as `name`, None if nothing is. Raises EnvironmentFault if the file is damaged."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            kept = {each.name: stored[each.name] for each in fields(Predictions) if each.name != "files"}
            files = stored["files"].tobytes().decode().split("\0") if "files" in stored.files else []
        predictions = Predictions(int(kept.pop("trial")), int(kept.pop("epoch")), **kept, files=files)
        consistent = _is_consistent(predictions)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        consistent = False
    if not consistent:
        raise EnvironmentFault(f"{path} is damaged")
    return predictions


def _is_consistent(predictions: Predictions) -> bool:
    """Whether all arrays speak of the same images, of which there is one at least."""
    count, shown = len(predictions.labels), predictions.shown
    return bool(
        0 < count == len(predictions.predicted) == len(predictions.confidence)
        and len(predictions.images) == len(shown)
        and len(predictions.files) in (0, count)
        and predictions.images.ndim == 4
        and all(0 <= index < count for index in shown)
    )
