"""The same figures for a page with plotly's script: what to draw, as plain data in plotly's own form.

Colours are names of the page's CSS variables, which the page fills in, so that light and dark share them. Text is data
here, never markup: `plain_text` takes from it what plotly would read as a tag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search.findings.figures.course import MARKERS, Curves, History, runs
from search.findings.figures.hyperparameters import Slice, marks
from search.findings.figures.machines import Usage
from search.findings.figures.style import LINES, variable

SYMBOLS = {"o": "circle", "s": "square", "D": "diamond", "X": "x", "P": "cross", "v": "triangle-down", "h": "hexagon"}
"""Plotly's names of matplotlib's markers."""

Plot = dict[str, Any]
"""What plotly draws: `data` and `layout`."""


def plot(figure: History | Curves | Slice | Usage) -> Plot:
    """What plotly is to draw of a figure of findings."""
    if isinstance(figure, Usage):
        return lines(figure.lines, "seconds", f"{figure.what}, %")
    if isinstance(figure, History):
        return _history(figure)
    return _curves(figure) if isinstance(figure, Curves) else _slice(figure)


def plain_text(text: str) -> str:
    """`text` without what plotly would take for markup."""
    return text.replace("&", "＆").replace("<", "‹").replace(">", "›")


def lines(named: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, *, step: bool = False) -> Plot:
    """One line per name through its points; a `step` keeps its value until the next one."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain_text(name),
            "x": [at for at, _ in points],
            "y": [_number(value) for _, value in points],
            "line": {"color": variable(LINES[index % len(LINES)]), "width": 2, **({"shape": "hv"} if step else {})},
            "marker": {"size": 4},
        }
        for index, (name, points) in enumerate(named.items())
    ]
    return {"data": data, "layout": layout(x, y)}


def layout(x: str, y: str, **more: Any) -> Plot:
    """What all plots share; the page adds sizes and colours of the paper."""
    return {"xaxis": {"title": {"text": plain_text(x)}}, "yaxis": {}, "y_title": plain_text(y), **more}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _dots(x: Sequence[Any], y: Sequence[float], trials: Sequence[int], marker: Plot, hover: str) -> Plot:
    """A dot per trial; a click on it opens the trial."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "customdata": list(trials),
        "marker": marker,
        "hovertemplate": f"{hover}<extra></extra>",
    }


def _history(history: History) -> Plot:
    low, high = history.bounds
    data: list[Plot] = []
    if history.leader:
        last = max(point.trial for point in history.points)
        steps = [*history.leader, (last, history.leader[-1][1])]
        line = {"shape": "hv", "color": "var(--soft)", "width": 1.6}
        x, y = [at for at, _ in steps], [value for _, value in steps]
        named = {"name": "best so far", "hoverinfo": "skip"}
        data.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, **named})
    for state in dict.fromkeys(point.state for point in history.points):
        those = [p for p in history.points if p.state == state and math.isfinite(p.value)]
        marker, colour = MARKERS[state]
        if those:
            # Those whose setting was given have a rim.
            rim = {"width": [1.5 if p.start else 0 for p in those], "color": "var(--ink)"}
            look = {"symbol": SYMBOLS[marker], "color": variable(colour), "size": 7, "line": rim}
            numbers = [p.trial for p in those]
            dots = _dots(numbers, [p.value for p in those], numbers, look, "trial %{x}: %{y:.4f}")
            data.append({**dots, "name": state})
    nothing = [p.trial for p in history.points if not math.isfinite(p.value)]
    if nothing:
        edge = low if history.mode == "max" else high
        look = {"symbol": "x-thin", "size": 6, "line": {"width": 1.5, "color": "var(--c2)"}}
        data.append({**_dots(nothing, [edge] * len(nothing), nothing, look, "trial %{x}"), "name": "no value"})
    made = layout("trial", history.metric)
    made["yaxis"] = {"range": [low, high]}
    return {"data": data, "layout": made}


def _curves(curves: Curves) -> Plot:
    data = [_faint(curves)] if any(line.role == "other" for line in curves.lines) else []
    colours = iter(LINES[1:] * len(curves.lines))
    for line in sorted(curves.lines, key=lambda line: line.role == "winner"):
        if line.role == "other":
            continue
        winner = line.role == "winner"
        colour = variable(LINES[0] if winner else next(colours))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": plain_text(line.label),
                "x": list(range(1, len(line.values) + 1)),
                "y": [_number(value) for value in line.values],
                "customdata": [line.trial] * len(line.values),
                "line": {"color": colour, "width": 3 if winner else 1.5},
                "marker": {"size": 6 if winner else 4},
                "hovertemplate": "epoch %{x}: %{y:.4f}",
            }
        )
    made = layout("epoch", curves.metric)
    made["yaxis"] = {"range": list(curves.bounds)}
    made["shapes"] = [
        {
            "type": "line",
            "x0": rung,
            "x1": rung,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"color": "var(--soft)", "width": 1, "dash": "dot"},
        }
        for rung in curves.rungs
    ]
    return {"data": data, "layout": made}


def _faint(curves: Curves) -> Plot:
    """All other trials as one line with gaps: a thousand lines of their own would take seconds to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    trials: list[int | None] = []
    for line in curves.lines:
        for run in runs(line.values) if line.role == "other" else ():
            x += [*(epoch for epoch, _ in run), None]
            y += [*(value for _, value in run), None]
            trials += [line.trial] * (len(run) + 1)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "other trials",
        "x": x,
        "y": y,
        "customdata": trials,
        "line": {"color": "var(--faint)", "width": 1},
        "marker": {"size": 3},
        "hovertemplate": "trial %{customdata}, epoch %{x}: %{y:.4f}<extra></extra>",
    }


def _slice(figure: Slice) -> Plot:
    axis, (at, worth) = figure.axis, zip(*figure.values, strict=True)
    look = {"color": "var(--c1)", "size": 6, "opacity": 0.6}
    data = [_dots(at, worth, figure.trials, look, "trial %{customdata}: %{y:.4f} at %{x}")]
    if figure.winner is not None:
        look = {"symbol": "star", "color": "var(--c2)", "size": 12}
        data.append(_dots(figure.winner[:1], figure.winner[1:], [], look, "winner: %{y:.4f}"))
    made = layout("", "")
    made["showlegend"] = False
    made["yaxis"] = {"range": list(figure.bounds), "nticks": 5}
    if axis.choices:
        texts = [plain_text(text) for text in axis.choices]
        made["xaxis"] = {
            "tickvals": list(range(len(texts))),
            "ticktext": texts,
            "range": [-0.5, len(texts) - 0.5],
        }
    else:
        ends = [math.log10(end) if axis.log else end for end in (axis.low, axis.high)]
        room = 0.04 * (ends[1] - ends[0]) or 0.5
        made["xaxis"] = {
            "type": "log" if axis.log else "linear",
            "range": [ends[0] - room, ends[1] + room],
            "tickvals": [value for value, _ in marks(axis)],
            "ticktext": [text for _, text in marks(axis)],
        }
    return {"data": data, "layout": made}
