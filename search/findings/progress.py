"""How far a search is: trials, time, and how long it may still take, as far as can be told by now."""

from __future__ import annotations

from dataclasses import dataclass

from search.findings.text import clock
from search.record.state import State
from search.record.trials import Trials

GOING = (State.RUNNING, State.INTERRUPTED)


@dataclass(frozen=True)
class Progress:
    """`ended` of `trials` trials have ended, or are paused, after `spent_s` seconds of wall time.

    `budget_s` is the wall time that the search may take, None for no limit. `left_s` is how long it may still take: by
    the epochs that a trial has had and the time that an epoch has taken so far, or by the time budget if that ends
    sooner; None until a trial has ended.
    """

    ended: int
    trials: int
    spent_s: float
    budget_s: float | None
    left_s: float | None

    @property
    def share(self) -> float:
        """How much of the search is done, 0 to 1: of its trials or of its time, whichever will end it."""
        by_trials = self.ended / self.trials if self.trials else 0.0
        by_time = self.spent_s / self.budget_s if self.budget_s else 0.0
        return min(1.0, max(by_trials, by_time))

    def __str__(self) -> str:
        """`12 of 64 trials, 38 % of the time, about 4:10 left`."""
        left = "" if self.left_s is None else f", about {clock(self.left_s)} left"
        if not self.budget_s:
            return f"{self.done()}{left}"
        time = f"{min(1.0, self.spent_s / self.budget_s):.0%} of the time".replace("%", " %")
        return f"{self.ended} of {self.trials} trials, {time}{left}"

    def done(self) -> str:
        """`12 of 64 trials in 3:20`, of a search that is over."""
        return f"{self.ended} of {self.trials} trials in {clock(self.spent_s)}"


def progress(
    trials: Trials, asked: int, spent_s: float, budget_s: float | None, *, trained: int | None = None
) -> Progress:
    """How far a search is of which so many trials were `asked`; confirmations count as soon as they are planned.

    In `spent_s` seconds so many epochs were `trained`, all that there are if that is None.
    """
    due = len(trials.due(trials.confirming)) if trials.confirming else 0
    wanted = max(asked, len(trials) - trials.confirmations) + trials.confirmations + due
    ended = [trial for trial in trials if trial.state not in GOING]
    left = None
    trained = trials.epochs if trained is None else trained
    if ended and trained:
        each = sum(len(trial.epochs) for trial in ended) / len(ended)
        had = sum(len(trial.epochs) for trial in trials if trial.state in GOING)
        epochs = max(0.0, (wanted - len(ended)) * each - had)
        left = epochs * spent_s / trained
    if budget_s is not None:
        rest = max(0.0, budget_s - spent_s)
        left = rest if left is None else min(left, rest)
    return Progress(len(ended), wanted, spent_s, budget_s, left)
