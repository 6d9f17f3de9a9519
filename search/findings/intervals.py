"""Intervals for few values: of a mean, of a share, of a difference of means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `values` by Student's t; None with fewer than two."""
    n = len(values)
    if n < 2:
        return None
    return _around(statistics.fmean(values), statistics.variance(values) / n, n - 1)


def share_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of `count` were seen (Wilson 1927); `count` is at least 1."""
    z = statistics.NormalDist().inv_cdf(0.975)
    share, weight = right / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mean_share_interval(rights: Sequence[int], counts: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of the mean of shares of which `rights` of `counts` (each at least 1) were seen.

    Normal, with the variance of each share as if two more had been right and two more wrong (Agresti and Coull 1998),
    since a share of 0 or 1 would have none.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    mean = statistics.fmean(right / count for right, count in zip(rights, counts, strict=True))
    smoothed = [((right + 2) / (count + 4), count + 4) for right, count in zip(rights, counts, strict=True)]
    reach = z * math.sqrt(sum(share * (1 - share) / count for share, count in smoothed)) / len(counts)
    return max(0.0, mean - reach), min(1.0, mean + reach)


def difference_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `one` less that of `other`, whatever their variances (Welch 1947, Biometrika).

    The degrees of freedom are Satterthwaite's. None if either has fewer than two values.
    """
    if min(len(one), len(other)) < 2:
        return None
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (one, other)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / n for part, n in parts) if variance else math.inf
    return _around(statistics.fmean(one) - statistics.fmean(other), variance, freedom)


def _around(mean: float, variance: float, freedom: float) -> tuple[float, float]:
    """The 95 % t interval around a `mean` that itself has that `variance`."""
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance) if variance else 0.0
    return mean - reach, mean + reach
