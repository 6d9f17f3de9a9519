"""The verbs that look at searches: list, show, best, export, report, ui."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.options import DEBUG, JSON, RUNS
from search.cli.output import echo
from search.errors import BadInput, EnvironmentFault, SearchFailed
from search.printable import one_line

if TYPE_CHECKING:
    from search.findings.snapshot import Snapshot

UNWANTED = ("failed", "diverged", "out of memory", "timed out", "infeasible")
"""Ends of which `show` says why."""

HEADS = ("NAME", "STATE", "BEST", "TEST", "PROGRESS", "TOOK", "STUDY", "DATA", "STARTED", "TRIALS")


def _listed(summary: dict[str, Any]) -> tuple[str, ...]:
    """A search as a line of the list of all."""
    from search.findings.text import clock

    best, data = summary["best"], summary["dataset"]
    tested = best["test_accuracy"] if best else None
    progress = summary["progress"]
    return (
        summary["name"],
        summary["state"],
        f"{best[best['metric']]:.4f}" if best else "–",
        "–" if tested is None else f"{tested:.4f}",
        f"{progress['ended']} of {progress['trials']}",
        clock(summary["wall_s"]),
        summary["study"],
        f"STAND-IN for {data}" if summary["stand_in"] else data,
        time.strftime("%Y-%m-%d %H:%M", time.localtime(summary["started_at"])),
        ", ".join(f"{count} {state}" for state, count in summary["trials"].items()) or "none yet",
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """`rows` as lines whose columns stand under one another."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@click.command(name="list")
@RUNS
@JSON
def list_searches(runs: Path, as_json: bool) -> None:
    """List the searches in the runs folder."""
    from search.findings.summary import summarize
    from search.storage.bucket import shown
    from search.storage.runs import searches

    summaries = []
    for folder in searches(runs):
        try:
            summaries.append(summarize(folder))
        except EnvironmentFault as error:  # one damaged record must not hide the others
            echo(f"warning: {one_line(str(error))}", err=True)
    if as_json:
        echo(json.dumps(summaries, indent=1))
        return
    if not summaries:
        echo(f"no searches in {shown(runs)}; start one with python -m search STUDY", err=True)
        return
    for line in aligned([HEADS, *map(_listed, summaries)]):
        echo(line)


@click.command()
@click.argument("name")
@click.option("--trial", type=click.IntRange(0), metavar="N", help="This trial alone, in full.")
@click.option("--log", is_flag=True, help="With --trial: print what it printed.")
@RUNS
@JSON
def show(name: str, trial: int | None, log: bool, runs: Path, as_json: bool) -> None:
    """Show a search: its trials, the best first, and its winner."""
    from search.findings import comparison, text
    from search.findings.snapshot import Snapshot
    from search.findings.summary import summary_of
    from search.findings.tables import leaderboard
    from search.storage.runs import find_search
    from search.terminal import messages

    search = Snapshot.read(find_search(name, runs))
    if log and trial is None:
        raise BadInput("--log prints the log of one trial; say which with --trial N")
    if trial is not None:
        _show_trial(search, trial, log=log, as_json=as_json)
        return
    summary = {**summary_of(search), "leaderboard": leaderboard(search)}
    if as_json:
        echo(json.dumps(summary, indent=1))
        return
    echo(f"{summary['name']}: {summary['state']}, {summary['epochs']} epochs in {summary['wall_s']:.0f} s")
    for row in summary["leaderboard"]:
        value = f"{row['value']:.4f}" if row["value"] is not None else "      "
        names = text.without_section(row["point"])
        point = " ".join(f"{names[key]}={text.short(item)}" for key, item in row["point"].items())
        echo(f"  trial {row['trial']:3d}  {row['state']:<13} {row['epochs']:2d} epochs  {value}  {point}")
        if row["state"] in UNWANTED and row["why"]:
            echo(f"             {one_line(row['why'])[:200]}")
    groups = comparison.compare(search.space, search.trials) if search.header.sampler == "grid" else []
    if groups:
        echo(comparison.table(groups, search.objective.metric))
    if summary["best"]:
        echo(messages.result(summary))


def _show_trial(search: Snapshot, number: int, *, log: bool, as_json: bool) -> None:
    """Print trial `number` of `search`, or its `log` alone. Raises BadInput if there is none."""
    from search.findings import one_trial, text

    try:
        told = one_trial.build(search, number)
    except KeyError:
        raise BadInput(f"--trial {number}: {search.header.name} has trials 0 to {len(search.trials) - 1}") from None
    if as_json:
        echo(json.dumps(told, indent=1))
    elif log:
        if not told["log"]:
            echo(f"trial {number} printed nothing", err=True)
        echo(told["log"])
    else:
        echo(f"trial {number}: {told['state']}{', ' if told['why'] else ''}{told['why']}")
        echo(f"from {told['origin']}, {len(told['epochs'])} of {told['budget']} epochs, {told['attempts']} attempts")
        for each in told["config"]:
            echo(f"  {each['name']} = {text.short(each['value'])}{'' if each['searched'] else '  (fixed)'}")
        for row in told["epochs"]:
            metrics = "  ".join(f"{name} {text.short(value)}" for name, value in row["metrics"].items())
            echo(f"  epoch {row['epoch']:3d}  {row['seconds']:.2f} s  {metrics}")
        if told["traceback"]:
            echo(told["traceback"])
        if told["log"]:
            echo(f"it printed {len(told['log'].splitlines()) - 1} lines; --log shows them")


@click.command()
@click.argument("name")
@RUNS
@JSON
def best(name: str, runs: Path, as_json: bool) -> None:
    """Print the winner of a search: configuration, accuracies, where its model is."""
    from search.findings.summary import summarize
    from search.storage.runs import find_search
    from search.terminal import messages

    summary = summarize(find_search(name, runs))
    if not summary["best"]:
        raise SearchFailed(f"{name} has no result yet; it is {summary['state']}")
    echo(json.dumps(summary["best"], indent=1) if as_json else messages.result(summary))


@click.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace what an earlier export wrote into FOLDER.")
@click.option("--data-limit", metavar="SIZE", help="As in a search; the model is checked on its validation part.")
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write TensorBoard's files into this folder: curves, and settings for its HParams page.",
)
@RUNS
@DEBUG
def export(
    name: str, folder: Path | None, force: bool, data_limit: str | None, tensorboard: Path | None, runs: Path
) -> None:
    """Write a search into FOLDER: the winner's model and configuration, trials and curves as CSV, an Optuna study."""
    from search.options import size
    from search.storage.runs import find_search

    if folder is None and tensorboard is None:
        raise BadInput("say where to: python -m search export NAME FOLDER, or --tensorboard DIR, or both")
    run, limit = find_search(name, runs), size(data_limit, "--data-limit") if data_limit else None
    if folder is not None:
        from search.session.export import export as exported
        from search.terminal import screen

        display = screen.for_stderr(quiet=True)
        for file in exported(run, folder, display, lambda text: echo(text, err=True), force=force, limit=limit):
            echo(str(file))
    if tensorboard is not None:
        from search.findings.tensorboard_export import write_events

        count = write_events(run, tensorboard)
        echo(f"{tensorboard}: {count} trials; tensorboard --logdir {shlex.quote(str(tensorboard))} shows them")


@click.command()
@click.argument("name")
@RUNS
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file, instead of runs/NAME/report.html.",
)
@DEBUG
def report(name: str, runs: Path, output: Path | None) -> None:
    """Write what a search found as one HTML page that needs nothing else, and print its path."""
    from search.findings.report import write
    from search.storage.runs import find_search

    echo(str(write(find_search(name, runs), output)))


@click.command()
@click.argument("name", required=False)
@RUNS
@click.option("--port", type=click.IntRange(1, 65535), help="5000, or a free one if that is in use.")
@click.option("--no-browser", is_flag=True, help="Print the link only.")
@DEBUG
def ui(name: str | None, runs: Path, port: int | None, no_browser: bool) -> None:
    """Open MLflow's pages at the newest search, or the one called NAME, on this machine only, until Ctrl-C."""
    from search.settings import Settings, from_environment
    from search.storage.runs import find_search, searches
    from search.tracking.pages import serve

    settings = Settings(runs=runs, tracking_uri=from_environment()["tracking_uri"])
    newest = searches(runs)[-1:] if name is None else [find_search(name, runs)]
    folder = newest[0] if newest else None
    raise SystemExit(serve(settings.tracking, folder, port, lambda text: echo(text, err=True), browser=not no_browser))


@click.command()
@click.argument("name", required=False)
@RUNS
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, if others are to see it.")
@click.option("--port", type=click.IntRange(1, 65535), help="8780, or a free one if that is in use.")
@click.option("--read-only", is_flag=True, help="Show only; steer nothing.")
@click.option("--beside", type=int, hidden=True, help="End with the process of this number, the parent.")
@DEBUG
def watch(name: str | None, runs: Path, **options: Any) -> None:
    """Show all searches, or the one called NAME, as a live page in a browser, until Ctrl-C."""
    from search.page.server import serve

    serve(runs, lambda text: echo(text, err=True), name=name, **options)
