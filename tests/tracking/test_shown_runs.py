"""What MLflow shows of a search and of its trials: curves, tags, descriptions, data, files."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from search.findings import predictions
from search.findings.predictions import Predictions
from search.record.events import Asked, Decided, Ended, EpochReport, Finished, InMLflow, Kind, WinnerTested
from search.record.record import Record
from search.record.state import State
from search.record.trial import PROPOSED
from search.tracking.projection import Projection, Update
from search.tracking.tracker import Tracker
from spaces.study import Choice, Float, Study
from tests.simulated import Curves, Memory, begun, header, note, work
from trainables.mlp import train_mlp

SHOWN = {
    "name": "s-1",
    "study": "s",
    "about": "A study of <b>mine</b>.",
    "experiment": "s",
    "space": {"train/lr": "0 … 1"},
    "fixed": {},
    "epochs": 3,
    "trials": 3,
    "classes": ["T-shirt", "=cat, <script>", "dog"],
    "commit": "c0ffee",
    "command": "python -m search s",
}


def story():
    """Three trials: one complete, which wins, one stopped at a rung, one that failed."""
    yield "search", None, {**header(**SHOWN), "after_s": 0.0}
    for trial in range(3):
        yield Asked({"train/lr": 0.1 * (trial + 1)}, PROPOSED).entry(trial)
    for trial, value in ((0, 0.8), (1, 0.6)):
        metrics = {"val_accuracy": value, "parameters": 1234.0}
        yield EpochReport(1, metrics, 0.5, system={"cpu_utilization_percentage": 40.0}).entry(trial)
    yield Decided(1, 0.8, 1, None, True).entry(0)
    yield Decided(1, 0.6, 1, 0.8, False).entry(1)
    yield Ended(State.STOPPED, "0.6000 after 1 epochs, 0.8000 was needed").entry(1)
    yield Ended(State.FAILED, "ValueError: *no* <img src=x>", "Traceback …").entry(2)
    for epoch in (2, 3):
        yield EpochReport(epoch, {"val_accuracy": round(0.8 + epoch / 100, 2), "parameters": 1234.0}, 0.5).entry(0)
    yield Ended(State.COMPLETE, "reached the full budget").entry(0)
    yield WinnerTested(0, 3, 0.75, 0.5, 4).entry(0)
    yield InMLflow("sqlite:///mlflow.db", "1", "0f", "models:/s@champion", "0f/0/3").entry()
    yield Finished("done", "", 75.0).entry()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The parent, the children by number, and MLflow's client, of that search with its files."""
    place = tmp_path_factory.mktemp("shown")
    folder = place / "runs" / "s-1"
    for name, text in (("logs/trial-0000.log", "printed"), ("stacks/trial-0002-attempt-1.txt", "File x, line 1")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    labels, predicted = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    kept = Predictions(0, 3, labels, predicted, np.ones(4, np.float32), np.array([0]), np.zeros((1, 1, 8, 8), np.uint8))
    predictions.write(folder, kept)
    with Record(folder / "record.db", create=True) as record:
        record.append(*story())
    uri, warnings = f"sqlite:///{place}/mlflow.db", []
    tracker = Tracker(folder / "record.db", uri, warnings.append)
    assert tracker.finish(1000), warnings
    assert warnings == []
    client = MlflowClient(tracking_uri=uri)
    runs = {run.data.tags.get("search.trial"): run for run in client.search_runs([tracker.place.experiment_id])}
    return runs.pop(None), runs, client


pytestmark = pytest.mark.filterwarnings("ignore")


def test_trials_have_names_that_differ_between_searches_and_say_where_they_come_from(shown):
    parent, children, _ = shown
    assert {run.info.run_name for run in children.values()} == {f"s-1-trial-{n:03d}" for n in range(3)}
    for run in (parent, *children.values()):
        assert run.data.tags["mlflow.source.name"] == "python -m search s"
        assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"


def test_a_trial_says_why_it_ended_and_what_foreign_text_says_is_no_markup(shown):
    parent, children, _ = shown
    notes = {number: run.data.tags["mlflow.note.content"] for number, run in children.items()}
    assert notes["1"].startswith("Stopped at rung 1: 0.6000, 0.8000 was needed\n")
    assert notes["0"].startswith("Complete: reached the full budget\n")
    assert "val_accuracy 0.8300 after epoch 3; trained 3 of 3 epochs" in notes["0"]
    assert "Test accuracy 0.7500 (95 %: 0.3006 … 0.9544, 4 images)" in notes["0"]
    assert "<img" not in notes["2"]
    assert "\\*no\\*" in notes["2"]
    assert "<b>" not in parent.data.tags["mlflow.note.content"]


def test_every_run_has_the_data_with_digest_and_shapes(shown):
    parent, children, _ = shown
    for run in (parent, *children.values()):
        inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
        assert set(inputs) == {"training", "validation"}
        assert {part: data.name for part, data in inputs.items()} == {
            "training": "digits",
            "validation": "digits (validation)",
        }
        shapes = {part: json.loads(data.profile)["features_shape"] for part, data in inputs.items()}
        assert shapes == {"training": [64, 1, 8, 8], "validation": [16, 1, 8, 8]}
        assert {data.digest for data in inputs.values()} == {("ab" * 32)[:36]}
        assert "tensorspec" in inputs["training"].schema


def test_what_trials_left_behind_is_among_their_artifacts(shown, tmp_path):
    _, children, client = shown
    files = {n: sorted(each.path for each in client.list_artifacts(run.info.run_id)) for n, run in children.items()}
    assert files == {"0": ["confusion_matrix.csv", "trial-0000.log"], "1": [], "2": ["trial-0002-attempt-1.txt"]}
    path = client.download_artifacts(children["0"].info.run_id, "confusion_matrix.csv", str(tmp_path))
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == ["T-shirt", "=cat, <script>", "dog"]
    assert [list(map(int, row[1:])) for row in rows[1:]] == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_how_many_weights_there_are_is_a_param_and_no_curve(shown):
    _, children, _ = shown
    assert children["0"].data.params["parameters"] == "1234"
    names = {"val_accuracy", "seconds", "system/cpu_utilization_percentage", "test_accuracy"}
    assert set(children["0"].data.metrics) == names


def test_the_parents_curves_run_over_trials_and_over_seconds_and_its_counters_are_tags(shown):
    parent, _, client = shown
    assert next(iter(parent.data.metrics)) == "best_val_accuracy"
    assert set(parent.data.metrics) == {"best_val_accuracy", "best_val_accuracy_over_seconds", "test_accuracy"}
    history = client.get_metric_history(parent.info.run_id, "best_val_accuracy")
    assert sorted({(point.step, point.value) for point in history}) == [(1, 0.6), (2, 0.6), (3, 0.83)]
    counters = {name: value for name, value in parent.data.tags.items() if name.startswith(("trials_", "best_trial"))}
    ended = {"trials_complete": "1", "trials_stopped": "1", "trials_failed": "1", "trials_running": "0"}
    assert counters == {**ended, "best_trial": "0"}


def test_the_description_of_a_search_is_rewritten_at_its_end(shown):
    note = shown[0].data.tags["mlflow.note.content"]
    assert "**Done** after 1:15. Trials: 1 complete, 1 stopped, 1 failed" in note
    assert "Winner: trial 0, val_accuracy 0.8300" in note
    assert "Best so far" not in note
    assert "models:/s@champion" in note


def test_a_run_of_an_earlier_version_is_gone_on_with_and_shows_the_latest_best(tmp_path):
    """Its curves ran over the numbers of events, which are larger than those of trials."""
    path, uri = tmp_path / "record.db", f"sqlite:///{tmp_path}/mlflow.db"
    events = list(story())
    with Record(path, create=True) as record:
        record.append(*events[:9])
        tracker = Tracker(path, uri, print)
        assert tracker.finish(1000)
        client, parent = MlflowClient(tracking_uri=uri), tracker.place.parent_run_id
        client.delete_tag(parent, "search.first_step")
        client.log_metric(parent, "best_val_accuracy", 0.6, step=9)
        record.append(*events[9:])
    assert Tracker(path, uri, print).finish(1000)
    assert client.get_run(parent).data.metrics["best_val_accuracy"] == 0.83
    last = client.get_metric_history(parent, "best_val_accuracy")[-1]
    assert last.step == 9 + 3


STUDY = Study(
    trainable=train_mlp,
    dataset="digits",
    epochs=9,
    space={"train/lr": Float(1e-4, 1.0, log=True), "train/optimizer": Choice("sgd", "adam")},
    trials=8,
    name="tiny",
)


def as_text(update):
    """In which NaN is equal to itself."""
    return repr((sorted(update.params.items()), update.metrics, sorted(update.tags.items()), update.status))


def merged(into, update):
    into.params.update(update.params)
    into.metrics.extend(update.metrics)
    into.tags.update(update.tags)
    into.status = update.status or into.status


@settings(max_examples=15)
@given(seed=st.integers(0, 500), cuts=st.lists(st.integers(1, 200), max_size=6), steps=st.integers(0, 60))
def test_written_step_by_step_or_all_at_once_mlflow_is_told_the_same(seed, cuts, steps):
    """`sync` makes from the record what the search itself has made."""
    record = Memory()
    search = begun(STUDY, record)
    work(search, Curves(seed, losses=0.05), workers=3, steps=steps)
    note(search, "finished", {"state": "interrupted", "why": "made up", "wall_s": 1.0})
    note(search, "resumed", {"trials": 8, "time_budget": None, "after_s": 0.0, "pid": 2})
    work(search, Curves(seed), workers=3)
    note(search, "finished", {"state": "done", "why": "", "wall_s": 2.0})
    told = []
    for ends in (
        sorted({*(cut for cut in cuts if cut < len(record.events)), len(record.events)}),
        [len(record.events)],
    ):
        projection, begin, runs = Projection(record.events[0]), 0, {}
        for end in ends:
            projection.take(record.events[begin:end])
            for number, update in [*projection.children.items(), (None, projection.parent(record.events[end - 1]))]:
                merged(runs.setdefault(number, Update()), update)
            projection.written()
            begin = end
        told.append({number: as_text(update) for number, update in runs.items()})
    assert told[0] == told[1]
    assert {event.kind for event in record.events} >= {Kind.ASKED, Kind.EPOCH}
