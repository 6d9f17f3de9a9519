"""What training a proposed configuration would have given: a row of a table, or a network called for that point."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from spaces.space import Value
from tests.benchmarks.tuner.table import Table, TableError

Curves = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From one configuration, in the order of a table's parameters, to accuracy and cumulative seconds, by epoch."""


@dataclass(frozen=True)
class Training:
    """One training, by epoch: what it reports, what it is worth without noise, and its seconds from the start."""

    reported: np.ndarray
    true: np.ndarray
    seconds: np.ndarray

    def of(self, epoch: int) -> float:
        """The seconds of one epoch (from 1)."""
        return float(self.seconds[epoch - 1] - (self.seconds[epoch - 2] if epoch > 1 else 0.0))


class Answers(Protocol):
    """Answers one search of one task."""

    def training(self, point: Mapping[str, Value]) -> Training | None:
        """A new training of `point`; None if there is nothing left to answer with."""


@dataclass(frozen=True)
class Noise:
    """How trainings of one configuration differ: normal deviations, in units of the table's best minus its median.

    `trial` is that of a whole curve, as another seed would shift it, `epoch` that of each of its values.
    """

    trial: float = 0.0
    epoch: float = 0.0

    def on(self, true: np.ndarray, table: Table, chance: np.random.Generator) -> np.ndarray:
        """The curve `true` as it is reported."""
        unit = float(table.worth.max() - np.median(table.worth))
        return true + unit * (self.trial * chance.normal() + self.epoch * chance.normal(size=len(true)))


SILENT = Noise()


class Recorded:
    """Answers by the nearest row of `table` that this search has not had yet.

    A second training of the same row would repeat its curve to the last digit, which no two trainings do.
    """

    def __init__(self, table: Table, noise: Noise = SILENT, seed: int = 0) -> None:
        self._table, self._noise, self._chance = table, noise, np.random.default_rng([seed, 9])
        self._taken: set[int] = set()

    def training(self, point: Mapping[str, Value]) -> Training | None:
        """See `Answers.training`."""
        row = self._table.nearest(point, self._taken)
        if row is None:
            return None
        self._taken.add(row)
        true = self._table.accuracy[row]
        return Training(self._noise.on(true, self._table, self._chance), true, self._table.seconds[row])


class Continuous:
    """Answers by `curves`, for the very point; ranges, units of regret and of time are those of `table`."""

    def __init__(self, table: Table, curves: Curves, noise: Noise = SILENT, seed: int = 0) -> None:
        self._table, self._curves, self._noise = table, curves, noise
        self._chance = np.random.default_rng([seed, 9])

    def training(self, point: Mapping[str, Value]) -> Training | None:
        """See `Answers.training`."""
        true, seconds = self._curves(np.array([float(point[name]) for name in self._table.space]))
        return Training(self._noise.on(true, self._table, self._chance), true, seconds)


def network(file: Path, table: Table) -> Curves:
    """The curves of the task of `table` by the ONNX network in `file`, one thread. Raises TableError.

    Beside NAME.onnx lies NAME_onnx.json: `task_codes` has the network's number of each task that may be asked for.
    """
    side = file.with_name(f"{file.stem}_onnx.json")
    try:
        codes = json.loads(side.read_text())["task_codes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{side} must say which tasks the network knows ({type(error).__name__}: {error})") from None
    if table.task not in codes:
        raise TableError(f"{file} is not to be asked for task {table.task}; {side.name} names {', '.join(codes)}")
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except ImportError:
        raise TableError("--continuous needs onnxruntime, which the extra `dev` brings") from None
    except Exception as error:  # its own kinds, one for each way to be no network
        raise TableError(
            f"{file} is no network that onnxruntime reads ({' '.join(str(error).split())[:200]})"
        ) from None
    task = np.full((table.epochs, 1), codes[table.task], np.int32)
    epochs = np.arange(1, table.epochs + 1, dtype=np.float32)[:, None]

    def curves(configuration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        settings = np.broadcast_to(configuration.astype(np.float32), (table.epochs, len(configuration)))
        inputs = {"x_cat": task, "x_cont": np.concatenate([epochs, settings], axis=1)}
        found = session.run(None, inputs)[0].astype(np.float64)
        return found[:, 1], np.maximum.accumulate(np.maximum(found[:, 0], 0.0))

    return curves
