"""A whole search, from what was prepared to the registered winner; also one that goes on, or only its end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from search.decide import confirmation
from search.engine import places, ray_session
from search.engine.surroundings import Surroundings, open_surroundings
from search.errors import EnvironmentFault, RecordGone, SearchError, SearchFailed, StorageFull
from search.findings.summary import summarize
from search.findings.text import setting
from search.forecast.gpu_part import fits
from search.prepared import Prepared
from search.record.events import Finished, InMLflow, Kind
from search.record.header import Process
from search.record.reading import finished, last, spent
from search.session.claim import claimed
from search.session.left import closing_event, something_left
from search.session.notify import Notices
from search.session.session import Session
from search.session.training import train
from search.signals import Interrupted, Stop
from search.storage import checkpoints, mirror
from search.terminal.console import Display
from search.terminal.messages import setup
from search.tracking.tracker import PATIENCE_SECONDS

SIGNAL_PATIENCE_SECONDS = 10.0
"""How long MLflow may take after a signal; who asks for an end wants it."""
HURRIED_SECONDS = 1.0
"""How long it may take where it has not answered just now."""


class Outcome(NamedTuple):
    """How a command on a search ended: the summary, what failed, the exit code of the signal that ended it (or 0)."""

    summary: dict[str, Any]
    fault: SearchError | None
    exit_code: int


def run(prepared: Prepared, display: Display, stop: Stop) -> Outcome:
    """Search to the end.

    With `prepared.past` the search of that record goes on, unless nothing is left to do; its lock must be held. Raises
    SearchError if it cannot begin, or if its surroundings fail it on the way; it can be resumed then.
    """
    settings, header, past = prepared.settings, prepared.header, prepared.past
    notices = Notices(settings, display.warn)
    if past and not something_left(prepared):
        display.say(f"{header.name} is finished; --trials and --time-budget of resume give it more")
        summary = summarize(settings.runs / header.name)
        return Outcome(summary, SearchFailed(summary["why"]) if summary["state"] == "failed" else None, 0)
    before = spent(past) if past else 0.0
    stop.allow(None if header.time_budget is None else header.time_budget - before)
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
            prepared = _taken_up(prepared, stop)
            display.say(f"{header.name} goes on: {len(past)} events recorded, {before:.0f} s spent")
        else:
            prepared = stack.enter_context(claimed(prepared, stop))
            display.say(f"{prepared.header.name}\n{setup(prepared.study, prepared.header)}")
        folder = settings.runs / prepared.header.name
        with notices.of_faults(folder), mirror.record(folder) as record:
            session = Session(prepared, record, display)
            fault = _Course(session, surroundings, stop, before, ray.close).run()
        summary = summarize(folder)
        session.keep(summary)
    if stop.signal != signal.SIGINT:  # who pressed Ctrl-C is here
        notices.tell(summary)
    return Outcome(summary, fault, 128 + stop.signal if stop.signal else 0)


def sync(prepared: Prepared, folder: Path, display: Display) -> bool:
    """Bring MLflow up to date with the record of a search that nobody works on; say whether it now is.

    Runs that a killed process left running are closed; a winner that is not yet registered is; the report of a search
    that is over is logged anew. The lock must be held.
    """
    with mirror.record(folder) as record:
        session = Session(prepared, record, display)
        closing = closing_event(prepared.past)
        if closing is not None:
            record.append(closing)
        if not session.tracker.flush(PATIENCE_SECONDS):
            return False
        ending = finished(prepared.past)
        state = ending.state if ending else None
        if state == "done":
            session.publish()
        if not session.tracker.finish(PATIENCE_SECONDS):
            return False
        if state in ("done", "failed"):
            session.report(log=True)
        return True


def _taken_up(prepared: Prepared, stop: Stop) -> Prepared:
    """The recorded search, with the event that this process goes on with it."""
    header = prepared.header
    with mirror.record(prepared.settings.runs / header.name) as record:
        here = replace(header, process=replace(header.process, after_s=stop.elapsed())).here()
        record.append((Kind.RESUMED, None, {**here, **prepared.changes}))
        return replace(prepared, past=tuple(record.events()))


@dataclass(frozen=True)
class _End:
    """How the trials and what follows them ended: as the record is to say it, with what failed.

    `patience` is for how many seconds MLflow is then waited for.
    """

    state: str
    why: str
    fault: SearchError | None = None
    patience: float = PATIENCE_SECONDS


class _Course:
    """A session's course: the trials, the winner, the word in record and MLflow that it is over.

    `before` is how many seconds earlier processes spent; `leave_ray` ends or leaves Ray, and may be called again.
    """

    def __init__(
        self,
        session: Session,
        surroundings: Surroundings,
        stop: Stop,
        before: float,
        leave_ray: Callable[[], None],
    ) -> None:
        self._session, self._surroundings, self._stop = session, surroundings, stop
        self._before, self._leave_ray = before, leave_ray
        self._shelf = checkpoints.shelf(session.folder.resolve())
        self._shelf.root.mkdir(exist_ok=True)
        self._retention = checkpoints.Retention(self._shelf)
        self._retention.tidy(session.search.trials)
        links = self._shelf.links()
        if links:
            session.display.warn(f"{len(links)} links among the checkpoints are left alone: {', '.join(links[:3])}")

    def run(self) -> SearchError | None:
        """Run the trials, crown the winner, and bring MLflow up to date; returns what failed at the end, if anything.

        What comes from outside is raised, once record and MLflow say so as far as they can still be written.
        """
        try:
            end = self._crowned(self._trained())
        except Interrupted as interruption:
            end = _End("interrupted", str(interruption), patience=SIGNAL_PATIENCE_SECONDS)
        except BaseException as error:
            with contextlib.suppress(SearchError):
                self._finish(_End("interrupted", str(error) or type(error).__name__, patience=PATIENCE_SECONDS / 3))
            self._raise_if_gone(error)
            full = checkpoints.as_fault(error) if isinstance(error, OSError) else error
            if isinstance(full, StorageFull):
                raise StorageFull(f"{full}: {self._session.command('resume')}") from error
            raise
        taken = self._finish(end)
        if not taken:
            sync = self._session.command("sync")
            self._session.display.warn(
                f"MLflow has not taken all of the record; nothing is lost, and `{sync}` writes the rest"
            )
        if end.state != "interrupted":
            self._session.report(log=taken)
            return end.fault
        self._leave()  # a worker may have been ended in the middle of a checkpoint
        with contextlib.suppress(SearchError):  # a storage that is away; who resumes tidies up first
            self._retention.tidy(self._session.search.trials)
        return end.fault

    def _trained(self) -> str:
        """Run the trials, and say why that ended: "" if nothing is left to do. Raises Interrupted by a signal."""
        why = train(self._session, self._shelf, self._retention, self._surroundings, self._stop)
        self._leave()  # what follows needs it no more, and its processes would only be in the way
        if self._stop.signal:
            raise Interrupted(self._stop.signal)
        return why or self._session.search.why_no_more()

    def _crowned(self, why: str) -> _End:
        """Find the winner, test, log and register it; `why` the trials ended is told if all goes well."""
        prepared, trials = self._session.prepared, self._session.search.trials
        if prepared.settings.confirm and trials.best() is not None:
            for line in confirmation.shortfalls(trials, prepared.settings.confirm, bool(prepared.study.start)):
                self._session.display.warn(line)
        self._retention.tidy(trials)
        try:
            answered = self._session.publish()
        except SearchFailed as error:
            return _End("failed", str(error), error)
        except EnvironmentFault as error:
            return _End("done", str(error), error)
        return _End("done", why, patience=PATIENCE_SECONDS if answered else HURRIED_SECONDS)

    def _finish(self, end: _End) -> bool:
        """Record the end, and wait until MLflow has all of the record; False if it takes too long."""
        search, tracker, patience = self._session.search, self._session.tracker, end.patience
        if end.state != "done":  # where the runs are; of a search that is done, `published` says that its winner is too
            patience = patience if tracker.flush(patience) else HURRIED_SECONDS
            search.note(tracker.place.with_model_of(last(self._session.prepared.past, InMLflow)))
        search.note(Finished(end.state, end.why, round(self._before + self._stop.elapsed(), 1)))
        return tracker.finish(patience)

    def _raise_if_gone(self, error: BaseException) -> None:
        """Raise RecordGone, with what can still be said, if it is for want of a record that `error` came."""
        try:
            self._session.record.check_there()
        except RecordGone as gone:
            best, objective = self._session.search.trials.best(), self._session.search.study.objective
            found = (
                f"best so far: trial {best.number}, {objective.metric} {best.best_value(objective):.4f}, "
                f"{setting(best.point)}"
                if best
                else "no trial had a result"
            )
            raise RecordGone(f"{gone}, so the search has ended; {found}") from error

    def _leave(self) -> None:
        """Leave Ray, which gives SIGTERM back to the system."""
        self._leave_ray()
        self._stop.install()
