"""The course of a search: each trial's value by number, and the learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.findings.figures.axes import legend, name_axes, whole_numbers, window
from search.findings.figures.style import FAINT, INK, LINES, PAGE, SOFT, new_figure, styled, svg

MARKERS = {
    "complete": ("o", LINES[0]),
    "stopped": ("s", LINES[2]),
    "paused": ("h", LINES[2]),
    "running": ("D", LINES[5]),
    "interrupted": ("D", LINES[5]),
    "diverged": ("X", LINES[1]),
    "failed": ("X", LINES[1]),
    "out of memory": ("P", LINES[1]),
    "infeasible": ("P", LINES[4]),
    "timed out": ("v", LINES[4]),
    "preempted": ("v", LINES[4]),
}
"""Marker and colour of each end state; shapes differ too, for print and for those who see few colours."""


@dataclass(frozen=True)
class Point:
    """A trial in the history: its number, what it is worth (NaN for nothing), its state, whether it was given."""

    trial: int
    value: float
    state: str
    start: bool = False


@dataclass(frozen=True)
class Curve:
    """Values after epochs 1, 2, …; `role` is "winner", "start" or "other"."""

    label: str
    values: Sequence[float]
    role: str = "other"
    trial: int | None = None


@dataclass(frozen=True)
class History:
    """What each trial was worth, by number, and the `leader`'s value so far, from the number of each leader on."""

    points: Sequence[Point]
    leader: Sequence[tuple[int, float]]
    metric: str
    mode: str

    @property
    def bounds(self) -> tuple[float, float]:
        """The values that are drawn to scale."""
        return window([point.value for point in self.points], self.mode)

    def svg(self) -> str:
        """As SVG text."""
        return _history(self)


@dataclass(frozen=True)
class Curves:
    """Learning curves: the winner bold, given ones coloured, all others faint; `rungs` are epochs."""

    lines: Sequence[Curve]
    rungs: Sequence[int]
    metric: str
    mode: str

    @property
    def bounds(self) -> tuple[float, float]:
        """The values that are drawn to scale."""
        return window([value for line in self.lines for value in line.values], self.mode)

    def svg(self) -> str:
        """As SVG text."""
        return _curves(self)


def _history(history: History) -> str:
    points, leader, metric, mode = history.points, history.leader, history.metric, history.mode
    with styled():
        figure, axes = new_figure()
        bounds = history.bounds
        edge = bounds[0] if mode == "max" else bounds[1]
        if leader:
            last = max(point.trial for point in points)
            x, y = [number for number, _ in leader] + [last], [value for _, value in leader] + [leader[-1][1]]
            axes.step(x, y, where="post", color=SOFT, lw=1.4, label="best so far", zorder=1)
        for state in dict.fromkeys(point.state for point in points):
            those = [point for point in points if point.state == state and math.isfinite(point.value)]
            marker, colour = MARKERS[state]
            heights = [min(max(point.value, bounds[0]), bounds[1]) for point in those]
            if those:
                axes.plot([p.trial for p in those], heights, marker, color=colour, ms=5, mec=PAGE, mew=0.5, label=state)
        starts = [p for p in points if p.start and math.isfinite(p.value)]
        if starts:
            heights = [min(max(p.value, bounds[0]), bounds[1]) for p in starts]
            axes.plot([p.trial for p in starts], heights, "o", ms=10, mfc="none", mec=INK, mew=1, label="given")
        nothing = [p.trial for p in points if not math.isfinite(p.value)]
        if nothing:
            axes.plot(nothing, [edge] * len(nothing), "x", color=LINES[1], ms=5, clip_on=False, label="no value")
        axes.set_ylim(*bounds)
        whole_numbers(axes, min(p.trial for p in points), max(p.trial for p in points))
        name_axes(axes, "trial", metric)
        legend(axes)
        return svg(figure, "history", f"{metric} of each trial, and the best so far")


def _curves(curves: Curves) -> str:
    lines, rungs, metric = curves.lines, curves.rungs, curves.metric
    from matplotlib.collections import LineCollection

    with styled():
        figure, axes = new_figure()
        bounds = curves.bounds
        for rung in rungs:
            axes.axvline(rung, color=SOFT, lw=0.7, ls=(0, (2, 3)), zorder=0, label="rung" if rung == rungs[0] else None)
        others = [runs(line.values) for line in lines if line.role == "other"]
        faint = [run for each in others for run in each]
        if faint:
            axes.add_collection(LineCollection(faint, colors=FAINT, lw=0.9, label="other trials"))
            alone = [run[0] for run in faint if len(run) == 1]
            if alone:
                axes.plot(*zip(*alone, strict=True), "_", color=FAINT, ms=6)
        colours = iter(LINES[1:] * len(lines))
        for line in sorted(lines, key=lambda line: line.role == "winner"):
            if line.role == "other":
                continue
            colour, weight = (LINES[0], 2.6) if line.role == "winner" else (next(colours), 1.3)
            epochs = range(1, len(line.values) + 1)
            axes.plot(epochs, line.values, color=colour, lw=weight, marker=".", ms=weight + 3, label=line.label)
        longest = max((len(line.values) for line in lines), default=1)
        axes.set_ylim(*bounds)
        whole_numbers(axes, 1, max(longest, 2))
        name_axes(axes, "epoch", metric)
        legend(axes)
        return svg(figure, "curves", f"{metric} of every trial after each epoch")


def runs(values: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The stretches of `values` without a gap, each as points (epoch, value)."""
    made: list[list[tuple[int, float]]] = [[]]
    for epoch, value in enumerate(values, start=1):
        if math.isfinite(value):
            made[-1].append((epoch, value))
        elif made[-1]:
            made.append([])
    return [run for run in made if run]
