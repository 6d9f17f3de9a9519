"""Values against hyperparameters: all of them in parallel coordinates, or one at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.findings.figures.axes import clipped, fix_ticks, locator
from search.findings.figures.style import INK, LINES, PAGE, SOFT, STEPS, new_figure, styled, svg

ABSENT = "–"
"""Stands where a trial does not have a hyperparameter."""


@dataclass(frozen=True)
class Axis:
    """One axis of the parallel coordinates: `low` to `high`, on a logarithmic scale if `log`; or `choices` by name."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str, ...] = ()

    def place(self, value: Any) -> float:
        """Where `value` lies, 0 to 1; a choice is given by its index."""
        if self.choices:
            return 0.5 if len(self.choices) == 1 else value / (len(self.choices) - 1)
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return 0.5 if high == low else (at - low) / (high - low)


def parallel(axes_: Sequence[Axis], rows: Sequence[Sequence[Any]], strength: Sequence[float], what: str) -> str:
    """One line per row across `axes_`; None where a hyperparameter does not exist. `strength` (0 to 1) colours."""
    from matplotlib.collections import LineCollection

    with styled():
        figure, axes = new_figure(max(7.0, 0.8 * len(axes_) + 0.9), 3.4)
        figure.subplots_adjust(left=0.03, right=0.91, top=0.78, bottom=0.04)
        gap = -0.14
        absent = [any(row[i] is None for row in rows) for i in range(len(axes_))]
        order = sorted(range(len(rows)), key=lambda i: strength[i])
        for step, colour in enumerate(STEPS):
            members = [i for i in order if min(len(STEPS) - 1, int(strength[i] * len(STEPS))) == step]
            lines = [
                [(x, gap if row[x] is None else axis.place(row[x])) for x, axis in enumerate(axes_)]
                for row in (rows[i] for i in members)
            ]
            axes.add_collection(LineCollection(lines, colors=colour, lw=0.9 + 0.25 * step, zorder=step + 1))
        for x, axis in enumerate(axes_):
            axes.plot([x, x], [0, 1], color=SOFT, lw=0.9, zorder=8)
            axes.annotate(axis.name, (x, 1), (0, 9), textcoords="offset points", rotation=24, color=INK, va="bottom")
            for at, text in _ticks(axis):
                _tag(axes, x, at, text)
            if absent[x]:
                _tag(axes, x, gap, ABSENT)
        axes.set_xlim(-0.15, len(axes_) - 0.5)
        axes.set_ylim(-0.2 if any(absent) else -0.06, 1.06)
        axes.set_axis_off()
        return svg(figure, "parallel", what)


@dataclass(frozen=True)
class Slice:
    """What `trials` were worth, within `bounds`, against one hyperparameter; `winner` is marked."""

    name: str
    axis: Axis
    values: Sequence[tuple[Any, float]]
    winner: tuple[Any, float] | None
    bounds: tuple[float, float]
    trials: Sequence[int] = ()

    def svg(self) -> str:
        """As SVG text."""
        return _slice(self)


def _slice(figure_of: Slice) -> str:
    name, axis, values = figure_of.name, figure_of.axis, figure_of.values
    winner, bounds = figure_of.winner, figure_of.bounds
    key = f"slice-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"
    with styled():
        figure, axes = new_figure(2.6, 1.75)
        figure.subplots_adjust(left=0.2, right=0.97, top=0.96, bottom=0.15)
        places: dict[Any, int] = {}

        def x(value: Any) -> float:
            if not axis.choices:
                return float(value)
            # Side by side, as equal values of a choice would hide one another.
            places[value] = places.get(value, 0) + 1
            return value + 0.05 * ((places[value] * 3) % 7 - 3)

        heights = [min(max(value, bounds[0]), bounds[1]) for _, value in values]
        axes.plot([x(v) for v, _ in values], heights, "o", color=LINES[0], ms=4, alpha=0.6, mew=0)
        if winner is not None:
            axes.plot([winner[0]], [winner[1]], "*", color=LINES[1], ms=10, mec=PAGE, mew=0.5)
        if axis.log:
            axes.set_xscale("log")
        if axis.choices:
            axes.set_xlim(-0.5, len(axis.choices) - 0.5)
            fix_ticks(axes.xaxis, range(len(axis.choices)), [clipped(text, 11) for text in axis.choices])
            if sum(min(len(text), 11) for text in axis.choices) > 30:  # they would run into one another
                axes.tick_params(axis="x", rotation=60, labelsize=6)
                figure.subplots_adjust(bottom=0.36)
        else:
            at = [value for value, _ in marks(axis)]
            fix_ticks(axes.xaxis, at, [text for _, text in marks(axis)])
            room = 0.04
            low, high = (math.log(b) if axis.log else b for b in (axis.low, axis.high))
            reach = room * (high - low) or 0.5
            ends = (low - reach, high + reach)
            axes.set_xlim(*((math.exp(e) for e in ends) if axis.log else ends))
        axes.set_ylim(*bounds)
        axes.yaxis.set_major_locator(locator(4))
        return svg(figure, key, f"value against {name}")


def marks(axis: Axis) -> list[tuple[float, str]]:
    """Values to write at a numeric axis: both ends, and powers of ten or the middle between them."""
    values = [axis.low, axis.high]
    if axis.log:
        tens = [10.0**power for power in range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)]
        inner = [ten for ten in tens if axis.low * 1.5 < ten < axis.high / 1.5]
        values[1:1] = inner if len(inner) < 4 else inner[:: math.ceil(len(inner) / 3)]
    elif axis.high > axis.low:
        values.insert(1, (axis.low + axis.high) / 2)
    return [(value, f"{value:g}") for value in dict.fromkeys(values)]


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    if axis.choices:
        return [(axis.place(index), clipped(text, 12)) for index, text in enumerate(axis.choices)]
    return [(axis.place(value), text if len(text) < 7 else f"{value:.3g}") for value, text in marks(axis)]


def _tag(axes: Any, x: float, y: float, text: str) -> None:
    under = {"facecolor": PAGE, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    axes.annotate(
        text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK, bbox=under, zorder=9
    )
