"""The runs of one search in MLflow: one parent, one child per trial, written from the record, compared with it.

Runs are found again by tags, and the parent's tag `search.cursor` says how much of the record is written, so nothing is
written twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.findings import confirmed
from search.record.events import Event, Kind
from search.record.header import Header
from search.record.reading import header_of
from search.record.state import State
from search.record.trial import CONFIRMATION
from search.record.trials import LEFT, Trials, replayed
from search.tracking.store import connect

STATUS = {
    State.COMPLETE: "FINISHED",
    State.STOPPED: "KILLED",
    State.INTERRUPTED: "KILLED",
    State.PREEMPTED: "KILLED",
    State.TIMED_OUT: "FAILED",
    State.DIVERGED: "FAILED",
    State.OUT_OF_MEMORY: "FAILED",
    State.FAILED: "FAILED",
}
"""MLflow's status of a trial that ended."""


METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100
"""What MLflow takes in one call (mlflow.utils.validation, MLflow 3.17: at most 1,000 and 100)."""


class Runs:
    """The runs of one search in MLflow; `cursor` is the last event that is written there.

    `events` are those of the record so far, the first included. Runs that MLflow has of this search are adopted. If
    they tell of more than the record does, it was cut back after damage: then they are deleted, and written anew.
    """

    def __init__(self, uri: str, events: Sequence[Event], *, anew: bool = False) -> None:
        self._client = connect(uri)
        self._uri = uri
        self._header = header_of(events[:1])
        self.experiment_id = self._experiment(self._header.experiment)
        self.parent, cursor = self._open_parent(events[0])
        found = self._found_children()
        self._children = _by_trial(found)
        if len(self._children) < len(found):
            cursor = 0  # an unanswered call left doubles, and which of them has been written to is not known
        if anew or not self._same_past(events, cursor):
            for run in [*self._found_parents(), *found]:
                self._client.delete_run(run.info.run_id)
            self.parent, cursor = self._open_parent(events[0])
            self._children = {}
        self.cursor = cursor
        self._doubtful = False
        self._trials = Trials(self._header.objective)
        self._applied = 0
        self._apply([event for event in events if event.id <= cursor])

    def _same_past(self, events: Sequence[Event], cursor: int) -> bool:
        """Whether what MLflow took as event number `cursor` is that event still, and no other of the same number."""
        at = self._client.get_run(self.parent).data.tags.get("search.cursor_at")
        return not cursor or any(event.id == cursor and repr(event.at) == at for event in events)

    def write(self, events: Sequence[Event]) -> None:
        """Write `events`, which follow the cursor; one `log_batch` per run. Safe to repeat after an error."""
        doubtful, self._doubtful = self._doubtful, True
        if doubtful:  # a call that failed may have been done all the same
            self._children = {**_by_trial(self._found_children()), **self._children}
        self._write_children(events)
        self._apply(events)
        self._write_parent(events)
        self.cursor = events[-1].id
        self._doubtful = False

    def _apply(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.id > self._applied:
                if event.kind == Kind.RESUMED:
                    self._header = self._header.changed(event.body)
                self._trials.apply(event)
                self._applied = event.id

    def _write_children(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics: dict[int, list[Any]] = {}
        params: dict[int, list[Any]] = {}
        tags: dict[int, list[Any]] = {}
        status: dict[int, tuple[str, int]] = {}
        running = {trial.number for trial in self._trials.running()}
        interrupted = {trial.number for trial in self._trials if trial.state is State.INTERRUPTED}
        confirming = self._trials.confirming is not None
        confirmations = {trial.number for trial in self._trials if trial.confirms is not None}
        for event in events:
            body, stamp = event.body, int(event.at * 1000)
            if event.kind in (Kind.FINISHED, Kind.CONFIRMING):
                confirming = confirming or event.kind == Kind.CONFIRMING
                left = running if event.kind == Kind.FINISHED else running - confirmations
                status |= dict.fromkeys(left, ("KILLED", stamp))
                for trial in left:
                    tags.setdefault(trial, []).extend(_end_tags(State.INTERRUPTED, body.get("why", LEFT)))
                running, interrupted = running - left, interrupted | left
            elif event.kind == Kind.RESUMED:
                confirming = confirming and not body.get("reopened")
                again = interrupted & confirmations if confirming else interrupted
                status |= dict.fromkeys(again, ("RUNNING", stamp))
                for trial in again:
                    tags.setdefault(trial, []).extend(_end_tags(State.RUNNING, ""))
                running, interrupted = running | again, interrupted - again
            number = event.trial
            if number is None:
                continue
            if event.kind == Kind.ASKED:
                self._open_child(number, stamp)
                running.add(number)
                if body["origin"].startswith(CONFIRMATION):
                    confirmations.add(number)
                config = {**self._header.fixed, **body["point"]}
                params[number] = [Param(name, str(value)) for name, value in config.items()]
                tags.setdefault(number, []).append(RunTag("search.origin", body["origin"]))
            elif event.kind == Kind.EPOCH:
                values = {**body["metrics"], "seconds": body["seconds"]}
                metrics.setdefault(number, []).extend(
                    Metric(name, value, stamp, body["epoch"]) for name, value in values.items()
                )
            elif event.kind == Kind.RESTARTED:
                tags.setdefault(number, []).append(RunTag("search.attempt", str(body["attempt"])))
            elif event.kind == Kind.ENDED:
                running.discard(number)
                tags.setdefault(number, []).extend(_end_tags(State(body["state"]), body["why"]))
                status[number] = (STATUS[State(body["state"])], stamp)
            elif event.kind == Kind.TESTED:
                metrics.setdefault(number, []).append(
                    Metric("test_accuracy", body["test_accuracy"], stamp, body["epoch"])
                )
                for earlier in {number, *(trial.number for trial in self._trials if trial.tested)}:
                    tags.setdefault(earlier, []).append(RunTag("search.winner", str(earlier == number).lower()))
        for number in sorted({*metrics, *params, *tags}):
            # Of a tag that was set twice the last counts, and MLflow takes none twice in a batch.
            latest = list({tag.key: tag for tag in tags.get(number, [])}.values())
            points, named = metrics.get(number, []), params.get(number, [])
            batches = max(1, math.ceil(len(points) / METRICS_AT_ONCE), math.ceil(len(named) / PARAMS_AT_ONCE))
            for batch in range(batches):
                self._client.log_batch(
                    self._children[number],
                    metrics=points[batch * METRICS_AT_ONCE : (batch + 1) * METRICS_AT_ONCE],
                    params=named[batch * PARAMS_AT_ONCE : (batch + 1) * PARAMS_AT_ONCE],
                    tags=latest if batch == 0 else [],
                )
        for number, (state, stamp) in status.items():
            self._set_status(self._children[number], state, stamp)

    def _set_status(self, run: str, status: str, stamp: int) -> None:
        if status == "RUNNING":
            self._client.update_run(run, status)
        else:
            self._client.set_terminated(run, status, stamp)

    def remove_doubles(self) -> None:
        """Delete runs that an unanswered call left behind: those of this search that are not the ones we write to."""
        kept = {self.parent, *self._children.values()}
        for run in [*self._found_parents(), *self._found_children()]:
            if run.info.run_id not in kept:
                self._client.delete_run(run.info.run_id)

    def _open_parent(self, first: Event) -> tuple[str, int]:
        header = self._header
        found = self._found_parents()
        if found:
            first_run = max(found, key=lambda run: int(run.data.tags.get("search.cursor", 0)))
            return first_run.info.run_id, int(first_run.data.tags.get("search.cursor", 0))
        tags = {
            "search.id": header.id,
            "search.kind": "search",
            "search.name": header.name,
            "search.study": header.study,
            "search.command": header.command,
            "mlflow.source.name": header.command,
            "mlflow.source.type": "LOCAL",
            "mlflow.user": header.user,
        }
        if header.commit:
            tags["mlflow.source.git.commit"] = header.commit
        return self._create(header.name, int(first.at * 1000), tags), 0

    def _log_inputs(self, run_id: str, header: Header) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        settings = ("seed", "sampler", "scheduler", "epochs", "trials", "time_budget")
        self._client.log_batch(run_id, params=[Param(key, str(getattr(header, key))) for key in settings])
        dataset = Dataset(header.dataset, header.digest[:36], "local", header.where)
        for context in ("training", "validation"):
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def _open_child(self, number: int, stamp: int) -> None:
        if number in self._children:
            return
        tags = {
            "mlflow.parentRunId": self.parent,
            "search.trial_id": f"{self._header.id}/{number}",
            "search.kind": "trial",
            "search.trial": str(number),
            "mlflow.user": self._header.user,
        }
        self._children[number] = self._create(f"trial-{number:03d}", stamp, tags)

    def _write_parent(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric, RunTag

        if events[0].kind == "search":
            self._log_inputs(self.parent, header_of(events[:1]))
        stamp, trials, objective = int(events[-1].at * 1000), self._trials, self._trials.objective
        there = trials.counts()
        counts = {f"trials_{state.replace(' ', '_')}": float(there.get(str(state), 0)) for state in State}
        metrics = {**counts, "epochs": float(trials.epochs)}
        best = trials.best()
        if best is not None:
            metrics |= {f"best_{objective.metric}": best.best_value(objective), "best_trial": float(best.number)}
            metrics |= self._confirmed()
        elif trials.epochs:  # a trial that led may come to a worthless end, and a metric cannot be taken back
            metrics |= {f"best_{objective.metric}": math.nan, "best_trial": math.nan}
        tags = [RunTag("mlflow.note.content", self._note(best))]
        for event in events:
            if event.kind == Kind.TESTED:
                metrics["test_accuracy"] = event.body["test_accuracy"]
            elif event.kind == Kind.FINISHED:
                tags += [RunTag("search.state", event.body["state"]), RunTag("search.why", event.body["why"])]
                if best is not None:  # tags, because a search that goes on may find another, and params cannot change
                    config = {**dict.fromkeys(self._header.space, "-"), **self._header.fixed, **best.point}
                    tags += [RunTag(f"best/{name}", str(value)) for name, value in config.items()]
            elif event.kind == Kind.RESUMED:
                tags.append(RunTag("search.state", "running"))
        for event in events:
            if event.kind == Kind.FINISHED:
                status = {"done": "FINISHED", "failed": "FAILED"}.get(event.body["state"], "KILLED")
                self._set_status(self.parent, status, int(event.at * 1000))
            elif event.kind == Kind.RESUMED:
                self._set_status(self.parent, "RUNNING", 0)
        # Last of all, since the cursor says that the rest is done.
        tags = [*{tag.key: tag for tag in tags}.values(), RunTag("search.cursor", str(events[-1].id))]
        tags.append(RunTag("search.cursor_at", repr(events[-1].at)))
        self._client.log_batch(
            self.parent, [Metric(name, value, stamp, events[-1].id) for name, value in metrics.items()], tags=tags
        )

    def _confirmed(self) -> dict[str, float]:
        """What fresh seeds made of the winner, as metrics; NaN for what cannot be told: none can be taken back."""
        best = confirmed.of_winner(confirmed.document(self._header.fixed, self._trials))
        if best is None:
            return {}
        low, high = best["interval"] or (math.nan, math.nan)
        found = {"confirmed_mean": best["mean"], "confirmed_low": low, "confirmed_high": high}
        shrinkage = math.nan if best["shrinkage"] is None else best["shrinkage"]
        return {**found, "shrinkage": shrinkage}

    def _note(self, best: Any) -> str:
        header, lines = self._header, []
        if header.stand_in:
            lines.append(f"**STAND-IN DATA**: {header.dataset} could not be had; this ran on {header.where}.\n")
        lines += [f"{header.about}\n", f"```\n{header.command}\n```\n"]
        if best is not None:
            metric = self._trials.objective.metric
            lines.append(f"Best so far: trial {best.number}, {metric} {best.best_value(self._trials.objective):.4f}\n")
            lines += ["| hyperparameter | value |", "|---|---|"]
            lines += [f"| {name} | {value} |" for name, value in sorted({**header.fixed, **best.point}.items())]
        versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
        lines.append(f"\n{versions}; data SHA-256 {header.digest[:16]}…; {header.where}")
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

    def _found_parents(self) -> list[Any]:
        return _found(self._client, self.experiment_id, self._header.id)[0]

    def _found_children(self) -> list[Any]:
        return _found(self._client, self.experiment_id, self._header.id)[1]

    def _create(self, name: str, stamp: int, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(self.experiment_id, start_time=stamp, tags=dict(tags), run_name=name)
        return str(run.info.run_id)


def _found(client: Any, experiment: str, search: str) -> tuple[list[Any], list[Any]]:
    """The parent runs and the children that MLflow has of a search, by its id: one, and one per trial, if all is well.

    In an order in which every process finds them, so that of doubles all take the same.
    """
    tags = (
        f"tags.`search.id` = '{search}' and tags.`search.kind` = 'search'",
        f"tags.`search.trial_id` LIKE '{search}/%'",
    )
    runs: tuple[list[Any], list[Any]] = ([], [])
    for found, wanted in zip(runs, tags, strict=True):
        token = None
        while True:
            page = client.search_runs([experiment], filter_string=wanted, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                break
        found.sort(key=lambda run: str(run.info.run_id))
    return runs


def _by_trial(runs: Sequence[Any]) -> dict[int, str]:
    return {int(run.data.tags["search.trial"]): str(run.info.run_id) for run in runs}


def _end_tags(state: State, why: str) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag("search.state", state), RunTag("search.why", why[:5000])]


def disagreements(client: Any, events: Sequence[Event]) -> list[str]:
    """Where the runs that MLflow's `client` shows differ from `events`.

    They are missing or doubled, or have another status or other values.
    """
    first = header_of(events[:1])
    experiment = client.get_experiment_by_name(first.experiment)
    if experiment is None:
        return [f"there is no experiment {first.experiment}"]
    parents, children = _found(client, experiment.experiment_id, first.id)
    lines = [] if len(parents) == 1 else [f"there are {len(parents)} parent runs instead of one"]
    trials = replayed(events, first.objective)
    for parent in parents:
        cursor = int(parent.data.tags.get("search.cursor", 0))
        if cursor != events[-1].id:
            lines.append(f"{cursor} of {events[-1].id} events are written")
    runs: dict[int, list[Any]] = {trial.number: [] for trial in trials}
    for run in children:
        runs.setdefault(int(run.data.tags["search.trial"]), []).append(run)
    for number, found in sorted(runs.items()):
        if number >= len(trials) or len(found) != 1:
            lines.append(f"trial {number} has {len(found)} runs")
            continue
        trial, run = trials[number], found[0]
        status = "RUNNING" if trial.state is State.RUNNING else STATUS[trial.state]
        if run.info.status != status:
            lines.append(f"trial {number} is {run.info.status} instead of {status}")
        for name in trial.epochs[-1].metrics if trial.epochs else ():
            shown = sorted((m.step, repr(m.value)) for m in client.get_metric_history(run.info.run_id, name))
            # As text, because NaN is not equal to itself.
            if shown != [(row.number, repr(float(row.metrics[name]))) for row in trial.epochs if name in row.metrics]:
                lines.append(f"trial {number} shows another curve of {name}")
    return lines


def rewrite(uri: str, events: Sequence[Event], *, anew: bool) -> None:
    """Write all of `events` to MLflow at `uri` once more; with `anew` the runs that are there are deleted first."""
    runs = Runs(uri, events, anew=anew)
    runs.cursor = 0
    runs.write(events)
    runs.remove_doubles()
