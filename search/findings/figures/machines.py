"""How busy machines were while a search ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.findings.figures.axes import legend, name_axes
from search.findings.figures.style import LINES, new_figure, styled, svg


@dataclass(frozen=True)
class Usage:
    """Percent over seconds since the search began, one line per name; `what` of a machine was used, for people."""

    lines: Mapping[str, Sequence[tuple[float, float]]]
    what: str

    def svg(self) -> str:
        """As SVG text."""
        with styled():
            figure, axes = new_figure()
            for index, (name, points) in enumerate(self.lines.items()):
                x, y = zip(*points, strict=True)
                axes.plot(x, y, color=LINES[index % len(LINES)], lw=1.4, marker=".", ms=4, label=name)
            axes.set_ylim(0, 105)
            name_axes(axes, "seconds", f"{self.what}, %")
            legend(axes)
            return svg(figure, f"usage-{self.what.replace(' ', '-')}", f"{self.what} in percent over time")
