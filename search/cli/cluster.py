"""Commands for a cluster: `submit`, `status`, `logs`, `stop`; the last three are for searches here, too."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from search.cli import local
from search.cli.clock import on_signals
from search.cli.options import DEBUG, JSON, RUNS, settings_of
from search.cli.output import echo
from search.cli.run import probe_seconds, search
from search.errors import BadInput

AFTER = "search.after"
"""Under this key a command keeps the arguments of a script, with the `--` before them."""
ADDRESS = click.option(
    "--address",
    envvar="RAY_ADDRESS",
    metavar="URL",
    help="The cluster's job server: http://HEAD:8265. RAY_ADDRESS if left out.",
)


class _WithArguments(click.Command):
    """A command that keeps what follows after `--` for the script that it hands on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with all that is before `--`."""
        own = args.index("--") if "--" in args else len(args)
        ctx.meta[AFTER] = args[own:]
        return super().parse_args(ctx, args[:own])


@click.command(cls=_WithArguments, context_settings={"ignore_unknown_options": True})
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[run] STUDY [OPTIONS OF A SEARCH]"
)
@ADDRESS
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@click.option("--kuberay", is_flag=True, help="Submit nothing; print a RayJob for Kubernetes.")
@click.option("--slurm", is_flag=True, help="Submit nothing; print a batch script for Slurm.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Nodes, in what is printed.")
@click.option("--worker-cpus", type=click.IntRange(1), default=8, show_default=True, help="CPUs of each of them.")
@click.option("--image", help="For --kuberay: a container with this package, its requirements and the study.")
@JSON
@DEBUG
def submit(arguments: tuple[str, ...], address: str | None, detach: bool, as_json: bool, **printed: Any) -> None:
    """Run a search as a job on a Ray cluster, follow it, and end as it ends."""
    from search.jobs.client import tracking_uri

    order, mlflow = _order(arguments, as_json=as_json), tracking_uri()
    if printed["kuberay"] or printed["slurm"]:
        from search.jobs import manifests

        size = {"workers": printed["workers"], "cpus": printed["worker_cpus"], "mlflow": mlflow}
        if printed["kuberay"]:
            echo(manifests.rayjob(order, image=printed["image"], **size), nl=False)
        else:
            echo(manifests.slurm(order, **size), nl=False)
        return
    jobs = _jobs(address)
    job = jobs.submit(order)
    echo(f"{order.name} is job {job} on {jobs.address}", err=True)
    if detach:
        echo(f"to follow it: python -m search logs {order.name} --address {jobs.address}", err=True)
        if as_json:
            echo(json.dumps({"name": order.name, "job": job, "address": jobs.address}, indent=1))
        return
    _follow(jobs, order.name, job, as_json=as_json)


def _order(arguments: tuple[str, ...], *, as_json: bool) -> Any:
    """What is to be run on the cluster; what its settings refuse is refused here. Raises BadInput."""
    from search.jobs.order import order
    from search.session.asked import adapted
    from search.storage.bucket import shown

    group = click.get_current_context().find_root().command
    assert isinstance(group, click.Group)
    words = [*arguments[arguments[0] == "run" :], *click.get_current_context().meta.get(AFTER, ())]
    with group.commands["run"].make_context("python -m search submit", words) as context:
        given, runs_source = context.params, context.get_parameter_source("runs")
    settings = settings_of(given)
    if given["dry_run"]:
        raise BadInput("--dry-run plans on this machine; leave submit out")
    if given["watch"]:
        raise BadInput("--watch serves the page of a search on this machine; `watch` shows one on a cluster, by --runs")
    probe_seconds(given["probe"], dry_run=False)
    adapted(given["study"], settings)
    # What the environment here says of runs is not said of the cluster.
    runs = shown(given["runs"]) if runs_source is ParameterSource.COMMANDLINE else None
    return order(given["study"], settings, runs=runs, as_json=as_json, quiet=given["quiet"])


@click.command(hidden=True)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--job", required=True, help="The id of the job that does it.")
@RUNS
def run_order(file: Path, job: str, runs: Path) -> None:
    """Carry out the order in FILE: begin its search, or go on with it. What `submit` lets a cluster do."""
    from search.jobs import result
    from search.jobs.order import read
    from search.session.resume import ready
    from search.settings import from_environment
    from search.storage.bucket import runs_folder
    from search.terminal import screen

    order = read(file)
    here = {"runs": runs_folder(order.runs) if order.runs else runs, "command": order.command, **from_environment()}
    display, stop = screen.for_stderr(quiet=order.quiet), on_signals()
    with ready(order.study, replace(order.settings, **here), display, resume=True) as prepared:
        search(prepared, display, stop, document=partial(result.line, job) if order.as_json else None)


def _jobs(address: str | None) -> Any:
    from search.jobs.client import JobServer

    if not address:
        raise BadInput("which cluster? give --address http://HEAD:8265, or set RAY_ADDRESS")
    return JobServer(address)


def _follow(jobs: Any, name: str, job: str, *, as_json: bool) -> None:
    """Show what a job writes until it is over, on standard error if standard output is for its document."""
    from search.jobs import result

    try:
        code = jobs.follow(job, lambda text: echo(text, nl=False, err=as_json))
    except KeyboardInterrupt:
        echo(
            f"{name} goes on; `python -m search logs {name} --address {jobs.address}` follows it, `stop` ends it",
            err=True,
        )
        raise SystemExit(130) from None
    if as_json:
        document = result.found(jobs.log(job), job)
        if document is not None:
            echo(json.dumps(document, indent=1))
    if code:
        raise SystemExit(code)


@click.command()
@click.argument("name", required=False)
@ADDRESS
@RUNS
@JSON
def status(name: str | None, address: str | None, runs: Path, as_json: bool) -> None:
    """Tell of the searches that were submitted to a cluster; without an address of those in the runs folder."""
    if not address:
        local.status(name, runs, as_json=as_json)
        return
    jobs = _jobs(address)
    rows = [jobs.get(name)] if name else jobs.list()
    if as_json:
        echo(json.dumps(rows[0] if name else rows, indent=1))
        return
    if not rows:
        echo(f"no search was submitted to {jobs.address}", err=True)
    for row in rows:
        echo(f"{row['name']:<28} {row['state']:<10} {row['job']}" + ("" if not name else f"\n{row['message']}"))


@click.command()
@click.argument("name")
@ADDRESS
@RUNS
def logs(name: str, address: str | None, runs: Path) -> None:
    """Follow what a submitted search writes, and end as it ends; without an address, what happens in one here."""
    if not address:
        local.follow(name, runs)
        return
    jobs = _jobs(address)
    _follow(jobs, name, jobs.get(name)["job"], as_json=False)


@click.command()
@click.argument("name")
@ADDRESS
@RUNS
def stop(name: str, address: str | None, runs: Path) -> None:
    """End a search so that it can be resumed, and wait until it has ended: a submitted one, or one that runs here."""
    if not address:
        local.stop(name, runs)
        return
    jobs = _jobs(address)
    ended = jobs.stop(jobs.get(name)["job"])
    echo(f"{name} " + ("was stopped; submit it again under this name to go on" if ended else "was over already"))
