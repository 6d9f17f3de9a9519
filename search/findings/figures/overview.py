"""A search at a glance for notebooks, in matplotlib's own colours."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.record.trials import Trials


def overview(name: str, trials: Trials, rungs: Sequence[int]) -> Figure:
    """Optimisation history and learning curves of a search, side by side, in matplotlib's own colours."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that a notebook shows by itself; pyplot, which would see to that, keeps every figure it made."""

        def _repr_png_(self) -> bytes:
            with io.BytesIO() as file:
                self.savefig(file, format="png")
                return file.getvalue()

    objective = trials.objective
    figure = Shown(figsize=(11, 4), layout="constrained")
    history, curves = figure.subplots(1, 2, sharey=True)
    figure.suptitle(name)
    searched = sorted((t for t in trials.ranking() if t.confirms is None), key=lambda t: t.number)
    worth = {trial.number: trial.best_value(objective) for trial in searched}
    values = list(worth.values())
    history.plot(list(worth), values, "o", label="trial")
    best = [objective.best(values[: count + 1]) for count in range(len(values))]
    history.step(list(worth), best, where="post", label="best so far")
    history.set(xlabel="trial", ylabel=objective.metric)
    history.legend()
    for trial in trials.searched:
        curve = [value if math.isfinite(value) else math.nan for value in trial.values(objective)]
        curves.plot([row.number for row in trial.epochs], curve, marker=".", linewidth=1)
    for rung in rungs:
        curves.axvline(rung, color="grey", linestyle=":", label="rung" if rung == rungs[0] else None)
    if rungs:
        curves.legend()
    curves.set(xlabel="epoch")
    return figure
