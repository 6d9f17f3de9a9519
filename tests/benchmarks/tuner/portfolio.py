"""Start points from other tasks: the few configurations that together do well on all of them, soon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.decide.portfolio import greedy
from tests.benchmarks.tuner.table import Table

BUDGETS = (0.5, 1.0, 2.0)
"""In full trainings: what a start point has come to by then counts, so a slow one is worth less."""

WORST = 3.0
"""A regret beyond this says no more than that the configuration is bad."""


def portfolio(tables: Sequence[Table], size: int) -> list[int]:
    """The rows of `size` configurations, chosen one after the other: each lowers the mean regret over `tables` most.

    The regret of a set is that of its best member, at each of BUDGETS (greedy selection as in Feurer et al. 2022,
    Auto-sklearn 2.0, section 3.2; there for the final value alone). Leave out the task that it is meant for.
    """
    regrets = np.stack([_regrets(table) for table in tables])  # tasks × configurations × budgets
    goals = np.moveaxis(regrets, 2, 1).reshape(-1, regrets.shape[1])  # a task at a budget
    return greedy(goals, size, worst=WORST, first=size)


def _regrets(table: Table) -> np.ndarray:
    """The regret of each configuration, trained alone, at each budget."""
    columns = []
    for budget in BUDGETS:
        there = table.seconds <= budget * table.training
        columns.append(table.regret(np.where(there, table.accuracy, -np.inf).max(axis=1)))
    return np.minimum(np.stack(columns, axis=1), WORST)
