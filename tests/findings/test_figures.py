"""Figures show what matters, and are the same every time."""

from __future__ import annotations

import pytest

from search.findings.figures import course
from search.findings.figures.axes import window


@pytest.mark.parametrize("mode", ["max", "min"])
def test_one_hopeless_value_does_not_flatten_all_others(mode: str) -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.1]
    low, high = window([v if mode == "max" else -v for v in values], mode)
    low, high = (low, high) if mode == "max" else (-high, -low)
    assert 0.7 < low < 0.9
    assert 0.95 < high < 1


def test_a_figure_is_the_same_every_time() -> None:
    points = [course.Point(number, 0.5 + number / 100, "complete") for number in range(5)]
    drawn = {course.History(points, [(0, 0.5)], "value", "max").svg() for _ in range(2)}
    assert len(drawn) == 1
