"""Whether the code of a search logs to MLflow itself, and where the runs of its trials are for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import spaces
from search.prepared import Prepared
from search.settings import from_environment
from search.tracking.trial_run import Place
from spaces.script import imports
from trainables.script.script import Script

OWN_PLACE = re.compile(r"\b(set_experiment|set_tracking_uri)\s*\(")
"""Calls after which MLflow refuses a run of another place."""
LARGEST_FILE = 10**6
MOST_FILES = 200
"""So many files of a script and of what it imports from beside it are looked at, at most."""


def place_for_trials(prepared: Prepared, say: Callable[[str], None]) -> Place | None:
    """Where MLflow has the runs of the trials, for their own code; None if it does not use MLflow, or must not.

    `say` hears why it must not: it names a place of its own; or workers on other machines cannot reach the store, or
    would show their credentials to a server that nobody here has named.
    """
    files = _files(prepared)
    texts = {file: text for file in files if "mlflow" in (text := _text(file)).lower()}
    if not texts:
        return None
    own = next(((file, found[1]) for file, text in texts.items() if (found := OWN_PLACE.search(text))), None)
    if own is not None:
        say(
            f"{own[0].name} calls mlflow.{own[1]}, so what it logs goes there; without that call it goes to the run of "
            "its trial"
        )
        return None
    settings, header = prepared.settings, prepared.header
    named = from_environment()["tracking_uri"] or ""
    if settings.ray_address and not named.startswith(("http://", "https://")):
        say(
            "what trials log to MLflow themselves stays on their nodes: name a server with MLFLOW_TRACKING_URI, and it "
            "goes to their runs"
        )
        return None
    return Place(settings.tracking, header.experiment, header.id)


def _files(prepared: Prepared) -> list[Path]:
    """The files of the user's own code."""
    trainable = prepared.study.trainable
    if isinstance(trainable, Script):
        return list(_of_script(Path(trainable.program)))
    if spaces.is_ours(trainable):
        return []
    return [Path(path) for module in spaces.users_modules() if (path := getattr(module, "__file__", None))]


def _of_script(program: Path) -> Iterator[Path]:
    """A script, and the files beside it that it imports, and those that they do."""
    todo, seen = [program], set[Path]()
    while todo and len(seen) < MOST_FILES:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        yield file
        for name in {each.partition(".")[0] for each in imports(_text(file))}:
            beside = program.parent / name
            todo += [beside.with_suffix(".py")] if beside.with_suffix(".py").is_file() else sorted(beside.rglob("*.py"))


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace") if file.stat().st_size <= LARGEST_FILE else ""
    except OSError:
        return ""
