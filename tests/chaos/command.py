"""The command line as a process that can be killed: start it, watch its record, hear how it ended.

A chaos folder is the working folder of its searches: `runs/chaos/` and `mlflow.db` are made in it, `log.jsonl` tells
what the trials did, and `environment.json` lets a later command in the same folder find the same study.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from search.record.events import Event
from search.record.reader import FILE

STUDY = Path(__file__).with_name("study.py")
NAME = "chaos"
FOREIGN = (
    "MLFLOW_TRACKING_URI",
    "RAY_ADDRESS",
    "SEARCH_DATA_DIR",
    "SEARCH_RUNS_DIR",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
)
"""Variables of whoever runs the tests that must not steer them."""


PATIENCE = 3
"""How much longer than on an idle machine a command may take before a test says that it hangs."""


class Command(subprocess.Popen):
    """A `python -m search …` in a session of its own, whose output goes to files.

    Not to pipes: those end only when the last process that inherited them does, and Ray's may outlive a killed driver.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        number = len(list(folder.glob("out-*")))
        self.folder, self.out, self.err = folder, folder / f"out-{number}", folder / f"err-{number}"
        with self.out.open("w") as out, self.err.open("w") as err:
            super().__init__(
                [sys.executable, "-m", "search", *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )


@dataclass(frozen=True)
class Ended:
    """How a command ended. `code` is negative where a signal killed it, as `Popen` has it."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


def start(
    scripts: Sequence[str], *options: str, folder: Path, env: Mapping[str, Any] | None = None, name: str = NAME
) -> Command:
    """Begin a search of `scripts` called `name` in `folder`; `env` may hold `CHAOS_EPOCHS` and the like."""
    told = {"CHAOS_SCRIPTS": json.dumps(list(scripts)), **{key: str(text) for key, text in (env or {}).items()}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text(json.dumps(told))
    return launch(str(STUDY), "--name", name, *options, folder=folder)


def launch(*arguments: str, folder: Path, env: Mapping[str, Any] | None = None) -> Command:
    """Any other command in a folder where a search was started: `launch("resume", "chaos", folder=folder)`.

    It is given the environment of that start, changed by `env`; None takes a variable out.
    """
    memory = folder / "environment.json"
    told = {**(json.loads(memory.read_text()) if memory.exists() else {}), **(env or {})}
    environment: dict[str, Any] = {key: text for key, text in os.environ.items() if key not in FOREIGN}
    environment |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "CHAOS_FOLDER": str(folder.resolve()),
        # A worker's title is written over its environment otherwise, by which the checker knows it for ours.
        "SPT_NOENV": "1",
        **told,
    }
    return Command(arguments, folder, {key: str(text) for key, text in environment.items() if text is not None})


def finish(process: Command, seconds: float = 120) -> Ended:
    """Wait for the end of `process`; one that does not end is killed, and the test fails with its last words.

    `seconds` are those of an idle machine, here as in the functions below.
    """
    try:
        code = process.wait(PATIENCE * seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        raise AssertionError(f"no end after {PATIENCE * seconds:g} s:\n{process.err.read_text()[-3000:]}") from None
    return Ended(code, process.out.read_text(), process.err.read_text())


def wait_to_be_told(process: Command, words: str, seconds: float = 120) -> None:
    """Wait until `process` has written `words` to standard error; the test fails after `seconds`, or at its end."""
    deadline = time.monotonic() + PATIENCE * seconds
    while words not in process.err.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            kill(process)
            raise AssertionError(f"never said {words!r}:\n{process.err.read_text()[-3000:]}")
        time.sleep(0.1)


def kill(process: Command) -> Ended:
    """kill -9 of the driver alone, and no word to anybody; whoever depends on it has to notice."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    return Ended(process.wait(), process.out.read_text(), process.err.read_text())


def record_of(folder: Path, name: str = NAME) -> Path:
    """Where the record of the search `name` in `folder` is, or will be."""
    return folder / "runs" / name / FILE


def opened(record: Path) -> sqlite3.Connection:
    """A connection that changes nothing: another one would fold the write-ahead log into a killed driver's file."""
    # Without a log SQLite would make one, even for a reader, unless it is told that nobody writes.
    alone = "" if record.with_name(f"{record.name}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"file:{quote(str(record))}?mode=ro{alone}", uri=True, timeout=20)


def events_of(record: Path) -> list[Event]:
    """The rows of a record as they are, by plain SQL, also while it is written; none where there is none yet.

    Raises sqlite3.DatabaseError or ValueError for a damaged one.
    """
    if not record.is_file():
        return []
    connection = opened(record)
    try:
        rows = connection.execute("SELECT id, at, kind, trial, body FROM events ORDER BY id").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
    if any(None in (kind, body) for _, _, kind, _, body in rows):  # what SQLite makes of pages that are cut off
        raise sqlite3.DatabaseError("a row has lost its body")
    return [Event(number, at, kind, trial, json.loads(body)) for number, at, kind, trial, body in rows]


def wait_for(
    record: Path,
    predicate: Callable[[list[Event]], Any],
    *,
    process: Command | None = None,
    seconds: float = 90,
) -> list[Event]:
    """Wait until `predicate(events)` holds for the record, and return those events.

    The test fails after `seconds`, or where `process` ends before.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        over = process is not None and process.poll() is not None
        try:
            events = events_of(record)
        except sqlite3.DatabaseError:  # it came into being, or was folded, while we read
            events = []
        if predicate(events):
            return events
        if over or time.monotonic() > deadline:
            why = "the process ended" if over else f"{PATIENCE * seconds:g} s passed"
            told = process.err.read_text()[-3000:] if process is not None else ""
            raise AssertionError(f"{why} before that was recorded; kinds: {Counter(e.kind for e in events)}\n{told}")
        time.sleep(0.05)


def log_of(folder: Path, what: str | None = None) -> list[dict[str, Any]]:
    """What the trials did, in the order in which they wrote it: `start`, `report`, `fork`, or a fault's name."""
    file = folder / "log.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [row for row in rows if what is None or row["what"] == what]


def wait_for_log(folder: Path, what: str, count: int = 1, seconds: float = 60) -> list[dict[str, Any]]:
    """Wait until the log has `count` rows of `what`, and return them."""
    deadline = time.monotonic() + PATIENCE * seconds
    while len(rows := log_of(folder, what)) < count:
        assert time.monotonic() < deadline, f"{len(rows)} of {count} {what} in the log after {PATIENCE * seconds:g} s"
        time.sleep(0.05)
    return rows


def let_go(folder: Path, name: str) -> None:
    """End the `await NAME` of every trial."""
    (folder / name).touch()


def executed(folder: Path, events: Sequence[Event]) -> Counter[tuple[int, int]]:
    """How many times each epoch was really trained, by `(trial, epoch)`; more than 1 where a trial was tried again."""
    numbers = {}
    for event in events:
        if event.kind == "asked":
            point = event.body["point"]
            numbers[point.get("chaos/script", ""), point["chaos/x"]] = event.trial
    return Counter((numbers[row["script"], row["x"]], row["epoch"]) for row in log_of(folder, "report"))
