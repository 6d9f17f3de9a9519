"""The winner against what was given: start points, published settings, and the published test accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.findings.snapshot import Accuracy, Snapshot
from search.record.trial import Trial


@dataclass(frozen=True)
class Row:
    """A trial beside the winner; `value` and `difference` (to the winner's value) are None without a finite value."""

    trial: int
    origin: str
    winner: bool
    value: float | None
    difference: float | None
    epochs: int
    budget: int
    state: str


@dataclass(frozen=True)
class StartPoints:
    """`rows` has the winner, then every published setting and start point that was tried; empty if there is neither.

    `published` is the test accuracy that the published setting is said to have, None if there is none, and `trained`
    whether it was trained here.
    """

    metric: str
    winner: bool
    rows: Sequence[Row]
    published: float | None
    trained: bool
    tested: Accuracy | None


def build(search: Snapshot) -> StartPoints:
    """The winner of `search` against what was given."""
    given = [trial for trial in search.trials if trial.published or trial.given]
    rows = []
    if given and search.winner is not None:
        others = [trial for trial in given if trial is not search.winner]
        best = search.winner.best_value(search.objective)
        rows = [_row(search, trial, best) for trial in (search.winner, *others)]
    trained = any(trial.published for trial in given)
    return StartPoints(search.metric, search.winner is not None, rows, search.header.published, trained, search.tested)


def _row(search: Snapshot, trial: Trial, best: float) -> Row:
    is_winner = trial is search.winner
    value = trial.best_value(search.objective) if trial.has_value(search.objective) else None
    return Row(
        trial=trial.number,
        origin=search.origin(trial),
        winner=is_winner,
        value=value,
        difference=None if value is None or is_winner else value - best,
        epochs=len(trial.epochs),
        budget=search.budget(trial),
        state=str(trial.state),
    )
