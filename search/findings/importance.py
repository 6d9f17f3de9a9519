"""Which hyperparameters mattered, by Optuna's fANOVA, among trials that are compared after equally many epochs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.record.trial import Trial
from spaces.space import Space
from spaces.study import Objective
from spaces.values import Value, identity

FEWEST = 8
"""With fewer trials than these a forest of trees tells noise from effect no better than a coin does."""


@dataclass(frozen=True)
class Slice:
    """What trials were worth at one rung: the best of the first `epoch` epochs of each that got there.

    `enough` says whether there are so many that importance means something: two for each searched hyperparameter, since
    a forest that splits on d of them needs several points on both sides of a split, and `FEWEST` in any case.
    """

    epoch: int
    trials: tuple[Trial, ...]
    values: tuple[float, ...]
    enough: bool


def at_rung(trials: Sequence[Trial], rungs: Sequence[int], needed: int, objective: Objective) -> Slice:
    """The highest of `rungs` (epochs) that `needed` trials or more have reached with a finite value.

    Higher is better, because it is nearer to what counts; where no rung has so many, the lowest of those that most
    trials reached.
    """
    slices = []
    for rung in sorted(set(rungs)):
        arrived = [trial for trial in trials if len(trial.epochs) >= rung]
        there = [(trial, objective.best(trial.values(objective)[:rung])) for trial in arrived]
        there = [(trial, value) for trial, value in there if math.isfinite(value)]
        made = Slice(rung, tuple(t for t, _ in there), tuple(v for _, v in there), len(there) >= needed)
        slices.append(made)
    full = [made for made in slices if made.enough]
    return full[-1] if full else max(slices, key=lambda made: (len(made.trials), -made.epoch))


def importances(
    space: Space, points: Sequence[Mapping[str, Value]], values: Sequence[float], seed: int
) -> dict[str, float]:
    """The share of each hyperparameter in the variance of `values`, largest first; together they are 1.

    Only of those that every point has and that have more than one value: an effect of a conditional one would be mixed
    with that of its condition. Empty where the values are all the same, which nothing can explain. The same `seed`
    gives the same shares.
    """
    from optuna import create_study, exceptions, logging
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    from search.decide.samplers.optuna_sampler import distribution, told

    shared = [name for name in space if all(name in point for point in points)]
    shared = [name for name in shared if len({identity(point[name]) for point in points}) > 1]
    if not shared or len(set(values)) < 2:
        return {}
    distributions = {name: distribution(space[name]) for name in shared}
    logging.set_verbosity(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ExperimentalWarning)
        study = create_study()
        for point, value in zip(points, values, strict=True):
            params = {name: told(space[name], point[name]) for name in shared}
            study.add_trial(create_trial(params=params, distributions=distributions, value=value))
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), params=shared)
    return dict(shares)
