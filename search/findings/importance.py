"""Which hyperparameters mattered, by Optuna's fANOVA, among trials that are compared after equally many epochs.

fANOVA: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML 2014),
section 3. Its authors give one number; ours has an interval, by the bootstrap (Efron and Tibshirani 1993, section 13).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.record.trial import Trial
from spaces.space import Space
from spaces.study import Objective
from spaces.values import Value, identity

FEWEST = 8
"""With fewer trials than these a forest of trees tells noise from effect no better than a coin does."""

MOST = 256
"""Of more trials than these, this many are drawn by the seed: a tree of n leaves takes a time of n²."""

TREES = 64
"""Optuna's own number, for a share."""

RESAMPLES = 16
TREES_OF_A_RESAMPLE = 4
MOST_IN_A_RESAMPLE = 128
"""The forests behind an interval are smaller, and so are their draws of many trials, so that it takes less time than
the share. With fewer trials in a draw the interval is wider than it could be, never narrower."""

INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class Share:
    """The share of a hyperparameter in the variance of values, in 0…1, and the 90 % interval of it, `low` to `high`."""

    name: str
    share: float
    low: float
    high: float


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


def ranked(
    space: Space, points: Sequence[Mapping[str, Value]], values: Sequence[float], seed: int
) -> tuple[Share, ...]:
    """The share of each hyperparameter in the variance of `values`, with its interval, largest share first.

    The interval is of shares in `RESAMPLES` draws of the trials with replacement; it is widened to hold the share
    itself, since draws of few trials are biased. Otherwise as `importances`.
    """
    shares = importances(space, points, values, seed)
    drawn: dict[str, list[float]] = {name: [] for name in shares}
    rng = np.random.default_rng(seed)
    for number in range(RESAMPLES if shares else 0):
        rows = rng.integers(len(points), size=min(len(points), MOST_IN_A_RESAMPLE))
        again = importances(
            space, [points[row] for row in rows], [values[row] for row in rows], seed + number, TREES_OF_A_RESAMPLE
        )
        for name in shares:
            drawn[name].append(again.get(name, 0.0))
    made = []
    for name, share in shares.items():
        low, high = (float(bound) for bound in np.quantile(drawn[name], INTERVAL))
        made.append(Share(name, share, min(low, share), max(high, share)))
    return tuple(made)


def importances(
    space: Space, points: Sequence[Mapping[str, Value]], values: Sequence[float], seed: int, trees: int = TREES
) -> dict[str, float]:
    """The share of each hyperparameter in the variance of `values`, largest first; together they are 1.

    Only of those that every point has and that have more than one value: an effect of a conditional one would be mixed
    with that of its condition. Empty where the values are all the same, which nothing can explain. Of more than `MOST`
    trials only so many are looked at. The same `seed` gives the same shares.
    """
    from optuna import create_study, exceptions, logging
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    from search.decide.samplers.optuna_sampler import distribution, told

    if len(points) > MOST:
        rows = sorted(np.random.default_rng(seed).choice(len(points), MOST, replace=False))
        points, values = [points[row] for row in rows], [values[row] for row in rows]
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
        evaluator = FanovaImportanceEvaluator(n_trees=trees, seed=seed)
        shares = get_param_importances(study, evaluator=evaluator, params=shared)
    return {name: float(share) for name, share in shares.items()}
