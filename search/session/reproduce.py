"""One trial trained again, from its seed, to see whether it comes out as recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from search.decide.search import trial_config
from search.errors import EnvironmentFault
from search.findings.text import sparkline
from search.prepared import Prepared
from search.record.trials import Trial, replayed
from search.storage import checkpoints
from trainables.epoch import Diverged, Epoch


@dataclass(frozen=True)
class Comparison:
    """The recorded and the new curve of one metric, an entry per epoch that both have."""

    metric: str
    recorded: Sequence[float]
    again: Sequence[float]

    @property
    def drift(self) -> float:
        """The largest difference."""
        return max((abs(a - b) for a, b in zip(self.recorded, self.again, strict=True)), default=0.0)

    @property
    def first(self) -> int | None:
        """The first epoch (from 1) at which the curves differ, or None if they are the same bit for bit."""
        pairs = enumerate(zip(self.recorded, self.again, strict=True), start=1)
        return next((epoch for epoch, (a, b) in pairs if a != b), None)


def reproduce(prepared: Prepared, number: int, tell: Callable[[str], None]) -> list[Comparison]:
    """Train trial `number` of the recalled search again, as many epochs as it has, and compare every metric.

    In this process and without Ray, with as many threads as a trial had. `tell` hears of each epoch.
    """
    trial, epochs = _again(prepared, number)
    rows: list[dict[str, float]] = []
    try:
        for epoch in epochs:
            rows.append(dict(epoch.metrics))
            was = trial.epochs[epoch.number - 1].metrics
            tell(f"epoch {epoch.number}: " + ", ".join(f"{k} {v:.6g} (was {was.get(k)})" for k, v in rows[-1].items()))
            if epoch.number >= len(trial.epochs):
                break
    except Diverged as error:
        tell(str(error))
    names = sorted({name for row in trial.epochs[: len(rows)] for name in row.metrics})
    nan = float("nan")
    return [
        Comparison(
            name,
            [row.metrics.get(name, nan) for row in trial.epochs[: len(rows)]],
            [row.get(name, nan) for row in rows],
        )
        for name in names
    ]


def remake(prepared: Prepared, number: int, wanted: int, shelf: checkpoints.Shelf) -> checkpoints.Written:
    """Train trial `number` again up to the epoch `wanted`, and put the checkpoint of that epoch on the shelf.

    Raises EnvironmentFault if an epoch on the way has other metrics than are recorded.
    """
    trial, epochs = _again(prepared, number)
    for epoch in epochs:
        if dict(epoch.metrics) != dict(trial.epochs[epoch.number - 1].metrics):
            raise EnvironmentFault(f"trial {number} came out otherwise at epoch {epoch.number}, so it cannot be mended")
        if epoch.number == wanted:
            return shelf.write(number, wanted, epoch.save, attempt=trial.attempt + 1)
    raise EnvironmentFault(f"trial {number} ended before epoch {wanted}, so it cannot be mended")


def _again(prepared: Prepared, number: int) -> tuple[Trial, Iterator[Epoch]]:
    import torch

    study, settings = prepared.study, prepared.settings
    trial = replayed(prepared.past, study.objective)[number]
    torch.set_num_threads(max(1, int(settings.cpus)))
    return trial, study.trainable(trial_config(study, settings.seed, trial), prepared.data)


def overlaid(curves: Sequence[Comparison], epochs: int) -> str:
    """Recorded and new curve of each metric, one above the other, and what they differ by."""
    lines = []
    for curve in curves:
        finite = [value for value in [*curve.recorded, *curve.again] if math.isfinite(value)]
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        verdict = "the same, bit for bit" if curve.first is None else f"differs from epoch {curve.first}"
        if len(curve.again) < epochs:
            verdict += f", {len(curve.again)} of {epochs} epochs came"
        lines.append(f"{curve.metric:<14} recorded {sparkline(curve.recorded, low, high)}")
        lines.append(f"{'':<14} again    {sparkline(curve.again, low, high)}  {verdict}, drift {curve.drift:.3g}")
    return "\n".join(lines)
