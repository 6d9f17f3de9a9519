"""Optuna's samplers, shown one rung of the search at a time."""

from __future__ import annotations

import heapq
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.decide.extrapolation import extrapolate
from search.decide.samplers.sampler import identity
from search.record.state import WORTHLESS, State
from spaces.ranges import Choice, Float, Int, Range
from spaces.space import Space
from spaces.study import Study
from spaces.values import Config, Value, copied

MODEL_TRIALS = 6
"""So many trials are enough to learn from; with fewer a sampler draws at random.

Measured with `tests.benchmarks.tuner`, without start points: 6 are no worse than 9, which were better than 12.
"""

MOST_SHOWN = 500
"""More trials than these a sampler is not shown: half of them the best, half the latest.

Its time grows with what it is shown, to seconds for ten thousand trials, and of TPE's trials only the best 25 count as
good (Optuna's default gamma); the others tell where trials are dense.
"""

REDRAWS = 16
"""So often a point that was tried before is drawn again; what is then still the same is tried once more."""


@dataclass
class _Evidence:
    """What is known of one trial: its point, what it was worth up to each epoch, and its end."""

    point: Mapping[str, Value]
    values: Sequence[float] = ()
    state: State = State.RUNNING

    @property
    def hopeless(self) -> bool:
        """Whether its end says that such points are to be kept away from, whatever it showed before."""
        silent = self.state is State.TIMED_OUT and not self.values
        return silent or self.state in (State.DIVERGED, State.OUT_OF_MEMORY, State.INFEASIBLE)


class OptunaSampler:
    """One of Optuna's samplers, shown values of one budget only, so that a stopped trial is judged by what it was.

    A stopped trial is neither complete with its last value (as Ray's `OptunaSearch` tells it) nor pruned (as Optuna's
    own pruners do, which ranks it below whatever came to an end by luck of its arrival). Instead two views take turns:

    - even trials see the highest rung that MODEL_TRIALS trials have reached, as in BOHB (Falkner et al. 2018, section
      4.2), each with its best value up to there, whether it still runs or not, and nothing else. Few are seen, so the
      proposals spread around the best.
    - odd trials see every trial that has reached a rung, its value there raised by the median of what the trials
      gained that went on from rung to rung. Many are seen, so the proposals close in.

    Measured (docs/benchmarks.md): the first view alone is better on tables of curves, where the nearest
    configuration stands for the proposed one, and worse than random draws on a smooth function; the second alone is
    the other way round; in turns they are good on both. To count trials in flight as bad (constant liar) made nothing
    better. The full budget counts as the last rung.

    A trial that diverged, was infeasible or out of memory, or was silent from the start ranks below all that have
    values, so the sampler learns to keep away; one that failed, or was preempted before its first epoch, teaches
    nothing.
    """

    def __init__(self, study: Study, seed: int, make: Callable[[int, Study], BaseSampler]) -> None:
        self._space, self._seed, self._make, self._study = study.ranges, seed, make, study
        self._distributions = {name: _sampled(range_) for name, range_ in self._space.items()}
        self._trials: dict[int, _Evidence] = {}
        self._tried: set[object] = set()
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def propose(self, number: int) -> Config:
        """See `Sampler.propose`."""
        seen = [] if self._make is random_draws else self.seen(number)
        for draw in range(REDRAWS):
            point = self._drawn(f"{self._seed}/{number}" + (f"/{draw}" if draw else ""), seen)
            if identity(point) not in self._tried:
                break
        return point

    def _drawn(self, seed: str, seen: Sequence[FrozenTrial]) -> Config:
        # A generator per trial instead of one for the search: there is no generator state to save.
        number = random.Random(seed).getrandbits(32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            maximize = self._study.objective.mode == "max"
            sampler = self._make(number, self._study)
            # A study for each draw: what a sampler notes down at a trial that it was asked for is in no record.
            study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
            study.add_trials(seen)
            trial = study.ask()
            point: Config = {}
            for name in self._space:
                if self._space.active(name, point):
                    point[name] = _suggest(trial, name, self._space.at(name, point), self._distributions[name])
        return point

    def seen(self, number: int) -> list[FrozenTrial]:
        """What Optuna is shown when trial `number` is proposed; hopeless points as pruned, all others as complete."""
        values = extrapolate(self._curves, self._rungs) if number % 2 else self._at_one_rung()
        shown = []
        for earlier in self._worth_showing(values):
            trial = self._trials[earlier]
            params = {name: _told(self._space, name, trial.point) for name in trial.point}
            told: dict[str, Any] = {"params": params, "distributions": {n: self._distributions[n] for n in params}}
            if earlier in values:
                shown.append(create_trial(value=values[earlier], **told))
            else:
                # Optuna ranks a pruned trial without values below all others.
                shown.append(create_trial(state=TrialState.PRUNED, **told))
        return shown

    def _worth_showing(self, values: Mapping[int, float]) -> list[int]:
        """The trials with a value or a hopeless end, by number; of many the best and the latest."""
        known = [number for number, trial in self._trials.items() if number in values or trial.hopeless]
        if len(known) <= MOST_SHOWN:
            return known
        pick = heapq.nlargest if self._study.objective.mode == "max" else heapq.nsmallest
        best = set(pick(MOST_SHOWN // 2, values, key=values.__getitem__))
        latest = [number for number in known if number not in best][-(MOST_SHOWN // 2) :]
        return sorted([*best, *latest])

    @property
    def _rungs(self) -> tuple[int, ...]:
        return (*self._study.rungs, self._study.epochs)

    @property
    def _curves(self) -> dict[int, Sequence[float]]:
        return {n: t.values for n, t in self._trials.items() if t.state not in WORTHLESS}

    def _at_one_rung(self) -> dict[int, float]:
        """Values of the trials at the highest rung that enough have reached, by number."""
        reached: dict[int, float] = {}
        for rung in reversed(self._rungs):
            reached = {number: curve[rung - 1] for number, curve in self._curves.items() if len(curve) >= rung}
            if len(reached) >= MODEL_TRIALS:
                break
        return reached

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self._trials[number] = _Evidence(dict(point))
        self._tried.add(identity(point))

    def heard(self, number: int, values: Sequence[float], seconds: float = 0.0) -> None:
        """See `Sampler.heard`."""
        self._trials[number].values = values

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""
        self._trials[number].values, self._trials[number].state = values, state


def tpe(seed: int, study: Study) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), over all hyperparameters jointly."""
    return TPESampler(
        seed=seed, multivariate=True, group=study.ranges.conditional, n_startup_trials=MODEL_TRIALS, constant_liar=False
    )


def random_draws(seed: int, study: Study) -> BaseSampler:
    """Independent draws."""
    return RandomSampler(seed=seed)


def distribution(range_: Range) -> BaseDistribution:
    """Optuna's name for one of our ranges: where a bound is another hyperparameter, from its least to its largest."""
    if isinstance(range_, Choice):
        return CategoricalDistribution(tuple(told(range_, value) for value in range_.values))
    if isinstance(range_, Int):
        return IntDistribution(range_.low, range_.high, log=range_.log, step=range_.step or 1)
    return FloatDistribution(range_.low, range_.high, log=range_.log, step=range_.step)


def told(range_: Range, value: Value) -> Any:
    """What Optuna is told for `value`: its text, if one of the choices is a list or tuple, which Optuna cannot keep."""
    if isinstance(range_, Choice) and any(isinstance(each, (list, tuple)) for each in range_.values):
        return repr(value)
    return value


PLACE = FloatDistribution(0.0, 1.0)
"""What stands for a range that depends on others: Optuna knows fixed ranges only, and the place in it compares."""


def _sampled(range_: Range) -> BaseDistribution:
    return distribution(range_) if isinstance(range_, Choice) or not range_.bounds else PLACE


def _told(space: Space, name: str, point: Mapping[str, Value]) -> Any:
    """What the sampler is told for the value of `name` at `point`."""
    range_, value = space[name], point[name]
    if isinstance(range_, Choice) or not range_.bounds:
        return told(range_, value)
    here = space.at(name, point)
    assert isinstance(here, (Float, Int))
    return min(max(here.place(value), 0.0), 1.0)  # type: ignore[arg-type]


def _suggest(trial: optuna.Trial, name: str, range_: Range, sampled: BaseDistribution) -> Value:
    """A value of `range_`, as it is at the point so far; `sampled` is what Optuna draws it from."""
    if isinstance(range_, Choice):
        labels = [told(range_, value) for value in range_.values]
        label = trial.suggest_categorical(name, labels)
        return copied(range_.values[_place_of(label, labels)])
    if sampled is PLACE:
        return range_.at_place(trial.suggest_float(name, 0.0, 1.0))
    if isinstance(range_, Int):
        return trial.suggest_int(name, range_.low, range_.high, log=range_.log, step=range_.step or 1)
    value = trial.suggest_float(name, range_.low, range_.high, log=range_.log, step=range_.step)
    return value if range_.step is None else range_.nearest(value)


def _place_of(label: Any, labels: Sequence[Any]) -> int:
    return next(i for i, each in enumerate(labels) if type(each) is type(label) and each == label)
