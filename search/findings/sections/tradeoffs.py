"""What the objective costs in other metrics: which trials are better in none of them than another, and in one worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.findings.snapshot import Snapshot
from search.findings.text import configuration
from search.record.state import State
from spaces.objective import Constraint, constraints_of

MOST_ROWS = 20


@dataclass(frozen=True)
class Row:
    """A trial that no other beats in all metrics; `values` are those of its best epoch, in the order of the columns."""

    trial: int
    values: Sequence[float]
    setting: str
    winner: bool


@dataclass(frozen=True)
class Tradeoffs:
    """The first `rows` of the Pareto front, the best in the objective first, of `front` trials on it among `compared`.

    `metrics` are the columns, each with "max" or "min". `infeasible` trials broke one of the `constraints`, which are
    texts. `weights` are how much a metric adds to the objective.
    """

    metrics: Sequence[tuple[str, str]]
    rows: Sequence[Row]
    front: int
    compared: int
    constraints: Sequence[str]
    weights: Mapping[str, float]
    infeasible: int


def build(search: Snapshot) -> Tradeoffs | None:
    """The trade-offs of a study with constraints, or with a weighted objective; None for others."""
    constraints, objective = constraints_of(search.header.definition.get("constraint", {})), search.objective
    if not constraints and not objective.weights:
        return None
    metrics = _metrics(search, constraints)
    points = []
    for trial in search.trials.ranking():
        told = trial.best_epoch(objective).metrics
        if all(name in told for name in metrics):
            points.append((trial, [told[name] for name in metrics]))
    signs = [1 if mode == "max" else -1 for mode in metrics.values()]
    front = [(trial, own) for trial, own in points if not any(_beats(other, own, signs) for _, other in points)]
    front.sort(key=lambda pair: -signs[0] * pair[1][0])
    return Tradeoffs(
        list(metrics.items()),
        [Row(trial.number, own, configuration(trial), trial is search.winner) for trial, own in front[:MOST_ROWS]],
        len(front),
        len(points),
        [f"{each.metric} {each.text}" for each in constraints],
        objective.weights,
        sum(trial.state is State.INFEASIBLE for trial in search.trials),
    )


def _metrics(search: Snapshot, constraints: Sequence[Constraint]) -> dict[str, str]:
    """The metrics that are weighed against each other, with the direction in which each is better."""
    objective = search.objective
    other = {"max": "min", "min": "max"}
    weighed = {name: objective.mode if w > 0 else other[objective.mode] for name, w in objective.weights.items() if w}
    bounded = {each.metric: "min" if each.text.strip().startswith("<") else "max" for each in constraints}
    return {**(weighed or {objective.metric: objective.mode}), **bounded}


def _beats(one: Sequence[float], other: Sequence[float], signs: Sequence[int]) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    gains = [sign * (a - b) for a, b, sign in zip(one, other, signs, strict=True)]
    return min(gains) >= 0 and max(gains) > 0
