"""The verb that looks at what earlier searches teach: `experience`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.look import aligned
from search.cli.options import DEBUG, JSON, RUNS, Runs
from search.cli.output import echo
from search.errors import BadInput, EnvironmentFault

if TYPE_CHECKING:
    from search.record.lesson import Lesson

HEADS = ("STUDIES", "METRIC", "HYPERPARAMETERS", "DATA", "SEARCHES", "TRIALS")


@click.command()
@click.argument("place", required=False, type=Runs())
@click.option(
    "--export",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Write all of it into a file for --experience.",
)
@RUNS
@JSON
@DEBUG
def experience(place: Path | None, file: Path | None, runs: Path, as_json: bool) -> None:
    """List what the searches in PLACE (a folder of searches, or a file; the runs) teach a new one on other data."""
    from search.storage import bucket
    from search.storage.experience import Unreadable, export, of_file, of_folder

    place = runs if place is None else place
    if bucket.of(place) is not None:
        raise BadInput(f"experience is of a folder or a file, and {bucket.shown(place)} is in a bucket")
    if not place.exists():
        raise BadInput(f"{place}: no folder and no file is there")
    try:
        if place.is_file():
            lessons = of_file(place, None)
        else:
            lessons = of_folder(
                place, None, lambda text: echo(f"warning: {text}", err=True), keep=False, patience=math.inf
            )
    except Unreadable as error:
        raise EnvironmentFault(f"{place} {error}") from None
    told = document(lessons)
    if file is not None:
        export(lessons, file)
    if as_json:
        echo(json.dumps(told, indent=1))
    elif not told:
        echo(f"no search in {place} teaches anything yet: it takes one that has ended, with some trials", err=True)
    else:
        for line in aligned([HEADS, *(_row(each, data) for each in told for data in each["data"])]):
            echo(line)
    if file is not None:
        echo(f"{len(lessons)} searches are in {file}", err=True)


def document(lessons: Sequence[Lesson]) -> list[dict[str, Any]]:
    """`lessons` by problem and data set: of each problem `studies`, `metric`, `mode` and `space`, and its `data`."""
    problems: dict[str, dict[str, dict[str, Any]]] = {}
    heads: dict[str, dict[str, Any]] = {}
    for each in lessons:
        problem = each.problem
        head = heads.setdefault(
            problem.key, {"studies": [], "trains": problem.trains, **problem.objective, "space": list(problem.space)}
        )
        head["studies"] = sorted({*head["studies"], each.study})
        facts = {"dataset": each.dataset, "images": each.images, "shape": list(each.shape), "classes": each.classes}
        new = {**facts, "digest": each.digest, "searches": [], "trials": 0}
        data = problems.setdefault(problem.key, {}).setdefault(each.digest, new)
        data["searches"].append(each.name)
        data["trials"] += len(each.trials)
    return [{**head, "data": [*problems[key].values()]} for key, head in heads.items()]


def _row(problem: dict[str, Any], data: dict[str, Any]) -> tuple[str, ...]:
    from search.printable import one_line

    told = (", ".join(problem["studies"]), f"{problem['metric']} {problem['mode']}", len(problem["space"]))
    return tuple(one_line(str(each)) for each in (*told, data["dataset"], len(data["searches"]), data["trials"]))
