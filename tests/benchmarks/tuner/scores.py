"""What the courses of many searches come to: regret, ranks and time to the top, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from tests.benchmarks.tuner.simulation import Course
from tests.benchmarks.tuner.table import Table

RESAMPLES = 1000


def scores(
    tables: Sequence[Table],
    courses: Mapping[str, Mapping[tuple[int, int], Course]],
    budgets: Sequence[float],
    peers: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """One entry per method; `courses` are its searches by (number of the task, seed), the same ones for all methods.

    `regret` at each budget is the mean over tasks and seeds, see `Table.regret`; `rank` is the method's place among all
    (1 is best, equals share theirs) in each search, on average, and `mean_rank` that over all budgets.
    `time_to_top1` is the median time until a value as good as that of the best hundredth of the table's configurations
    was reported, in full trainings; a search that never got there counts with the longest budget, and
    `reached_top1` is the share that did. Intervals (95 %) are percentiles of a bootstrap over tasks, and over seeds
    within them. `thinking_s` is the processor time of the method in a search.

    `against_best_peer` compares at each budget with that of `peers` (methods, too) of the least mean regret there:
    `ratio` of the mean regrets, None if the peer's can be 0, and mean `difference` in the same searches. None where all
    peers are this method.
    """
    runs = sorted(next(iter(courses.values())))
    names = list(courses)
    horizon = max(budgets)
    regrets = np.array(
        [
            [
                [_regret(tables[task], course.best_at(budget * tables[task].training)) for budget in budgets]
                for task, _ in runs
                for course in [courses[name][task, _]]
            ]
            for name in names
        ]
    )  # methods × runs × budgets
    ranks = rankdata(regrets, axis=0)
    times = np.array(
        [
            [
                min(courses[name][run].reached(tables[run[0]].top_percent) / tables[run[0]].training, horizon)
                for run in runs
            ]
            for name in names
        ]
    )
    picks = _resamples(runs)
    found: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(names):
        found[name] = {
            "mean_rank": float(ranks[i].mean()),
            "mean_rank_interval": _interval(ranks[i].mean(axis=1)[picks].mean(axis=1)),
            "rank": {f"{budget:g}": float(ranks[i, :, b].mean()) for b, budget in enumerate(budgets)},
            "regret": {f"{budget:g}": float(regrets[i, :, b].mean()) for b, budget in enumerate(budgets)},
            "regret_interval": {
                f"{budget:g}": _interval(regrets[i, :, b][picks].mean(axis=1)) for b, budget in enumerate(budgets)
            },
            "time_to_top1": float(np.median(times[i])),
            "time_to_top1_interval": _interval(np.median(times[i][picks], axis=1)),
            "reached_top1": float((times[i] < horizon).mean()),
            "trials": float(np.mean([courses[name][run].asks for run in runs])),
            "against_best_peer": {
                f"{budget:g}": _against(names, regrets[:, :, b], picks, i, rivals)
                for b, budget in enumerate(budgets)
                if (rivals := [n for n, other in enumerate(names) if other in peers and n != i])
            }
            or None,
            "thinking_s": float(np.mean([courses[name][run].thinking for run in runs])),
        }
    return found


def _against(
    names: Sequence[str], regrets: np.ndarray, picks: np.ndarray, method: int, rivals: Sequence[int]
) -> dict[str, Any]:
    """How `method` compares with the best of `rivals`; `regrets` is methods × runs."""
    best = min(rivals, key=lambda rival: regrets[rival].mean())
    own, other = regrets[method][picks].mean(axis=1), regrets[best][picks].mean(axis=1)
    return {
        "peer": names[best],
        # Of a peer that has come to the best of the table, or beyond, nothing is a multiple.
        "ratio": float(regrets[method].mean() / regrets[best].mean()) if regrets[best].mean() > 0 else None,
        "ratio_interval": _interval(own / other) if (other > 0).all() else None,
        "difference": float((regrets[method] - regrets[best]).mean()),
        "difference_interval": _interval(own - other),
    }


def _regret(table: Table, value: float) -> float:
    """Before the first report a search has nothing; that is as bad as the worst of the table."""
    return float(table.regret(max(value, float(table.accuracy.min()))))


def _resamples(runs: Sequence[tuple[int, int]]) -> np.ndarray:
    """RESAMPLES × runs: indices of a bootstrap over tasks, and over seeds within each."""
    chance = np.random.default_rng(0)
    tasks = sorted({task for task, _ in runs})
    seeds = sorted({seed for _, seed in runs})
    where = {run: index for index, run in enumerate(runs)}
    return np.array(
        [
            [
                where[task, seed]
                for task in chance.choice(tasks, len(tasks))
                for seed in chance.choice(seeds, len(seeds))
            ]
            for _ in range(RESAMPLES)
        ]
    )


def _interval(means: np.ndarray) -> list[float]:
    return [float(bound) for bound in np.quantile(means, (0.025, 0.975))]
