"""Scenes: whole searches with faults, and what to look for in what they leave behind.

A scene is a function of its chaos folder that returns what tests want to know; `@staged` makes a fixture of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.record.events import Event
from tests.chaos import checker, command


def staged(scene: Callable[[Path], Any]) -> Any:
    """A fixture, once per file, of what `scene(folder)` returns; what still runs there at the end is killed."""

    @pytest.fixture(scope="module", name=scene.__name__)
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        folder = tmp_path_factory.mktemp(scene.__name__)
        try:
            yield scene(folder)
        finally:
            checker.sweep(folder)

    return fixture


def look(folder: Path, ended: command.Ended, code: int, uri: str | None = "", **how: Any) -> SimpleNamespace:
    """What is there now that a command `ended`: `faults` by the checker if it had to end with `code`, and `events`."""
    run_dir = folder / "runs" / command.NAME
    uri = f"sqlite:///{folder / 'mlflow.db'}" if uri == "" else uri
    how = {"exit_code": ended.code, "expected_exit_codes": (code,), "stderr": ended.stderr, "folder": folder, **how}
    try:
        faults = checker.faults(run_dir, uri, **how)
    except Exception as error:  # a store that MLflow cannot open
        faults = [f"{type(error).__name__}: {str(error)[:300]}"]
    return SimpleNamespace(code=ended.code, stderr=ended.stderr, faults=faults, events=events(folder))


def events(folder: Path, name: str = command.NAME) -> list[Event]:
    return command.events_of(command.record_of(folder, name))


def count(kind: str, trial: int | None = None) -> Callable[[Sequence[Event]], int]:
    """How many events of `kind` (of `trial`) there are; `count(kind)(events)`."""
    return lambda events: sum(event.kind == kind and trial in (None, event.trial) for event in events)


def by_itself(events: Sequence[Event]) -> list[tuple[str, int | None, dict[str, Any]]]:
    """What of the events must not depend on interruptions: all but times, processes and attempts."""
    apart = ("began", "pid", "node", "seconds", "system", "checkpoint")
    return [
        (event.kind, event.trial, {key: value for key, value in event.body.items() if key not in apart})
        for event in events
        if event.kind in ("asked", "epoch", "decided", "ended", "tested")
    ]


def of(events: Sequence[Event], kind: str, trial: int | None = None) -> list[Mapping[str, Any]]:
    """The bodies of all events of `kind` (of `trial`)."""
    return [event.body for event in events if event.kind == kind and trial in (None, event.trial)]


def ends(events: Sequence[Event]) -> dict[int | None, tuple[str, str]]:
    """State and reason of each trial that ended."""
    return {event.trial: (event.body["state"], event.body["why"]) for event in events if event.kind == "ended"}


def processes(folder: Path, title: str) -> list[int]:
    """The pids of the processes of `folder` whose command line has `title`."""
    return [pid for pid, line in checker.processes_of(folder).items() if title in line]
