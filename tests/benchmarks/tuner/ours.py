"""This service as a method under test: its own `Search`, sampler and scheduler, the objects of a real run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search.decide.pair import paired
from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.search import Search
from search.record.events import EpochReport, Event
from search.settings import Settings
from spaces.space import Value
from spaces.study import Study
from tests.benchmarks.tuner.simulation import Job
from tests.benchmarks.tuner.table import Table
from trainables.epoch import Epoch

FIRST_RUNG = 3
"""The curves' first two epochs look untrained, so no method compares trials before the third."""

REDUCTION_FACTOR = 3

NO_END = 10**6


def _no_training(config: Mapping[str, Any], data: Any, *, resume: Any = None) -> Iterator[Epoch]:
    raise AssertionError("the curves are recorded")


def study_of(table: Table, start: Sequence[Mapping[str, Value]] = (), **changes: Any) -> Study:
    """The search for the best configuration of `table` as one of our studies."""
    return Study(
        trainable=_no_training,
        dataset=table.task,
        space=table.space,
        epochs=table.epochs,
        start=start,
        **{"first_rung": FIRST_RUNG, "reduction_factor": REDUCTION_FACTOR, "name": "tuner", **changes},
    )


class _Memory:
    """A record in memory."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def append(self, *events: tuple[str, int | None, Mapping[str, Any]]) -> list[Event]:
        """See `Record.append`."""
        return [Event(next(self._ids), 0.0, kind, trial, body) for kind, trial, body in events]


class Ours:
    """A `Search` by the sampler and the scheduler of a study, as `search/engine` drives it."""

    def __init__(self, study: Study, *, seed: int) -> None:
        sampler, scheduler = paired(study.sampler, study.scheduler, saves=True)
        self.search = Search(
            study,
            _Memory(),
            SAMPLERS[sampler](study, seed),
            SCHEDULERS[scheduler](study),
            Settings(seed=seed, trials=NO_END),
        )

    def ask(self) -> Job | None:
        """See `Tuner.ask`."""
        waiting = self.search.again()
        if waiting is not None:
            self.search.restart(waiting, waiting.epochs[-1])
        trial = waiting or self.search.ask()
        return None if trial is None else Job(trial.number, trial.point, len(trial.epochs))

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        report = EpochReport(epoch, {"val_accuracy": value}, seconds, checkpoint="kept")
        return self.search.report(trial, report) or self.search.goes_on_at_once(trial)
