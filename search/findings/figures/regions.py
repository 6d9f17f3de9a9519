"""The decisions of a classifier over data that are points in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.findings.figures.axes import clipped, legend, name_axes
from search.findings.figures.style import INK, LINES, PAGE, new_figure, styled, svg


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

    with styled():
        figure, axes = new_figure(5.0, 4.4)
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
            Line2D([], [], marker="s", ls="", color=LINES[i % len(LINES)], label=clipped(name, 18))
            for i, name in enumerate(names)
        ]
        handles += [Line2D([], [], marker=shapes[p][0], ls="", color=INK, ms=4, label=p) for p, _, _ in points]
        axes.set_xlim(xs[0], xs[-1])
        axes.set_ylim(ys[0], ys[-1])
        axes.grid(visible=False)
        name_axes(axes, "first input", "second input")
        legend(axes, handles)
        return svg(figure, "regions", "the class that the winner gives each place of the plane")
