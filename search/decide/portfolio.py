"""Start points from other data sets: the few settings that together do well on all of them.

A portfolio as in Auto-sklearn 2.0 (Feurer, Eggensperger, Falkner, Lindauer and Hutter 2022, "Auto-Sklearn 2.0:
Hands-free AutoML via Meta-Learning", JMLR 23, section 3.2): settings are chosen greedily, each next to those before it.
Departures: there every setting was trained on every data set; here what a setting was not trained to the end for is
predicted, by a Gaussian process of the data set's own trials (`surrogate`). Losses are between the best and the median
trial of a data set instead of between its best and worst, and the choice ends when another setting would gain little.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError
from threadpoolctl import ThreadpoolController

from search.decide import surrogate
from search.decide.coordinates import Coordinates
from search.decide.samplers.sampler import identity
from search.decide.surrogate import Array, Observed, Posterior
from spaces.space import Space
from spaces.values import Config

WORST = 3.0
"""A loss beyond this says no more than that the setting is bad."""
FIRST = 2
"""So many settings are taken whatever the second gains: the first may have been the best by luck."""
LEAST_GAIN = 0.01
"""Another one must lower the mean loss by so much, or it is not worth a training."""
MOST_VALUES = 3
"""So many values of a curve the process sees: the first, the last and one between; the time for it grows with the
cube."""


@dataclass(frozen=True)
class Trained:
    """A trial on an earlier data set, at `point` of the space.

    `curve` has epochs and what it was worth after them (more is better), `epochs` is its full budget, which it reached
    if it is `complete`. `hopeless` is one that diverged.
    """

    point: Config
    curve: Sequence[tuple[int, float]]
    epochs: int
    complete: bool
    hopeless: bool = False


def losses(space: Space, data: Sequence[Sequence[Trained]], candidates: Sequence[Config]) -> Array:
    """What each of `candidates` (points of `space`, columns) loses on each data set (rows), 0 to WORST.

    0 is the best complete trial of the data set, or what is expected to be better, and 1 the median trial with its full
    budget. Nothing is lost by any where all trials are worth the same, none has a value, or no process explains them.
    """
    found = np.zeros((len(data), len(candidates)))
    coordinates = Coordinates(space)
    asked = coordinates.rows(coordinates.of(candidates))
    keys = [identity(point) for point in candidates]
    with ThreadpoolController().limit(limits=1):  # sums of several threads are not the same to the last digit
        for row, trials in enumerate(data):
            if candidates and any(trial.curve for trial in trials if not trial.hopeless):
                with contextlib.suppress(LinAlgError):  # values that no process explains
                    found[row] = _losses(coordinates, trials, asked, keys)
    return found


def _losses(space: Coordinates, trials: Sequence[Trained], asked: Array, keys: Sequence[object]) -> Array:
    told = [(number, *value) for number, trial in enumerate(trials) for value in _values(trial)]
    trial = np.array([number for number, _, _ in told], dtype=np.int64)
    rows = space.rows(space.of([each.point for each in trials]))
    worth, middle, spread = surrogate.scaled(np.array([worth for _, _, worth in told], float))
    seen = Observed(rows[trial], np.array([time for _, time, _ in told], float), trial, worth)
    kernel = surrogate.untrained(len(space.names))
    if len(seen) > 1 and space.names:
        kernel = surrogate.fitted(seen, space.owner, kernel, np.random.default_rng(0))
    nobody = np.zeros(0)
    posterior = Posterior(kernel, space.owner, seen, Observed(rows[:0], nobody, np.zeros(0, dtype=np.int64), nobody))
    numbers = np.arange(len(trials))
    ends, _ = posterior.at(rows, np.ones(len(trials)), numbers)
    best_of: dict[object, float] = {}
    for number, each in enumerate(trials):
        if each.complete and not each.hopeless and each.curve:
            ends[number] = (each.curve[-1][1] - middle) / spread
            key = identity(each.point)
            best_of[key] = max(best_of.get(key, -math.inf), float(ends[number]))
    expected, _ = posterior.at(asked, np.ones(len(asked)), np.full(len(asked), -1))
    expected = np.array([best_of.get(key, float(mean)) for key, mean in zip(keys, expected, strict=True)])
    # A trial that was stopped may be expected to beat all others, but none was seen to.
    best = max(best_of.values(), default=float(ends.max()))
    span = best - float(np.median(ends))
    if span <= 1e-6:
        return np.zeros(len(keys))
    return np.clip((best - expected) / span, 0.0, WORST)


def _values(trial: Trained) -> list[tuple[float, float]]:
    """The values of a trial by time (see `Observed`), of which few are told; NaN for a hopeless one."""
    if trial.hopeless:
        return [(1.0, math.nan)]
    curve = trial.curve
    if len(curve) > MOST_VALUES:
        curve = (curve[0], curve[len(curve) // 2], curve[-1])
    full = math.log(trial.epochs)
    return [(min(math.log(epoch) / full, 1.0) if full else 1.0, worth) for epoch, worth in curve]


def greedy(
    losses: Array,
    size: int,
    *,
    given: Sequence[int] = (),
    worst: float = WORST,
    first: int = FIRST,
    gain: float = LEAST_GAIN,
) -> list[int]:
    """The columns of up to `size` candidates, chosen one after the other from `losses` (goals × candidates).

    The loss of a set on a goal is that of its best member, `worst` of an empty one. Each next candidate lowers the mean
    over goals most, beside those that are `given` and are not chosen again; where none lowers it, it is the one that is
    best by itself. After the `first` ones the choice ends where the mean would be lowered by less than `gain`. The
    order of goals does not matter, and none is chosen twice.
    """
    best = losses[:, [*given]].min(axis=1, initial=worst, keepdims=True)
    alone = _mean(np.minimum(losses, worst))
    chosen: list[int] = []
    left = losses.shape[1] - len(set(given))
    while len(chosen) < min(size, left):
        together = _mean(np.minimum(losses, best))
        worth = together + 1e-6 * alone
        worth[[*given, *chosen]] = np.inf
        column = int(worth.argmin())
        if len(chosen) >= first and float(_mean(best)[0] - together[column]) < gain:
            break
        chosen.append(column)
        best = np.minimum(best, losses[:, [column]])
    return chosen


def _mean(losses: Array) -> Array:
    """Over goals; in order of size, so that their order changes no digit."""
    ordered: Array = np.sort(losses, axis=0)
    return ordered.mean(axis=0) if len(losses) else np.zeros(losses.shape[1])
