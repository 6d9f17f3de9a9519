"""What comes first: how the search stands, what won, and what the test set says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.findings.snapshot import Accuracy, Snapshot
from search.findings.summary import summary_of
from search.record.state import State


@dataclass(frozen=True)
class Head:
    """`value` of the metric was reached by `trial` in `epoch`; None where no trial has a finite value.

    `trials` counts them by end state, `test_openings` tells how often the test set was opened. `short_of_budget` says
    that the winner did not get its full budget. `unit` is "images" or "points". `wall_s` and `training_s` are seconds.
    """

    name: str
    study: str
    about: str
    state: str
    why: str
    dataset: str
    stand_in: str
    """What the search ran on instead of the dataset, "" if on that."""
    test_openings: int
    short_of_budget: bool
    metric: str
    value: float | None
    trial: int | None
    epoch: int | None
    tested: Accuracy | None
    unit: str
    wall_s: float
    training_s: float
    trials: Mapping[str, int]


def build(search: Snapshot) -> Head:
    """The head of a report on `search`."""
    summary, winner = summary_of(search), search.winner
    best = summary["best"] or {}
    return Head(
        name=summary["name"],
        study=summary["study"],
        about=search.header.about,
        state=summary["state"],
        why=summary["why"],
        dataset=summary["dataset"],
        stand_in=search.header.where if summary["stand_in"] else "",
        test_openings=summary["test_openings"],
        short_of_budget=winner is not None and winner.state is not State.COMPLETE,
        metric=search.metric,
        value=best.get(search.objective.metric),
        trial=best.get("trial"),
        epoch=best.get("epoch"),
        tested=search.tested,
        unit=search.unit,
        wall_s=summary["wall_s"],
        training_s=summary["training_s"],
        trials=summary["trials"],
    )
