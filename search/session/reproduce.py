"""One trial trained again, from its seed, to see whether it comes out as recorded."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.decide.agenda import trial_config
from search.errors import BadInput, EnvironmentFault, SearchFailed
from search.findings.text import sparkline
from search.prepared import Prepared
from search.record.reader import FILE, read
from search.record.reading import objective_of
from search.record.trial import Trial
from search.record.trials import Trials, replayed
from search.session.resume import recalled
from search.settings import More
from search.storage import checkpoints
from search.terminal.console import Display
from trainables.epoch import Diverged, Epoch, Infeasible
from trainables.started import started


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


@dataclass(frozen=True)
class Reproduction:
    """Trial number `trial` of the search `name`, trained again beside the `epochs` that are recorded of it."""

    name: str
    trial: int
    epochs: int
    curves: Sequence[Comparison]

    @property
    def epochs_again(self) -> int:
        """To how many epochs it came this time, at most as many as are recorded."""
        return min((len(curve.again) for curve in self.curves), default=0)

    @property
    def match(self) -> bool:
        """Whether every metric of every epoch came out as recorded, bit for bit."""
        return self.epochs_again == self.epochs and all(curve.first is None for curve in self.curves)

    @property
    def verdict(self) -> str:
        """How it came out, in one sentence."""
        if self.match:
            return f"trial {self.trial} came out as recorded, bit for bit"
        if not self.curves:
            return f"trial {self.trial} has {self.epochs} epochs on record, and came to none this time"
        worst = max(self.curves, key=lambda curve: (curve.first is not None, curve.drift))
        if worst.first is None:
            return f"trial {self.trial} came to {self.epochs_again} of {self.epochs} epochs, which are as recorded"
        return f"trial {self.trial} drifted: {worst.metric} by up to {worst.drift:.3g}, first at epoch {worst.first}"

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        metrics = {c.metric: {"recorded": c.recorded, "again": c.again, "drift": c.drift} for c in self.curves}
        about = {"name": self.name, "trial": self.trial, "match": self.match, "epochs": self.epochs}
        return {**about, "metrics": metrics}

    def __str__(self) -> str:
        """Recorded and new curve of each metric, one above the other, and what they differ by."""
        lines = []
        for curve in self.curves:
            finite = [value for value in [*curve.recorded, *curve.again] if math.isfinite(value)]
            low, high = min(finite, default=0.0), max(finite, default=1.0)
            verdict = "the same, bit for bit" if curve.first is None else f"differs from epoch {curve.first}"
            if len(curve.again) < self.epochs:
                verdict += f", {len(curve.again)} of {self.epochs} epochs came"
            lines.append(f"{curve.metric:<14} recorded {sparkline(curve.recorded, low, high)}")
            lines.append(f"{'':<14} again    {sparkline(curve.again, low, high)}  {verdict}, drift {curve.drift:.3g}")
        return "\n".join(lines)


def reproduce(
    folder: Path, number: int | None, command: str, display: Display, more: More | None = None
) -> Reproduction:
    """Train trial `number`, or the winner, of the search in `folder` again, as many epochs as it has, and compare.

    In this process and without Ray, with as many threads as a trial had; `display` hears of each epoch. Of `more` only
    what holds for one command matters. Raises BadInput if there is no such trial with an epoch, SearchFailed if there
    is no winner, and what `recalled` raises.
    """
    events = read(folder / FILE)
    trials = replayed(events, objective_of(events))
    trial = _asked_for(trials, number, folder.name)
    prepared = recalled(folder, events, more or More(), command, display, to_report=False)
    rows: list[dict[str, float]] = []
    try:
        with closing(_again(prepared, trial)) as epochs:
            for epoch in epochs:
                rows.append(dict(prepared.study.objective.weighed(epoch.metrics)))
                was = trial.epochs[epoch.number - 1].metrics
                told = ", ".join(f"{key} {value:.6g} (was {was.get(key)})" for key, value in rows[-1].items())
                display.say(f"epoch {epoch.number}: {told}")
                if epoch.number >= len(trial.epochs):
                    break
    except (Diverged, Infeasible) as error:
        display.say(str(error))
    recorded = [row.metrics for row in trial.epochs[: len(rows)]]
    nan = float("nan")
    curves = [
        Comparison(name, [row.get(name, nan) for row in recorded], [row.get(name, nan) for row in rows])
        for name in sorted({name for row in recorded for name in row})
    ]
    return Reproduction(folder.name, trial.number, len(trial.epochs), curves)


def remake(prepared: Prepared, number: int, wanted: int, shelf: checkpoints.Shelf) -> checkpoints.Written:
    """Train trial `number` again up to the epoch `wanted`, and put the checkpoint of that epoch on the shelf.

    Raises EnvironmentFault if an epoch on the way has other metrics than are recorded.
    """
    trial = replayed(prepared.past, prepared.study.objective)[number]
    with closing(_again(prepared, trial)) as epochs:
        for epoch in epochs:
            if not trial.epochs[epoch.number - 1].is_again(prepared.study.objective.weighed(epoch.metrics)):
                raise EnvironmentFault(
                    f"trial {number} came out otherwise at epoch {epoch.number}, so it cannot be mended"
                )
            if epoch.number == wanted and epoch.writer is not None:
                return shelf.write(number, wanted, epoch.writer, attempt=trial.attempt + 1)
    raise EnvironmentFault(f"trial {number} ended before epoch {wanted}, so it cannot be mended")


def _asked_for(trials: Trials, number: int | None, name: str) -> Trial:
    if number is None:
        best = trials.best()
        if best is None:
            raise SearchFailed(f"{name} has no winner; name a trial with --trial")
        return best
    if number not in range(len(trials)) or not trials[number].epochs:
        known = ", ".join(str(trial.number) for trial in trials if trial.epochs)
        raise BadInput(f"--trial {number}: {name} has epochs of trials {known or 'none'}")
    return trials[number]


def _again(prepared: Prepared, trial: Trial) -> Generator[Epoch, None, None]:
    """The epochs of `trial`, trained again; this process has its own number of threads back afterwards."""
    import torch

    study, settings = prepared.study, prepared.settings
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(settings.cpus)))
    try:
        yield from started(study.trainable, trial_config(study, settings.seed, trial), prepared.data)
    finally:
        torch.set_num_threads(threads)
