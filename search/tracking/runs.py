"""The runs of one search in MLflow: one parent, and one child per trial.

Runs are found again by tags, and the parent's tag `search.cursor` says how much of the record is written, so nothing is
written twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.printable import printable
from search.record.events import Event, Kind, WinnerTested
from search.record.header import Header
from search.tracking import bulk
from search.tracking.attachments import Attachments
from search.tracking.bulk import Bulk, NewRun
from search.tracking.projection import Projection, Update, milliseconds, status_of
from search.tracking.store import connect

METRICS_AT_ONCE, OTHERS_AT_ONCE = 800, 100
"""So many metrics, params and tags are sent in one call.

MLflow takes at most 1,000 metrics, 100 params and 100 tags, and of all together 1,000 (mlflow.utils.validation, 3.17).
"""


class Runs:
    """The runs of one search in MLflow; `cursor` is the last event that is written there.

    `events` are those of the record so far, the first included. Runs that MLflow has of this search are adopted. If
    they tell of more than the record does, it was cut back after damage: then they are deleted, and written anew, as
    with `anew`. In the `folder` of the search are the logs of trials and other files, which become artifacts.
    """

    def __init__(self, uri: str, events: Sequence[Event], *, anew: bool = False, folder: Path | None = None) -> None:
        self._client, self._uri, self._first = connect(uri), uri, events[0]
        self._projection = Projection(self._first)
        self.experiment_id = self._experiment(self._projection.header.experiment)
        self.parent, cursor, first_step = self._open_parent()
        _, found = self._found()
        self._children: dict[int, str] = {}
        self._lacking: set[int] = set()
        self._adopt(found)
        if len(self._children) < len(found):
            cursor = 0  # an unanswered call left doubles, and which of them has been written to is not known
        if anew or not self._same_past(events, cursor):
            for run in [run for runs in self._found() for run in runs]:
                self._client.delete_run(run.info.run_id)
            self.parent, cursor, first_step = self._open_parent()
            self._children, self._lacking = {}, set()
        self.cursor = cursor
        self._doubtful = False
        self._projection = Projection(self._first, first_step)
        self._attachments = Attachments(self._client, self._projection.header, folder)
        self._bulk = Bulk(uri, self.experiment_id, self._attachments.inputs)
        self._projection.take([event for event in events if event.id <= cursor])
        self._projection.written()

    def write(self, events: Sequence[Event]) -> None:
        """Write `events`, which follow the cursor. Safe to repeat after an error, then also with more events."""
        doubtful, self._doubtful = self._doubtful, True
        if doubtful:  # a call that failed may have been done all the same
            self._adopt(self._found()[1])
        self._projection.take(events)
        known = self._begin_children()
        for number, update in sorted(self._projection.children.items()):
            if number not in known:
                self._write_child(number, update)
        for event in events:
            self._attach(event)
            if event.kind == Kind.FINISHED and self._own_code:
                self._end_again(event)
        self._write(self.parent, self._projection.parent(events[-1]))
        self._projection.written()
        self.cursor = events[-1].id
        self._doubtful = False

    def _attach(self, event: Event) -> None:
        """What `event` says that there is besides numbers."""
        if event.kind == Kind.SEARCH:
            self._attachments.begin(self.parent)
        elif event.kind == Kind.ENDED:
            assert event.trial is not None
            self._attachments.left_by(event.trial, self._children[event.trial])
        elif event.kind == Kind.TESTED:
            assert event.trial is not None
            tested = WinnerTested.of(event)
            self._attachments.tested(event.trial, tested.epoch, self._children[event.trial])

    def rewrite(self, events: Sequence[Event]) -> None:
        """Write all of `events` once more, and delete what an unanswered call has doubled."""
        self._projection, self.cursor = Projection(self._first, self._projection.first_step), 0
        self.write(events)
        self.remove_doubles()

    @property
    def notes(self) -> Mapping[str, str]:
        """A line for each name or value that MLflow cannot show as it is."""
        return {**self._projection.notes, **self._attachments.notes}

    def remove_doubles(self) -> None:
        """Delete runs that an unanswered call left behind: those of this search that are not the ones we write to."""
        kept = {self.parent, *self._children.values()}
        for run in [run for runs in self._found() for run in runs]:
            if run.info.run_id not in kept:
                self._client.delete_run(run.info.run_id)

    def _same_past(self, events: Sequence[Event], cursor: int) -> bool:
        """Whether what MLflow took as event number `cursor` is that event still, and no other of the same number."""
        at = self._client.get_run(self.parent).data.tags.get("search.cursor_at")
        return not cursor or any(event.id == cursor and repr(event.at) == at for event in events)

    def _write(self, run: str, update: Update) -> None:
        """Write `update`, its last tags last of all."""
        from mlflow.exceptions import MlflowException

        if update.status is not None:
            status, stamp = update.status
            if status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run, status)
            else:
                self._client.set_terminated(run, status, stamp)
        for part in _batches(update):
            try:
                self._log(run, part)
            except MlflowException as error:
                if not part.params or error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                self._log(run, replace(part, params=self._still_free(run, part.params)))

    def _log(self, run: str, part: Update) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run,
            metrics=[Metric(*point) for point in part.metrics],
            params=[Param(name, printable(value)) for name, value in part.params.items()],
            tags=[RunTag(key, printable(value)) for key, value in part.tags.items()],
        )

    def _still_free(self, run: str, params: Mapping[str, str]) -> dict[str, str]:
        """Those of `params` that nobody has logged: what the trial's own code has logged cannot be changed."""
        there = self._client.get_run(run).data.params
        for name, value in params.items():
            if there.get(name, value) != value:
                line = f"MLflow shows {name} as the trials' own code logs it, and not as it is recorded"
                self._projection.notes.setdefault(f"param {name}", line)
        return {name: value for name, value in params.items() if name not in there}

    @property
    def _own_code(self) -> bool:
        """Whether trials run code of the user's own, which may write to their runs too."""
        return self._projection.header.study_code is not None

    def _end_again(self, event: Event) -> None:
        """End the runs of trials as they have ended, where their own code has ended them otherwise since."""
        trials = self._projection.trials
        for number, run in _by_trial_whole(self._found()[1]).items():
            if number < len(trials):
                trial = trials[number]
                status = status_of(trial.state, over=True)
                if run.info.status != status:
                    self._client.set_terminated(run.info.run_id, status, milliseconds(trial.ended or event.at))

    def _write_child(self, number: int, update: Update) -> None:
        """Write the `update` of trial `number` to its run; it is made, with its tags, if there is none."""
        if number in self._children:
            run = self._children[number]
        else:
            run, update = self._begin_child(number, update.tags), replace(update, tags={})
        if number in self._lacking:
            self._attachments.data(run)
            self._lacking.discard(number)
        self._write(run, update)

    def _begin_children(self) -> set[int]:
        """Make and write the runs of all trials that have none, if they are many and it can be done; returns which."""
        new = {number: update for number, update in self._projection.children.items() if number not in self._children}
        if len(new) < bulk.FEWEST:
            return set()
        if not self._bulk:
            if self._bulk.why_not:
                self._projection.notes.setdefault("bulk", self._bulk.why_not)
            return set()
        numbers = sorted(new)
        made = self._bulk.add([self._new_run(each, new[each]) for each in numbers])
        for number, key in zip(numbers, made, strict=True):
            self._children[number] = key
        return {*new}

    def _new_run(self, number: int, update: Update) -> NewRun:
        name, began, tags = self._child(number)
        shown = replace(
            update,
            params={key: printable(value) for key, value in update.params.items()},
            tags={key: printable(value) for key, value in update.tags.items()},
        )
        return NewRun(name, milliseconds(began), {key: printable(value) for key, value in tags.items()}, shown)

    def _begin_child(self, number: int, more: Mapping[str, str]) -> str:
        """Make the run of trial `number`, with `more` tags."""
        name, began, tags = self._child(number)
        run = self._create(name, began, {**tags, **more})
        self._children[number] = run
        self._lacking.add(number)
        return run

    def _child(self, number: int) -> tuple[str, float, dict[str, str]]:
        """Of the run of trial `number` its name, when it began, and the tags by which it is found."""
        header, trial = self._projection.header, self._projection.trials[number]
        tags = {
            "mlflow.parentRunId": self.parent,
            "search.trial_id": f"{header.id}/{number}",
            "search.kind": "trial",
            "search.trial": str(number),
            **_source(header),
        }
        return f"{header.name}-trial-{number:03d}", trial.began, tags

    def _adopt(self, found: Sequence[Any]) -> None:
        """Take the runs of trials that were `found` for ours, unless we have others."""
        for run in found:
            number = int(run.data.tags["search.trial"])
            if number not in self._children:
                self._children[number] = str(run.info.run_id)
                if run.inputs is None or not run.inputs.dataset_inputs:
                    self._lacking.add(number)

    def _open_parent(self) -> tuple[str, int, int]:
        """The parent run, its cursor, and the first step of its curves; made if there is none."""
        header = self._projection.header
        parents, _ = self._found()
        if parents:
            furthest = max(parents, key=lambda run: int(run.data.tags.get("search.cursor", 0)))
            cursor = int(furthest.data.tags.get("search.cursor", 0))
            # An earlier version's curves ran over the numbers of events; to be the latest, ours begin after them.
            first = int(furthest.data.tags.get("search.first_step", cursor))
            if "search.first_step" not in furthest.data.tags:
                self._client.set_tag(furthest.info.run_id, "search.first_step", str(first))
            return furthest.info.run_id, cursor, first
        tags = {
            "search.id": header.id,
            "search.kind": "search",
            "search.name": header.name,
            "search.study": header.study,
            "search.command": header.command,
            "search.first_step": "0",
            **_source(header),
        }
        return self._create(header.name, self._first.at, tags), 0, 0

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

    def _found(self) -> tuple[list[Any], list[Any]]:
        return runs_of(self._projection.header.id, self._client, self.experiment_id)

    def _create(self, name: str, began: float, tags: Mapping[str, str]) -> str:
        shown = {key: printable(value) for key, value in tags.items()}
        run = self._client.create_run(self.experiment_id, start_time=milliseconds(began), tags=shown, run_name=name)
        return str(run.info.run_id)


def _source(header: Header) -> dict[str, str]:
    """What MLflow shows as the source of a run: who ran what, at which commit."""
    tags = {"mlflow.source.name": header.command, "mlflow.source.type": "LOCAL", "mlflow.user": header.user}
    # Of a user's own code MLflow is to name the user's commit, and not ours.
    commit = header.commit if header.study_code is None else header.study_commit
    if commit:
        tags["mlflow.source.git.commit"] = commit
    if header.study_code is not None and header.commit:
        tags["search.commit"] = header.commit
    return tags


def runs_of(search: str, client: Any, experiment: str) -> tuple[list[Any], list[Any]]:
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


def parent_of(search: str, client: Any, experiment: str) -> tuple[str, str] | None:
    """The ids of experiment and parent run that MLflow has of a search, by its id; None if it has none."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    wanted = f"tags.`search.id` = '{search}' and tags.`search.kind` = 'search'"
    runs = client.search_runs([found.experiment_id], filter_string=wanted, max_results=1)
    return (str(found.experiment_id), str(runs[0].info.run_id)) if runs else None


def _by_trial_whole(runs: Sequence[Any]) -> dict[int, Any]:
    return {int(run.data.tags["search.trial"]): run for run in runs}


def _batches(update: Update) -> Iterator[Update]:
    """Parts of `update`, each as large as MLflow takes at once; its last tags are in the last one."""
    metrics, params, tags = update.metrics, list(update.params.items()), list(update.tags.items())
    while metrics or params or tags:
        more = len(metrics) > METRICS_AT_ONCE or len(params) > OTHERS_AT_ONCE
        now = [] if more else tags[:OTHERS_AT_ONCE]
        yield Update(dict(params[:OTHERS_AT_ONCE]), metrics[:METRICS_AT_ONCE], dict(now))
        metrics, params, tags = metrics[METRICS_AT_ONCE:], params[OTHERS_AT_ONCE:], tags[len(now) :]
