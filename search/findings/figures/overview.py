"""A search at a glance for notebooks, in matplotlib's own colours."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.findings.figures.axes import locator, window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.record.trials import Trials

NAMED = 5
"""Trials whose curves are told apart, the best first; a legend of all would say nothing."""


def overview(name: str, trials: Trials, rungs: Sequence[int]) -> Figure:
    """Optimisation history and learning curves of a search, side by side, in matplotlib's own colours.

    The vertical axis shows what most trials come to; what is far worse is marked at its edge, with the count. The
    curves of the best trials are named, the others are grey.
    """
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that a notebook shows by itself; pyplot, which would see to that, keeps every figure it made."""

        def _repr_png_(self) -> bytes:
            with io.BytesIO() as file:
                self.savefig(file, format="png")
                return file.getvalue()

    figure = Shown(figsize=(11, 4.2), layout="constrained")
    history, curves = figure.subplots(1, 2, sharey=True)
    figure.suptitle(name)
    values = [value for trial in trials.searched for value in trial.values(trials.objective)]
    bounds = window(values, trials.objective.mode)
    _history(history, trials, bounds)
    _curves(curves, trials, rungs, bounds)
    history.set_ylim(*bounds)
    return figure


def _history(axes: Any, trials: Trials, bounds: tuple[float, float]) -> None:
    """What each trial came to, by number, and the best so far."""
    objective = trials.objective
    searched = sorted((t for t in trials.ranking() if t.confirms is None), key=lambda t: t.number)
    worth = {trial.number: trial.best_value(objective) for trial in searched}
    values = list(worth.values())
    inside = {number: value for number, value in worth.items() if bounds[0] <= value <= bounds[1]}
    axes.plot(list(inside), list(inside.values()), "o", label="trial")
    best = [objective.best(values[: count + 1]) for count in range(len(values))]
    axes.step(list(worth), best, where="post", label="best so far")
    worse = [number for number in worth if number not in inside]
    if worse:
        edge, marker = (bounds[0], "v") if objective.mode == "max" else (bounds[1], "^")
        label = f"far worse ({len(worse)} trial{'s' * (len(worse) > 1)})"
        axes.plot(worse, [edge] * len(worse), marker, color="grey", clip_on=False, label=label)
    axes.set(xlabel="trial", ylabel=objective.metric)
    axes.xaxis.set_major_locator(locator(9, whole=True))
    if worth:
        axes.legend()


def _curves(axes: Any, trials: Trials, rungs: Sequence[int], bounds: tuple[float, float]) -> None:
    """Values after each epoch; the best trials by name."""
    objective = trials.objective
    named = [trial for trial in trials.ranking() if trial.confirms is None][:NAMED]
    for rung in rungs:
        axes.axvline(rung, color="grey", linestyle=":", linewidth=1, label="rung" if rung == rungs[0] else None)
    others = [trial for trial in trials.searched if trial not in named]
    for trial in [*others, *reversed(named)]:
        curve = [value if math.isfinite(value) else math.nan for value in trial.values(objective)]
        epochs = [row.number for row in trial.epochs]
        if trial in named:
            place = named.index(trial)
            label = f"trial {trial.number}: {trial.best_value(objective):.4g}{', the best' * (place == 0)}"
            axes.plot(epochs, curve, marker=".", color=f"C{place}", linewidth=2.5 if place == 0 else 1.2, label=label)
        else:
            first = f"{len(others)} others" if trial is others[0] else None
            axes.plot(epochs, curve, marker=".", color="0.8", linewidth=0.8, zorder=0, label=first)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(locator(9, whole=True))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[::-1], labels[::-1])
