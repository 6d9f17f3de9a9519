"""What MLflow can show of a name or a value: it takes fewer signs and characters than the record."""

from __future__ import annotations

import posixpath
import re

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""So many characters MLflow keeps of the value of a param and of a tag (mlflow.utils.validation, 3.17)."""


def metric_key(name: str) -> str:
    """What MLflow is told for a metric called `name`: signs that it refuses become `_`, and `seconds` is our own."""
    if name == "seconds":
        return f"metrics/{name}"
    key = re.sub(r"[^\w \-./]", "_", name)
    unlike_a_path = posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == "."
    return re.sub(r"[/.]", "_", key) if unlike_a_path else key


def value_text(text: str, longest: int = LONGEST_PARAM) -> str:
    """`text`, or its beginning and how long it is."""
    if len(text) <= longest:
        return text
    end = f"… ({len(text):,} characters; the record has all)"
    return text[: longest - len(end)] + end
