"""Options that several commands have, and the settings that they come to."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from search.errors import BadInput
from search.settings import Settings, from_environment, seconds, size


class Runs(click.ParamType[Path]):
    """A folder, or the address of a bucket, for which a folder stands."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """The folder."""
        from search.storage.bucket import runs_folder

        return runs_folder(value)


def _runs() -> Path:
    """Where searches are kept if nobody says: a job's own folder is Ray's, which deletes it."""
    from search.provenance import in_job

    return Path.home() / "runs" if in_job() else Path("runs")


RUNS = click.option(
    "--runs",
    type=Runs(),
    envvar="SEARCH_RUNS_DIR",
    default=_runs,
    show_default="runs",
    help="Folder that holds the searches, or s3://BUCKET/PREFIX.",
)
TRIAL_TIMEOUT = click.option(
    "--trial-timeout", metavar="TIME", help="A trial silent for so long is ended, and tried once more."
)
CHECKPOINT_BUDGET = click.option(
    "--checkpoint-budget", metavar="SIZE", help="Most bytes that all checkpoints together may take: 2GB."
)
CONFIRM = click.option(
    "--confirm", type=int, metavar="K", help="Train the best K again on fresh seeds; the best mean of these wins."
)
CONFIRM_SEEDS = click.option("--confirm-seeds", type=int, metavar="R", help="Fresh seeds for each of them; 3.")
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Add the traceback to an error.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings that the options of a search ask for. Raises BadInput."""
    changes = {}
    for change in options["changes"]:
        key, equals, value = change.partition("=")
        if not equals:
            raise BadInput(f"--set takes NAME=VALUE, as in --set train/lr=0.1, but got {change!r}")
        changes[key.strip()] = value
    same = ("name", "runs", "data", "trials", "epochs", "concurrent", "cpus", "gpus", "seed", "sampler", "scheduler")
    return Settings(
        **{option: options[option] for option in (*same, "confirm", "confirm_seeds")},
        time_budget=read(options["time_budget"], seconds),
        trial_timeout=read(options["trial_timeout"], seconds, "--trial-timeout"),
        checkpoint_budget=read(options["checkpoint_budget"], size),
        wait_for_resources=read(options["wait_for_resources"], seconds, "--wait-for-resources"),
        changes=changes,
        warm_start=options["warm_start"],
        also_cpus=options["also_cpus"],
        audit=options["audit"],
        until_settled=options["until_settled"],
        published=options["published"],
        stand_in=not options["no_stand_in"],
        dry_run=options["dry_run"],
        command=command_line(),
        **from_environment(),
    )


def read(text: str | None, reader: Callable[..., Any], *option: str) -> Any:
    """What `reader` makes of the text of an option; None if the option was not given."""
    return None if text is None else reader(text, *option)


def command_line() -> str:
    """The command as it was given, to be written down."""
    return shlex.join(["python", "-m", "search", *sys.argv[1:]])
