"""Whether a winner can be believed: what fresh seeds made of the best settings, and what of the first value was luck.

The best of many noisy values is in part the luckiest (the winner's curse). So the settings that look best are trained
again from seeds that had no part in the choice; `Search` does that, and here is what it says.
"""

from __future__ import annotations

import heapq
import statistics
from typing import TYPE_CHECKING

from search.decide import agenda
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import Trials

if TYPE_CHECKING:  # which bring Optuna with them
    from search.decide.search import Search

SLACK = 1.15
"""Epochs of a confirmation are taken to be so much slower than those measured; what follows counts what fits."""

START_SECONDS = 0.3
"""What a trial takes beside its epochs: with `digits_cnn` on 2 busy cores it was 0.14 to 0.23 s."""


def time_to_begin(search: Search, workers: int, *, began: float, deadline: float, now: float) -> bool:
    """Whether so little time is left that the confirmation must begin, or would no longer fit before `deadline`.

    Half of the time since the trials `began` is the search's, whatever the confirmation would need, and all of it until
    a trial is complete. All three are of one clock, in seconds.
    """
    if search.trials.confirming is not None or now < (began + deadline) / 2:
        return False
    if not any(trial.state is State.COMPLETE for trial in search.trials.searched):
        return False
    return now >= deadline - seconds_needed(search, workers)


def seconds_needed(search: Search, workers: int) -> float:
    """How long the confirmation would take on so many `workers` if it began now, by the seconds of epochs so far.

    The epochs in hand are waited for. 0 if nothing is to be confirmed.
    """
    plan = agenda.to_confirm(search.trials, search.study, search.rules)
    if plan is None:
        return 0.0
    free = [0.0] * workers
    for number in search.trials.due(plan):
        trial = search.trials[number]
        epochs = SLACK * _seconds(trial) * search.study.epochs_of(trial.point)
        heapq.heapreplace(free, free[0] + START_SECONDS + epochs)
    in_hand = max((_seconds(trial) for trial in search.trials.running() if trial.epochs), default=0.0)
    return in_hand + max(free)


def _seconds(trial: Trial) -> float:
    return statistics.fmean(row.seconds for row in trial.epochs)


def shortfalls(trials: Trials, asked: int, control: bool) -> list[str]:
    """What of a confirmation of `asked` settings, with a `control` if there is one, did not come about, in lines."""
    plan = trials.confirming
    if plan is None:
        return ["there was no time to confirm the winner, so its value is that which the search saw"]
    lines, there = [], len(plan.trials)
    if there < asked:
        lines.append(f"{asked} were to be confirmed, but only {there} settings came out with a finite value")
    if control and plan.control is None:
        lines.append("the first start point came out with no finite value, so the confirmation has no control")
    wanted = {trials[number].setting for number in [*plan.trials, plan.control] if number is not None}
    runs = [trial for trial in trials if trial.confirms is not None and trial.setting in wanted]
    left = len(trials.due(plan)) + sum(trial.state in (State.RUNNING, State.INTERRUPTED) for trial in runs)
    if left:
        total = len(trials.due(plan)) + len(runs)
        lines.append(f"{total - left} of {total} confirmations fitted into the time; what they say counts")
    if not any(each.complete for each in trials.confirmed()):
        lines.append("no confirmation is complete, so the winner is that of the search")
    return lines
