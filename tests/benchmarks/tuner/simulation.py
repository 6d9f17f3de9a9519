"""Asynchronous workers on a simulated clock: who asks when, who hears when, and what was the best so far."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spaces.space import Value
from tests.benchmarks.tuner.answers import Answers, Recorded, Training
from tests.benchmarks.tuner.table import Table


@dataclass(frozen=True)
class Job:
    """What a worker does next: train `trial` at `point`, from after epoch `done` (0: from the start)."""

    trial: int
    point: Mapping[str, Value]
    done: int = 0


class Tuner(Protocol):
    """A method under test, as a search engine sees it. It maximises."""

    def ask(self) -> Job | None:
        """What a free worker does, or None while there is nothing to do; it is asked again after the next report."""

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """Take in what `trial` is worth after `epoch`, which took `seconds`, and say whether it goes on.

        Not after the last epoch. A trial that does not go on may be given out again by `ask`, from that epoch.
        """


@dataclass(frozen=True)
class Course:
    """How the best value so far grew: it is `values[i]` from `seconds[i]` on.

    With noise they are the true values of what looked best.
    With the numbers of epochs trained and of jobs given out, and the processor seconds that the tuner took.
    """

    seconds: np.ndarray
    values: np.ndarray
    epochs: int
    asks: int
    thinking: float

    def best_at(self, seconds: float) -> float:
        """The best value that had been reported by then; minus infinity before the first report."""
        index = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.values[index - 1]) if index else float("-inf")

    def reached(self, value: float) -> float:
        """When `value` was first reached; infinity if it never was."""
        there = np.flatnonzero(self.values >= value)  # with noise the values go down, too
        return float(self.seconds[there[0]]) if len(there) else float("inf")


def simulate(
    tuner: Tuner,
    table: Table,
    *,
    workers: int,
    seconds: float,
    answers: Answers | None = None,
    resume_cost: float = 0.0,
) -> Course:
    """Let `tuner` search `table` with so many workers for so many simulated seconds.

    The tuner is one process, as drivers are: while it thinks, all that want something of it wait, for as long as it
    takes the processor here. Trainings are those of `answers`, by default rows of the table. To go on with a trial that
    had left its worker takes `resume_cost` of one of its epochs.
    """
    answers = answers or Recorded(table)
    order = itertools.count()
    events: list[tuple[float, int, Job, int]] = []  # when, tie, job, epoch that ends then
    idle, now, driver = workers, 0.0, 0.0
    best, times, values = float("-inf"), [], []
    trainings: dict[int, Training] = {}
    epochs = asks = 0
    thinking = 0.0

    def think(call):  # type: ignore[no-untyped-def]
        nonlocal driver, thinking
        began = time.process_time()
        answer = call()
        took = time.process_time() - began
        thinking += took
        driver = max(driver, now) + took
        return answer

    while True:
        while idle:
            job = think(tuner.ask)
            if job is None:
                break
            asks, idle = asks + 1, idle - 1
            if job.trial not in trainings:
                training = answers.training(job.point)
                if training is None:
                    return Course(np.array(times), np.array(values), epochs, asks, thinking)
                trainings[job.trial] = training
            training = trainings[job.trial]
            again = resume_cost * training.seconds[-1] / table.epochs if job.done else 0.0
            heapq.heappush(events, (driver + again + training.of(job.done + 1), next(order), job, job.done + 1))
        if not events:
            break
        now, _, job, epoch = heapq.heappop(events)
        if now > seconds:
            break
        epochs += 1
        training = trainings[job.trial]
        value = float(training.reported[epoch - 1])
        if value > best:
            best = value
            times.append(now)
            values.append(float(training.true[epoch - 1]))
        goes_on = think(lambda: tuner.report(job.trial, epoch, value, training.of(epoch)))  # noqa: B023 - called at once
        if goes_on and epoch < table.epochs:
            heapq.heappush(events, (driver + training.of(epoch + 1), next(order), job, epoch + 1))
        else:
            idle += 1
    return Course(np.array(times), np.array(values), epochs, asks, thinking)
