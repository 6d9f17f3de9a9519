"""The trials of a session, carried out by the engine until there are no more or time is up."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator

import spaces
from search.decide import closing, confirmation
from search.engine.engine import Engine
from search.engine.shared_data import put_data
from search.engine.surroundings import Surroundings
from search.engine.users_code import UsersCode
from search.engine.worker import Task
from search.errors import ClusterLost, EnvironmentFault
from search.record.events import Closing, Steered
from search.record.steering import Request, in_words
from search.session.own_mlflow import place_for_trials
from search.session.session import Session
from search.signals import Stop
from search.storage.checkpoints import Retention, Shelf
from search.storage.requests import Inbox
from search.storage.runs import STACKS, TRIALS
from trainables.script.script import Script

LOOK_SECONDS = 2.0
"""So often it is asked what measuring the winner will take."""
TOLD_SECONDS = 10.0
"""More than these are told."""


def train(session: Session, shelf: Shelf, retention: Retention, surroundings: Surroundings, stop: Stop) -> str:
    """Run the trials that are left, and say why that ended: "" if there is nothing more to do.

    Raises ClusterLost if Ray is gone, StorageFull or EnvironmentFault if the search cannot go on where it is.
    """
    from search.engine import tune

    folder, display = session.folder.resolve(), session.display
    driver = _Driver(session, stop)
    task = _task(session, shelf)
    engine = Engine(session.search, task, retention, surroundings, driver)
    if task.mlflow is not None:
        session.tracker.start()  # trials wait for the runs that it makes
    display.begin(session.search, lambda: None if stop.deadline is None else stop.left())
    # What Tune keeps of an earlier process is never read, and would be found in the way.
    shutil.rmtree(folder / "ray", ignore_errors=True)
    try:
        with stop.gently():
            stop.install()
            driver.open()
            why = tune.run(engine, folder)
    except EnvironmentFault as error:
        if not stop.lost:
            raise
        why = str(error)
    finally:
        driver.close()
        display.end()
    if stop.lost and not stop.signal:
        raise ClusterLost(f"{stop.lost}; nothing is lost, and `{session.command('resume')}` goes on")
    return why


def _task(session: Session, shelf: Shelf) -> Task:
    settings, source = session.prepared.settings, session.prepared.header.source
    trainable = session.prepared.study.trainable
    ours = isinstance(trainable, Script) or (inspect.isfunction(trainable) and spaces.is_ours(trainable))
    return Task(
        UsersCode.of_study(source) if spaces.is_file(source) and not ours else trainable,
        put_data(session.prepared.data, here=not settings.ray_address),
        shelf,
        session.folder.resolve() / STACKS,
        cpus=settings.cpus,
        gpus=settings.gpus,
        budget=settings.checkpoint_budget,
        timeout=settings.trial_timeout,
        folders=tuple(spaces.users_folders()),
        homes=session.folder.resolve() / TRIALS,
        fresh=settings.fresh_workers,
        mlflow=place_for_trials(session.prepared, session.display.warn),
    )


class _Driver:
    """What the engine asks and tells this process while trials run."""

    def __init__(self, session: Session, stop: Stop) -> None:
        self._session, self._stop = session, stop
        self._began, self._epochs_before = time.monotonic(), session.search.trials.epochs
        self._inbox = Inbox(session.folder.resolve())
        self._looked, self._told = -math.inf, False

    def open(self) -> None:
        """Listen to what people ask of the search from now on."""
        known = self._session.search.steering.ids
        for each in self._inbox.open():
            if not isinstance(each, Request) or each.id not in known:
                said = each if isinstance(each, str) else f"{each.who} asked for {each.verb} before this process began"
                self.warn(f"{said}; that is not done")

    def close(self) -> None:
        """Listen no more."""
        self._inbox.close()

    def requests(self) -> Iterator[Request]:
        """What was asked since the last call; each is removed once it is written down."""
        for name, request in self._inbox.take():
            if isinstance(request, str):
                self.warn(request)
                continue
            yield request
            self._inbox.remove(name)

    def steered(self, told: Steered) -> None:
        """Tell the user, and do what is the clock's."""
        self._session.display.say(in_words(told))
        if told.refused is not None:
            return
        if told.verb == "pause":
            self._stop.pause()
        elif told.verb == "go-on":
            self._stop.go_on()
        elif told.verb == "time":
            self._stop.more(told.given["what"])
        elif told.verb == "finish":
            self._stop.asked = f"finished by {told.who}"
        elif told.verb == "stop":
            os.kill(os.getpid(), signal.SIGTERM)  # all that follows is as if somebody here had sent it

    def should_stop(self) -> str:
        """The reason, or ""."""
        return self._stop()

    def should_confirm(self) -> bool:
        """Whether the confirmation must begin now to fit into the time."""
        deadline, workers = self._stop.deadline, self._session.prepared.header.process.concurrent
        return deadline is not None and confirmation.time_to_begin(
            self._session.search, workers, began=self._began, deadline=deadline, now=time.monotonic()
        )

    def seconds_left(self) -> float | None:
        """Those until the deadline."""
        return None if self._stop.deadline is None else self._stop.left()

    def closing(self, told: Closing) -> None:
        """Tell the user."""
        self._session.display.say(closing.in_words(told))

    def tick(self) -> None:
        """Begin to write to MLflow once there is an epoch, and draw the screen."""
        # Importing MLflow takes seconds of CPU, which the workers need until they train.
        if self._session.search.trials.epochs > self._epochs_before:
            self._session.tracker.start()
        with contextlib.suppress(Exception):  # a screen that cannot be drawn, or a closed pipe, ends no search
            self._session.display.tick()
        self._keep_time()

    def _keep_time(self) -> None:
        """Keep what measuring the winner will take of a time budget; much of it is told once."""
        if self._stop.deadline is None or time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        seconds = closing.measuring(self._session.search.trials, self._session.prepared.header)
        if seconds > TOLD_SECONDS and not self._told:
            self._told = True
            self._session.display.say(f"some {seconds:.0f} s of the time budget are kept for measuring the winner")
        self._stop.keep(seconds)

    def warn(self, text: str) -> None:
        """Tell the user."""
        self._session.display.warn(text)
