"""Options that several commands have, and the settings that they come to."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from search.options import Option, declared, read
from search.secrets import hidden
from search.settings import More, Settings, from_environment
from search.telling import notified

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


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
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Add the traceback to an error.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def declared_options(kind: type) -> Callable[[Decorated], Decorated]:
    """A decorator that gives a command the options that are declared in `kind`."""

    def add(command: Decorated) -> Decorated:
        for each in reversed([*declared(kind).values()]):
            help_ = each.resume_help if kind is More and each.resume_help else each.help
            command = click.option(each.flag, each.keyword, help=help_, **_details(each))(command)
        return command

    return add


def _details(option: Option) -> dict[str, Any]:
    """What click is told of an option."""
    if option.type is bool:
        return {"is_flag": True, "flag_value": not option.default, "default": option.default}
    if isinstance(option.default, (tuple, dict)):
        return {"multiple": True, "metavar": option.metavar}
    return {
        "type": option.type,
        "metavar": option.metavar,
        "default": option.default,
        "show_default": option.default is not None,
    }


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings that the options of a search ask for. Raises BadInput."""
    places = {name: options[name] for name in ("name", "runs", "data")}
    words, secrets = hidden(options.get("arguments", ()))
    os.environ.update(secrets)  # of which the processes that run the script are born
    places["arguments"] = tuple(words)
    return Settings(**read(Settings, options), **places, command=command_line(), **from_environment())


def without_addresses(words: Sequence[str]) -> list[str]:
    """`words` of a command without the secrets that an address, or a command, to tell of its end may hold."""
    shown: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        before = shown[-1] if shown else ""
        if before in SECRETIVE:
            shown.append(SECRETIVE[before](word))
        elif equals and flag in SECRETIVE:
            shown.append(f"{flag}={SECRETIVE[flag](value)}")
        else:
            shown.append(word)
    return shown


SECRETIVE: Mapping[str, Callable[[str], str]] = {"--notify": notified, "--notify-command": lambda command: "***"}
"""Options whose value is not written down, and what is instead."""


def command_line() -> str:
    """The command as it was given, to be written down; a script's arguments without secrets."""
    words = sys.argv[1:]
    own = words.index("--") + 1 if "--" in words else len(words)
    return shlex.join(["python", "-m", "search", *without_addresses(words[:own]), *hidden(words[own:])[0]])
