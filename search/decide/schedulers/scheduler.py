"""What a scheduler is: a pure function of the values told so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from search.decide.prospects import Prospects


@dataclass(frozen=True)
class Decision:
    """What to do with a trial after an epoch: go on, stop, or `pause`. `rung` and `cutoff` are None between rungs.

    `cutoff` is the value that had to be reached to go on; None at a rung without rivals. A trial that is paused does
    not `go_on` now; it leaves its worker and keeps its checkpoint.
    """

    go_on: bool
    rung: int | None = None
    cutoff: float | None = None
    pause: bool = False


class Scheduler(Protocol):
    """Decides from the values told so far and nothing else, so the same record gives the same decisions."""

    rungs: tuple[int, ...]
    """Epochs at which trials are compared."""

    pauses: bool = False
    """Whether it pauses trials. Then it may ask the sampler for `Prospects`, so the sampler must be a `Judge`."""

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Take in that `trial` is worth `value` after `epoch` epochs (from 1), and say whether it goes on."""

    def to_continue(
        self, paused: Sequence[int], prospects: Callable[[], Prospects], *, may_begin: bool, must: bool = False
    ) -> int | None:
        """Which of the `paused` trials (one or more) a free worker goes on with; None for none of them.

        `prospects` asks the sampler; `may_begin` says whether a new trial may begin instead, `must` that else the
        search would end without a trial that has its full budget.
        """
        return None
