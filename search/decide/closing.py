"""The end of a time budget: what it is kept for, and that nothing begins which would be cut off too soon."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from search.decide import agenda
from search.record.events import Closing

if TYPE_CHECKING:  # which bring Optuna with them
    from search.decide.search import Search
    from search.record.header import Header
    from search.record.trials import Trials

LATEST = 20
"""By so many trials it is judged how long the next one would take."""
USUAL = 6
"""Known sets have so many images to train on for each of the test set, whose size nobody asks early."""


def due(search: Search, left: float) -> Closing | None:
    """What is to be recorded if in the `left` seconds a new trial would not get to the first rung; None if it would.

    By the median of the last trials that got there, each at the pace of its last epoch: its start is not counted, nor
    what is computed once for all. None too while no trial has got there, and where nothing new would begin anyway.
    """
    trials = search.trials
    if trials.closing is not None or trials.confirming is not None or trials.settled is not None:
        return None
    if not agenda.may_begin(trials, search.study, search.rules) and not trials.paused():
        return None
    rung = search.scheduler.rungs[0] if search.scheduler.rungs else 1
    seconds: list[float] = []
    for number in reversed(range(len(trials))):
        epochs = trials[number].epochs
        if len(epochs) >= rung:
            seconds.append(rung * epochs[-1].seconds)
        if len(seconds) == LATEST:
            break
    needed = statistics.median(seconds) if seconds else 0.0
    return Closing(round(left, 3), round(needed, 3), rung) if 0 < left < needed else None


def measuring(trials: Trials, header: Header) -> float:
    """The seconds that it takes to measure the best trial so far: on the test set, and twice on the validation part.

    By the slowest of its epochs, for which a network has seen all images; to train takes longer than to judge, so this
    is more than enough, as a rule. 0 where nothing is known of the data, and while no trial has a value.
    """
    seen = header.train_images + header.val_images
    best = trials.leader() or trials.best()
    if best is None or not seen:
        return 0.0
    parts = header.contents.parts if header.contents else {}
    test = sum(parts["test"].values()) if "test" in parts else header.train_images // USUAL
    slowest = max(row.seconds for row in best.epochs)
    return slowest / seen * (test + 2 * header.val_images) / max(1, header.process.cores)


def in_words(told: Closing) -> str:
    """Why nothing new begins, for people."""
    epochs = "the first epoch" if told.epochs == 1 else f"the first {told.epochs} epochs"
    return f"{told.left:.1f} s are left, and {epochs} of a new trial would take {told.needed:.1f} s: none begins"
