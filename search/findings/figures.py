"""The report's figures: numbers in, SVG text out, in colours that the page decides on, so light and dark share them.

matplotlib draws in colours that mean something else (`INK`, `LINES`), and those become the page's CSS variables. Text
stays text, in the page's font; every id has the figure's name before it, so that many fit into one page.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.record.trials import Trials

INK, SOFT, GRID, FAINT, PAGE = "#010101", "#010102", "#010103", "#010104", "#010105"
LINES = ("#020201", "#020202", "#020203", "#020204", "#020205", "#020206", "#020207")
"""For series: seven colours that people with any colour vision tell apart."""
STEPS = ("#030301", "#030302", "#030303", "#030304", "#030305")
"""From weak to strong, by lightness alone."""
_CSS = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    GRID: "var(--grid)",
    FAINT: "var(--faint)",
    PAGE: "var(--page)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(LINES, start=1)},
    **{colour: f"var(--v{number})" for number, colour in enumerate(STEPS, start=1)},
}
WIDTH, HEIGHT = 5.0, 3.1
"""Inches of a figure that takes half a wide page, or all of a narrow one."""
ABSENT = "–"

MARKERS = {
    "complete": ("o", LINES[0]),
    "stopped": ("s", LINES[2]),
    "running": ("D", LINES[5]),
    "interrupted": ("D", LINES[5]),
    "diverged": ("X", LINES[1]),
    "failed": ("X", LINES[1]),
    "out of memory": ("P", LINES[1]),
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


@dataclass(frozen=True)
class Confirmed:
    """A setting with fresh seeds: their values and mean, its interval, and the value that the search had of it."""

    label: str
    values: Sequence[float]
    mean: float
    interval: Sequence[float] | None
    search_value: float
    winner: bool = False


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


def window(values: Sequence[float], mode: str) -> tuple[float, float]:
    """The range of `values` to draw: all, but for what is so bad that the rest would be a line at the edge."""
    finite = sorted(value if mode == "max" else -value for value in values if math.isfinite(value))
    if not finite:
        return 0.0, 1.0
    best, middle = finite[-1], finite[len(finite) // 2]
    low = max(finite[0], middle - 3 * (best - finite[len(finite) // 4]) - 1e-9)
    room = 0.06 * (best - low) or 0.02 * (abs(best) or 1.0)
    low, high = low - room, best + room
    return (low, high) if mode == "max" else (-high, -low)


def history(points: Sequence[Point], leader: Sequence[tuple[int, float]], metric: str, mode: str) -> str:
    """What each trial was worth, by number, and the `leader`'s value so far as a stepped line."""
    with _style():
        figure, axes = _figure()
        bounds = window([point.value for point in points], mode)
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
        _whole_numbers(axes, min(p.trial for p in points), max(p.trial for p in points))
        _labels(axes, "trial", metric)
        _legend(axes)
        return _svg(figure, "history", f"{metric} of each trial, and the best so far")


def curves(lines: Sequence[Curve], rungs: Sequence[int], metric: str, mode: str) -> str:
    """Learning curves: the winner bold, given ones coloured, all others faint; `rungs` (epochs) as upright lines."""
    from matplotlib.collections import LineCollection

    with _style():
        figure, axes = _figure()
        bounds = window([value for line in lines for value in line.values], mode)
        for rung in rungs:
            axes.axvline(rung, color=SOFT, lw=0.7, ls=(0, (2, 3)), zorder=0, label="rung" if rung == rungs[0] else None)
        others = [_runs(line.values) for line in lines if line.role == "other"]
        faint = [run for runs in others for run in runs]
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
        _whole_numbers(axes, 1, max(longest, 2))
        _labels(axes, "epoch", metric)
        _legend(axes)
        return _svg(figure, "curves", f"{metric} of every trial after each epoch")


def parallel(axes_: Sequence[Axis], rows: Sequence[Sequence[Any]], strength: Sequence[float], what: str) -> str:
    """One line per row across `axes_`; None where a hyperparameter does not exist. `strength` (0 to 1) colours."""
    from matplotlib.collections import LineCollection

    with _style():
        figure, axes = _figure(max(7.0, 0.8 * len(axes_) + 0.9), 3.4)
        figure.subplots_adjust(left=0.03, right=0.95, top=0.78, bottom=0.04)
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
        return _svg(figure, "parallel", what)


def slices(
    name: str,
    axis: Axis,
    values: Sequence[tuple[Any, float]],
    winner: tuple[Any, float] | None,
    bounds: tuple[float, float],
) -> str:
    """What trials were worth, within `bounds`, against one hyperparameter; `winner` is marked."""
    key = f"slice-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"
    with _style():
        figure, axes = _figure(2.6, 1.75)
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
            _fixed(axes.xaxis, range(len(axis.choices)), [_clipped(text, 11) for text in axis.choices])
            if sum(min(len(text), 11) for text in axis.choices) > 30:  # they would run into one another
                axes.tick_params(axis="x", rotation=60, labelsize=6)
                figure.subplots_adjust(bottom=0.36)
        else:
            at = [value for value, _ in _marks(axis)]
            _fixed(axes.xaxis, at, [text for _, text in _marks(axis)])
            room = 0.04
            low, high = (math.log(b) if axis.log else b for b in (axis.low, axis.high))
            reach = room * (high - low) or 0.5
            ends = (low - reach, high + reach)
            axes.set_xlim(*((math.exp(e) for e in ends) if axis.log else ends))
        axes.set_ylim(*bounds)
        axes.yaxis.set_major_locator(_locator(4))
        return _svg(figure, key, f"value against {name}")


def comparison(key: str, levels: Sequence[tuple[str, Sequence[Sequence[float]]]], metric: str) -> str:
    """Learning curves of each level laid over one another: the mean over its runs, and from the least to the most."""
    with _style():
        figure, axes = _figure(8.0, 4.2)
        longest = 2
        for index, (label, runs) in enumerate(levels):
            epochs = min(map(len, runs), default=0)
            if not epochs:
                continue
            longest = max(longest, epochs)
            colour = LINES[index % len(LINES)]
            dashes = "solid" if index < len(LINES) else "dashed"
            columns = [[run[epoch] for run in runs] for epoch in range(epochs)]
            at = range(1, epochs + 1)
            if len(runs) > 1:
                axes.fill_between(
                    at, [min(c) for c in columns], [max(c) for c in columns], color=colour, alpha=0.18, lw=0
                )
            means = [sum(column) / len(column) for column in columns]
            marker = "." if epochs <= 20 else ""  # of more, lines are enough
            axes.plot(at, means, color=colour, lw=1.8, ls=dashes, marker=marker, ms=4, label=_clipped(label, 24))
        _whole_numbers(axes, 1, longest)
        _labels(axes, "epoch", metric)
        _legend(axes)
        return _svg(figure, key, f"{metric} after each epoch, by level")


def confirmation(rows: Sequence[Confirmed], metric: str) -> str:
    """What fresh seeds made of each setting, a line each: their values, the mean with its interval, the search's value.

    An interval from two or three seeds can be wider than all that is worth showing; it is cut at the figure's edge.
    """
    with _style():
        figure, axes = _figure(6.0, 0.9 + 0.36 * len(rows))
        figure.subplots_adjust(left=0.16, top=1 - 0.55 / figure.get_figheight(), bottom=0.34 / figure.get_figheight())
        every = [value for row in rows for value in (*row.values, row.search_value)]
        room = 0.25 * (max(every) - min(every)) or 0.02 * (abs(every[0]) or 1.0)
        low, high = min(every) - room, max(every) + room
        for place, row in enumerate(rows):
            first, colour = place == 0, LINES[0] if row.winner else SOFT
            if row.interval is not None:
                ends = [min(max(end, low), high) for end in row.interval]
                axes.plot(ends, [place] * 2, color=colour, lw=2.2, alpha=0.6, label="95 %" if first else None)
            label = "fresh seed" if first else None
            axes.plot(row.values, [place] * len(row.values), "o", color=colour, ms=4, mew=0, label=label)
            axes.plot([row.mean], [place], "|", color=INK, ms=12, mew=1.6, label="mean" if first else None)
            label = "the search's value" if first else None
            axes.plot([row.search_value], [place], "o", mfc="none", mec=LINES[1], ms=8, mew=1.2, label=label)
        _fixed(axes.yaxis, range(len(rows)), [_clipped(row.label, 16) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(_locator(6))
        _legend(axes)
        return _svg(figure, "confirmation", f"{metric} of the best settings with fresh seeds")


def regions(
    xs: Any,
    ys: Any,
    classes: Any,
    points: Sequence[tuple[str, Any, Any]],
    names: Sequence[str],
) -> str:
    """The class that a model gives each place of the plane (`classes[y][x]`), and points over it by their own class.

    `points` are, for each part of the data, its name, positions `(N, 2)` and labels.
    """
    import numpy as np
    from matplotlib.lines import Line2D

    with _style():
        figure, axes = _figure(5.0, 4.4)
        figure.subplots_adjust(top=0.85)
        shapes = {"training": (".", 3.0, 0.45), "validation": ("o", 4.0, 0.9), "test": ("^", 4.2, 0.9)}
        for index in range(len(names)):
            colour = LINES[index % len(LINES)]
            mask = np.asarray(classes) == index
            if mask.any():
                levels = [0.5, 1.5]
                axes.contourf(xs, ys, mask.astype(float), levels=levels, colors=[colour], alpha=0.2)
                if not mask.all():
                    axes.contour(xs, ys, mask.astype(float), levels=levels[:1], colors=[colour], linewidths=1.0)
            for part, where, labels in points:
                marker, size, opacity = shapes[part]
                own = np.asarray(where)[np.asarray(labels) == index]
                axes.plot(own[:, 0], own[:, 1], marker, color=colour, ms=size, alpha=opacity, mec=PAGE, mew=0.3)
        handles = [
            Line2D([], [], marker="s", ls="", color=LINES[i % len(LINES)], label=_clipped(name, 18))
            for i, name in enumerate(names)
        ]
        handles += [Line2D([], [], marker=shapes[p][0], ls="", color=INK, ms=4, label=p) for p, _, _ in points]
        axes.set_xlim(xs[0], xs[-1])
        axes.set_ylim(ys[0], ys[-1])
        axes.grid(visible=False)
        _labels(axes, "first input", "second input")
        _legend(axes, handles)
        return _svg(figure, "regions", "the class that the winner gives each place of the plane")


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "search",  # or the same figure would be another file each time
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.formatter.useoffset": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sign that matplotlib's font lacks; the page's has it
        yield


def _figure(width: float = WIDTH, height: float = HEIGHT) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.13, right=0.98, top=0.8, bottom=0.14)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def _labels(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, labelpad=3)
    # Above the axis and upright, where it needs no room beside it and can be read.
    axes.annotate(y, (0, 1), (-36, 6), xycoords="axes fraction", textcoords="offset points", va="bottom", color=SOFT)


def _legend(axes: Any, handles: Any = None) -> None:
    options = {} if handles is None else {"handles": handles}
    axes.legend(
        **options, loc="lower left", bbox_to_anchor=(-0.12, 1.14, 1.1, 0.1), ncols=4, frameon=False, fontsize=8,
        borderaxespad=0, handlelength=1.4, columnspacing=1.2, handletextpad=0.5, labelcolor=INK, borderpad=0,
    )  # fmt: skip


def _locator(count: int, *, whole: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, integer=whole, min_n_ticks=1)


def _whole_numbers(axes: Any, low: int, high: int) -> None:
    axes.xaxis.set_major_locator(_locator(9, whole=True))
    room = 0.02 * (high - low) + 0.15
    axes.set_xlim(low - room, high + room)


def _fixed(axis: Any, places: Any, texts: Sequence[str]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(texts)))
    axis.set_minor_locator(NullLocator())


def _marks(axis: Axis) -> list[tuple[float, str]]:
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
        return [(axis.place(index), _clipped(text, 12)) for index, text in enumerate(axis.choices)]
    return [(axis.place(value), text if len(text) < 7 else f"{value:.3g}") for value, text in _marks(axis)]


def _tag(axes: Any, x: float, y: float, text: str) -> None:
    under = {"facecolor": PAGE, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    axes.annotate(
        text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK, bbox=under, zorder=9
    )


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _runs(values: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The stretches of `values` without a gap, each as points (epoch, value)."""
    runs: list[list[tuple[int, float]]] = [[]]
    for epoch, value in enumerate(values, start=1):
        if math.isfinite(value):
            runs[-1].append((epoch, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _svg(figure: Any, name: str, label: str) -> str:
    out = io.StringIO()
    nothing: Mapping[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Of one document each these were a global style and foreign names; in one page they would be everybody's.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    name = f"{name}-"
    text = re.sub(r"^<svg[^>]*>", f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label)}">', text)
    text = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend|\w*Coll)[^"]*"', "", text)
    text = re.sub(r'( id="|"#|url\(#)', lambda found: found[0] + name, text).replace("xlink:href", "href")
    text = re.sub(r"#0[123]0[123]0\d", lambda found: _CSS.get(found[0], found[0]), text)
    return re.sub(r"\n\s*", "\n", text).strip()


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
