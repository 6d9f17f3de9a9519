"""Optuna's samplers, shown one rung of the search at a time."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.sampler import identity
from search.trials import State
from spaces.space import Choice, Config, Int, Range, Value
from spaces.study import Study

MODEL_TRIALS = 6
"""A sampler with a model learns from the highest rung that so many trials have reached; before that it draws at random.

Measured with `tests.benchmarks.tuner`, without start points: 6 are no worse than 9 (one more than there are
hyperparameters, and one for luck), which were better than 12 and 20.
"""

REDRAWS = 16
"""So often a point that was tried before is drawn again; what is then still the same is tried once more."""


@dataclass
class _Evidence:
    """What is known of one trial: its point, what it was worth up to each epoch, and its end."""

    point: Mapping[str, Value]
    values: Sequence[float] = ()
    state: State = State.RUNNING


class OptunaSampler:
    """One of Optuna's samplers, shown at each proposal one rung of the search, the highest that enough have reached.

    As BOHB (Falkner et al. 2018, section 4.2) we let the model see values of one budget only, so that a trial that was
    stopped early is never compared with one that was trained to the end, neither as complete (as Ray's `OptunaSearch`
    has it) nor as pruned (as Optuna's own pruners do, which made TPE worse than random draws on recorded curves). The
    rungs are those of the study, its full budget the last; a trial is seen at every rung that it has reached, whether
    it still runs or not, with its best value up to there. Departures: a rung is enough with MODEL_TRIALS trials, one
    budget's model is never mixed with random draws, and trials that have not come so far are left out, also those that
    run (to count them as bad, as constant liars do, made no difference).

    A trial that diverged, was out of memory, or was silent from the start ranks below all that have values, so the
    sampler learns to keep away; one that failed, or was preempted before its first epoch, teaches nothing.
    """

    def __init__(self, study: Study, seed: int, make: Callable[[int, Study], BaseSampler]) -> None:
        self._space, self._seed, self._make, self._study = study.ranges, seed, make, study
        self._distributions = {name: distribution(range_) for name, range_ in self._space.items()}
        self._trials: dict[int, _Evidence] = {}
        self._tried: set[object] = set()
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def propose(self, number: int) -> Config:
        """See `Sampler.propose`."""
        seen = self.seen()
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
            for name, range_ in self._space.items():
                if self._space.active(name, point):
                    point[name] = _suggest(trial, name, range_)
        return point

    def seen(self) -> list[FrozenTrial]:
        """What Optuna is shown: the trials at the rung that the next proposal learns from, as complete ones."""
        rungs = (*self._study.rungs, self._study.epochs)
        enough = [rung for rung in rungs if sum(len(t.values) >= rung for t in self._trials.values()) >= MODEL_TRIALS]
        rung = max(enough, default=rungs[0])
        shown = []
        for trial in self._trials.values():
            params = dict(trial.point)
            told: dict[str, Any] = {"params": params, "distributions": {n: self._distributions[n] for n in params}}
            hopeless = trial.state in (State.DIVERGED, State.OUT_OF_MEMORY)
            if hopeless or (trial.state is State.TIMED_OUT and not trial.values):
                # Optuna ranks a pruned trial without values below all others.
                shown.append(create_trial(state=TrialState.PRUNED, **told))
            elif len(trial.values) >= rung and trial.state is not State.FAILED:
                shown.append(create_trial(value=trial.values[rung - 1], **told))
        return shown

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self._trials[number] = _Evidence(dict(point))
        self._tried.add(identity(point))

    def heard(self, number: int, values: Sequence[float]) -> None:
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
