"""The controlled comparison of a grid, with all else equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.findings import comparison
from search.findings.figures import seeds as figures
from search.findings.snapshot import Snapshot
from search.findings.text import setting

MOST_FIGURES = 12
"""Comparisons that get a figure; all of them are in the table."""


@dataclass(frozen=True)
class Comparison:
    """The levels of hyperparameter `name`, with all `others` held equal; `figure` is "" where there is none."""

    name: str
    others: str
    levels: Sequence[comparison.Level]
    figure: str


def build(search: Snapshot) -> list[Comparison] | None:
    """Each comparison that `search` allows; None if its sampler went over no grid."""
    if search.header.sampler != "grid":
        return None
    groups = comparison.compare(search.space, search.trials)
    return [
        Comparison(group.name, setting(group.others), group.levels, _figure(search, number, group))
        for number, group in enumerate(groups)
    ]


def _figure(search: Snapshot, number: int, group: comparison.Group) -> str:
    levels = [(str(level.value), list(level.curves.values())) for level in group.levels]
    if number >= MOST_FIGURES or not any(runs for _, runs in levels):
        return ""
    return figures.comparison(f"comparison-{number}", levels, search.metric)
