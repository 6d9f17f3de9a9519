"""What must hold after every fault: one checker over the record, MLflow, checkpoints, processes and the last words.

It shares no logic with the product: the record is read by SQL, states, best and digests are worked out anew. Where a
promise of the product changes, this file says so in one of its lists.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.record.events import Event
from search.record.reader import FILE
from tests.chaos.command import events_of, opened

ENDS = {
    "complete": "FINISHED",
    "stopped": "KILLED",
    "preempted": "KILLED",
    "interrupted": "KILLED",
    "diverged": "FAILED",
    "out of memory": "FAILED",
    "failed": "FAILED",
    "timed out": "FAILED",
}
"""MLflow's status of a trial by its state. `interrupted` is what the end of the search makes of one that still runs."""

WORTHLESS = ("diverged", "out of memory", "failed")
"""States whose values count for nothing."""

ABOUT_TRIALS = ("asked", "lost", "restarted", "epoch", "repeated", "decided", "ended", "tested")
ABOUT_THE_SEARCH = ("search", "resumed", "published", "finished")

INTERRUPTED = (129, 130, 143)
"""Exit codes after a signal; the last line may then be a notice in place of an error."""

STATE_AFTER = {0: "done", 1: "failed"} | dict.fromkeys(INTERRUPTED, "interrupted")
"""The state that `finished` records, by exit code; the other codes leave it open."""

LINGERING = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's agents outlive a killed driver by a minute (seen: 60 s) and hold nothing of ours.

Nothing else may: GCS, raylet, monitors and workers are gone within five seconds of it.
"""


def finite(value: Any) -> bool:
    """Whether `value` is a number that can be best."""
    return isinstance(value, (int, float)) and math.isfinite(value)


@dataclass
class Told:
    """One trial as the record tells it. `epochs` are the bodies of its `epoch` events."""

    number: int
    point: Mapping[str, Any]
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    state: str = "running"
    why: str = ""
    attempt: int = 1
    lost: int = 0
    repeated: int = 0
    checkpoints: dict[int, dict[str, str]] = field(default_factory=dict)
    """SHA-256 by name, for each epoch: a repeated one has more than one."""


@dataclass
class Story:
    """The whole search as the record tells it."""

    events: list[Event]
    trials: dict[int, Told] = field(default_factory=dict)

    @property
    def about(self) -> Mapping[str, Any]:
        return self.events[0].body

    @property
    def finished(self) -> Mapping[str, Any] | None:
        """How the last process left the search; None if it did not say. A later `sync` may add where the runs are."""
        last = next((event for event in reversed(self.events) if event.kind != "published"), self.events[0])
        return last.body if last.kind == "finished" else None

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(trial.state for trial in self.trials.values()))

    def best_row(self, trial: Told) -> Mapping[str, Any] | None:
        """The first epoch of `trial` with its best finite value."""
        metric, mode = self.about["objective"]["metric"], self.about["objective"]["mode"]
        rows = [row for row in trial.epochs if finite(row["metrics"].get(metric))]
        sign = 1 if mode == "max" else -1
        return max(rows, key=lambda row: sign * row["metrics"][metric], default=None)

    def best(self, states: Collection[str] = tuple(set(ENDS) - set(WORTHLESS))) -> tuple[int, int, float] | None:
        """Trial, epoch and value of the best: of the complete trials, else of those that got furthest."""
        metric, mode = self.about["objective"]["metric"], self.about["objective"]["mode"]
        sign = 1 if mode == "max" else -1
        ranked = []
        for trial in self.trials.values():
            row = self.best_row(trial)
            if row is not None and trial.state in states:
                value = row["metrics"][metric]
                complete = trial.state == "complete"
                rank = (not complete, 0 if complete else -len(trial.epochs), -sign * value, trial.number)
                ranked.append((rank, (trial.number, row["epoch"], value)))
        return min(ranked)[1] if ranked else None

    def needed(self) -> set[tuple[int, int]]:
        """The epochs, as `(trial, epoch)`, whose checkpoints a resume or the winner needs."""
        going = [trial for trial in self.trials.values() if trial.state in ("interrupted", "running")]
        # The last two, so that a damaged one costs no more than an epoch.
        found = {
            (trial.number, epoch)
            for trial in going
            for epoch in (len(trial.epochs) - 1, len(trial.epochs))
            if epoch > 0
        }
        for trial in going:
            row = self.best_row(trial)
            found |= {(trial.number, row["epoch"])} if row else set()
        ended = self.best([state for state in ENDS if state not in (*WORTHLESS, "interrupted")])
        return found | ({ended[:2]} if ended else set())


def check(run_dir: Path, tracking_uri: str | None, *, exit_code: int, **how: Any) -> Story:
    """Fail with every fault of the search in `run_dir`, now that its process ended; return what the record tells.

    The arguments are those of `faults`.
    """
    found = faults(run_dir, tracking_uri, exit_code=exit_code, **how)
    assert not found, f"{len(found)} faults in {run_dir.name}:\n" + "\n".join(f"- {fault}" for fault in found)
    return story_of(run_dir / FILE)[0]


def faults(
    run_dir: Path,
    tracking_uri: str | None,
    *,
    exit_code: int,
    expected_exit_codes: Collection[int] = (0,),
    stderr: str = "",
    document: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    closed: bool = True,
    behind: bool = False,
    patience: float = 15,
) -> list[str]:
    """What is wrong with the search in `run_dir`, one line each.

    `document` is what `--json` printed; without it, the summary is asked for. `folder` is the chaos folder whose
    processes must be gone within `patience` seconds; by default the one that holds `runs/`. `closed=False` is for a
    driver that was killed, so nobody can have closed anything; `behind=True` for an MLflow that was away, which may
    lack runs and points but have none that is wrong. A `tracking_uri` of None leaves MLflow out.
    """
    # First of all, because whoever is left may still be writing.
    found = faults_of_processes(folder or run_dir.parents[1], patience)
    found += faults_of_the_end(exit_code, expected_exit_codes, stderr)
    try:
        story, wrong = story_of(run_dir / FILE)
    except (sqlite3.DatabaseError, ValueError) as error:
        return [*found, f"the record cannot be read: {error}"]
    found += wrong
    if not story.events or story.events[0].kind != "search":
        return found
    if closed:
        found += faults_of_the_close(story, exit_code)
        found += faults_of_the_summary(story, document if document is not None else _summary(run_dir))
    found += faults_of_checkpoints(story, run_dir / "checkpoints", closed=closed)
    if tracking_uri is not None:
        found += faults_of_mlflow(story, tracking_uri, closed=closed, behind=behind)
    return found


# --- the record -------------------------------------------------------------------------------------------------------


def story_of(record: Path) -> tuple[Story, list[str]]:
    """What the record tells, and what of it contradicts itself."""
    events, found = events_of(record), _faults_of_rows(record)
    story = Story(events)
    if not events:
        return story, ["the record has no events"]
    if [event.id for event in events if event.kind == "search"] != [1]:
        return story, [*found, "`search` is not the first event, or not only that"]
    tested: set[Any] = set()
    for event in events:
        if event.kind not in (*ABOUT_TRIALS, *ABOUT_THE_SEARCH):
            found.append(f"event {event.id} is of the unknown kind {event.kind}")
        elif (event.kind in ABOUT_TRIALS) != (event.trial is not None):
            found.append(f"event {event.id} ({event.kind}) names trial {event.trial}")
        elif event.kind == "tested":
            if (event.trial, event.body["epoch"]) in tested:
                found.append(f"trial {event.trial} was measured on the test set twice")
            tested.add((event.trial, event.body["epoch"]))
        elif event.trial is not None:
            fault = _apply(story, event)
            found += [f"event {event.id}: {fault}"] if fault else []
    if story.finished is not None:
        for trial in story.trials.values():
            trial.state = "interrupted" if trial.state == "running" else trial.state
    for trial in story.trials.values():
        found += [f"trial {trial.number} {fault}" for fault in _faults_of_trial(story, trial)]
    return story, found


def _faults_of_rows(record: Path) -> list[str]:
    if not record.is_file():
        return [f"there is no {record.name}"]
    connection = opened(record)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        rows = connection.execute("SELECT id, at, kind, trial, body, crc FROM events ORDER BY id").fetchall()
    except sqlite3.OperationalError as error:
        return [f"the record has no events: {error}"]
    finally:
        connection.close()
    if [row[0] for row in rows] != list(range(1, len(rows) + 1)):
        found.append("the ids of the events have gaps")
    for number, at, kind, trial, body, crc in rows:
        if zlib.crc32(f"{number} {at!r} {kind} {trial} {body}".encode()) != crc:
            found.append(f"event {number} has a wrong checksum")
    return found


def _apply(story: Story, event: Event) -> str:
    """Take `event` into its trial; what is wrong with it, or ""."""
    body, number = event.body, event.trial
    assert number is not None
    if event.kind == "asked":
        if number != len(story.trials):
            return f"trial {number} was asked after {len(story.trials)} others"
        story.trials[number] = Told(number, body["point"])
        return ""
    trial = story.trials.get(number)
    if trial is None:
        return f"{event.kind} of trial {number}, which was never asked"
    if trial.state != "running":
        return f"{event.kind} of trial {number}, which had ended ({trial.state})"
    if event.kind in ("epoch", "repeated") and body.get("checkpoint"):
        trial.checkpoints.setdefault(body["epoch"], {})[body["checkpoint"]] = body["sha256"]
    if event.kind == "epoch":
        trial.epochs.append(body)
        if body["epoch"] != len(trial.epochs):
            return f"trial {number} has epoch {body['epoch']} in place {len(trial.epochs)}"
    elif event.kind == "repeated":
        trial.repeated += 1
        if body["epoch"] > len(trial.epochs):
            return f"trial {number} repeats epoch {body['epoch']} of {len(trial.epochs)}"
        if not body["same"]:
            return f"trial {number} came to other metrics when it repeated epoch {body['epoch']}"
    elif event.kind == "lost":
        trial.lost += 1
    elif event.kind == "restarted":
        if body["attempt"] <= trial.attempt:
            return f"trial {number} began attempt {body['attempt']} after attempt {trial.attempt}"
        trial.attempt = body["attempt"]
        named = trial.checkpoints.get(body["epoch"], {})
        if body["epoch"] and body["checkpoint"] not in named:
            return f"trial {number} went on after epoch {body['epoch']} from {body['checkpoint']}, which is not its own"
    elif event.kind == "ended":
        trial.state, trial.why = body["state"], body["why"]
        if trial.state not in ENDS or trial.state == "interrupted":
            return f"trial {number} ended as {trial.state}, which is no end"
    return ""


def _faults_of_trial(story: Story, trial: Told) -> list[str]:
    # A published setting may have epochs of its own.
    budget, metric = trial.point.get("train/epochs", story.about["epochs"]), story.about["objective"]["metric"]
    values = [row["metrics"].get(metric) for row in trial.epochs]
    found = []
    # A metric may be rare, and a trial may end itself.
    whole = len(values) == budget or trial.why.startswith("finished early")
    if (trial.state == "complete") != (whole and all(finite(value) for value in values if value is not None)):
        found.append(f"is {trial.state} after {len(values)} of {budget} epochs")
    said = [value for value in values if value is not None]
    if not all(map(finite, said[:-1])) or (said and not finite(said[-1]) and trial.state != "diverged"):
        found.append(f"is {trial.state} with the values {values}")
    decided = [event.body for event in story.events if event.kind == "decided" and event.trial == trial.number]
    if (trial.state == "stopped") != bool(decided and not decided[-1]["go_on"]):
        found.append(f"is {trial.state}, but the scheduler's last word was {decided[-1:]}")
    if len({body["epoch"] for body in decided}) < len(decided):
        found.append("was decided twice at one rung")
    return found


# --- how it ended -----------------------------------------------------------------------------------------------------


def faults_of_the_end(exit_code: int, expected: Collection[int], stderr: str) -> list[str]:
    """The exit code, and the line that a person sees last."""
    found = []
    if exit_code not in expected:
        found.append(f"the exit code is {exit_code}, expected was {' or '.join(map(str, expected))}: {stderr[-500:]!r}")
    if "Traceback (most recent call last)" in stderr:
        found.append("a traceback was printed")
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if exit_code > 0:
        last = lines[-1] if lines else ""
        notice = exit_code in INTERRUPTED and ("resume" in last or last.startswith(("interrupted", "stopped by")))
        if not last.startswith("error: ") and not notice:
            found.append(f"the last line tells nobody what to do: {last!r}")
        if len(errors) > 1:
            found.append(f"{len(errors)} errors were printed in place of one")
    elif errors:
        found.append(f"an error was printed, but the exit code is {exit_code}: {errors[0]!r}")
    return found


def faults_of_the_close(story: Story, exit_code: int) -> list[str]:
    """Whether the last process said how it left, and the same as its exit code."""
    if story.finished is None:
        return [f"the last event is {story.events[-1].kind}, not `finished`"]
    state = story.finished["state"]
    if state not in ("done", "failed", "interrupted") or STATE_AFTER.get(exit_code, state) != state:
        return [f"the record says {state}, the exit code {exit_code}"]
    return []


def faults_of_the_summary(story: Story, document: Mapping[str, Any]) -> list[str]:
    """Whether the JSON document says what the record does."""
    found = []
    state = story.finished["state"] if story.finished else None
    for key, truth in (
        ("state", state),
        ("trials", story.counts),
        ("epochs", sum(len(trial.epochs) for trial in story.trials.values())),
    ):
        if document[key] != truth:
            found.append(f"the summary has {key} {document[key]}, the record {truth}")
    best, shown = story.best(), document["best"]
    metric = story.about["objective"]["metric"]
    seen = (shown["trial"], shown["epoch"], shown[metric]) if shown else None
    if seen != best:
        found.append(f"the best is (trial, epoch, value) {best}, the summary has {seen}")
    return found


def _summary(run_dir: Path) -> Mapping[str, Any]:
    from search.findings.summary import summarize

    return summarize(run_dir)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files in `folder`, as the record has it."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(str(file.relative_to(folder)).encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def faults_of_checkpoints(story: Story, root: Path, *, closed: bool = True) -> list[str]:
    """What is needed must be there and whole; what no event names must not, nor what a search that is done left over.

    A driver that was killed (`closed=False`) had no time to tidy up.
    """
    found, names, kept = [], set(), set()
    needed = story.needed()
    for trial in story.trials.values():
        for epoch, digests in trial.checkpoints.items():
            names |= set(digests)
            if (trial.number, epoch) in needed:
                kept |= set(digests)
                # Of an epoch that was repeated one checkpoint is enough, whichever attempt wrote it.
                present = {name: digest(root / name) for name in digests if (root / name).is_dir()}
                if not present:
                    found.append(f"checkpoint {' or '.join(digests)} is needed and missing")
                elif not any(digests[name] == sha256 for name, sha256 in present.items()):
                    found.append(f"checkpoint {' or '.join(present)} is needed and damaged")
    if not closed:
        return found
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.name.startswith("epoch")}
    allowed = kept if story.finished and story.finished["state"] == "done" else names
    for path in sorted(there):
        if not any(path == name or path.startswith(f"{name}/") for name in allowed):
            found.append(f"checkpoints/{path} is left over")
    return found


# --- MLflow -----------------------------------------------------------------------------------------------------------


def faults_of_mlflow(story: Story, tracking_uri: str, *, closed: bool = True, behind: bool = False) -> list[str]:
    """One parent, one child per trial and no other run; states, parameters and curves as recorded, value by value."""
    from mlflow import MlflowClient

    behind = behind or not closed
    file = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:///") and not file.exists():  # a client would make it, and look into nothing
        return [] if behind else [f"MLflow's store {file.name} is missing"]
    client = MlflowClient(tracking_uri=tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    id_ = story.about["id"]

    def runs(tag: str, comparison: str) -> list[Any]:
        found, token = [], None
        while True:
            page = client.search_runs(experiments, f"tags.`{tag}` {comparison}", max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    parents = [run for run in runs("search.id", f"= '{id_}'") if run.data.tags.get("search.kind") == "search"]
    if len(parents) != 1:
        return [] if behind and not parents else [f"MLflow has {len(parents)} parents of this search"]
    parent = parents[0]
    children = {run.info.run_id: run for run in runs("search.trial_id", f"LIKE '{id_}/%'")}
    children |= {run.info.run_id: run for run in runs("mlflow.parentRunId", f"= '{parent.info.run_id}'")}
    by_trial: dict[str, list[Any]] = {f"{id_}/{number}": [] for number in story.trials}
    found = []
    for run in children.values():
        name = run.data.tags.get("search.trial_id", "no trial at all")
        if name not in by_trial:
            found.append(f"MLflow has a run of {name}, which was never asked")
        elif run.data.tags.get("mlflow.parentRunId") != parent.info.run_id:
            found.append(f"MLflow's run of {name} has another parent")
        else:
            by_trial[name].append(run)
    for number, trial in story.trials.items():
        own = by_trial[f"{id_}/{number}"]
        if len(own) != 1 and not (behind and not own):
            found.append(f"MLflow has {len(own)} runs of trial {number}")
        for run in own:
            told = _faults_of_child(client, story, trial, run, closed=closed, behind=behind)
            found += [f"MLflow's run of trial {number} {fault}" for fault in told]
    if closed:
        found += [f"MLflow's parent {fault}" for fault in _faults_of_parent(story, parent, behind=behind)]
    return found


def _faults_of_child(client: Any, story: Story, trial: Told, run: Any, *, closed: bool, behind: bool) -> list[str]:
    found = []
    truth = ENDS.get(trial.state, "RUNNING")
    if run.info.status != truth and closed and not (behind and run.info.status == "RUNNING"):
        found.append(f"is {run.info.status}, but the trial is {trial.state}")
    wanted = {name: str(value) for name, value in {**story.about["fixed"], **trial.point}.items()}
    shown = {name: value for name, value in run.data.params.items() if name in wanted}
    if shown != wanted and not (behind and shown.items() <= wanted.items()):
        found.append(f"has the parameters {shown}, not {wanted}")
    for metric in sorted({name for row in trial.epochs for name in row["metrics"]}):
        curve = [(row["epoch"], row["metrics"][metric]) for row in trial.epochs if metric in row["metrics"]]
        if metric == "parameters":  # how many weights there are: a param
            if run.data.params.get(metric) != f"{curve[0][1]:.15g}" and not behind:
                found.append(f"has {run.data.params.get(metric)} parameters, the record {curve[0][1]}")
            continue
        history = client.get_metric_history(run.info.run_id, metric)
        seen = sorted(((point.step, point.value) for point in history), key=lambda point: point[0])
        repr_curve, repr_seen = ([(step, repr(_stored(value))) for step, value in each] for each in (curve, seen))
        lacks = behind and repr_curve[: len(seen)] == repr_seen
        if repr_curve != repr_seen and not lacks:
            found.append(f"has the {metric} {seen}, the record {curve}")
    return found


def _stored(value: float) -> float:
    """What MLflow's SQL stores keep of a number: the largest one for an infinite one."""
    return value if math.isnan(value) else max(-1.7976931348623157e308, min(1.7976931348623157e308, value))


def _faults_of_parent(story: Story, parent: Any, *, behind: bool) -> list[str]:
    found = []
    if story.finished is not None and not (behind and parent.info.status == "RUNNING"):
        truth = {"done": "FINISHED", "failed": "FAILED"}.get(story.finished["state"], "KILLED")
        if parent.info.status != truth:
            found.append(f"is {parent.info.status}, but the search is {story.finished['state']}")
    if behind:
        return found
    shown, tags = parent.data.metrics, parent.data.tags
    for state in ENDS:
        name = f"trials_{state.replace(' ', '_')}"
        if int(tags.get(name, 0)) != story.counts.get(state, 0):
            found.append(f"has {name} {tags.get(name)}, the record {story.counts.get(state, 0)}")
    best, metric = story.best(), story.about["objective"]["metric"]
    # NaN says that there is none any more: a value of MLflow's cannot be taken back.
    number, value = tags.get("best_trial", "-"), shown.get(f"best_{metric}", math.nan)
    seen = (None if number == "-" else int(number), None if math.isnan(value) else value)
    if seen != ((best[0], best[2]) if best else (None, None)):
        found.append(f"has the best (trial, value) {seen}, the record {best}")
    published = [event.body for event in story.events if event.kind == "published"]
    if published and published[-1].get("parent_run_id") not in (None, parent.info.run_id):
        found.append("is not the one that the record names")
    return found


# --- processes --------------------------------------------------------------------------------------------------------


def processes_of(folder: Path) -> dict[int, str]:
    """The processes of a chaos folder, by pid: title or command line. Known by their environment, zombies left out."""
    mark = b"\0CHAOS_FOLDER=" + os.fsencode(folder.resolve()) + b"\0"
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            try:
                title = b" ".join((place / "cmdline").read_bytes().split(b"\0")).decode(errors="replace").strip()
                if mark in b"\0" + (place / "environ").read_bytes() + b"\0" and title:
                    found[int(place.name)] = title
            except OSError:  # it ended while we looked, or is somebody else's
                continue
    return found


def faults_of_processes(folder: Path, patience: float = 15) -> list[str]:
    """Drivers, workers, children of workers and Ray's own processes that are still there after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        left = {pid: title for pid, title in processes_of(folder).items() if not title.startswith(LINGERING)}
        if not left or time.monotonic() > deadline:
            return [f"process {pid} is left: {title[:100]}" for pid, title in left.items()]
        time.sleep(0.2)


def sweep(folder: Path) -> None:
    """End all processes of a chaos folder, whatever became of its test."""
    deadline = time.monotonic() + 10
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def corrupted(file: Path, *, bit: int | None = None, length: int | None = None) -> None:
    """Flip one bit of `file` (by default one in the middle), or cut it to `length` bytes."""
    content = bytearray(file.read_bytes())
    if length is not None:
        content = content[:length]
    else:
        place = len(content) * 4 if bit is None else bit
        content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)


def needed_checkpoints(story: Story) -> Sequence[str]:
    """The names, relative to `checkpoints/`, of what a resume needs: what to damage in order to be noticed."""
    return [name for trial, epoch in sorted(story.needed()) for name in story.trials[trial].checkpoints.get(epoch, {})]
