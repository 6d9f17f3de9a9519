"""The verb that asks something of a running search: steer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from search.cli.options import DEBUG, JSON, RUNS
from search.cli.output import echo
from search.errors import BadInput
from search.options import seconds


@click.command()
@click.argument("name")
@click.argument("more", required=False, type=click.Choice(["more"]), metavar="")
@click.option("--stop-trial", type=int, metavar="N", help="End this trial; what it has shown counts.")
@click.option("--finish", is_flag=True, help="End the search now, and crown the best that is there.")
@click.option("--pause", is_flag=True, help="Begin no more trials; those that run wait at their next epoch.")
@click.option("--go-on", is_flag=True, help="Go on after a pause.")
@click.option("--trials", type=int, metavar="N", help="So many trials more.")
@click.option("--time-budget", metavar="TIME", help="So much time more, if it has a limit: 5m.")
@click.option("--add", multiple=True, metavar="NAME=VALUE …", help="Try this next; what is left out is as in the best.")
@RUNS
@JSON
@DEBUG
def steer(name: str, more: str | None, runs: Path, as_json: bool, **asked: Any) -> None:
    """Ask something of a search while it runs; what came of it stands in its record."""
    from search.record.steering import Request, in_words
    from search.storage.requests import answer, send
    from search.storage.runs import find_search

    verb, what = _wanted(asked)
    folder = find_search(name, runs)
    request = Request(verb, {} if what is None else {"what": what}, who())
    send(folder, request)
    told = answer(folder, request)
    echo(json.dumps(told.to_plain(), indent=1) if as_json else f"{name}: {in_words(told)}")


def who() -> str:
    """Who asks, as a record keeps it."""
    from search.provenance import user

    return f"{user()}@{os.uname().nodename}"[:200]


def _wanted(asked: dict[str, Any]) -> tuple[str, Any]:
    """The one thing that is asked, with what is said of it. Raises BadInput if it is none, or more."""
    given = {
        key.replace("_", "-"): value
        for key, value in asked.items()
        if not (value is None or value is False or value == ())
    }
    if len(given) != 1:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in asked)
        got = ", ".join(f"--{key}" for key in sorted(given)) or "none"
        raise BadInput(f"steer takes one of {options}, but got {got}")
    from search.record.steering import values_in

    (verb, value), *_ = given.items()
    if verb == "time-budget":
        return "time", seconds(value)
    if verb == "add":
        return verb, values_in(" ".join(value))
    return verb, None if value is True else value
