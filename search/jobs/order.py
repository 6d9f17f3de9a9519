"""An order: a search that is to run elsewhere, as its study, its settings and the folder that goes along.

To Ray's job server an order travels as a file in that folder, which `python -m search run-order` carries out there: no
text is parsed twice, and nothing depends on how the user wrote the command. A manifest for Kubernetes or Slurm brings
no folder and is read and edited by people; it holds `Order.command`, the command line made from the same settings.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from search.errors import BadInput
from search.options import declared, seconds
from search.secrets import PREFIX
from search.settings import Settings
from spaces import is_file, is_script, source

FILE = "search-order.json"
"""The order, in the folder that travels."""
OF_THE_PLACE = ("runs", "tracking_uri", "ray_address", "command", "dry_run", "notify", "notify_command")
"""Settings that do not travel: the cluster has its own, or they are none of a search that runs there."""


@dataclass(frozen=True)
class Order:
    """A search of `study` with `settings`, to be begun, or gone on with if it exists.

    `study` and `settings.data` are names and paths as they hold there: relative ones begin in `folder`, which goes
    along. `folder` is None for a study of ours on data that the cluster has. `runs` is a folder or an s3:// address;
    None leaves it to the cluster. Of the settings OF_THE_PLACE the cluster's own hold.
    """

    study: str
    settings: Settings
    runs: str | None = None
    folder: Path | None = None
    as_json: bool = False
    quiet: bool = False

    @property
    def name(self) -> str:
        """The name of the search."""
        return self.settings.name or ""

    @property
    def command(self) -> str:
        """The command line that does the same."""
        runs = ["--runs", self.runs] if self.runs else []
        flags = [option for option, given in (("--quiet", self.quiet), ("--json", self.as_json)) if given]
        words = [self.study, *arguments(self.settings), *runs, "--resume", "auto", *flags]
        words += ["--", *self.settings.arguments] if self.settings.arguments else []
        return shlex.join(["python", "-m", "search", *words])

    def text(self) -> str:
        """The order as the content of its file; `read` is the way back."""
        settings = {
            field.name: getattr(self.settings, field.name)
            for field in fields(Settings)
            if field.name not in OF_THE_PLACE
        }
        plain = {
            "study": self.study,
            "settings": settings,
            "runs": self.runs,
            "as_json": self.as_json,
            "quiet": self.quiet,
        }
        return json.dumps(plain, indent=1, default=str)


def read(file: Path) -> Order:
    """The order in `file`, where it is carried out. Raises BadInput."""
    try:
        plain = json.loads(file.read_text())
        settings = plain.pop("settings")
        settings["data"] = Path(settings["data"]) if settings["data"] else None
        settings["warm_start"], settings["arguments"] = tuple(settings["warm_start"]), tuple(settings["arguments"])
        return Order(settings=Settings(**settings), **plain)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{file} is no order of a search ({type(error).__name__}: {error})") from None


def order(study: str, settings: Settings, *, runs: str | None, as_json: bool = False, quiet: bool = False) -> Order:
    """What becomes of a search of `study` with `settings` here: the same there, under a name.

    The folder of a study file goes along (the working folder, if the file is below it), and so do data below that
    folder; data at another absolute path are taken for the cluster's. A script travels with the working folder, in
    which it runs there too. Raises BadInput for a relative path that leads out of what travels, and for a secret.
    """
    if settings.notify or settings.notify_command:
        raise BadInput(
            "--notify and --notify-command hold for a search that runs here, and an address may be a secret; set "
            "SEARCH_NOTIFY or SEARCH_NOTIFY_COMMAND in the environment of the cluster's jobs"
        )
    name = settings.name or f"{Path(study).stem}-{time.strftime('%m%d-%H%M%S')}"
    here, folder = Path.cwd(), None
    if is_script(study):
        _check_script(study, settings, here)
    if is_file(study):
        file = Path(study).resolve()
        folder = here if file.is_relative_to(here) else file.parent
        named = str(file.relative_to(folder))
        study = named if is_file(named) else f"./{named}"
    data = settings.data
    if data is not None and data.exists():
        full = data.resolve()
        if full.is_relative_to(folder or here):
            folder = folder or here
            data = full.relative_to(folder)
        elif not data.is_absolute():
            raise BadInput(
                f"{data} lies outside of {folder or here}, which travels with the study; put it below, or give its "
                "absolute path on the cluster"
            )
    travelling = replace(settings, name=name, data=data, stand_in=False, **_of_no_place())
    return Order(study, travelling, runs, folder, as_json, quiet)


def _check_script(name: str, settings: Settings, here: Path) -> None:
    """Raise BadInput for a script, or a sweep, that would not find on the cluster what it has here."""
    for file in (Path(name).resolve(), Path(source(name))):
        if not file.is_relative_to(here):
            raise BadInput(f"{file} lies outside of {here}, which travels with a script; go to a folder above it")
    words = [*settings.arguments, *shlex.split(settings.test or "")]
    if any(f"{{env:{PREFIX}" in word for word in words):
        raise BadInput(
            "an argument of the script holds a secret, which does not travel; give it as {env:NAME}, and set NAME in "
            "the environment of the cluster"
        )
    for word in words:
        path = Path(word.rpartition("=")[2])
        if not path.is_absolute() and ".." in path.parts and path.exists() and not path.resolve().is_relative_to(here):
            raise BadInput(
                f"{path} lies outside of {here}, which travels with the script; put it below, or give its absolute "
                "path on the cluster"
            )


def arguments(settings: Settings) -> list[str]:
    """The options of the command line that come to `settings`, but for those OF_THE_PLACE; defaults are left out.

    Nor are the arguments of a script among them, which come last of all.
    """
    words: list[str] = []
    for field in fields(Settings):
        value = getattr(settings, field.name)
        if field.name in (*OF_THE_PLACE, "arguments") or value == getattr(Settings(), field.name):
            continue
        declaration = declared(Settings).get(field.name)
        option = declaration.flag if declaration else f"--{field.name}"
        if isinstance(value, bool):
            words.append(option)
        elif isinstance(value, Mapping):
            words += [word for key, text in value.items() for word in (option, f"{key}={text}")]
        elif isinstance(value, tuple):
            words += [word for each in value for word in (option, each)]
        else:
            unit = "s" if declaration is not None and declaration.read is seconds else ""
            words += [option, (_decimal(value) if isinstance(value, float) else str(value)) + unit]
    return words


def _of_no_place() -> dict[str, Any]:
    return {name: getattr(Settings(), name) for name in OF_THE_PLACE}


def _decimal(number: float) -> str:
    """All digits of `number` without an exponent, which times cannot have."""
    return f"{Decimal(int(number)) if number.is_integer() else Decimal(repr(number)):f}"
