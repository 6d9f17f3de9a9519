"""Whether a search has found what there is to find: what more of it would gain is less than what a seed decides.

Makarova et al. 2022 (AutoML, "Automatic termination for hyperparameter optimization") end a search when a bound on what
is still to be gained falls below the error of the estimate itself, and Optuna's Terminator does so with the spread of
cross-validation. Both fit a Gaussian process, and cross-validation is nothing that networks are given. Here the spread
is measured by training one setting again from fresh seeds, and the gain is estimated from the latest proposals alone.
"""

from __future__ import annotations

import math
import statistics

from search.decide.extrapolation import extrapolate
from search.record.events import Settled
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import Trials
from spaces.study import Study

REPEATS = 3
"""So often the first complete trial is trained again. With its first training that is a spread of four values."""

WINDOW = 20
"""So many of the latest proposals tell what the next ones will be like; the gain is that of as many more."""

CAUTION = 0.6
"""The spread of four values is taken for this much of itself: with four chances in five it is really more.

The 20 % point of chi-squared with three degrees of freedom is 1.005, and the spread is underestimated by the root of
1.005 / 3 = 0.58 as rarely as that. A spread that is taken too small lets the search go on.
"""


def to_repeat(trials: Trials) -> Trial | None:
    """The trial that is to be trained again now, to measure the spread; None if there is none yet, or none any more."""
    first = _first(trials)
    if first is None or sum(trial.repeats is not None for trial in trials) >= REPEATS:
        return None
    return first


def verdict(trials: Trials, study: Study) -> Settled | None:
    """Why the search is settled: `expected_gain` is below `spread`; None if it is not, or that cannot be told yet.

    Both are in the unit of the objective; `spread` is the standard deviation over seeds, times CAUTION. Told are also
    the `best` value so far and the `trials` of the search. It cannot be told before all repeats are complete, nor with
    fewer proposals than WINDOW that reached a rung, nor while start points run.
    """
    first = _first(trials)
    if first is None or any(trial.state is State.RUNNING and trial.given for trial in trials):
        return None
    again = [trial for trial in trials if trial.repeats == first.number and trial.state is State.COMPLETE]
    if len(again) < REPEATS:
        return None
    objective = trials.objective
    spread = CAUTION * statistics.stdev(trial.best_value(objective) for trial in (first, *again))
    searched = [trial for trial in trials.searched if not trial.exempt]
    curves = {trial.number: trial.best_so_far(objective, study.epochs_of(trial.point)) for trial in searched}
    values = extrapolate(curves, (*study.rungs, study.epochs))
    latest = [values[trial.number] for trial in trials.searched if trial.proposed and trial.number in values][-WINDOW:]
    if len(latest) < WINDOW:
        return None
    best = objective.best(t.best_value(objective) for t in trials.searched if t.state is State.COMPLETE)
    sign = 1.0 if objective.mode == "max" else -1.0
    gain = expected_gain([sign * value for value in latest], sign * best)
    if not gain < spread:
        return None
    return Settled(gain, spread, best, len(trials.searched))


def expected_gain(latest: list[float], best: float) -> float:
    """By how much the best of as many more draws as `latest` exceeds `best`, on average, if they are normal like these.

    The mean of max(0, M - best), by the trapezoid rule over 400 steps up to eight standard deviations.
    """
    mean, deviation, count = statistics.fmean(latest), statistics.stdev(latest), len(latest)
    if deviation == 0:
        return max(0.0, mean - best)
    normal = statistics.NormalDist(mean, deviation)
    end = mean + 8 * deviation
    if best >= end:
        return 0.0
    below = max(0.0, mean - 8 * deviation - best)  # there the best of them is surely above
    start = best + below
    step = (end - start) / 400
    heights = [1 - normal.cdf(start + step * i) ** count for i in range(401)]
    return below + step * (math.fsum(heights) - (heights[0] + heights[-1]) / 2)


def _first(trials: Trials) -> Trial | None:
    """The first trial of a point of the space that got its full budget."""
    return next((t for t in trials.searched if t.state is State.COMPLETE and not t.exempt), None)
