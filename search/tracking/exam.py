"""What a logged model is asked before it is registered: what goes in, and what must come out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainables.data import Split
from trainables.folds import SERVED

if TYPE_CHECKING:
    from mlflow.models.signature import ModelSignature

AGREEMENT = 2
"""So many images may be judged otherwise by the reloaded model: it adds up in another order than training did."""
AT_A_TIME = 250
"""So many images the reloaded model is asked for at a time."""
NEAR = 1e-3
"""So far, relative to the largest number, may answers lie from those that are known."""


class Exam(Protocol):
    """Asked of a model that MLflow gives back."""

    def signature(self) -> ModelSignature:
        """Of the inputs and outputs."""

    def example(self) -> Any:
        """A small batch of inputs."""

    def fault(self, served: Any) -> str:
        """What is wrong with the model `served`, as MLflow loads it; "" if it answers as it should."""


@dataclass(frozen=True)
class OnImages:
    """The validation part `val`, on which the model must show the accuracy among its recorded `metrics`.

    It tells the `classes` apart.
    """

    val: Split
    metrics: Mapping[str, float]
    classes: Sequence[str]

    def signature(self) -> ModelSignature:
        """See `Exam.signature`; of pictures it leaves out the inputs, which MLflow then hands on as they are.

        No type of MLflow's has room for all that is a picture: files, arrays of any size, a table or a list of either.
        """
        from mlflow.models.signature import ModelSignature
        from mlflow.types import ColSpec, Schema

        images = self._images()
        return ModelSignature(
            inputs=None if images.dtype == np.uint8 else _tensors(images.dtype, (-1, *images.shape[1:])),
            outputs=Schema([ColSpec("float", name) for name in self.classes]),
        )

    def example(self) -> Any:
        """See `Exam.example`."""
        return self._images()[:2]

    def fault(self, served: Any) -> str:
        """See `Exam.fault`."""
        images = self._images()
        parts = [images[first : first + AT_A_TIME] for first in range(0, len(images), AT_A_TIME)]
        # A table; of a model that an earlier version had logged before a crash, an array.
        again = np.concatenate([np.asarray(served.predict(part)) for part in parts])
        right = int((again.argmax(1) == self.val.labels.numpy()).sum())
        # Of folds the recorded accuracy is that of other networks than the one that is served.
        expected = self.metrics.get(SERVED, self.metrics["val_accuracy"]) * len(self.val)
        if abs(right - expected) <= AGREEMENT:
            return ""
        return f"gets {right} of {len(self.val)} validation images right, but {expected:.0f} were recorded"

    def _images(self) -> Any:
        """Images as an `.npz` file holds them: `(N, H, W)`, or `(N, H, W, C)` where there is more than one channel."""
        images = self.val.images
        return (images.squeeze(1) if images.shape[1] == 1 else images.permute(0, 2, 3, 1)).contiguous().numpy()


@dataclass(frozen=True)
class OnBatch:
    """One certain `batch`, of which is known what the network answers.

    `answers` is what it answers here, and `said` are the first numbers of what it answered where it was trained, none
    if that is not known. Sizes that are free in `shape` are -1 there.
    """

    batch: Any
    shape: Sequence[int]
    answers: Any
    said: Sequence[float] = ()

    def signature(self) -> ModelSignature:
        """See `Exam.signature`."""
        from mlflow.models.signature import ModelSignature

        free = (-1,) if self.shape[:1] == (-1,) else self.answers.shape[:1]
        return ModelSignature(
            inputs=_tensors(self.batch.dtype, self.shape),
            outputs=_tensors(self.answers.dtype, (*free, *self.answers.shape[1:])),
        )

    def example(self) -> Any:
        """See `Exam.example`."""
        return self.batch

    def fault(self, served: Any) -> str:
        """See `Exam.fault`."""
        told = served.predict(self.batch)
        again = np.asarray(next(iter(told.values())) if isinstance(told, Mapping) else told)
        if again.shape != self.answers.shape:
            return f"answers with numbers of shape {again.shape}, but {self.answers.shape} is known"
        if not _near(again, self.answers):
            return "answers otherwise than the file that the script kept"
        if len(self.said) and not _near(again.flatten()[: len(self.said)], np.asarray(self.said)):
            return "answers otherwise than the network did where it was trained"
        return ""


def _near(these: Any, those: Any) -> bool:
    if these.shape != those.shape:
        return False
    scale = max(1.0, float(np.abs(those).max(initial=0.0)))
    return bool(np.allclose(these, those, rtol=0, atol=NEAR * scale, equal_nan=True))


def _tensors(dtype: Any, shape: Sequence[int]) -> Any:
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(dtype), tuple(shape))])
