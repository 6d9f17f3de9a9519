"""The verbs that search: `run` (a study) and `resume`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from search.cli.clock import on_signals
from search.cli.options import DEBUG, JSON, RUNS, command_line, declared_options, settings_of
from search.cli.output import echo
from search.errors import BadInput, SearchError
from search.options import read, seconds
from search.settings import More, Settings

EXAMPLES = """
\b
  python -m search                                  list the studies
  python -m search digits_cnn                       a first result in under a minute
  python -m search fashion_cnn --time-budget 5m     the best that five minutes allow
  python -m search fashion_cnn --set 'train/lr=log(1e-3, 1e-1)' --set train/optimizer=sgd
  python -m search show digits_cnn-1                what a search found
"""


WATCH = click.option("--watch", is_flag=True, help="Serve the live page beside it, while it runs.")


@contextmanager
def watched(runs: Path, wanted: bool, name: str | None = None) -> Iterator[None]:
    """Inside, if `wanted`, a process of its own serves the live page, of the search `name` if it has one already.

    It tells its link on standard error.
    """
    if not wanted:
        yield
        return
    from search.storage.bucket import shown

    words = [sys.executable, "-m", "search", "watch", *([name] if name else []), "--runs", shown(runs)]
    page = subprocess.Popen([*words, "--beside", str(os.getpid())], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        page.terminate()
        page.wait()


@click.command(name="run", epilog=EXAMPLES)
@click.argument("study")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
@click.option("--name", help="Name of the search; the study's name and a counter if left out.")
@RUNS
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder of pictures, arrays, tables or an archive of these; or a folder of known sets.",
)
@declared_options(Settings)
@click.option("--resume", type=click.Choice(["auto"]), help="auto: go on with the search if it exists, else start it.")
@click.option("--probe", metavar="TIME", help="How long a dry run may measure (10s); 0 measures nothing.")
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@WATCH
@DEBUG
def run_study(study: str, **options: Any) -> None:
    """Search STUDY: a name that `python -m search` lists, or the path of a study file or of a script.

    ARGUMENTS are those of a script, in which {epochs}, {seed} and {folder} stand for what a trial is given.
    """
    from search.session.resume import ready
    from search.terminal import screen

    settings = settings_of(options)
    probe = probe_seconds(options["probe"], dry_run=options["dry_run"])
    display, stop = screen.for_stderr(quiet=options["quiet"]), on_signals()
    with ready(study, settings, display, resume=options["resume"] is not None) as prepared:
        if options["dry_run"]:
            _plan(prepared, stop, probe, as_json=options["as_json"])
        else:
            with watched(settings.runs, options["watch"]):
                search(prepared, display, stop, document=_indented if options["as_json"] else None)


@click.command(name="resume")
@click.argument("name")
@RUNS
@click.option(
    "--study",
    type=click.Path(path_type=Path),
    help="The study's file, if it lies elsewhere than when the search began.",
)
@declared_options(More)
@JSON
@click.option("--quiet", is_flag=True, help="Warnings only.")
@WATCH
@DEBUG
def resume_search(name: str, runs: Path, study: Path | None, **options: Any) -> None:
    """Go on with a search that was interrupted, or give a finished one more."""
    from search.session.resume import going_on
    from search.storage.runs import find_search
    from search.terminal import screen

    more = More(**read(More, options))
    display, stop = screen.for_stderr(quiet=options["quiet"]), on_signals()
    given = None if study is None else {"source": str(study.resolve())}
    going = going_on(find_search(name, runs), lambda events: more, command_line(), display, given)
    with going as prepared, watched(runs, options["watch"], name):
        search(prepared, display, stop, document=_indented if options["as_json"] else None)


def search(prepared: Any, display: Any, stop: Any, *, document: Callable[[dict[str, Any]], str] | None) -> None:
    """Search, print the result as the text that `document` makes of it, or for people, and end as the search did."""
    from search.session.run import run  # after the checks, so that what is refused is refused sooner

    _tell(*run(prepared, display, stop), document=document)


def _indented(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1)


def probe_seconds(text: str | None, *, dry_run: bool) -> float | None:
    """How long to measure, None if it was not said. Raises BadInput unless it is for a dry run."""
    if text is not None and not dry_run:
        raise BadInput("--probe is for --dry-run, which measures; a search is not held up by it")
    if text is None:
        return None
    return 0.0 if text in ("0", "0s") else seconds(text, "--probe")


def _plan(prepared: Any, stop: Any, probe: float | None, *, as_json: bool) -> None:
    from search.forecast import plan
    from search.terminal import messages

    told = plan.plan(prepared, elapsed=stop.elapsed, **({} if probe is None else {"probe_seconds": probe}))
    if as_json:
        echo(json.dumps({**prepared.header.to_plain(), "plan": told}, indent=1))
    else:
        echo(f"{messages.setup(prepared.study, prepared.header)}\n\n{plan.text(told, prepared.header)}")


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
        echo(document(summary))
    elif summary["best"]:
        echo(result(summary))
    if summary["state"] == "interrupted":
        echo(f"to go on: {summary['resume']}", err=True)
    if fault is not None:
        raise fault
    if exit_code:
        raise SystemExit(exit_code)
