"""The trials of a session, carried out by the engine until there are no more or time is up."""

from __future__ import annotations

import contextlib
import shutil
import time

import spaces
from search.decide import confirmation
from search.engine.engine import Engine
from search.engine.shared_data import put_data
from search.engine.surroundings import Surroundings
from search.engine.worker import Task
from search.errors import ClusterLost, EnvironmentFault
from search.session.session import Session
from search.signals import Stop
from search.storage.checkpoints import Retention, Shelf


def train(session: Session, shelf: Shelf, retention: Retention, surroundings: Surroundings, stop: Stop) -> str:
    """Run the trials that are left, and say why that ended: "" if there is nothing more to do.

    Raises ClusterLost if Ray is gone, StorageFull or EnvironmentFault if the search cannot go on where it is.
    """
    from search.engine import tune

    folder, display = session.folder.resolve(), session.display
    engine = Engine(session.search, _task(session, shelf), retention, surroundings, _Driver(session, stop))
    display.begin(session.search, stop.deadline)
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
        raise ClusterLost(f"{stop.lost}; nothing is lost, and `{session.command('resume')}` goes on")
    return why


def _task(session: Session, shelf: Shelf) -> Task:
    settings = session.prepared.settings
    return Task(
        session.prepared.study.trainable,
        put_data(session.prepared.data),
        shelf,
        session.folder.resolve() / "stacks",
        cpus=settings.cpus,
        gpus=settings.gpus,
        budget=settings.checkpoint_budget,
        timeout=settings.trial_timeout,
        folders=tuple(spaces.users_folders()),
    )


class _Driver:
    """What the engine asks and tells this process while trials run."""

    def __init__(self, session: Session, stop: Stop) -> None:
        self._session, self._stop = session, stop
        self._began, self._epochs_before = time.monotonic(), session.search.trials.epochs

    def should_stop(self) -> str:
        """The reason, or ""."""
        return self._stop()

    def should_confirm(self) -> bool:
        """Whether the confirmation must begin now to fit into the time."""
        deadline, workers = self._stop.deadline, self._session.prepared.header.process.concurrent
        return deadline is not None and confirmation.time_to_begin(
            self._session.search, workers, began=self._began, deadline=deadline, now=time.monotonic()
        )

    def tick(self) -> None:
        """Begin to write to MLflow once there is an epoch, and draw the screen."""
        # Importing MLflow takes seconds of CPU, which the workers need until they train.
        if self._session.search.trials.epochs > self._epochs_before:
            self._session.tracker.start()
        with contextlib.suppress(Exception):  # a screen that cannot be drawn, or a closed pipe, ends no search
            self._session.display.tick()

    def warn(self, text: str) -> None:
        """Tell the user."""
        self._session.display.warn(text)
