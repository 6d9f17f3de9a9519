"""MLflow runs as a projection of the record: a reader with a cursor, on a thread of its own.

One parent run per search, one child per trial. Nothing here is on the path of training: the record is the spool, and an
MLflow that is slow or away is caught up with later, in this process or in another one (runs.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from search.record.events import InMLflow
from search.record.record import Record
from search.settings import masked
from search.tracking.runs import Runs
from search.tracking.store import connect

FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long the end of a search waits for MLflow to take what is recorded."""
REPORT_SECONDS = 10.0
"""How long it waits for MLflow to take the report."""


class Tracker:
    """Writes the events of the record at `path` to MLflow at `uri` until told to finish."""

    def __init__(self, path: Path, uri: str, warn: Callable[[str], None]) -> None:
        self._path, self._uri, self._warn = path, uri, warn
        self._runs: Runs | None = None
        self._wake, self._ending = threading.Event(), threading.Event()
        self._warned = False
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._loop, name="mlflow", daemon=True)
        self._started = False

    def start(self) -> None:
        """Begin; importing MLflow takes seconds, so call it once the workers are busy."""
        if not self._started:
            self._started = True
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until all that is recorded by now is written, at most `seconds`; say whether it is."""
        self.start()
        deadline, poke = time.monotonic() + seconds, 0.0
        with Record(self._path) as record:
            goal = record.last_id()
        while time.monotonic() < deadline:
            if time.monotonic() >= poke:  # not more often: one that answers nonsense is asked again and again
                self._wake.set()
                poke = time.monotonic() + FLUSH_SECONDS
            if self._runs is not None and self._runs.cursor >= goal:
                return True
            time.sleep(0.02)
        return False

    def finish(self, seconds: float) -> bool:
        """Flush, then end the thread; False if MLflow lacks some of the record."""
        done = self.flush(seconds)
        self._ending.set()
        self._wake.set()
        if done and self._runs is not None:
            with contextlib.suppress(Exception):  # a doubled run is no reason to fail a search
                self._runs.remove_doubles()
        return done

    @property
    def place(self) -> InMLflow:
        """Where the runs are; without ids before the first flush."""
        runs = self._runs
        return InMLflow(masked(self._uri), runs.experiment_id if runs else None, runs.parent if runs else None)

    def _loop(self) -> None:
        with Record(self._path) as record:
            self._follow(record)

    def _follow(self, record: Record) -> None:
        pause = FLUSH_SECONDS
        while not self._ending.is_set():
            try:
                if self._runs is None:
                    self._runs = Runs(self._uri, list(record.events()), folder=self._path.parent)
                events = list(record.events(after=self._runs.cursor))
                if events:
                    self._runs.write(events)
                    self._tell(self._runs.notes)
                pause = FLUSH_SECONDS
            except Exception as error:  # whatever MLflow raises, training goes on and the record keeps all
                if not self._warned:
                    self._warned = True
                    text = masked(" ".join(str(error).split()))[:200]
                    self._warn(f"MLflow does not take the runs at present ({text}); they are kept and written later")
                pause = min(30.0, pause * 2)
            self._wake.wait(pause)
            self._wake.clear()

    def _tell(self, notes: Mapping[str, str]) -> None:
        """Warn of each of the `notes` once."""
        for name, line in notes.items():
            if name not in self._told:
                self._told.add(name)
                self._warn(line)


def log_report(uri: str, run_id: str, path: Path, seconds: float) -> str:
    """Put the file at `path` among the artifacts of run `run_id`, in place of an older one; returns why not, or "".

    On a thread, because MLflow may keep files on a store of its own that knows no limit; after `seconds` it is left to
    itself.
    """
    why = [f"no answer in {seconds:.0f} s"]

    def log() -> None:
        try:
            connect(uri).log_artifact(run_id, str(path))
            why[0] = ""
        except Exception as error:  # whatever MLflow raises, the report is there all the same
            why[0] = masked(" ".join(str(error).split()))[:200] or type(error).__name__

    thread = threading.Thread(target=log, name="mlflow-report", daemon=True)
    thread.start()
    thread.join(seconds)
    return why[0]
