"""The peers, each by its own objects: what their users would have. All compare trials first at our first rung."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from search.decide.samplers.optuna_sampler import distribution
from spaces.space import Choice, Float, Space, Value
from tests.benchmarks.tuner.ours import FIRST_RUNG, REDUCTION_FACTOR
from tests.benchmarks.tuner.simulation import Job
from tests.benchmarks.tuner.table import Table

METRIC = "val_accuracy"


class RandomSearch:
    """Independent draws from the space, each trained to the end."""

    def __init__(self, table: Table, seed: int) -> None:
        self._space, self._seed, self._trials = table.space, seed, 0

    def ask(self) -> Job:
        """See `Tuner.ask`."""
        self._trials += 1
        return Job(self._trials - 1, _drawn(self._space, np.random.default_rng([self._seed, self._trials])))

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        return True


class FirstRungThenTopK:
    """Rounds of 27 random configurations, trained to the first rung only; the best three of a round go on to the end.

    The baseline "one epoch, then the top k" (arXiv 2307.15422), in rounds so that it has an answer at every budget.
    """

    ROUND, KEPT = 27, 3

    def __init__(self, table: Table, seed: int) -> None:
        self._space, self._seed = table.space, seed
        self._points: list[dict[str, Value]] = []
        self._waiting: list[int] = []
        self._values: dict[int, float] = {}
        self._chosen: set[int] = set()

    def ask(self) -> Job:
        """See `Tuner.ask`."""
        if self._waiting:
            trial = self._waiting.pop(0)
            return Job(trial, self._points[trial], FIRST_RUNG)
        self._points.append(_drawn(self._space, np.random.default_rng([self._seed, len(self._points)])))
        return Job(len(self._points) - 1, self._points[-1])

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        if epoch != FIRST_RUNG or trial in self._chosen:
            return True
        self._values[trial] = value
        if len(self._values) == self.ROUND:
            best = sorted(self._values, key=lambda trial: -self._values[trial])[: self.KEPT]
            self._chosen |= {*best}
            self._waiting += best
            self._values.clear()
        return False


class Optuna:
    """`study.optimize` by ask and tell: a sampler with its defaults, and a pruner asked after every epoch."""

    def __init__(self, table: Table, sampler: BaseSampler, pruner: BasePruner) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {name: distribution(range_) for name, range_ in table.space.items()}
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}
        self._epochs = table.epochs

    def ask(self) -> Job:
        """See `Tuner.ask`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask(self._distributions)
        self._trials[trial.number] = trial
        return Job(trial.number, trial.params)

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        asked = self._trials[trial]
        asked.report(value, epoch)
        if epoch == self._epochs:
            self._study.tell(trial, max(self._study.trials[trial].intermediate_values.values()))
            return False
        if asked.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


class RayTune:
    """Ray Tune's `OptunaSearch` and `ASHAScheduler`, in the order in which its controller calls them (Ray 2.60).

    A result goes to the scheduler first; only where it says to continue does the searcher hear of it. At the end of a
    trial, whatever ended it, the searcher gets the last result as that of a complete one.
    """

    def __init__(self, table: Table, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # A name with a slash would come back as a dictionary in a dictionary.
        self._names = dict(zip(table.parameters, table.space, strict=True))
        space = {short: distribution(table.space[name]) for short, name in self._names.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._searcher = OptunaSearch(space, metric=METRIC, mode="max", seed=seed)
        self._scheduler = ASHAScheduler(metric=METRIC, mode="max", max_t=table.epochs, grace_period=FIRST_RUNG)
        self._trials: list[Any] = []

    def ask(self) -> Job:
        """See `Tuner.ask`."""
        number = len(self._trials)
        trial = SimpleNamespace(trial_id=f"t{number}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            point = self._searcher.suggest(trial.trial_id)
        assert point is not None
        self._trials.append(trial)
        self._scheduler.on_trial_add(None, trial)
        return Job(number, {self._names[short]: value for short, value in point.items()})

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        known = self._trials[trial]
        result = {METRIC: value, "training_iteration": epoch}
        if self._scheduler.on_trial_result(None, known, result) == TrialScheduler.CONTINUE:
            self._searcher.on_trial_result(known.trial_id, result)
            return True
        self._scheduler.on_trial_remove(None, known)
        self._searcher.on_trial_complete(known.trial_id, result)
        return False


class SyneTune:
    """One of Syne Tune's asynchronous multi-fidelity schedulers, called as its tuner calls them."""

    def __init__(self, table: Table, name: str, seed: int) -> None:
        from syne_tune import config_space as domains
        from syne_tune.optimizer import baselines

        def domain(range_: Any) -> Any:
            if isinstance(range_, Choice):
                return domains.choice(list(range_.values))
            if isinstance(range_, Float):
                return (domains.loguniform if range_.log else domains.uniform)(range_.low, range_.high)
            return (domains.lograndint if range_.log else domains.randint)(range_.low, range_.high)

        np.random.seed(seed)
        self._scheduler = getattr(baselines, name)(
            {name: domain(range_) for name, range_ in table.space.items()},
            metric=METRIC,
            do_minimize=False,
            time_attr="epoch",
            max_t=table.epochs,
            grace_period=FIRST_RUNG,
            reduction_factor=REDUCTION_FACTOR,
            random_seed=seed,
        )
        self._trials: list[Any] = []

    def ask(self) -> Job:
        """See `Tuner.ask`."""
        from syne_tune.backend.trial_status import Trial

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = self._scheduler.suggest().config
        trial = Trial(len(self._trials), config, datetime.datetime(2026, 1, 1))
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return Job(trial.trial_id, config)

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        """See `Tuner.report`."""
        known = self._trials[trial]
        if self._scheduler.on_trial_result(known, {METRIC: value, "epoch": epoch}) == "CONTINUE":
            return True
        self._scheduler.on_trial_remove(known)
        return False


def optuna_hyperband(table: Table, seed: int) -> Optuna:
    """TPE with Optuna's Hyperband pruner."""
    pruner = HyperbandPruner(FIRST_RUNG, table.epochs, REDUCTION_FACTOR)
    return Optuna(table, TPESampler(seed=seed), pruner)


def optuna_halving(table: Table, seed: int) -> Optuna:
    """TPE with Optuna's successive-halving pruner."""
    return Optuna(table, TPESampler(seed=seed), SuccessiveHalvingPruner(FIRST_RUNG, REDUCTION_FACTOR))


def optuna_gp(table: Table, seed: int) -> Optuna:
    """Optuna's Gaussian process, each trial trained to the end, as it learns from complete ones only."""
    return Optuna(table, GPSampler(seed=seed), NopPruner())


def _drawn(space: Space, chance: np.random.Generator) -> dict[str, Value]:
    point: dict[str, Value] = {}
    for name, range_ in space.items():
        if isinstance(range_, Choice):
            point[name] = range_.values[int(chance.integers(len(range_.values)))]
            continue
        low, high = float(range_.low), float(range_.high)
        if range_.log:
            value = float(np.exp(chance.uniform(np.log(low), np.log(high))))
        else:
            value = float(chance.uniform(low, high))
        point[name] = value if isinstance(range_, Float) else round(value)
    return point


def peers() -> Mapping[str, Any]:
    """Every peer by its name in the table, as a function of table and seed."""
    return {
        "random": RandomSearch,
        "first_rung_then_top_k": FirstRungThenTopK,
        "optuna_tpe_hyperband": optuna_hyperband,
        "optuna_tpe_halving": optuna_halving,
        "optuna_gp": optuna_gp,
        "ray_optuna_asha": RayTune,
        "syne_tune_asha": lambda table, seed: SyneTune(table, "ASHA", seed),
        "syne_tune_bohb": lambda table, seed: SyneTune(table, "BOHB", seed),
        "syne_tune_ashabore": lambda table, seed: SyneTune(table, "ASHABORE", seed),
    }
