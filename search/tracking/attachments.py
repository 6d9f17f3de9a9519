"""What runs in MLflow have besides numbers: the data set, and files of the search's folder as artifacts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.findings import predictions
from search.printable import one_line, printable
from search.record.header import Header
from search.storage.runs import log_there, stacks_there
from search.tracking.shown import part_of

CONFUSION = "confusion_matrix.csv"


class Attachments:
    """Those of the search that is described by `header`, whose files are in `folder`; None where there are none.

    A file that MLflow does not take, because its store of artifacts is away, is left out; `notes` has a line of the
    first one.
    """

    def __init__(self, client: Any, header: Header, folder: Path | None) -> None:
        self._client, self._header, self._folder = client, header, folder
        self.notes: dict[str, str] = {}
        self.inputs = dataset(header)

    def begin(self, run: str) -> None:
        """Give the parent `run` of a new search its data, and the user's changes to their code."""
        if self._header.study_diff:
            self._client.log_text(run, printable(self._header.study_diff), "study.diff")
        self.data(run)

    def data(self, run: str) -> None:
        """Give `run` the data set; none if the trainable reads it itself."""
        if self.inputs:
            self._client.log_inputs(run, self.inputs)

    def left_by(self, number: int, run: str) -> None:
        """Make what trial `number` printed, and stacks of it when it was silent, artifacts of its `run`."""
        if self._folder is None:
            return
        log = log_there(self._folder, number)
        for file in [*([log] if log else []), *stacks_there(self._folder, number)]:
            try:
                self._client.log_artifact(run, str(file))
            except Exception as error:  # a store of artifacts of its own, that may be away
                self._refused(file.name, error)

    def tested(self, number: int, epoch: int, run: str) -> None:
        """Make the confusion matrix of trial `number` on the test set an artifact of its `run`, if it was kept."""
        try:
            kept = predictions.read(self._folder) if self._folder is not None else None
            if kept is not None and (kept.trial, kept.epoch) == (number, epoch):
                self._client.log_text(run, confusion(kept, self._header.classes), CONFUSION)
        except Exception as error:  # also one that is damaged: the report says so
            self._refused(CONFUSION, error)

    def _refused(self, name: str, error: Exception) -> None:
        why = " ".join(str(error).split())[:200]
        what = "is not written" if isinstance(error, EnvironmentFault) else "was not taken by MLflow"
        self.notes.setdefault("files", f"{name} {what} ({why}); what there is of it is kept in the search's folder")


def dataset(header: Header) -> list[Any]:
    """What MLflow is told of the data: digest, form, how many for training and for validation; [] if none are known."""
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    if not header.dataset:
        return []
    import numpy as np

    shape = tuple(header.shape)
    pixels = np.dtype("float32" if shape[1:] == (1, 1) else "uint8")
    schema = TensorDatasetSchema(
        features=Schema([TensorSpec(pixels, (-1, *shape))]), targets=Schema([TensorSpec(np.dtype("int64"), (-1,))])
    )
    made = []
    for part, count in {"training": header.train_images, "validation": header.val_images}.items():
        profile = {
            "num_rows": count,
            "features_shape": [count, *shape],
            "targets_shape": [count],
            "classes": len(header.classes),
            "sha256": header.digest,
        }
        data = Dataset(
            part_of(header.dataset, part),
            header.digest[:36],
            "local",
            json.dumps({"uri": printable(header.where)}),
            json.dumps(schema.to_dict()),
            json.dumps(profile),
        )
        made.append(DatasetInput(data, [InputTag("mlflow.data.context", part)]))
    return made


def confusion(kept: predictions.Predictions, classes: Any) -> str:
    """How often which class (a row) was taken for which (a column) on the test set, as CSV."""
    counts, names = kept.matrix(len(classes)), [one_line(str(name)) for name in classes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ taken for", *names])
    writer.writerows([name, *map(int, row)] for name, row in zip(names, counts, strict=True))
    return text.getvalue()
