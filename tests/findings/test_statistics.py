"""Intervals as in the literature, and shares of importance that add up."""

from __future__ import annotations

import math

import pytest

from search.findings import importance, intervals
from spaces.space import Choice, Float, Int, Space


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert intervals.share_interval(right, count) == pytest.approx((low, high), abs=5e-5)


def test_what_mattered_is_found_and_what_did_not_is_not() -> None:
    space = Space({"train/lr": Float(1e-3, 1, log=True), "train/shift": Int(0, 8), "train/flip": Choice(True, False)})
    rows = [
        {"train/lr": 10 ** (-(i * 7 % 30) / 10), "train/shift": i % 9, "train/flip": bool(i % 2)} for i in range(30)
    ]
    values = [math.log10(row["train/lr"]) for row in rows]
    found = importance.importances(space, rows, values, seed=0)
    assert next(iter(found)) == "train/lr"
    assert found["train/lr"] > 0.9
    assert sum(found.values()) == pytest.approx(1)
    assert found == importance.importances(space, rows, values, seed=0)


def test_the_interval_of_an_importance_is_narrow_where_one_hyperparameter_decides_and_wide_where_none_does() -> None:
    space = Space({"train/lr": Float(1e-3, 1, log=True), "train/shift": Int(0, 8)})
    rows = [{"train/lr": 10 ** (-(i * 7 % 30) / 10), "train/shift": i * 5 % 9} for i in range(30)]
    noise = [math.sin(999 * i) for i in range(30)]
    clear, unclear = (
        importance.ranked(space, rows, values, seed=0)
        for values in ([math.log10(row["train/lr"]) for row in rows], noise)
    )
    assert all(each.low <= each.share <= each.high for each in (*clear, *unclear))
    assert clear[0].high - clear[0].low < 0.25
    assert unclear[0].high - unclear[0].low > 0.4
    assert clear == importance.ranked(space, rows, [math.log10(row["train/lr"]) for row in rows], seed=0)


def test_of_thousands_of_trials_so_many_are_looked_at_as_take_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "MOST", 20)
    space = Space({"train/lr": Float(1e-3, 1, log=True), "train/shift": Int(0, 100_000)})
    rows = [{"train/lr": 10 ** (-(i % 30) / 10), "train/shift": i} for i in range(100_000)]
    found = importance.importances(space, rows, [math.log10(row["train/lr"]) for row in rows], seed=0)
    assert next(iter(found)) == "train/lr"
