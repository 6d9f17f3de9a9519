"""What to try next: Optuna, told the truth about every trial."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from search.trials import State
from spaces.space import Choice, Config, Float, Int, Range, Space, SpaceError, Value
from spaces.study import Study


class Sampler(Protocol):
    """Proposes points, and is told what became of every one.

    `propose` depends on what it was told, the seed and the number of the trial, and on nothing else, so the same record
    gives the same proposals.
    """

    def propose(self, number: int) -> Config | None:
        """The point that trial `number` should try, or None if there is nothing left to try."""

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """Trial `number`, the next in order, tries `point`, whoever proposed it."""

    def skipped(self, number: int) -> None:
        """Trial `number`, the next in order, is none to learn from; nothing more is told of it."""

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """Trial `number` ended in `state`; `values` are what it was worth after each of its epochs."""


class OptunaSampler:
    """One of Optuna's samplers behind ask and tell, with the study in memory.

    Told states: a complete trial is COMPLETE with its value; a stopped one is PRUNED and keeps the value after every
    epoch, the last included, so TPE ranks it among trials that got as far (Optuna's `OptunaSearch` in Ray tells it as
    COMPLETE), and so is one that was preempted or timed out; a diverged one, one out of memory, or one that was silent
    from the start is PRUNED without values, the lowest rank of all, so the sampler learns to keep away; a failed one,
    or one preempted before its first epoch, is FAIL, and teaches nothing, as is one that is skipped: a published
    setting, or a confirmation. A trial that is to go on stays RUNNING.
    """

    def __init__(self, study: Study, seed: int, make: Callable[[int, Study], BaseSampler]) -> None:
        self._space, self._seed, self._make, self._study = study.ranges, seed, make, study
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna_study = self._new_study(RandomSampler(seed=seed))

    def _new_study(self, sampler: BaseSampler) -> optuna.Study:
        maximize = self._study.objective.mode == "max"
        return optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)

    def propose(self, number: int) -> Config:
        """See `Sampler.propose`."""
        # A generator per trial instead of one for the search: there is no generator state to save.
        seed = random.Random(f"{self._seed}/{number}").getrandbits(32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # On a study of its own: what a sampler notes down at a trial that it was asked for, and reads while that
            # trial runs, is in no record, so a search that goes on after a crash would not have it.
            draft = self._new_study(self._make(seed, self._study))
            draft.add_trials(self.optuna_study.get_trials(deepcopy=False))
            trial = draft.ask()
            assert trial.number == number, f"Optuna is at trial {trial.number}, the record at {number}"
            point: Config = {}
            for name, range_ in self._space.items():
                if self._space.active(name, point):
                    point[name] = _suggest(trial, name, range_)
        return point

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self.optuna_study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=dict(point),
                distributions={name: distribution(self._space[name]) for name in point},
            )
        )

    def skipped(self, number: int) -> None:
        """See `Sampler.skipped`."""
        self.optuna_study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""
        trial = optuna.trial.Trial(self.optuna_study, self.optuna_study.get_trials(deepcopy=False)[number]._trial_id)
        told, kept = as_told(state, values)
        for epoch, value in enumerate(kept, start=1):
            trial.report(value, epoch)
        if told is TrialState.COMPLETE:
            self.optuna_study.tell(number, kept[-1])
        else:
            self.optuna_study.tell(number, state=told)


def as_told(state: State, values: Sequence[float]) -> tuple[TrialState, Sequence[float]]:
    """What Optuna calls the end `state` of a trial, and which of its `values` after each epoch it hears of."""
    kept = values if state in (State.COMPLETE, State.STOPPED, State.TIMED_OUT, State.PREEMPTED) else ()
    if state is State.COMPLETE and values:
        return TrialState.COMPLETE, kept
    if state in (State.FAILED, State.COMPLETE) or (state is State.PREEMPTED and not values):
        return TrialState.FAIL, kept
    return TrialState.PRUNED, kept


class Grid:
    """Every combination of the values of a space without real numbers, each once; the first names change fastest.

    For comparisons rather than for searches: put `train/seed` last, and every seed sees all settings before the next.
    Start points count as tried. Raises SpaceError for a space with a Float.
    """

    def __init__(self, study: Study, seed: int) -> None:
        self._tried: set[object] = set()
        self._points = grid(study.ranges)

    def propose(self, number: int) -> Config | None:
        """See `Sampler.propose`."""
        return next((point for point in self._points if _typed(point) not in self._tried), None)

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self._tried.add(_typed(point))

    def skipped(self, number: int) -> None:
        """See `Sampler.skipped`."""

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""


def grid(space: Space) -> list[Config]:
    """All points of `space`, in the order in which `Grid` tries them. Raises SpaceError if there is a Float in it."""
    points: list[Config] = [{}]
    for name, range_ in space.items():
        if isinstance(range_, Float):
            raise SpaceError(
                f"a grid needs values to try, but {name} is {range_}; give it a Choice, or another sampler"
            )
        values = range_.values if isinstance(range_, Choice) else range(range_.low, range_.high + 1)
        # Values outside and points inside, so that what stands first changes fastest.
        there = [point for point in points if space.active(name, point)]
        absent = [point for point in points if not space.active(name, point)]
        points = [*absent, *({**point, name: value} for value in values for point in there)]
    return points


def _typed(point: Mapping[str, Value]) -> object:
    """`point` as something that tells 1, True and 1.0 apart."""
    return frozenset((name, type(value), value) for name, value in point.items())


def distribution(range_: Range) -> BaseDistribution:
    """Optuna's name for one of our ranges."""
    if isinstance(range_, Choice):
        return CategoricalDistribution(range_.values)
    if isinstance(range_, Int):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    return FloatDistribution(range_.low, range_.high, log=range_.log)


def _suggest(trial: optuna.Trial, name: str, range_: Range) -> Value:
    if isinstance(range_, Choice):
        value: Value = trial.suggest_categorical(name, range_.values)  # type: ignore[assignment]
        return value
    if isinstance(range_, Int):
        return trial.suggest_int(name, range_.low, range_.high, log=range_.log)
    return trial.suggest_float(name, range_.low, range_.high, log=range_.log)


def _tpe(seed: int, study: Study) -> BaseSampler:
    # Optuna's ten random trials before the model starts are most of a short search; start points stand in for them.
    return TPESampler(
        seed=seed,
        multivariate=True,
        group=study.ranges.conditional,
        constant_liar=True,
        n_startup_trials=max(4, len(study.start)),
    )


def _random(seed: int, study: Study) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[Study, int], Sampler]] = {
    "tpe": lambda study, seed: OptunaSampler(study, seed, _tpe),
    "random": lambda study, seed: OptunaSampler(study, seed, _random),
    "grid": Grid,
}
"""Every sampler by its name on the command line."""
