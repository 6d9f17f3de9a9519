"""What MLflow can show of a name or a value: it takes fewer signs and characters than the record."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from search.printable import printable
from search.record.trial import Trial

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""So many characters MLflow keeps of the value of a param and of a tag (mlflow.utils.validation, 3.17)."""

OF_THE_TRIAL = "parameters"
"""What epochs report that is the same in each: how many weights are trained. It is a param of the run, and no curve."""


def metric_key(name: str) -> str:
    """What MLflow is told for a metric called `name`: signs that it refuses become `_`, and `seconds` is our own."""
    if name == "seconds":
        return f"metrics/{name}"
    key = re.sub(r"[^\w \-./]", "_", name)
    unlike_a_path = posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == "."
    return re.sub(r"[/.]", "_", key) if unlike_a_path else key


def part_of(dataset: str, part: str) -> str:
    """What MLflow calls a part of a data set: "training", "validation" or "test". A run has each data set once."""
    return printable(dataset if part == "training" else f"{dataset} ({part})")


def as_param(name: str, value: float, trial: Trial, config: Mapping[str, Any]) -> bool:
    """Whether MLflow shows the metric `name` of an epoch as a param: it is of the trial, and as it was at first.

    Not where `config` has a hyperparameter of that name.
    """
    if name != OF_THE_TRIAL or name in config:
        return False
    return next(row.metrics[name] for row in trial.epochs if name in row.metrics) == value


def value_text(text: str, longest: int = LONGEST_PARAM) -> str:
    """`text`, or its beginning and how long it is."""
    if len(text) <= longest:
        return text
    end = f"… ({len(text):,} characters; the record has all)"
    return text[: longest - len(end)] + end
