"""A whole search, from what was prepared to the registered winner; also one that goes on, or only its end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import spaces
from search.decide import confirmation
from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.search import Search
from search.engine import places, ray_session
from search.engine.engine import Engine
from search.engine.shared_data import put_data
from search.engine.surroundings import Surroundings, open_surroundings
from search.engine.worker import Task
from search.errors import ClusterLost, EnvironmentFault, SearchError, SearchFailed
from search.findings.summary import summarize
from search.forecast.gpu_part import fits
from search.prepared import Prepared
from search.record.events import Kind
from search.record.header import Process
from search.record.reading import finished, last, spent
from search.record.record import Record
from search.session.claim import claimed
from search.session.resume import closing_event, something_left
from search.signals import Interrupted, Stop
from search.storage import checkpoints, mirror
from search.storage.runs import RESULT, command
from search.terminal.console import Display
from search.terminal.messages import setup
from search.tracking.tracker import PATIENCE_SECONDS, REPORT_SECONDS, Tracker, log_report

SIGNAL_PATIENCE_SECONDS = 10.0
"""How long MLflow may take after a signal; who asks for an end wants it."""


def run(prepared: Prepared, display: Display, stop: Stop) -> tuple[dict[str, Any], SearchError | None, int]:
    """Search, and return the summary, what failed (or None), and the exit code of the signal that ended it (or 0).

    With `prepared.past` the search of that record goes on, unless nothing is left to do; its lock must be held.
    """
    settings, header, past = prepared.settings, prepared.header, prepared.past
    if past and not something_left(prepared):
        display.say(f"{header.name} is finished; --trials and --time-budget of resume give it more")
        summary = summarize(settings.runs / header.name)
        return summary, SearchFailed(summary["why"]) if summary["state"] == "failed" else None, 0
    before = spent(past) if past else 0.0
    limit = header.time_budget
    stop.allow(None if limit is None else limit - before)
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as ray:
        # Importing Tune takes a second, which fits into Ray's start.
        meanwhile, lost = partial(import_module, "search.engine.tune"), partial(setattr, stop, "lost")
        ray.enter_context(ray_session.ray_running(settings, meanwhile, lost, display.say))
        stop.install()
        surroundings = stack.enter_context(open_surroundings(settings, stop))
        process = Process(sum(surroundings.places()), places.cores(), os.getpid(), os.uname().nodename)
        if 0 < settings.gpus < 1 and not any(event.kind == Kind.EPOCH for event in past) and not stop():
            # Before the name is taken: with a larger part the same command is to begin, not to find another search.
            doubt = fits(prepared, within=stop.left())
            if doubt:
                display.warn(doubt)
        prepared = replace(prepared, header=replace(header, process=process))
        if past:
            folder = settings.runs / header.name
            with mirror.record(folder) as record:
                here = replace(prepared.header, process=replace(process, after_s=stop.elapsed())).here()
                record.append((Kind.RESUMED, None, {**here, **prepared.changes}))
                prepared = replace(prepared, past=tuple(record.events()))
            display.say(f"{folder.name} goes on: {len(past)} events recorded, {before:.0f} s spent")
        else:
            folder, prepared = stack.enter_context(claimed(prepared, stop))
            display.say(f"{folder.name}\n{setup(prepared.study, prepared.header)}")
        with mirror.record(folder) as record:
            fault = _searched(prepared, record, folder, stop, display, before, surroundings, ray.close)
        summary = summarize(folder)
        _keep(summary, folder, display)
    return summary, fault, 128 + stop.signal if stop.signal else 0


def sync(prepared: Prepared, folder: Path, display: Display) -> bool:
    """Bring MLflow up to date with the record of a search that nobody works on; say whether it now is.

    Runs that a killed process left running are closed; a winner that is not yet registered is; the report of a search
    that is over is logged anew. The lock must be held.
    """
    with mirror.record(folder) as record:
        search = _search(prepared, record)
        closing = closing_event(prepared.past)
        if closing is not None:
            record.append(closing)
        tracker = Tracker(record.path, prepared.settings.tracking, display.warn)
        if not tracker.flush(PATIENCE_SECONDS):
            return False
        if finished(prepared.past).get("state") == "done":
            _publish(prepared, search, tracker, folder, display)
        if not tracker.finish(PATIENCE_SECONDS):
            return False
        if finished(prepared.past).get("state") in ("done", "failed"):
            _report(prepared, folder, tracker, display)
        return True


def _search(prepared: Prepared, record: Record) -> Search:
    study, settings = prepared.study, prepared.settings
    return Search(
        study,
        record,
        SAMPLERS[prepared.header.sampler](study, settings.seed),
        SCHEDULERS[prepared.header.scheduler](study),
        seed=settings.seed,
        trials=prepared.header.trials,
        confirm=settings.confirm,
        audit=settings.audit,
        until_settled=settings.until_settled,
        confirm_seeds=prepared.header.confirm_seeds,
        past=prepared.past,
    )


def _searched(
    prepared: Prepared,
    record: Record,
    folder: Path,
    stop: Stop,
    display: Display,
    before: float,
    surroundings: Surroundings,
    leave_ray: Callable[[], None],
) -> SearchError | None:
    """Run the trials, crown the winner, and bring MLflow up to date; returns what failed at the end, if anything."""
    search = _search(prepared, record)
    shelf = checkpoints.shelf(folder.resolve())
    shelf.root.mkdir(exist_ok=True)
    retention = checkpoints.Retention(shelf)
    retention.tidy(search.trials)
    tracker = Tracker(record.path, prepared.settings.tracking, display.warn)

    def finish(state: str, why: str, patience: float) -> bool:
        if state != "done":  # where the runs are; of a search that is done, `published` says that its winner is too
            patience = patience if tracker.flush(patience) else 1.0
            search.note(Kind.PUBLISHED, {**last(prepared.past, Kind.PUBLISHED), **tracker.place})
        search.note(Kind.FINISHED, {"state": state, "why": why, "wall_s": round(before + stop.elapsed(), 1)})
        return tracker.finish(patience)

    fault: SearchError | None = None
    state, patience = "done", PATIENCE_SECONDS
    try:
        why = _train(prepared, search, retention, tracker, folder, stop, display, surroundings)
        leave_ray()  # what follows needs it no more, and its processes would only be in the way
        stop.install()  # Ray gives SIGTERM back to the system
        if stop.signal:
            raise Interrupted(stop.signal)
        if prepared.settings.confirm and search.trials.best() is not None:
            asked, control = prepared.settings.confirm, bool(prepared.study.start)
            for line in confirmation.shortfalls(search.trials, asked, control):
                display.warn(line)
        retention.tidy(search.trials)
        try:
            if not _publish(prepared, search, tracker, folder, display):
                patience = 1.0  # it has had its time
        except SearchFailed as error:
            fault, state, why = error, "failed", str(error)
        except EnvironmentFault as error:
            fault, why = error, str(error)
    except Interrupted as interruption:
        state, why, patience = "interrupted", str(interruption), SIGNAL_PATIENCE_SECONDS
    except BaseException as error:
        # From outside: say so in record and MLflow, as far as they can still be written.
        with contextlib.suppress(SearchError):
            finish("interrupted", str(error) or type(error).__name__, PATIENCE_SECONDS / 3)
        raise
    taken = finish(state, why, patience)
    if not taken:
        display.warn(
            f"MLflow has not taken all of the record; nothing is lost, and `{command('sync', folder)}` writes the rest"
        )
    if state != "interrupted":
        _report(prepared, folder, tracker if taken else None, display)
        return fault
    leave_ray()  # a worker may have been ended in the middle of a checkpoint
    stop.install()
    with contextlib.suppress(SearchError):  # a storage that is away; who resumes tidies up first
        retention.tidy(search.trials)
    return fault


def _keep(summary: Mapping[str, Any], folder: Path, display: Display) -> None:
    """Write the result beside the record, whole or not at all; if it cannot be written that is one warning."""
    path, aside = folder / RESULT, folder / f".{RESULT}-{uuid.uuid4().hex}"
    try:
        aside.write_text(json.dumps(summary, indent=1) + "\n")
        aside.replace(path)
        mirror.push(path)
    except (OSError, SearchError, Interrupted) as error:
        display.warn(f"{path} was not written ({error}); `{command('show', folder)} --json` says the same")
    finally:
        aside.unlink(missing_ok=True)


def _report(prepared: Prepared, folder: Path, tracker: Tracker | None, display: Display) -> None:
    """Write the report of a search that is over, and log it where its runs are, if there is a `tracker` with MLflow.

    Whatever goes wrong is one warning: the search is done and recorded, and the report can be made at any time.
    """
    from search.findings import report

    try:
        path = report.write(folder, data=prepared.data)
        mirror.push(path)
    except (Exception, Interrupted) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        display.warn(f"no report was written ({why}); `{command('report', folder)}` tries again")
        return
    try:
        run_id = tracker.place["parent_run_id"] if tracker else None
        if run_id is None:
            return
        why = log_report(prepared.settings.tracking, run_id, path, REPORT_SECONDS)
    except Interrupted as error:
        why = str(error)
    if why:
        display.warn(
            f"MLflow did not take the report ({why}), which is {path}; `{command('sync', folder)}` tries again"
        )


class _Driver:
    """What the engine asks and tells this process while trials run."""

    def __init__(self, search: Search, tracker: Tracker, stop: Stop, display: Display, workers: int) -> None:
        self._search, self._tracker, self._display, self._workers = search, tracker, display, workers
        self._began, self._epochs_before = time.monotonic(), search.trials.epochs
        self.should_stop, self.warn, self._stop = stop, display.warn, stop

    def should_confirm(self) -> bool:
        """Whether the confirmation must begin now."""
        deadline = self._stop.deadline
        return deadline is not None and confirmation.time_to_begin(
            self._search, self._workers, began=self._began, deadline=deadline, now=time.monotonic()
        )

    def tick(self) -> None:
        """Begin to write to MLflow once there is an epoch, and draw the screen."""
        # Importing MLflow takes seconds of CPU, which the workers need until they train.
        if self._search.trials.epochs > self._epochs_before:
            self._tracker.start()
        with contextlib.suppress(Exception):  # a screen that cannot be drawn, or a closed pipe, ends no search
            self._display.tick()


def _train(
    prepared: Prepared,
    search: Search,
    retention: checkpoints.Retention,
    tracker: Tracker,
    folder: Path,
    stop: Stop,
    display: Display,
    surroundings: Surroundings,
) -> str:
    """Run the trials that are left, and say why that ended: "" if there is nothing more to do."""
    from search.engine import tune

    settings, as_given, folder = prepared.settings, folder, folder.resolve()
    task = Task(
        prepared.study.trainable,
        put_data(prepared.data),
        checkpoints.shelf(folder),
        folder / "stacks",
        cpus=settings.cpus,
        gpus=settings.gpus,
        budget=settings.checkpoint_budget,
        timeout=settings.trial_timeout,
        folders=tuple(spaces.users_folders()),
    )
    driver = _Driver(search, tracker, stop, display, prepared.header.process.concurrent)
    engine = Engine(search, task, retention, surroundings, driver)
    display.begin(search, stop.deadline)
    # What Tune keeps of an earlier process is never read, and would be found in the way.
    shutil.rmtree(folder / "ray", ignore_errors=True)
    try:
        with stop.gently():
            stop.install()
            why = tune.run(engine, folder)
    except EnvironmentFault as error:
        if not stop.lost:
            raise
        why = str(error)
    finally:
        display.end()
    if stop.lost and not stop.signal:
        raise ClusterLost(f"{stop.lost}; nothing is lost, and `{command('resume', as_given)}` goes on")
    return why


def _publish(prepared: Prepared, search: Search, tracker: Tracker, folder: Path, display: Display) -> bool:
    """Measure the winner, log and register it, and write down where; what of it is done already is not done again.

    False if MLflow does not answer, so that nothing could be logged.
    """
    from search.session.winner import crown, publish

    model = crown(prepared, search, folder.resolve(), display)
    published = last(prepared.past, Kind.PUBLISHED)
    if model is not None and published.get("winner") == model.key:
        search.note(Kind.PUBLISHED, published)  # once per process: it tells that nothing is left to do
        return True
    if not tracker.flush(PATIENCE_SECONDS):
        display.warn(f"MLflow does not answer, so no model is registered yet; `{command('sync', folder)}` will do it")
        return False
    place = tracker.place
    if model is not None:
        place = publish(prepared, model, place, instead=command("sync", folder))
    search.note(Kind.PUBLISHED, place)
    return True
