"""The sections of a report as HTML: one template, for the report and for the live page.

What differs is how a figure is drawn, which the caller says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.findings import dataset
from search.findings.sections import (
    comparison,
    confirmation,
    course,
    head,
    hyperparameters,
    limits,
    machines,
    mistakes,
    regions,
    reproduction,
    start_points,
    stopping,
    tradeoffs,
    winner,
)
from search.findings.snapshot import Snapshot
from search.findings.text import clock

if TYPE_CHECKING:
    from trainables.data import Data

FOLDER = Path(__file__).parent


def sections(
    search: Snapshot, data: Data | None = None, *, rung: int | None = None, live: bool = False
) -> dict[str, Any]:
    """What `sections.html` shows of `search`; of `data` in the plane the training and validation points are drawn.

    Hyperparameters are compared at `rung`, an epoch; at the one that says most if it is None. A `live` page shows the
    course of the search elsewhere.
    """
    return {
        "live": live,
        "head": head.build(search),
        "look": dataset.recorded(search.header),
        "winner": winner.build(search),
        "confirmation": confirmation.build(search),
        "comparisons": comparison.build(search),
        "course": course.build(search),
        "tradeoffs": tradeoffs.build(search),
        "hyperparameters": hyperparameters.build(search, rung),
        "start_points": start_points.build(search),
        "mistakes": mistakes.build(search),
        "regions": regions.build(search, data),
        "stopping": stopping.build(search),
        "machines": machines.build(search),
        "limits": limits.build(search),
        "reproduction": reproduction.build(search),
    }


def environment(figure: Callable[[Any], Any]) -> Any:
    """Where the templates of this folder are rendered, each figure as `figure` makes it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"value": value_text, "figure": figure, "clock": clock}
    return made


def as_svg(figure: Any) -> Any:
    """A figure as it is drawn where nothing moves; some are SVG text from the start."""
    from markupsafe import Markup

    return Markup(figure if isinstance(figure, str) else figure.svg())


def value_text(value: Any) -> str:
    """A number with four digits, and what it stands for where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
