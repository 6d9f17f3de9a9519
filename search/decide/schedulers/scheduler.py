"""What a scheduler is: a pure function of the values told so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Decision:
    """What to do with a trial after an epoch. `rung` and `cutoff` are None where no rung was reached.

    `cutoff` is the value that had to be reached to go on; None at a rung without rivals.
    """

    go_on: bool
    rung: int | None = None
    cutoff: float | None = None


class Scheduler(Protocol):
    """Decides from the values told so far and nothing else, so the same record gives the same decisions."""

    rungs: tuple[int, ...]
    """Epochs at which trials are compared."""

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Take in that `trial` is worth `value` after `epoch` epochs (from 1), and say whether it goes on."""
