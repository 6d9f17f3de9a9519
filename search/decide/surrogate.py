"""A Gaussian process over settings and epochs: what trials will come to, and how sure that is.

A process over learning curves that may be frozen and thawed is the idea of Swersky, Snoek and Adams 2014 ("Freeze-thaw
Bayesian optimization", arXiv 1406.3896). Here the kernel is a plain sum (`_covariance`), and epochs count by their
logarithm, so that curves need no form of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Array = NDArray[np.float64]

MEAN, SLOPE = 4.0, 1.0
"""Variances of what all trials share, at epoch 1 and with time; wide, so that they are learned from the values."""
TIME_SCALE = 0.35
"""How far apart, as a share of the logarithm of all epochs, two values of one curve still tell much of one another."""
LENGTH, WORTH, COURSE, TRIAL, NOISE = (0.75, 1.0), (0.35, 0.8), (0.4, 0.4), (0.01, 1.0), (0.003, 1.0)
"""What is believed of the kernel's numbers before there is a value: the median, and the deviation of the logarithm.

From fits to recorded trainings of recurrent, convolutional and fully connected networks (20 tasks; docs/benchmarks.md),
what differs by chance (`TRIAL`, `NOISE`) rounded up, since what answered some of them has no chance in it. `COURSE`
is held closer than it varied: a search that has trained one kind of setting to the end knows the course of no other.
"""
FIT_POINTS = 120
"""The kernel's numbers are fitted on so many values at most: the time for it grows with the cube."""
OF_LONGER = 80
"""So many of these at most are of trials with more than one value, which alone tell of the course."""
FIT_STEPS = 30
WORST = 2.5
"""A value that lies further below the median than so many times what the best lies above it counts as that far."""


@dataclass(frozen=True)
class Kernel:
    """The numbers of the covariance, all as logarithms; values have the mean 0 and the deviation 1.

    `lengths` are those of each hyperparameter, in coordinates from 0 to 1. The others are variances: of what a setting
    comes to (`worth`), of how it gets there (`course`), of a trial beyond its setting, as another seed would have it
    (`trial`), and of single values (`noise`).
    """

    lengths: Array
    worth: float = math.log(WORTH[0])
    course: float = math.log(COURSE[0])
    trial: float = math.log(TRIAL[0])
    noise: float = math.log(NOISE[0])

    @property
    def vector(self) -> Array:
        """All numbers, in the order of the fields."""
        return np.concatenate([self.lengths, [self.worth, self.course, self.trial, self.noise]])

    @staticmethod
    def of(vector: Array) -> Kernel:
        """The kernel whose `vector` this is."""
        return Kernel(vector[:-4].copy(), *(float(number) for number in vector[-4:]))


@dataclass(frozen=True)
class Observed:
    """Values of trials: of each its coordinates (`rows`), the time, the number of its trial, and what it was worth.

    The time is 0 at epoch 1 and 1 at the full budget, and even in the logarithm of epochs.
    """

    rows: Array
    time: Array
    trial: NDArray[np.int64]
    worth: Array

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, chosen: NDArray[np.int64]) -> Observed:
        return Observed(self.rows[chosen], self.time[chosen], self.trial[chosen], self.worth[chosen])  # type: ignore[index]


def scaled(worth: Array) -> tuple[Array, float, float]:
    """`worth` (more is better, NaN for what is hopeless) as the process sees it, and middle and spread of that.

    What is hopeless, or far below all others, counts as WORST. Without a finite value all are 0.
    """
    finite = worth[np.isfinite(worth)]
    if not len(finite):
        return np.zeros(len(worth)), 0.0, 1.0
    top, median = float(finite.max()), float(np.median(finite))
    worst = max(median - WORST * (top - median), float(finite.min())) if top > median else float(finite.min())
    worth = np.maximum(np.where(np.isfinite(worth), worth, worst), worst)
    middle, spread = float(worth.mean()), max(float(worth.std()), 1e-9 * max(1.0, abs(top)))
    return (worth - middle) / spread, middle, spread


def untrained(hyperparameters: int) -> Kernel:
    """What is believed before there is a value."""
    return Kernel(np.full(hyperparameters, math.log(LENGTH[0])))


def fitted(seen: Observed, owner: NDArray[np.int64], start: Kernel, chance: np.random.Generator) -> Kernel:
    """The kernel's numbers that explain what was `seen` best (maximum a posteriori), searched for by their gradient.

    The search begins from what is believed without values, and from `start`; the better end is taken. `owner` is the
    hyperparameter of each coordinate.
    """
    seen = seen[_fit_on(seen, chance)]
    prior = untrained(len(start.lengths)).vector
    misfit = _Misfit(seen, owner, prior)
    bounds = list(zip(prior - 5 * misfit.deviation, prior + 5 * misfit.deviation, strict=True))
    begins = [prior] if np.array_equal(prior, start.vector) else [prior, start.vector]
    ends = [
        minimize(misfit, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": FIT_STEPS})
        for begin in begins
    ]
    return Kernel.of(min(ends, key=lambda end: float(end.fun)).x)


def _fit_on(seen: Observed, chance: np.random.Generator) -> NDArray[np.int64]:
    """Which of the values the kernel is fitted on."""
    if len(seen) <= FIT_POINTS:
        return np.arange(len(seen))
    _, trial, counts = np.unique(seen.trial, return_inverse=True, return_counts=True)
    longer = np.flatnonzero(counts[trial] > 1)
    if len(longer) > OF_LONGER:
        longer = chance.choice(longer, OF_LONGER, replace=False)
    others = np.setdiff1d(np.arange(len(seen)), longer)
    return np.sort(np.concatenate([longer, chance.choice(others, FIT_POINTS - len(longer), replace=False)]))


class _Misfit:
    """Minus the log of the posterior density of a kernel's numbers, up to a constant, and its gradient.

    The gradient as in Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", section 5.4.1.
    """

    def __init__(self, seen: Observed, owner: NDArray[np.int64], prior: Array) -> None:
        count = len(prior) - 4
        self._seen, self._prior = seen, prior
        self.deviation = np.array([LENGTH[1]] * count + [each[1] for each in (WORTH, COURSE, TRIAL, NOISE)])
        self._apart = np.array([_squares(seen.rows[:, owner == h], seen.rows[:, owner == h]) for h in range(count)])
        self._beside = _beside(seen.time, seen.time)
        self._shared = _shared(seen.time, seen.time)
        self._same = (seen.trial[:, None] == seen.trial).astype(float)

    def __call__(self, vector: Array) -> tuple[float, Array]:
        narrow = np.exp(-2 * vector[:-4])
        worth, course, trial, noise = np.exp(vector[-4:])
        squares = np.tensordot(narrow, self._apart, axes=1)
        of_worth, of_course = worth * _matern(squares), course * _matern(squares / 4) * self._beside
        matrix = of_worth + of_course + self._shared + trial * self._same
        matrix[np.diag_indices_from(matrix)] += noise
        try:
            lower = cholesky(matrix, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(vector)
        inverse = cho_solve((lower, True), np.eye(len(matrix)), check_finite=False)
        solved = inverse @ self._seen.worth
        away = (vector - self._prior) / self.deviation
        misfit = 0.5 * self._seen.worth @ solved + np.log(np.diag(lower)).sum() + 0.5 * away @ away
        outer = 0.5 * (inverse - np.outer(solved, solved))
        sloped = outer * (worth * _matern_slope(squares) + course * self._beside * _matern_slope(squares / 4) / 4)
        gradient = [
            *(-2 * narrow * np.tensordot(self._apart, sloped, axes=([1, 2], [0, 1]))),
            (outer * of_worth).sum(),
            (outer * of_course).sum(),
            trial * (outer * self._same).sum(),
            noise * np.trace(outer),
        ]
        return float(misfit), np.array(gradient) + away / self.deviation


def _covariance(kernel: Kernel, squares: Array, time: Array, other: Array, same: NDArray[np.bool_]) -> Array:
    """Of two values whose settings are so far apart (`squares`), at their times, of the `same` trial or not."""
    of_course = np.exp(kernel.course) * _matern(squares / 4) * _beside(time, other)
    return np.exp(kernel.worth) * _matern(squares) + of_course + _shared(time, other) + np.exp(kernel.trial) * same


def _beside(time: Array, other: Array) -> Array:
    """How much of the course of one curve two times share."""
    return np.exp(-0.5 * ((time[:, None] - other) / TIME_SCALE) ** 2)


def _shared(time: Array, other: Array) -> Array:
    """The covariance of what all trials share."""
    return MEAN + SLOPE * np.outer(time, other)


def _variance(kernel: Kernel, time: Array) -> Array:
    """`_covariance` of each value with itself."""
    return np.exp(kernel.worth) + np.exp(kernel.course) + MEAN + SLOPE * time**2 + np.exp(kernel.trial)


def _matern(squares: Array) -> Array:
    """Matérn's kernel with smoothness 5/2."""
    s = np.sqrt(5 * squares)
    return (1 + s + s * s / 3) * np.exp(-s)


def _matern_slope(squares: Array) -> Array:
    """The derivative of `_matern`."""
    s = np.sqrt(5 * squares)
    return -5 / 6 * (1 + s) * np.exp(-s)


def _squares(rows: Array, others: Array) -> Array:
    """Squared distances."""
    return np.maximum((rows * rows).sum(1)[:, None] + (others * others).sum(1) - 2 * rows @ others.T, 0.0)


class Posterior:
    """What is believed of all settings after `seen`, with the numbers of `kernel`.

    Trials in flight are told in `flying` (rows, times and numbers; their worth is not looked at): each is taken to come
    to what is expected of it, so that the next proposal does not repeat it (kriging believer, Ginsbourger et al. 2010).
    """

    def __init__(self, kernel: Kernel, owner: NDArray[np.int64], seen: Observed, flying: Observed) -> None:
        self._kernel, self._lengths = kernel, np.exp(kernel.lengths)[owner]
        matrix = self._between(seen, seen)
        matrix[np.diag_indices_from(matrix)] += np.exp(kernel.noise) + 1e-8
        worth = seen.worth
        if len(flying):
            across, among = self._between(flying, seen), self._between(flying, flying)
            among[np.diag_indices_from(among)] += np.exp(kernel.noise) + 1e-8
            expected = across @ cho_solve(cho_factor(matrix, lower=True, check_finite=False), worth, check_finite=False)
            matrix = np.block([[matrix, across.T], [across, among]])
            worth = np.concatenate([worth, expected])
            seen = Observed(
                *(np.concatenate([getattr(seen, n), getattr(flying, n)]) for n in ("rows", "time", "trial", "worth"))
            )
        self._seen = seen
        self._lower = cholesky(matrix, lower=True, check_finite=False)
        self._solved = solve_triangular(self._lower, worth, lower=True, check_finite=False)

    def at(self, rows: Array, time: Array, trial: NDArray[np.int64]) -> tuple[Array, Array]:
        """Mean and standard deviation there, without noise; a trial that nobody has seen has a number below 0."""
        asked = Observed(rows, time, trial, time)
        v = solve_triangular(self._lower, self._between(asked, self._seen).T, lower=True, check_finite=False)
        variance = np.maximum(_variance(self._kernel, time) - (v * v).sum(0), 1e-6)
        return v.T @ self._solved, np.sqrt(variance)

    def _between(self, some: Observed, others: Observed) -> Array:
        squares = _squares(some.rows / self._lengths, others.rows / self._lengths)
        return _covariance(self._kernel, squares, some.time, others.time, some.trial[:, None] == others.trial)


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """By how much each exceeds `best` on average, where it does (Mockus 1975; Jones et al. 1998)."""
    z = (mean - best) / deviation
    return deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def chance_of_more(mean: Array, deviation: Array, best: float) -> Array:
    """How likely each exceeds `best`."""
    chance: Array = ndtr((mean - best) / deviation)
    return chance


class Cost:
    """Seconds of an epoch, by setting: their logarithm is a parabola in each coordinate (ridge regression)."""

    FEWEST = 3

    def __init__(self, rows: Array, seconds: Array) -> None:
        self._weights: Array | None = None
        if len(seconds) < self.FEWEST or not (seconds > 0).any():
            return
        logs = np.log(np.maximum(seconds, 1e-3 * float(np.median(seconds[seconds > 0]))))
        self._middle, self._low, self._high = float(logs.mean()), float(logs.min()) - 0.5, float(logs.max()) + 0.5
        terms, width = self._terms(rows), rows.shape[1]
        ridge = np.diag(np.concatenate([[1e-3], np.full(width, 0.3), np.full(width, 1.0)]))
        weights = np.linalg.solve(terms.T @ terms + ridge, terms.T @ (logs - self._middle))
        self._weights = weights.astype(np.float64)

    @property
    def known(self) -> bool:
        """Whether enough trials have told their seconds."""
        return self._weights is not None

    def of(self, rows: Array) -> Array:
        """In seconds; all 1 while too little is known. Half an order of magnitude beyond what was seen at most."""
        if self._weights is None:
            return np.ones(len(rows))
        return np.exp(np.clip(self._terms(rows) @ self._weights + self._middle, self._low, self._high))

    @staticmethod
    def _terms(rows: Array) -> Array:
        centred = 2 * rows - 1
        return np.concatenate([np.ones((len(rows), 1)), centred, centred**2], axis=1)
