"""Recorded learning curves, as a search problem: what a tuner may propose, and what training it would have given."""

from __future__ import annotations

import zipfile
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from spaces.space import Choice, Float, Int, Range, Space, Value

KEYS = ("tasks", "parameters", "configurations", "val_accuracy", "seconds")


class TableError(ValueError):
    """A file that is no table of learning curves; the message says what is wrong with it."""


@dataclass(frozen=True)
class Table:
    """The curves of one task: `accuracy` and cumulative `seconds`, each configurations × epochs (from epoch 1).

    `configurations` is configurations × parameters. All are float64; accuracy in whatever unit the file has.
    """

    task: str
    parameters: tuple[str, ...]
    configurations: np.ndarray
    accuracy: np.ndarray
    seconds: np.ndarray

    @property
    def epochs(self) -> int:
        """The full budget of a trial."""
        return self.accuracy.shape[1]

    @cached_property
    def training(self) -> float:
        """Seconds of a full training: the median of all configurations. Budgets are given in this unit."""
        return float(np.median(self.seconds[:, -1]))

    @cached_property
    def worth(self) -> np.ndarray:
        """What each configuration comes to: the best epoch of its full training."""
        return self.accuracy.max(axis=1)

    @cached_property
    def top_percent(self) -> float:
        """What the best hundredth of the configurations reaches."""
        return float(np.quantile(self.worth, 0.99))

    def regret(self, value: float | np.ndarray) -> np.ndarray:
        """0 for the best that the table has, 1 for the median configuration; more than 1 is worse than that."""
        best, median = self.worth.max(), np.median(self.worth)
        return np.asarray((best - value) / (best - median))

    @cached_property
    def space(self) -> Space:
        """What a tuner searches: the parameters' ranges, logarithmic where the values are spread that way."""
        return Space({f"train/{name}": _range(self.configurations[:, i]) for i, name in enumerate(self.parameters)})

    def point(self, row: int) -> dict[str, Value]:
        """Configuration `row` as a point of the space."""
        values = self.configurations[row]
        return {
            name: int(value) if isinstance(range_, (Int, Choice)) else float(value)
            for (name, range_), value in zip(self.space.items(), values, strict=True)
        }

    def dealt_anew(self, chance: np.random.Generator) -> Table:
        """The same curves, each for another configuration: what is learned from it is wrong."""
        order = chance.permutation(len(self.configurations))
        return replace(self, accuracy=self.accuracy[order], seconds=self.seconds[order])

    def nearest(self, point: Mapping[str, Value], taken: Container[int]) -> int | None:
        """The row next to `point` that is not `taken`, each parameter scaled to its range; None if all are."""
        scaled = [_scaled(range_, np.float64(point[name])) for name, range_ in self.space.items()]
        rows, seen = len(self.configurations), 0
        while seen < rows:
            seen = min(rows, 4 * seen + 8)
            for row in np.atleast_1d(self._tree.query(scaled, k=seen)[1]):
                if int(row) not in taken:
                    return int(row)
        return None

    @cached_property
    def _tree(self) -> cKDTree:
        columns = [_scaled(range_, self.configurations[:, i]) for i, range_ in enumerate(self.space.values())]
        return cKDTree(np.stack(columns, axis=1))


def read(file: Path) -> list[Table]:
    """The tasks in `file`, an .npz with the keys of `KEYS`. Raises TableError if it is damaged or does not fit."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            missing = [key for key in KEYS if key not in stored]
            if missing:
                raise TableError(f"{file} lacks {', '.join(missing)}; a table has {', '.join(KEYS)}")
            tasks, parameters, configurations, accuracy, seconds = (stored[key] for key in KEYS)
    except FileNotFoundError:
        raise TableError(f"there is no file {file}; give an .npz with {', '.join(KEYS)}") from None
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        zipfile.BadZipFile,
        zipfile.zlib.error,
    ) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{file} is no .npz or is damaged ({error}); copy it anew") from None
    count, rows = len(np.atleast_1d(tasks)), len(np.atleast_1d(configurations))
    shapes = {"configurations": (rows, len(np.atleast_1d(parameters)))}
    shapes |= dict.fromkeys(("val_accuracy", "seconds"), (count, rows, accuracy.shape[-1] if accuracy.ndim else 0))
    for name, array in (("configurations", configurations), ("val_accuracy", accuracy), ("seconds", seconds)):
        if array.shape != shapes[name] or 0 in array.shape:
            raise TableError(f"{file}: {name} has the shape {array.shape}, expected is {shapes[name]} without a 0")
        if array.dtype.kind not in "fiu" or not np.isfinite(array.astype(np.float64)).all():
            raise TableError(f"{file}: {name} holds what is no finite number")
    if (np.diff(seconds.astype(np.float64), axis=-1) < 0).any() or (seconds < 0).any():
        raise TableError(f"{file}: seconds must be counted from the start of each training, and some go back")
    return [
        Table(
            str(task),
            tuple(map(str, parameters)),
            configurations.astype(np.float64),
            accuracy[i].astype(np.float64),
            seconds[i].astype(np.float64),
        )
        for i, task in enumerate(tasks)
    ]


def _range(column: np.ndarray) -> Range:
    low, high = column.min(), column.max()
    whole = bool((column == column.round()).all())
    log = bool(low > 0 and _unevenness(np.log(column)) < _unevenness(column))
    return Int(int(low), int(high), log) if whole else Float(float(low), float(high), log)


def _unevenness(column: np.ndarray) -> float:
    """The Kolmogorov–Smirnov distance of `column` from an even spread over its range."""
    ordered = np.sort(column)
    spread = ordered[-1] - ordered[0]
    if not spread:
        return 0.0
    return float(np.abs((ordered - ordered[0]) / spread - np.linspace(0, 1, len(ordered))).max())


def _scaled(range_: Range, value: np.ndarray) -> np.ndarray:
    assert not isinstance(range_, Choice)
    low, high = float(range_.low), float(range_.high)
    if range_.log:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return (value - low) / (high - low) if high > low else np.zeros_like(value)
