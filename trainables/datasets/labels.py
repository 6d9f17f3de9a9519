"""Labels in whatever form, made into whole numbers from 0 on without gaps; what was done is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.datasets.source import DataError, counted, listed

MOST_DISTINCT = 20
"""From so many labels on, labels of which more than half are different are taken for something else, as an index."""


def to_labels(
    arrays: Mapping[str, Any], keys: Mapping[str, str], where: str, names: Sequence[str] | None = None
) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    """The labels of all parts as int64 `(N,)`, the classes, and what was done to get there.

    Read are whole numbers, also as floats or `(N, 1)`, truth values, text, and one row of zeros and a one for each
    image. The classes are those of the train part; whole numbers from 0 on without gaps stay as they are. `names` are
    those of the classes, in the order of their numbers. Raises DataError for labels that are none, and for a part with
    a class that the train part lacks.
    """
    notes: list[str] = []
    flat = {part: _flat(array, keys[part], where, notes) for part, array in arrays.items()}
    import numpy as np

    values = np.unique(flat["train"])
    key = keys["train"]
    if len(values) < 2:
        raise DataError(f"{where}: {key} has one class only ({values[0]}); at least two are needed")
    if len(flat["train"]) >= MOST_DISTINCT and len(values) > len(flat["train"]) / 2:
        raise DataError(
            f"{where}: {key} has {len(values):,} different labels for {len(flat['train']):,} images; is it an index?"
        )
    from_zero = values.dtype.kind in "iu" and bool((values == np.arange(len(values))).all())
    classes = tuple(str(value) for value in values.tolist())
    if values.dtype.kind in "iu" and names is not None:
        if values[0] < 0 or values[-1] >= len(names):
            raise DataError(
                f"{where}: {key} has labels from {values[0]} to {values[-1]}, but there are {len(names)} names"
            )
        classes = tuple(names[value] for value in values.tolist())
    if not from_zero:
        named = [f"{value} as {index}" for index, value in enumerate(values.tolist())]
        notes.append(f"{key}: the labels are read as {counted(len(values), 'class', 'classes')}, {listed(named)}")
    made = {}
    for part, of_part in flat.items():
        unknown = np.setdiff1d(of_part, values)
        if len(unknown):
            number = int(np.isin(of_part, unknown).sum())
            raise DataError(
                f"{where}: {keys[part]} has {counted(number, 'label')} that {key} lacks: "
                f"{listed([str(each) for each in unknown.tolist()])}; {key} has {listed(list(classes), 10)}"
            )
        made[part] = np.searchsorted(values, of_part).astype(np.int64)
        lacking = sorted(set(range(len(values))) - set(made[part].tolist()))
        if lacking:
            said = listed([classes[index] for index in lacking])
            notes.append(f"{part} has no image of {counted(len(lacking), 'class', 'classes')}: {said}")
    return made, classes, notes


def _flat(array: Any, key: str, where: str, notes: list[str]) -> Any:
    """One label for each image, as whole numbers or text."""
    import numpy as np

    if len(array) == 0:
        raise DataError(f"{where}: {key} is empty")
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(-1)
    if array.ndim == 2:
        array = _one_hot(array, key, where, notes)
    if array.ndim != 1 or array.dtype.kind not in "buifUS":
        raise DataError(
            f"{where}: {key} must be one label per image (a number or text), or a row with a single 1, but is "
            f"{array.dtype} {array.shape}"
        )
    if array.dtype.kind == "b":
        notes.append(f"{key}: truth values are read as the classes 0 and 1")
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise DataError(f"{where}: {key} has {int((~np.isfinite(array)).sum()):,} labels that are no number (NaN)")
        if (array != array.round()).any() or abs(array).max() >= 2**53:
            raise DataError(
                f"{where}: {key} must be classes, but has labels such as {array[array != array.round()][:1]}"
            )
        notes.append(f"{key}: {array.dtype} labels are whole numbers, and read as such")
        return array.astype(np.int64)
    if array.dtype.kind == "S":
        return np.array([each.decode("utf-8", "backslashreplace") for each in array.tolist()])
    if array.dtype.kind == "u" and array.max() >= 2**63:
        raise DataError(f"{where}: {key} has labels up to {array.max()}, allowed are those below 2**63")
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _one_hot(array: Any, key: str, where: str, notes: list[str]) -> Any:
    import numpy as np

    known = array.dtype.kind in "buif" and bool(np.isin(array, (0, 1)).all())
    ones = (array == 1).sum(1) if known else None
    if ones is None or (ones != 1).any():
        many = (
            "" if ones is None else f"; {int((ones != 1).sum()):,} rows have none or several, and one class is wanted"
        )
        raise DataError(
            f"{where}: {key} must be one label per image (a number or text), or a row with a single 1, but is "
            f"{array.dtype} {array.shape}{many}"
        )
    notes.append(f"{key}: rows with a single 1 are read as the classes 0 to {array.shape[1] - 1}")
    return array.argmax(1)
