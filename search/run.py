"""A whole search, from the command line's settings to the registered winner."""

from __future__ import annotations

import itertools
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import spaces
from search import checkpoints, cluster, environment, settings as choices, tracking
from search.display import Display, plan
from search.errors import BadInput, EnvironmentFault, NameInUse, SearchError, SearchFailed
from search.record import FILE, Record
from search.samplers import SAMPLERS
from search.schedulers import SCHEDULERS
from search.search import Search
from search.settings import Settings
from search.summary import summarize
from search.trials import State
from spaces.space import SpaceError, parse
from spaces.study import Study
from trainables import datasets
from trainables.data import Data, part

TRACKING_SECONDS = 30.0
"""How long the end waits for MLflow to take what is recorded."""


def ending_seconds(budget: float) -> float:
    """What is kept of a time budget for the end: stopping workers, the test set, MLflow; measured 10 to 14 s on 2 cores."""
    return min(16.0, 0.25 * budget)


@dataclass(frozen=True)
class Prepared:
    """All that could be checked before Ray starts."""

    study: Study
    settings: Settings
    source: datasets.Source
    data: Data
    about: dict[str, Any]


class Stop:
    """Why the search should end now; set by the clock or a signal."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.signal: signal.Signals | None = None

    def __call__(self) -> str:
        """The reason, or "" to go on."""
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time budget is spent"
        return ""

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, SIGINT and SIGTERM ask for the end; a second one raises KeyboardInterrupt at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = signal.Signals(number)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def prepare(name: str, settings: Settings, display: Display) -> Prepared:
    """Check all that can be checked without Ray; writes nothing. Raises SearchError."""
    study = adapted(name, settings)
    if settings.name and (settings.runs / settings.name).exists():
        raise NameInUse(
            f"a search named {settings.name} exists in {settings.runs}; choose another --name, or remove that folder"
        )
    _writable(settings.runs)
    cluster.available_locally(settings)
    tracking.probe(settings.tracking)
    try:
        source = datasets.find(study.dataset, settings.data, warn=display.warn)
        if source.stand_in and not settings.stand_in:
            raise EnvironmentFault(
                f"{study.dataset} is not at hand and could not be downloaded; put {study.dataset}.npz into SEARCH_DATA_DIR"
            )
        train_part = source.train()
        data = part(*train_part, source.classes, val_fraction=study.val_fraction, seed=study.split_seed)
    except datasets.DataError as error:
        raise BadInput(str(error)) from None
    if source.stand_in:
        display.warn(
            f"STAND-IN DATA: {study.dataset.upper()} COULD NOT BE HAD. THIS RUNS ON {source.where.upper()}, AND SAYS NOTHING "
            f"ABOUT {study.dataset.upper()}. Put {study.dataset}.npz into SEARCH_DATA_DIR for the real thing."
        )
    _rehearse(study, data)
    budget = settings.time_budget or study.time_budget
    rungs = SCHEDULERS[settings.scheduler](study).rungs
    about = {
        "study": study.name,
        "about": study.about,
        "experiment": study.name + ("-stand-in" if source.stand_in else ""),
        "dataset": source.name,
        "where": source.where,
        "stand_in": source.stand_in,
        "digest": datasets.digest(train_part),
        "train_images": len(data.train),
        "val_images": len(data.val),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "objective": {"metric": study.objective.metric, "mode": study.objective.mode},
        "space": {key: str(range_) for key, range_ in study.ranges.items()},
        "fixed": dict(study.fixed),
        "start": [dict(point) for point in study.start],
        "epochs": study.epochs,
        "rungs": list(rungs),
        "trials": settings.trials or study.trials,
        "time_budget": budget,
        "seed": settings.seed,
        "sampler": settings.sampler,
        "scheduler": settings.scheduler,
        "cpus": settings.cpus,
        "gpus": settings.gpus,
        "concurrent": settings.concurrent or "as many as fit",
        "tracking_uri": choices.masked(settings.tracking),
        "command": settings.command,
        "user": environment.user(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "code": environment.code_digest(),
    }
    return Prepared(study, settings, source, data, about)


def adapted(name: str, settings: Settings) -> Study:
    """The study called `name`, changed as the settings say. Raises BadInput."""
    try:
        study = spaces.load(name)
        study = replace(study, epochs=settings.epochs or study.epochs)
        changes = {key: parse(text) for key, text in settings.changes.items()}
        study = study.changed(changes)
    except spaces.UnknownStudy as error:
        raise BadInput(str(error)) from None
    except SpaceError as error:
        raise BadInput(str(error)) from None
    for kind, asked, table in (("sampler", settings.sampler, SAMPLERS), ("scheduler", settings.scheduler, SCHEDULERS)):
        if asked not in table:
            raise BadInput(choices.nearest(kind, asked, sorted(table)))
    return study


def run(prepared: Prepared, display: Display, *, began: float) -> tuple[dict[str, Any], SearchError | None, int]:
    """Search, and return the summary, what failed (or None), and the signal that ended it (or 0).

    `began` is when the command started, on the monotonic clock: budgets count from there.
    """
    settings, stop = prepared.settings, Stop()
    budget = prepared.about["time_budget"]
    if budget is not None:
        stop.deadline = began + budget - ending_seconds(budget)
    with cluster.ray_running(settings), stop.on_signals():
        folder = _new_folder(settings, prepared.study.name)
        about = {
            **prepared.about,
            "name": folder.name,
            "id": uuid.uuid4().hex,
            "concurrent": cluster.slots(settings),
            "cores": cluster.cores(),
            "started_at": time.time() - (time.monotonic() - began),
        }
        display.say(f"{folder.name}\n{plan(prepared.study, about)}")
        with Record(folder / FILE, create=True) as record:
            fault = _searched(prepared, about, record, folder, stop, display, began)
    return summarize(folder), fault, int(stop.signal or 0)


def _searched(
    prepared: Prepared,
    about: dict[str, Any],
    record: Record,
    folder: Path,
    stop: Stop,
    display: Display,
    began: float,
) -> SearchError | None:
    from search.engine import Engine
    from search.worker import Task, share

    study, settings = prepared.study, prepared.settings
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
        display.tick()

    display.begin(search, stop.deadline)
    try:
        task = Task(study.trainable, share(prepared.data), root.resolve(), settings.cpus)
        engine = Engine(search, checkpoints.Retention(root), stop, tick)
        why = engine.run(task, settings, concurrent=about["concurrent"], folder=folder.resolve())
    finally:
        display.end()
    fault: SearchError | None = None
    state, published = ("interrupted" if stop.signal else "done"), tracker.place
    if not stop.signal:
        try:
            published = _crowned(prepared, search, tracker, root, about, display)
        except SearchFailed as error:
            fault, state, why = error, "failed", str(error)
        except EnvironmentFault as error:
            fault, why = error, str(error)
    search.note("published", published)
    search.note("finished", {"state": state, "why": why, "wall_s": round(time.monotonic() - began, 1)})
    if not tracker.finish(TRACKING_SECONDS):
        display.warn("MLflow has not taken all of the record; nothing is lost, the record is whole")
    return fault


def _crowned(
    prepared: Prepared,
    search: Search,
    tracker: tracking.Tracker,
    root: Path,
    about: dict[str, Any],
    display: Display,
) -> dict[str, Any]:
    """Measure the winner on the test set, log and register its model, and return where all that is in MLflow."""
    from search.registry import Registry, Winner
    from search.winner import measure, winner

    best = winner(search)
    if best.state is not State.COMPLETE:
        display.warn("no trial had time for its full budget; the winner is the best of those that got furthest")
    display.say(f"measuring trial {best.number} on the test set, once")
    accuracy = measure(search, best, prepared.source, root)
    if not tracker.flush(TRACKING_SECONDS):
        display.warn("MLflow does not answer, so the model is not registered; its checkpoint is kept")
        return tracker.place
    row = best.best_epoch(search.study.objective)
    assert row.checkpoint is not None
    model = Winner(
        study=search.study.name,
        search=about["name"],
        checkpoint=root / row.checkpoint,
        config={**search.study.fixed, **best.point},
        metrics=row.metrics,
        test_accuracy=accuracy,
        data_digest=about["digest"],
        classes=tuple(about["classes"]),
    )
    registry, place = Registry(prepared.settings.tracking), tracker.place
    run_id = place["parent_run_id"]
    logged = registry.log(model, run_id, place["experiment_id"], prepared.data.val)
    registered = {} if about["stand_in"] else registry.register(model, logged, run_id)
    return {**place, "model_uri": logged, **registered}


def _rehearse(study: Study, data: Data) -> None:
    """Call the trainable at the start points and the corners of the space, without training: bad values show now."""
    points = [*study.start, study.ranges.corner(high=False), study.ranges.corner(high=True)]
    for point in points:
        config = {**study.full_config(point, seed=0), "train/device": "cpu", "train/precision": "float32"}
        try:
            study.trainable(config, data)
        except (TypeError, ValueError) as error:
            raise BadInput(f"{study.name} cannot run with {_short(point)}: {error}") from None


def _short(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items()) or "its fixed values"


def _writable(runs: Path) -> None:
    existing = next(folder for folder in [runs, *runs.resolve().parents] if folder.exists())
    if not existing.is_dir():
        raise EnvironmentFault(f"{existing} is no folder, so no runs can be kept there; choose another with --runs")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise EnvironmentFault(f"no runs can be kept in {runs} ({error.strerror}); choose another with --runs") from None


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
