"""MLflow runs as a projection of the record: a reader with a cursor, on a thread of its own.

One parent run per search, one child per trial. Nothing here is on the path of training: the record is the spool, and an
MLflow that is slow or away is caught up with later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.mlflow_store import prepare_environment
from search.record import Event, Record
from search.settings import masked
from search.trials import State, Trials
from spaces.study import Objective

FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long the end of a search waits for MLflow to take what is recorded."""
NOTHING_YET = 0

STATUS = {
    State.COMPLETE: "FINISHED",
    State.STOPPED: "KILLED",
    State.INTERRUPTED: "KILLED",
    State.DIVERGED: "FAILED",
    State.OUT_OF_MEMORY: "FAILED",
    State.FAILED: "FAILED",
}
"""MLflow's status of a trial that ended."""


class Tracker:
    """Writes the events of the record at `path` to MLflow at `uri` until told to finish."""

    def __init__(self, path: Path, uri: str, warn: Callable[[str], None]) -> None:
        self._path, self._uri, self._warn = path, uri, warn
        self._projection: _Runs | None = None
        self._wake, self._ending = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._warned = False
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
        deadline = time.monotonic() + seconds
        with Record(self._path) as record:
            goal = record.last_id()
        while time.monotonic() < deadline:
            self._wake.set()
            with self._lock:
                if self._projection is not None and self._projection.cursor >= goal:
                    return True
            time.sleep(0.02)
        return False

    def finish(self, seconds: float) -> bool:
        """Flush, then end the thread; False if MLflow lacks some of the record."""
        done = self.flush(seconds)
        self._ending.set()
        self._wake.set()
        return done

    @property
    def place(self) -> dict[str, Any]:
        """Where the runs are: `tracking_uri`, `experiment_id`, `parent_run_id`; empty ids before the first flush."""
        runs = self._projection
        return {
            "tracking_uri": masked(self._uri),
            "experiment_id": runs.experiment_id if runs else None,
            "parent_run_id": runs.parent if runs else None,
        }

    def _loop(self) -> None:
        with Record(self._path) as record:
            self._follow(record)

    def _follow(self, record: Record) -> None:
        pause = FLUSH_SECONDS
        while not self._ending.is_set():
            try:
                if self._projection is None:
                    prepare_environment()
                    self._projection = _Runs(self._uri)
                events = list(record.events(after=self._projection.cursor))
                if events:
                    with self._lock:
                        self._projection.write(events)
                pause = FLUSH_SECONDS
            except Exception as error:  # whatever MLflow raises, training goes on and the record keeps all
                if not self._warned:
                    self._warned = True
                    text = masked(" ".join(str(error).split()))[:200]
                    self._warn(f"MLflow does not take the runs at present ({text}); they are kept and written later")
                pause = min(30.0, pause * 2)
            self._wake.wait(pause)
            self._wake.clear()


class _Runs:
    """The runs of one search in MLflow; `cursor` is the last event that is written there."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        self._uri = uri
        self.cursor = self._applied = NOTHING_YET
        self.experiment_id: str | None = None
        self.parent: str | None = None
        self._about: Mapping[str, Any] = {}
        self._children: dict[int, str] = {}
        self._known_to_mlflow = True
        self._trials = Trials(Objective())

    def write(self, events: Sequence[Event]) -> None:
        """Write `events`, which follow the cursor; one `log_batch` per run. Safe to repeat after an error."""
        from mlflow.entities import Metric, Param, RunTag

        if self.parent is None:
            self._about = events[0].body
            self._trials = Trials(Objective(**self._about["objective"]))
            self._open_parent(events[0])
        metrics: dict[int, list[Any]] = {}
        params: dict[int, list[Any]] = {}
        tags: dict[int, list[Any]] = {}
        ends: dict[int, tuple[str, int]] = {}
        for event in events:
            number, body, stamp = event.trial, event.body, int(event.at * 1000)
            if event.kind == "asked":
                assert number is not None
                self._open_child(number, stamp)
                config = {**self._about["fixed"], **body["point"]}
                params[number] = [Param(name, str(value)) for name, value in config.items()]
                tags[number] = [RunTag("search.origin", body["origin"])]
            elif event.kind == "epoch":
                assert number is not None
                values = {**body["metrics"], "seconds": body["seconds"]}
                metrics.setdefault(number, []).extend(
                    Metric(name, value, stamp, body["epoch"]) for name, value in values.items()
                )
            elif event.kind == "ended":
                assert number is not None
                told = [RunTag("search.state", body["state"]), RunTag("search.why", body["why"][:5000])]
                tags.setdefault(number, []).extend(told)
                ends[number] = (STATUS[State(body["state"])], stamp)
            elif event.kind == "tested":
                assert number is not None
                metrics.setdefault(number, []).append(
                    Metric("test_accuracy", body["test_accuracy"], stamp, body["epoch"])
                )
                tags.setdefault(number, []).append(RunTag("search.winner", "true"))
        for number in sorted({*metrics, *params, *tags}):
            batches = metrics.get(number, [])
            for start in range(0, max(1, len(batches)), 1000):
                first = start == 0
                self._client.log_batch(
                    self._children[number],
                    metrics=batches[start : start + 1000],
                    params=params.get(number, [])[:100] if first else [],
                    tags=tags.get(number, []) if first else [],
                )
        for number, (status, stamp) in ends.items():
            self._client.set_terminated(self._children[number], status, stamp)
        for event in events:
            if event.id > self._applied:
                self._trials.apply(event)
                self._applied = event.id
        self._write_parent(events)
        self.cursor = events[-1].id

    def _open_parent(self, first: Event) -> None:
        about = first.body
        self.experiment_id = self._experiment(about["experiment"])
        found = self._found(f"tags.`search.id` = '{about['id']}' and tags.`search.kind` = 'search'")
        self._known_to_mlflow = bool(found)
        tags = {
            "search.id": about["id"],
            "search.kind": "search",
            "search.name": about["name"],
            "search.study": about["study"],
            "search.command": about["command"],
            "mlflow.source.name": about["command"],
            "mlflow.source.type": "LOCAL",
            "mlflow.user": about["user"],
        }
        if about["commit"]:
            tags["mlflow.source.git.commit"] = about["commit"]
        run = found[0] if found else self._create(about["name"], int(first.at * 1000), tags)
        self._log_inputs(run.info.run_id, about)
        self.parent = run.info.run_id

    def _log_inputs(self, run_id: str, about: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        settings = {key: about[key] for key in ("seed", "sampler", "scheduler", "epochs", "trials", "time_budget")}
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in settings.items()])
        dataset = Dataset(about["dataset"], about["digest"][:36], "local", about["where"])
        for context in ("training", "validation"):
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def _open_child(self, number: int, stamp: int) -> None:
        if number in self._children:
            return
        id_ = f"{self._about['id']}/{number}"
        found = self._found(f"tags.`search.trial_id` = '{id_}'") if self._known_to_mlflow else []
        tags = {
            "mlflow.parentRunId": self.parent or "",
            "search.trial_id": id_,
            "search.kind": "trial",
            "search.trial": str(number),
            "mlflow.user": self._about["user"],
        }
        # From here on a failure may leave a run that we do not know of.
        known, self._known_to_mlflow = self._known_to_mlflow, True
        run = found[0] if found else self._create(f"trial-{number:03d}", stamp, tags)
        self._known_to_mlflow = known
        self._children[number] = run.info.run_id

    def _write_parent(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        assert self.parent is not None
        stamp, trials, objective = int(events[-1].at * 1000), self._trials, self._trials.objective
        there = trials.counts()
        counts = {f"trials_{state.replace(' ', '_')}": float(there.get(str(state), 0)) for state in State}
        metrics = {**counts, "epochs": float(trials.epochs)}
        best = trials.best()
        if best is not None:
            metrics |= {f"best_{objective.metric}": best.best_value(objective), "best_trial": float(best.number)}
        tags = [RunTag("mlflow.note.content", self._note(best))]
        params: list[Any] = []
        for event in events:
            if event.kind == "tested":
                metrics["test_accuracy"] = event.body["test_accuracy"]
            elif event.kind == "finished":
                tags += [RunTag("search.state", event.body["state"]), RunTag("search.why", event.body["why"])]
                if best is not None:
                    config = {**self._about["fixed"], **best.point}
                    params = [Param(f"best/{name}", str(value)) for name, value in config.items()]
        self._client.log_batch(
            self.parent, [Metric(name, value, stamp, events[-1].id) for name, value in metrics.items()], params, tags
        )
        for event in events:
            if event.kind == "finished":
                status = {"done": "FINISHED", "failed": "FAILED"}.get(event.body["state"], "KILLED")
                self._client.set_terminated(self.parent, status, int(event.at * 1000))

    def _note(self, best: Any) -> str:
        about, lines = self._about, []
        if about["stand_in"]:
            lines.append(f"**STAND-IN DATA**: {about['dataset']} could not be had; this ran on {about['where']}.\n")
        lines += [f"{about['about']}\n", f"```\n{about['command']}\n```\n"]
        if best is not None:
            metric = self._trials.objective.metric
            lines.append(f"Best so far: trial {best.number}, {metric} {best.best_value(self._trials.objective):.4f}\n")
            lines += ["| hyperparameter | value |", "|---|---|"]
            lines += [f"| {name} | {value} |" for name, value in sorted({**about["fixed"], **best.point}.items())]
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        lines.append(f"\n{versions}; data SHA-256 {about['digest'][:16]}…; {about['where']}")
        return "\n".join(lines)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        location = None
        if self._uri.startswith("sqlite:///"):
            # MLflow's default is relative to the working folder, and a reader may stand elsewhere.
            location = (Path(self._uri.removeprefix("sqlite:///")).resolve().parent / "mlruns" / name).as_uri()
        # MLflow's pages take an experiment for one of language models unless they are told.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

    def _found(self, filter_string: str) -> list[Any]:
        return list(self._client.search_runs([self.experiment_id or ""], filter_string=filter_string, max_results=1))

    def _create(self, name: str, stamp: int, tags: Mapping[str, str]) -> Any:
        return self._client.create_run(self.experiment_id, start_time=stamp, tags=dict(tags), run_name=name)
