"""Which trials are worth going on with: what a sampler that can judge tells a scheduler that pauses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from spaces.study import Study

FACTOR = 2
"""From rung to rung the epochs double: closer than where trials are stopped, since nothing is final at these."""


@dataclass(frozen=True)
class Prospects:
    """How much better than the best so far a trial is expected to come out, per second that it still takes.

    `new` is that of the point that would be proposed next, infinity while too little is known; `of` those of paused
    trials by number. `gain` is the same not divided by seconds; 1 is the spread of all values seen. All are above 0.
    """

    new: float = math.inf
    of: Mapping[int, float] = field(default_factory=dict)
    gain: Mapping[int, float] = field(default_factory=dict)


@runtime_checkable
class Judge(Protocol):
    """A sampler that also tells which trials are worth going on with."""

    def put_aside(self, number: int, *, aside: bool) -> None:
        """Trial `number` is paused, or goes on."""

    def prospects(self, number: int) -> Prospects:
        """Those of all paused trials, and of the point that trial `number` would try; a pure function, as `propose`."""


def cannot_judge(sampler: str, scheduler: str, samplers: Mapping[str, object]) -> str:
    """What to say of a `scheduler` that pauses beside a `sampler` that is no judge, as some of `samplers` are."""
    able = ", ".join(name for name, make in samplers.items() if isinstance(make, type) and issubclass(make, Judge))
    return f"--scheduler {scheduler} pauses trials, and --sampler {sampler} cannot judge them; take --sampler {able}"


def pause_rungs(study: Study) -> tuple[int, ...]:
    """The epochs after which trials are judged and may be paused: `first_rung`·`FACTOR`^k below the full budget."""
    found: list[int] = []
    while (rung := study.first_rung * FACTOR ** len(found)) < study.epochs:
        found.append(rung)
    return tuple(found)
