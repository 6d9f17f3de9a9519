"""The same settings from several seeds: compared level by level, or confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.findings.figures.axes import clipped, fix_ticks, legend, locator, name_axes, whole_numbers
from search.findings.figures.style import INK, LINES, SOFT, new_figure, styled, svg


@dataclass(frozen=True)
class Confirmed:
    """A setting with fresh seeds: their values and mean, its interval, and the value that the search had of it."""

    label: str
    values: Sequence[float]
    mean: float
    interval: Sequence[float] | None
    search_value: float
    winner: bool = False


def comparison(key: str, levels: Sequence[tuple[str, Sequence[Sequence[float]]]], metric: str) -> str:
    """Learning curves of each level laid over one another: the mean over its runs, and from the least to the most."""
    with styled():
        figure, axes = new_figure(8.0, 4.2)
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
            axes.plot(at, means, color=colour, lw=1.8, ls=dashes, marker=marker, ms=4, label=clipped(label, 24))
        whole_numbers(axes, 1, longest)
        name_axes(axes, "epoch", metric)
        legend(axes)
        return svg(figure, key, f"{metric} after each epoch, by level")


def confirmation(rows: Sequence[Confirmed], metric: str) -> str:
    """What fresh seeds made of each setting, a line each: their values, the mean with its interval, the search's value.

    An interval from two or three seeds can be wider than all that is worth showing; it is cut at the figure's edge.
    """
    with styled():
        figure, axes = new_figure(6.0, 0.9 + 0.36 * len(rows))
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
        fix_ticks(axes.yaxis, range(len(rows)), [clipped(row.label, 16) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(locator(6))
        legend(axes)
        return svg(figure, "confirmation", f"{metric} of the best settings with fresh seeds")
