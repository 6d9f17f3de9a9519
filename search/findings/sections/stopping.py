"""What early stopping did: who survived which rung, what it saved, and what an audit says it cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.findings import audit
from search.findings.snapshot import Snapshot
from search.record.state import State


@dataclass(frozen=True)
class Rung:
    """Trials that `arrived` at an epoch, that went `on`, and that are still `waiting` to hear."""

    epoch: int
    arrived: int
    on: int
    waiting: int


@dataclass(frozen=True)
class Saving:
    """Epochs of the search proper: `trained`, of the `whole` that full budgets are, and `saved` by stopping or pausing.

    The `other` ones are missing for another reason. `mean` is the seconds of an epoch, `stopped` counts trials.
    """

    trained: int
    whole: int
    saved: int
    other: int
    mean: float
    stopped: int

    @property
    def share(self) -> float:
        """What was saved, of the whole."""
        return self.saved / self.whole

    @property
    def seconds(self) -> float:
        """What was saved, in seconds of training."""
        return self.saved * self.mean


@dataclass(frozen=True)
class Stopping:
    """`complete` of `trials` in the search proper got their full budget; `saving` is None before the first epoch.

    `audit` is `audit.document`, and `audit_lines` says what it means; None and empty if nothing was audited.
    """

    scheduler: str
    trials: int
    complete: int
    rungs: Sequence[Rung]
    saving: Saving | None
    audit: Mapping[str, Any] | None
    audit_lines: Sequence[str]


def build(search: Snapshot) -> Stopping:
    """What early stopping did in `search`."""
    searched = search.trials.searched
    return Stopping(
        scheduler=search.header.scheduler,
        trials=len(searched),
        complete=sum(trial.state is State.COMPLETE for trial in searched),
        rungs=[_rung(search, epoch) for epoch in search.header.rungs],
        saving=_saving(search),
        audit=search.audit,
        audit_lines=audit.lines(search.audit) if search.audit else [],
    )


def _rung(search: Snapshot, epoch: int) -> Rung:
    there = [trial for trial in search.trials if len(trial.epochs) >= epoch and not trial.exempt]
    # One that has more epochs went on, however it ended; one that stands at the rung may be told to still.
    on = sum(len(trial.epochs) > epoch for trial in there)
    undecided = (State.RUNNING, State.PAUSED, State.INTERRUPTED)
    waiting = sum(len(trial.epochs) == epoch and trial.state in undecided for trial in there)
    return Rung(epoch, len(there), on, waiting)


def _saving(search: Snapshot) -> Saving | None:
    searched = search.trials.searched
    trained = sum(len(trial.epochs) for trial in searched)
    if not trained:
        return None
    whole = sum(search.budget(trial) for trial in searched)
    stopped = [trial for trial in searched if trial.state in (State.STOPPED, State.PAUSED)]
    saved = sum(max(0, search.budget(trial) - len(trial.epochs)) for trial in stopped)
    mean = statistics.fmean(row.seconds for trial in searched for row in trial.epochs)
    return Saving(trained, whole, saved, whole - trained - saved, mean, len(stopped))
