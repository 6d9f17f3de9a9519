"""The verbs that search: `run` (a study) and `resume`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from search.cli.clock import on_signals
from search.cli.options import (
    CHECKPOINT_BUDGET,
    CONFIRM,
    CONFIRM_SEEDS,
    DEBUG,
    JSON,
    RUNS,
    TRIAL_TIMEOUT,
    command_line,
    read,
    settings_of,
)
from search.errors import BadInput, SearchError

EXAMPLES = """
\b
  python -m search                                  list the studies
  python -m search digits_cnn                       a first result in under a minute
  python -m search fashion_cnn --time-budget 5m     the best that five minutes allow
  python -m search fashion_cnn --set 'train/lr=log(1e-3, 1e-1)' --set train/optimizer=sgd
  python -m search show digits_cnn-1                what a search found
"""


@click.command(name="run", epilog=EXAMPLES)
@click.argument("study")
@click.option("--name", help="Name of the search; the study's name and a counter if left out.")
@RUNS
@click.option(
    "--data", type=click.Path(path_type=Path), help="An .npz file, an image folder, or a folder of known sets."
)
@click.option("--trials", type=int, help="At most so many trials.")
@click.option("--epochs", type=int, help="Full budget of a trial.")
@click.option("--time-budget", metavar="TIME", help="Wall time of the whole command: 90s, 10m, 2h.")
@click.option("--concurrent", type=int, help="At most so many trials at a time; as many as fit if left out.")
@click.option("--cpus", type=float, default=1.0, show_default=True, help="CPUs per trial.")
@click.option("--gpus", type=float, default=0.0, show_default=True, help="GPUs per trial; fractions share one.")
@click.option("--also-cpus", is_flag=True, help="Let trials for which no GPU is free train on CPUs.")
@click.option("--seed", type=int, default=0, show_default=True, help="All random draws come from it.")
@click.option("--sampler", help="What proposes: tpe, random, or grid; the study's (tpe, as a rule) if left out.")
@click.option("--scheduler", help="What stops the weak: asha or none; the study's (asha, as a rule) if left out.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Fix a hyperparameter, or search it in another range."
)
@CONFIRM
@CONFIRM_SEEDS
@click.option(
    "--warm-start", multiple=True, metavar="NAME", help="Begin with the best of the search NAME; can be given again."
)
@click.option(
    "--audit",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Let this share of the trials that would be stopped run on, to tell what stopping costs.",
)
@click.option("--published", is_flag=True, help="Train the study's published settings first, to check what they claim.")
@click.option("--until-settled", is_flag=True, help="End when going on would gain less than a seed decides.")
@click.option("--resume", type=click.Choice(["auto"]), help="auto: go on with the search if it exists, else start it.")
@TRIAL_TIMEOUT
@CHECKPOINT_BUDGET
@click.option(
    "--wait-for-resources", metavar="TIME", help="On a cluster: wait so long for a node that can hold a trial."
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what it will take, start and write nothing.")
@click.option("--probe", metavar="TIME", help="How long a dry run may measure (10s); 0 measures nothing.")
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@click.option("--no-stand-in", is_flag=True, help="Fail if the data cannot be had.")
@DEBUG
def run_study(study: str, **options: Any) -> None:
    """Search STUDY: a name that `python -m search` lists, or the path of a study file."""
    from search.session.resume import ready
    from search.terminal import screen

    settings = settings_of(options)
    probe = probe_seconds(options["probe"], dry_run=options["dry_run"])
    display, stop = screen.for_stderr(quiet=options["quiet"]), on_signals()
    with ready(study, settings, display, resume=options["resume"] is not None) as prepared:
        if options["dry_run"]:
            _plan(prepared, stop, probe, as_json=options["as_json"])
        else:
            search(prepared, display, stop, document=_indented if options["as_json"] else None)


@click.command(name="resume")
@click.argument("name")
@RUNS
@click.option("--trials", type=int, help="So many trials more.")
@click.option("--time-budget", metavar="TIME", help="So much time more.")
@click.option("--concurrent", type=int, help="At most so many trials at a time from now on.")
@CONFIRM
@CONFIRM_SEEDS
@TRIAL_TIMEOUT
@CHECKPOINT_BUDGET
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@DEBUG
def resume_search(name: str, runs: Path, **options: Any) -> None:
    """Go on with a search that was interrupted, or give a finished one more."""
    from search.session.resume import More, going_on
    from search.settings import seconds, size
    from search.storage.runs import find_search
    from search.terminal import screen

    more = More(
        trials=options["trials"],
        seconds=read(options["time_budget"], seconds),
        concurrent=options["concurrent"],
        trial_timeout=read(options["trial_timeout"], seconds, "--trial-timeout"),
        checkpoint_budget=read(options["checkpoint_budget"], size),
        confirm=options["confirm"],
        confirm_seeds=options["confirm_seeds"],
    )
    display, stop = screen.for_stderr(quiet=options["quiet"]), on_signals()
    with going_on(find_search(name, runs), lambda events: more, command_line(), display) as prepared:
        search(prepared, display, stop, document=_indented if options["as_json"] else None)


def search(prepared: Any, display: Any, stop: Any, *, document: Callable[[dict[str, Any]], str] | None) -> None:
    """Search, print the result as the text that `document` makes of it, or for people, and end as the search did."""
    from search.session.run import run  # after the checks, so that what is refused is refused sooner

    _tell(*run(prepared, display, stop), document=document)


def _indented(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1)


def probe_seconds(text: str | None, *, dry_run: bool) -> float | None:
    """How long to measure, None if it was not said. Raises BadInput unless it is for a dry run."""
    from search.settings import seconds

    if text is not None and not dry_run:
        raise BadInput("--probe is for --dry-run, which measures; a search is not held up by it")
    return 0.0 if text in ("0", "0s") else read(text, seconds, "--probe")


def _plan(prepared: Any, stop: Any, probe: float | None, *, as_json: bool) -> None:
    from search.forecast import plan
    from search.terminal import messages

    told = plan.plan(prepared, elapsed=stop.elapsed, **({} if probe is None else {"probe_seconds": probe}))
    if as_json:
        click.echo(json.dumps({**prepared.header.to_plain(), "plan": told}, indent=1))
    else:
        click.echo(f"{messages.setup(prepared.study, prepared.header)}\n\n{plan.text(told, prepared.header)}")


def _tell(
    summary: dict[str, Any],
    fault: SearchError | None,
    exit_code: int,
    *,
    document: Callable[[dict[str, Any]], str] | None,
) -> None:
    """Print the result, and end as the search did."""
    from search.terminal.messages import result

    if document:
        click.echo(document(summary))
    elif summary["best"]:
        click.echo(result(summary))
    if summary["state"] == "interrupted":
        click.echo(f"to go on: {summary['resume']}", err=True)
    if fault is not None:
        raise fault
    if exit_code:
        raise SystemExit(exit_code)
