"""How good are proposals and stops? Measured over recorded learning curves, beside every peer, on a simulated clock.

`python -m tests.benchmarks.tuner --table FILE [--continuous FILE] [--noise TRIAL,EPOCH] [--seeds N] [--first-seed N]
[--workers N] [--methods NAME …] [--json]`

FILE is an .npz with the keys `tasks`, `parameters`, `configurations` (rows × parameters), `val_accuracy` and `seconds`
(tasks × rows × epochs, seconds counted from the start of each training). All methods get the same tasks, seeds, space,
workers and first rung; start points come from the other tasks of the file. Needs the extra `dev`.

A proposal is answered by the nearest row of the table; with `--continuous` by the network in that file, for the very
configuration (answers.py). With `--noise` trainings of one configuration differ; what counts then is the true value of
what looked best.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.tuner.answers import SILENT, Answers, Continuous, Noise, Recorded, network
from tests.benchmarks.tuner.ours import Ours, study_of
from tests.benchmarks.tuner.peers import peers
from tests.benchmarks.tuner.portfolio import portfolio
from tests.benchmarks.tuner.scores import scores
from tests.benchmarks.tuner.simulation import Course, Tuner, simulate
from tests.benchmarks.tuner.table import Table, TableError, read

BUDGETS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""In full trainings of wall time, all workers together."""

START_POINTS = 8

FREEZE_THAW = {"sampler": "freeze_thaw", "scheduler": "freeze_thaw"}
TPE = {"sampler": "tpe", "scheduler": "asha"}

EXPENSIVE = ("optuna_gp", "syne_tune_ashabore")
"""Seconds of processor time per proposal, or nearly: only where they are asked for by name."""


def ours(
    tables: Sequence[Table], task: int, seed: int, *, start_points: int, misled: bool = False, **changes: Any
) -> Tuner:
    """The service's own search of a task; its start points are those of the other tasks.

    Where it is `misled` the curves of each other task were dealt out anew among its configurations.
    """
    others = [table for number, table in enumerate(tables) if number != task]
    if misled:
        others = [table.dealt_anew(np.random.default_rng([seed, number])) for number, table in enumerate(others)]
    start = [tables[task].point(row) for row in portfolio(others, start_points)] if others and start_points else []
    return Ours(study_of(tables[task], start, **changes), seed=seed)


def methods() -> dict[str, Callable[[Sequence[Table], int, int], Tuner]]:
    """Every method by its name, as a function of tables, the number of the task, and the seed."""

    def peer(make: Any) -> Callable[[Sequence[Table], int, int], Tuner]:
        return lambda tables, task, seed: make(tables[task], seed)

    own: Mapping[str, Mapping[str, Any]] = {
        "ours": {"start_points": START_POINTS},
        "ours_without_portfolio": {"start_points": 0},
        "ours_misled_portfolio": {"start_points": START_POINTS, "misled": True},
        "ours_random_sampler": {"start_points": START_POINTS, "sampler": "random"},
        "ours_no_stopping": {"start_points": START_POINTS, "scheduler": "none"},
        "ours_tpe": {"start_points": START_POINTS, **TPE},
        "ours_tpe_without_portfolio": {"start_points": 0, **TPE},
        "ours_freeze_thaw": {"start_points": START_POINTS, **FREEZE_THAW},
        "ours_freeze_thaw_without_portfolio": {"start_points": 0, **FREEZE_THAW},
    }
    found = {name: lambda *where, how=how: ours(*where, **how) for name, how in own.items()}
    return {**found, **{name: peer(make) for name, make in peers().items()}}


@dataclass(frozen=True)
class World:
    """Where all methods search: the tasks of `table`, who answers proposals, and what differs between trainings.

    Without `continuous` rows of the table answer. To go on with a paused trial takes `resume_cost` of its epochs.
    """

    table: Path
    continuous: Path | None = None
    noise: Noise = SILENT
    resume_cost: float = 0.0
    workers: int = 4

    def answers(self, table: Table, seed: int) -> Answers:
        """Who answers one search of `table`. Raises TableError."""
        if self.continuous is None:
            return Recorded(table, self.noise, seed)
        return Continuous(table, _network(self.continuous, self.table, table.task), self.noise, seed)


@cache
def _tables(file: Path) -> list[Table]:
    return read(file)


@cache
def _network(file: Path, table: Path, task: str) -> Any:
    return network(file, next(each for each in _tables(table) if each.task == task))


def course(world: World, name: str, task: int, seed: int) -> Course:
    """One search of one task by one method."""
    logging.disable(logging.WARNING)
    tables = _tables(world.table)
    table = tables[task]
    # Or the tasks of a seed would all begin with the same random draws, and be lucky or not together.
    own = len(tables) * seed + task
    return simulate(
        methods()[name](tables, task, own),
        table,
        workers=world.workers,
        seconds=max(BUDGETS) * table.training,
        answers=world.answers(table, own),
        resume_cost=world.resume_cost,
    )


def measure(world: World, names: Sequence[str], *, seeds: int, processes: int, first_seed: int = 0) -> dict[str, Any]:
    """The document that `--json` prints. Raises TableError."""
    tables = _tables(world.table)
    for table in tables:  # so that what is missing is said before anything is searched
        world.answers(table, 0)
    runs = [(task, seed) for task in range(len(tables)) for seed in range(first_seed, first_seed + seeds)]
    jobs = [(world, name, task, seed) for name in names for task, seed in runs]
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(course, *zip(*jobs, strict=True), chunksize=1))
    courses = {
        name: dict(zip(runs, found[i * len(runs) : (i + 1) * len(runs)], strict=True)) for i, name in enumerate(names)
    }
    return document(world, courses, seeds)


def document(world: World, courses: Mapping[str, Mapping[tuple[int, int], Course]], seeds: int) -> dict[str, Any]:
    """What `courses` of each method, by number of the task and seed, come to, as `--json` prints it."""
    tables = _tables(world.table)
    return {
        "table": world.table.name,
        "continuous": world.continuous.name if world.continuous else None,
        "noise": [world.noise.trial, world.noise.epoch],
        "resume_cost": world.resume_cost,
        "tasks": [table.task for table in tables],
        "seeds": seeds,
        "first_seed": min(seed for runs in courses.values() for _, seed in runs),
        "workers": world.workers,
        "budgets": list(BUDGETS),
        "start_points": START_POINTS if len(tables) > 1 else 0,
        "versions": {name: version(name) for name in ("optuna", "ray", "syne-tune", "numpy")},
        "methods": scores(tables, courses, BUDGETS, [name for name in courses if name in peers()]),
    }


def show(document: Mapping[str, Any]) -> str:
    """The document as a table in Markdown, the best mean rank first."""
    budgets = [f"{budget:g}" for budget in document["budgets"]]
    head = ["method", "mean rank", *[f"regret at {budget}" for budget in budgets], "time to top 1 %"]
    how = f"answers by {document['continuous'] or 'the nearest row'}, noise {document['noise']}"
    lines = [
        f"{len(document['tasks'])} tasks × {document['seeds']} seeds, {document['workers']} workers, {how}, "
        f"resume cost {document['resume_cost']:g} epochs",
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
    compared = {name: each for name, each in document["methods"].items() if each["against_best_peer"]}
    if compared:
        lines += ["", "Mean regret ÷ that of the best peer:", ""]
        lines += ["| " + " | ".join(["method", *budgets]) + " |", "|" + "---|" * (1 + len(budgets))]
    for name, each in compared.items():
        ratios = [each["against_best_peer"][budget] for budget in budgets]
        lines.append("| " + " | ".join([f"`{name}`", *map(_ratio, ratios)]) + " |")
    return "\n".join(lines)


def _ratio(told: Mapping[str, Any]) -> str:
    interval = "" if told["ratio_interval"] is None else " ({:.2f} … {:.2f})".format(*told["ratio_interval"])
    return "–" if told["ratio"] is None else f"{told['ratio']:.2f}{interval}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 for bad input, as the service has it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tuner", description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, required=True, help="recorded learning curves, an .npz file")
    parser.add_argument("--continuous", type=Path, metavar="FILE", help="a network that answers instead, NAME.onnx")
    parser.add_argument("--noise", type=_noise, default=SILENT, metavar="TRIAL,EPOCH", help="in best − median; 0,0")
    parser.add_argument("--resume-cost", type=float, default=0.0, metavar="EPOCHS", help="of a paused trial; 0")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="other seeds than those before; 0")
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
    if given.first_seed < 0:
        parser.error(f"--first-seed must be at least 0, but got {given.first_seed}")
    if not 0 <= given.resume_cost < math.inf:
        parser.error(f"--resume-cost must be 0 or more epochs, but got {given.resume_cost}")
    world = World(given.table, given.continuous, given.noise, given.resume_cost, given.workers)
    try:
        found = measure(world, names, seeds=given.seeds, processes=given.processes, first_seed=given.first_seed)
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if given.json else show(found))
    return 0


def _noise(text: str) -> Noise:
    """`0.03,0.02` as it is written on the command line."""
    trial, epoch = (float(part) for part in text.split(","))
    if not (0 <= trial < math.inf and 0 <= epoch < math.inf):
        raise argparse.ArgumentTypeError(f"takes two numbers of 0 or more, but got {text}")
    return Noise(trial, epoch)


if __name__ == "__main__":
    raise SystemExit(main())
