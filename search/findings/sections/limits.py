"""Edges and failures: where the space may be too narrow, and which ends were nobody's wish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from search.findings.sections.hyperparameters import axis_of
from search.findings.snapshot import Snapshot
from search.findings.text import short
from search.record.state import State
from spaces.space import Choice

EDGE = 0.05
"""So near to an end of its range, on the range's scale from 0 to 1, a value lies at the edge."""
FAULTS = (State.DIVERGED, State.INFEASIBLE, State.OUT_OF_MEMORY, State.FAILED, State.TIMED_OUT, State.PREEMPTED)
MOST_REASONS = 3
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Edge:
    """A hyperparameter whose best value lies at the `lower` or `upper` end of its range."""

    name: str
    value: str
    end: str
    range: str


@dataclass(frozen=True)
class Failure:
    """`count` trials, a `share` of all, ended in `state`; `reasons` are the most frequent, with how often they came."""

    state: str
    count: int
    share: float
    reasons: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Limits:
    """`winner` says whether there is one, whose `edges` these are."""

    winner: bool
    edges: Sequence[Edge]
    failures: Sequence[Failure]


def build(search: Snapshot) -> Limits:
    """Edges and failures of `search`."""
    return Limits(search.winner is not None, _edges(search), _failures(search))


def _edges(search: Snapshot) -> list[Edge]:
    edges = []
    for name, value in (search.winner.point if search.winner else {}).items():
        range_ = search.space.get(name)
        if range_ is None or isinstance(range_, Choice) or range_.low == range_.high or value not in range_:
            continue
        place = axis_of(name, range_).place(value)
        if min(place, 1 - place) <= EDGE:
            edges.append(Edge(name, short(value), "lower" if place <= EDGE else "upper", str(range_)))
    return edges


def _failures(search: Snapshot) -> list[Failure]:
    failures = []
    for state in FAULTS:
        reasons = [_one_line(trial.why) for trial in search.trials if trial.state is state]
        if reasons:
            frequent = Counter(reasons).most_common(MOST_REASONS)
            failures.append(Failure(str(state), len(reasons), len(reasons) / len(search.trials), frequent))
    return failures


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
