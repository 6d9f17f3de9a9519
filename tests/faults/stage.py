"""Scenes: whole searches with faults, played two at a time on threads, because a search mostly waits for its start.

A scene is a function of its chaos folder that returns what tests want to know; `@staged` makes a fixture of it. The
first test that asks for any has all begun that the selected tests need.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.record import Event
from tests.chaos import checker, command

Scene = Callable[[Path], Any]
SCENES: dict[str, Scene] = {}
AT_ONCE = 2
_MLFLOW = threading.Lock()
"""MLflow's clients share what they know of stores between threads, and do not guard it."""


def staged(scene: Scene) -> Any:
    """A fixture, for the whole session, of what `scene(folder)` returns."""
    assert scene.__name__ not in SCENES, f"two scenes are called {scene.__name__}"
    SCENES[scene.__name__] = scene

    @pytest.fixture(scope="session", name=scene.__name__)
    def fixture(stage: Mapping[str, Future[Any]]) -> Any:
        return stage[scene.__name__].result()

    return fixture


@contextmanager
def playing(names: Sequence[str], folder: Callable[[str], Path]) -> Iterator[dict[str, Future[Any]]]:
    """The scenes `names`, each in `folder(name)`, in this order; what still runs at the end is killed."""
    folders = {name: folder(name) for name in names}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {name: pool.submit(SCENES[name], folders[name]) for name in names}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for place in folders.values():
            checker.sweep(place)
        pool.shutdown()


def look(folder: Path, ended: command.Ended, code: int, uri: str | None = "", **how: Any) -> SimpleNamespace:
    """What is there now that a command `ended`: `faults` by the checker if it had to end with `code`, and `events`."""
    run_dir = folder / "runs" / command.NAME
    uri = f"sqlite:///{folder / 'mlflow.db'}" if uri == "" else uri
    how = {"exit_code": ended.code, "expected_exit_codes": (code,), "stderr": ended.stderr, "folder": folder, **how}
    with _MLFLOW:
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


def of(events: Sequence[Event], kind: str, trial: int | None = None) -> list[Mapping[str, Any]]:
    """The bodies of all events of `kind` (of `trial`)."""
    return [event.body for event in events if event.kind == kind and trial in (None, event.trial)]


def ends(events: Sequence[Event]) -> dict[int | None, tuple[str, str]]:
    """State and reason of each trial that ended."""
    return {event.trial: (event.body["state"], event.body["why"]) for event in events if event.kind == "ended"}


def processes(folder: Path, title: str) -> list[int]:
    """The pids of the processes of `folder` whose command line has `title`."""
    return [pid for pid, line in checker.processes_of(folder).items() if title in line]
