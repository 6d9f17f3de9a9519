"""MLflow runs as a projection of the record, against MLflow's real SQLite store."""

import pytest
from mlflow import MlflowClient

from search.record import Record
from search.tracking import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ABOUT = {
    "id": "0f",
    "name": "s-1",
    "study": "s",
    "about": "A study.",
    "experiment": "s",
    "dataset": "digits",
    "where": "scikit-learn",
    "stand_in": False,
    "digest": "ab" * 32,
    "objective": {"metric": "val_accuracy", "mode": "max"},
    "fixed": {"train/flip": True},
    **{"seed": 0, "sampler": "tpe", "scheduler": "asha", "epochs": 3, "trials": 2, "time_budget": None},
    **{"command": "python -m search s", "user": "me", "commit": "", "versions": {"python": "3"}},
}


def story():
    """Two trials as a search records them: one complete, one stopped."""
    yield "search", None, ABOUT
    for trial in (0, 1):
        yield "asked", trial, {"point": {"train/lr": 0.1 * (trial + 1)}, "origin": "sampler"}
    for epoch in (1, 2, 3):
        row = {"epoch": epoch, "metrics": {"val_accuracy": 0.5 + epoch / 10}, "seconds": 0.1}
        yield "epoch", 0, {**row, "checkpoint": None, "sha256": None}
    yield "epoch", 1, {"epoch": 1, "metrics": {"val_accuracy": 0.2}, "seconds": 0.1, "checkpoint": None, "sha256": None}
    yield "ended", 1, {"state": "stopped", "why": "weak"}
    yield "ended", 0, {"state": "complete", "why": "reached the full budget"}
    yield "tested", 0, {"trial": 0, "epoch": 3, "test_accuracy": 0.75, "test_loss": 0.5, "images": 10}
    yield "finished", None, {"state": "done", "why": "", "wall_s": 1.0}


def tracked(path, uri, warnings=None):
    tracker = Tracker(path, uri, (warnings if warnings is not None else []).append)
    assert tracker.finish(60), warnings
    return tracker.place


def everything(uri, experiment):
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([experiment])
    return {
        run.data.tags.get("search.trial", "parent"): (
            run.info.status,
            {
                name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
                for name in run.data.metrics
                if name in ("val_accuracy", "test_accuracy")
            },
            run.data.params.get("train/lr"),
        )
        for run in runs
    }, len(runs)


EXPECTED = {
    "0": ("FINISHED", {"val_accuracy": [(1, 0.6), (2, 0.7), (3, 0.8)], "test_accuracy": [(3, 0.75)]}, "0.1"),
    "1": ("KILLED", {"val_accuracy": [(1, 0.2)]}, "0.2"),
}


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_what_is_recorded_is_what_mlflow_shows(tmp_path, store):
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*story())
    place = tracked(tmp_path / "record.db", store)
    shown, count = everything(store, place["experiment_id"])
    assert count == 3
    assert {number: shown[number] for number in EXPECTED} == EXPECTED
    assert shown["parent"][0] == "FINISHED"


@pytest.mark.parametrize("cut", [1, 3, 5, 8])
def test_a_tracker_that_starts_over_adopts_the_runs_there_are(tmp_path, store, cut):
    events = list(story())
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*events[:cut])
        tracked(tmp_path / "record.db", store)
        record.append(*events[cut:])
    place = tracked(tmp_path / "record.db", store)
    shown, count = everything(store, place["experiment_id"])
    assert count == 3, "a run was doubled"
    assert {number: shown[number] for number in EXPECTED} == EXPECTED


def test_a_server_that_is_away_costs_one_warning_and_no_time(tmp_path):
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*story())
    warnings: list[str] = []
    tracker = Tracker(tmp_path / "record.db", "http://127.0.0.1:9", warnings.append)
    assert not tracker.finish(8)
    assert len(warnings) == 1
    assert "written later" in warnings[0]
