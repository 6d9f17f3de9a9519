"""Many runs at once: what is written into MLflow's tables in bulk is what its own calls write, run by run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from search.record.events import Asked, Ended, EpochReport, Event
from search.record.record import Record
from search.record.state import State
from search.record.trial import PROPOSED
from search.tracking import bulk
from search.tracking.runs import Runs
from tests.simulated import header

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TRIALS = 25
DATA = {"dataset": "squares", "shape": [1, 8, 8], "digest": "d" * 64, "where": "squares.npz", "classes": ["a", "b"]}


def many() -> Iterator[Any]:
    """Trials that are complete, stopped, failed and running; with values that are no numbers, and ones that repeat."""
    yield (
        "search",
        None,
        header(**DATA, space={"train/lr": "0 … 1"}, fixed={"note": "é" * 7000}, epochs=3, trials=TRIALS),
    )
    for trial in range(TRIALS):
        yield Asked({"train/lr": 0.01 * trial}, PROPOSED).entry(trial)
        for epoch in (1, 2, 2, 3)[: 1 + trial % 4]:
            loss = (0.5, math.nan, math.inf, -math.inf)[(trial + epoch) % 4]
            metrics = {"val_accuracy": 0.5 + trial / 100, "train_loss": loss, "parameters": 10.0, "a b(c)": 1.0}
            yield EpochReport(epoch, metrics, 0.1).entry(trial)
        if trial % 5:
            state = (State.COMPLETE, State.STOPPED, State.FAILED, State.COMPLETE)[trial % 4]
            yield Ended(state, f"it is {state}").entry(trial)


def shown(uri: str, *, artifacts: bool = True) -> dict[str, Any]:
    """All that MLflow tells of each trial's run, but for its id; where its `artifacts` are differs between stores."""
    client = MlflowClient(tracking_uri=uri)
    [experiment] = [each for each in client.search_experiments() if each.name != "Default"]
    told = {}
    for run in client.search_runs([experiment.experiment_id], filter_string="tags.`search.kind` = 'trial'"):
        info = {name: value for name, value in dict(run.info).items() if name not in ("run_id", "run_uuid")}
        where = info["artifact_uri"].replace(run.info.run_id, "RUN").rpartition("/mlruns")[2]
        info["artifact_uri"] = where if artifacts else ""
        tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"}
        history = {
            name: sorted(str((m.timestamp, m.step, m.value)) for m in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        inputs = [(asdict_of(each.dataset), [dict(tag) for tag in each.tags]) for each in run.inputs.dataset_inputs]
        told[run.data.tags["search.trial"]] = (
            info, tags, run.data.params, {name: str(value) for name, value in run.data.metrics.items()}, history,
            sorted(inputs, key=str),
        )  # fmt: skip
    return told


def asdict_of(dataset: Any) -> dict[str, Any]:
    return dict(dataset) if not hasattr(dataset, "__dataclass_fields__") else asdict(dataset)


@pytest.fixture
def events(tmp_path: Path) -> list[Event]:
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*many())
        return list(record.events())


def written(events: list[Event], folder: Path) -> str:
    folder.mkdir()
    uri = f"sqlite:///{folder}/mlflow.db"
    runs = Runs(uri, events, folder=folder)
    assert "bulk" not in runs.notes
    runs.write(events)
    return uri


def test_many_runs_at_once_are_what_mlflow_writes_one_by_one(
    events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    create = MlflowClient.create_run
    monkeypatch.setattr(
        MlflowClient,
        "create_run",
        lambda *a, **o: asked.append(o["run_name"]) or create(*a, **o),  # type: ignore[func-returns-value]
    )
    at_once = shown(written(events, tmp_path / "at once"))
    assert len(at_once) == TRIALS
    assert len(asked) == 1  # the parent
    monkeypatch.setattr(bulk, "FEWEST", TRIALS + 1)
    one_by_one = shown(written(events, tmp_path / "one by one"))
    assert len(asked) == 1 + 1 + TRIALS
    assert at_once == one_by_one


def test_what_was_written_before_an_error_is_not_written_twice(
    events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shown(written(events, tmp_path / "whole"))
    monkeypatch.setattr(bulk, "AT_ONCE", 10)
    (tmp_path / "torn").mkdir()
    uri = f"sqlite:///{tmp_path}/torn/mlflow.db"
    runs, parts = Runs(uri, events), [*range(2)]
    add = bulk.Bulk._add_data
    monkeypatch.setattr(bulk.Bulk, "_add_data", lambda *a: add(*a) if parts.pop() else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.write(events)
    assert len(shown(uri)) == 10
    monkeypatch.setattr(bulk.Bulk, "_add_data", add)
    runs.write(events)
    assert shown(uri) == whole


def test_where_mlflows_tables_are_others_runs_are_written_one_by_one_and_that_is_said(
    events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "COLUMNS", {**bulk.COLUMNS, "SqlTag": "key value run_uuid colour"})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    runs = Runs(uri, events)
    runs.write(events)
    assert "one by one" in runs.notes["bulk"]
    assert len(shown(uri)) == TRIALS
