"""How good are proposals and stops? Measured over recorded learning curves, beside every peer, on a simulated clock.

`python -m tests.benchmarks.tuner --table FILE [--seeds N] [--workers N] [--methods NAME …] [--json]`

FILE is an .npz with the keys `tasks`, `parameters`, `configurations` (rows × parameters), `val_accuracy` and `seconds`
(tasks × rows × epochs, seconds counted from the start of each training). All methods get the same tasks, seeds, space,
workers and first rung; start points come from the other tasks of the file. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.tuner.ours import Ours, study_of
from tests.benchmarks.tuner.peers import peers
from tests.benchmarks.tuner.portfolio import portfolio
from tests.benchmarks.tuner.scores import scores
from tests.benchmarks.tuner.simulation import Course, Tuner, simulate
from tests.benchmarks.tuner.table import Table, TableError, read

BUDGETS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""In full trainings of wall time, all workers together."""

START_POINTS = 8

EXPENSIVE = ("optuna_gp", "syne_tune_ashabore")
"""Seconds of processor time per proposal, or nearly: only where they are asked for by name."""


def ours(tables: Sequence[Table], task: int, seed: int, *, start_points: int, **changes: Any) -> Tuner:
    """The service's own search of a task; its start points are those of the other tasks."""
    others = [table for number, table in enumerate(tables) if number != task]
    start = [tables[task].point(row) for row in portfolio(others, start_points)] if others and start_points else []
    return Ours(study_of(tables[task], start, **changes), seed=seed)


def methods() -> dict[str, Callable[[Sequence[Table], int, int], Tuner]]:
    """Every method by its name, as a function of tables, the number of the task, and the seed."""

    def peer(make: Any) -> Callable[[Sequence[Table], int, int], Tuner]:
        return lambda tables, task, seed: make(tables[task], seed)

    own: Mapping[str, Mapping[str, Any]] = {
        "ours": {"start_points": START_POINTS},
        "ours_without_portfolio": {"start_points": 0},
        "ours_random_sampler": {"start_points": START_POINTS, "sampler": "random"},
        "ours_no_stopping": {"start_points": START_POINTS, "scheduler": "none"},
    }
    found = {name: lambda *where, how=how: ours(*where, **how) for name, how in own.items()}
    return {**found, **{name: peer(make) for name, make in peers().items()}}


@cache
def _tables(file: Path) -> list[Table]:
    return read(file)


def course(file: Path, name: str, task: int, seed: int, workers: int) -> Course:
    """One search of one task by one method."""
    logging.disable(logging.WARNING)
    tables = _tables(file)
    tuner = methods()[name](tables, task, seed)
    return simulate(tuner, tables[task], workers=workers, seconds=max(BUDGETS) * tables[task].training)


def measure(file: Path, names: Sequence[str], *, seeds: int, workers: int, processes: int) -> dict[str, Any]:
    """The document that `--json` prints. Raises TableError."""
    tables = _tables(file)
    runs = [(task, seed) for task in range(len(tables)) for seed in range(seeds)]
    jobs = [(file, name, task, seed, workers) for name in names for task, seed in runs]
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(course, *zip(*jobs, strict=True), chunksize=1))
    courses = {
        name: dict(zip(runs, found[i * len(runs) : (i + 1) * len(runs)], strict=True)) for i, name in enumerate(names)
    }
    return {
        "table": file.name,
        "tasks": [table.task for table in tables],
        "seeds": seeds,
        "workers": workers,
        "budgets": list(BUDGETS),
        "start_points": START_POINTS if len(tables) > 1 else 0,
        "versions": {name: version(name) for name in ("optuna", "ray", "syne-tune", "numpy")},
        "methods": scores(tables, courses, BUDGETS),
    }


def show(document: Mapping[str, Any]) -> str:
    """The document as a table in Markdown, the best mean rank first."""
    budgets = [f"{budget:g}" for budget in document["budgets"]]
    head = ["method", "mean rank", *[f"regret at {budget}" for budget in budgets], "time to top 1 %"]
    lines = [
        f"{len(document['tasks'])} tasks × {document['seeds']} seeds, {document['workers']} workers",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, each in sorted(document["methods"].items(), key=lambda item: item[1]["mean_rank"]):
        low, high = each["mean_rank_interval"]
        cells = [f"`{name}`", f"{each['mean_rank']:.2f} ({low:.2f} … {high:.2f})"]
        for budget in budgets:
            low, high = each["regret_interval"][budget]
            cells.append(f"{each['regret'][budget]:.3f} ({low:.3f} … {high:.3f})")
        longest = max(document["budgets"])
        reached = each["time_to_top1"] < longest
        cells.append(f"{each['time_to_top1']:.2f}" if reached else f"> {longest:g}")
        cells[-1] += f" ({each['reached_top1']:.0%} of searches)"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 for bad input, as the service has it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tuner", description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, required=True, help="recorded learning curves, an .npz file")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these only, instead of all that are affordable")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="searches at a time")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    known = methods()
    names = given.methods or [name for name in known if name not in EXPENSIVE]
    for option in ("seeds", "workers", "processes"):
        if getattr(given, option) < 1:
            parser.error(f"--{option} must be at least 1, but got {getattr(given, option)}")
    for name in names:
        if name not in known:
            parser.error(f"unknown method {name!r}; known are {', '.join(known)}")
    try:
        document = measure(given.table, names, seeds=given.seeds, workers=given.workers, processes=given.processes)
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(document, indent=1) if given.json else show(document))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
