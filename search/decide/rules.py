"""What a search goes by, beside its study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search.record.header import Header
from search.settings import CONFIRM_SEEDS


@dataclass(frozen=True)
class Rules:
    """How many trials there are, and which of them go on or are trained again.

    All that is drawn follows from `seed`. So many `trials` are asked for, confirmations not counted.

    With `confirm` the search proper is followed by a confirmation: the best so many settings, and the first start point
    as their control, are trained again in full, each from so many fresh seeds (`confirm_seeds`), as trials that no
    scheduler stops and no sampler hears of.

    Where the scheduler would stop a trial, one whose point was given goes on all the same, and so does the share
    `audit` (0 to 1) of the others, drawn by seed and number.

    With `until_settled` the search proper ends, before its budgets are spent, when `settled.verdict` says so; the
    repeats that this takes are trials that no scheduler stops and no sampler hears of.
    """

    seed: int
    trials: int
    confirm: int | None = None
    confirm_seeds: int = CONFIRM_SEEDS
    audit: float = 0.0
    until_settled: bool = False

    @classmethod
    def of(cls, header: Header) -> Rules:
        """Those of the search that has this `header`."""
        return cls(header.seed, header.trials, header.confirm, header.confirm_seeds, header.audit, header.until_settled)

    def changed(self, resumed: Mapping[str, Any]) -> Rules:
        """As a process goes on that was given more, by the body of its event `resumed`."""
        may_change = ("trials", "confirm", "confirm_seeds")
        return replace(self, **{name: resumed[name] for name in may_change if name in resumed})
