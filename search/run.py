"""A whole search, from what was prepared to the registered winner."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import uuid
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from search import checkpoints, cluster, tracking
from search.display import Display, plan
from search.errors import EnvironmentFault, NameInUse, SearchError, SearchFailed
from search.preflight import Prepared
from search.record import FILE, Record
from search.samplers import SAMPLERS
from search.schedulers import SCHEDULERS
from search.search import Search
from search.settings import Settings
from search.stop import Stop
from search.summary import summarize


def run(prepared: Prepared, display: Display, *, began: float) -> tuple[dict[str, Any], SearchError | None, int]:
    """Search, and return the summary, what failed (or None), and the signal that ended it (or 0).

    `began` is when the command started, on the monotonic clock: budgets count from there.
    """
    settings, stop = prepared.settings, Stop(began, prepared.about["time_budget"])
    # Importing Tune takes a second, which fits into Ray's start.
    with cluster.ray_running(settings, meanwhile=partial(import_module, "search.engine")), stop.on_signals():
        folder = _new_folder(settings, prepared.study.name)
        about = {
            **prepared.about,
            "name": folder.name,
            "id": uuid.uuid4().hex,
            "concurrent": cluster.slots(settings),
            "cores": cluster.cores(),
            "pid": os.getpid(),
            "node": os.uname().nodename,
            "started_at": time.time() - stop.elapsed(),
        }
        display.say(f"{folder.name}\n{plan(prepared.study, about)}")
        with Record(folder / FILE, create=True) as record:
            fault = _searched(replace(prepared, about=about), record, folder, stop, display)
    return summarize(folder), fault, int(stop.signal or 0)


def _searched(prepared: Prepared, record: Record, folder: Path, stop: Stop, display: Display) -> SearchError | None:
    """Run the trials, crown the winner, and bring MLflow up to date; returns what failed at the end, if anything."""
    from search.engine import Engine
    from search.winner import crown
    from search.worker import Task, share

    study, settings, about = prepared.study, prepared.settings, prepared.about
    search = Search(
        study,
        record,
        SAMPLERS[settings.sampler](study, settings.seed),
        SCHEDULERS[settings.scheduler](study),
        seed=settings.seed,
        trials=about["trials"],
    )
    search.note("search", about)
    root = folder / "checkpoints"
    root.mkdir()
    tracker = tracking.Tracker(record.path, settings.tracking, display.warn)

    def tick() -> None:
        # Importing MLflow takes seconds of CPU, which the workers need until they train.
        if search.trials.epochs:
            tracker.start()
        with contextlib.suppress(Exception):  # a screen that cannot be drawn, or a closed pipe, ends no search
            display.tick()

    retention = checkpoints.Retention(root)
    display.begin(search, stop.deadline)
    try:
        task = Task(study.trainable, share(prepared.data), root.resolve(), settings.cpus)
        engine = Engine(search, retention, stop, tick)
        why = engine.run(task, settings, concurrent=about["concurrent"], folder=folder.resolve())
    except BaseException as error:
        _broken(search, tracker, str(error) or type(error).__name__, stop)
        raise
    finally:
        display.end()
    fault: SearchError | None = None
    state, published = ("interrupted" if stop.signal else "done"), {}
    if stop.signal:
        tracker.flush(tracking.PATIENCE_SECONDS)
    else:
        retention.finish(search.trials)
        try:
            published = crown(prepared, search, tracker, root, display)
        except SearchFailed as error:
            fault, state, why = error, "failed", str(error)
        except EnvironmentFault as error:
            fault, why = error, str(error)
    search.note("published", published or tracker.place)
    search.note("finished", {"state": state, "why": why, "wall_s": round(stop.elapsed(), 1)})
    if not tracker.finish(tracking.PATIENCE_SECONDS):
        display.warn("MLflow has not taken all of the record; nothing is lost, the record is whole")
    return fault


def _broken(search: Search, tracker: tracking.Tracker, why: str, stop: Stop) -> None:
    """Something ended the search from outside: say so in record and MLflow, as far as they can still be written."""
    with contextlib.suppress(SearchError):
        search.interrupt(why)
        search.note("finished", {"state": "failed", "why": why, "wall_s": round(stop.elapsed(), 1)})
        tracker.finish(tracking.PATIENCE_SECONDS / 3)


def _new_folder(settings: Settings, study: str) -> Path:
    """Make the run's folder; making it is what claims the name, so two searches never share one."""
    settings.runs.mkdir(parents=True, exist_ok=True)
    for name in [settings.name] if settings.name else (f"{study}-{count}" for count in itertools.count(1)):
        folder = settings.runs / name
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise NameInUse(f"a search named {settings.name} exists in {settings.runs}; choose another --name")
