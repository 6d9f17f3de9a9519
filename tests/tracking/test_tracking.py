"""MLflow runs as a projection of the record, against MLflow's real SQLite store."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search.record.events import EpochReport
from search.record.record import Record
from search.tracking.tracker import Tracker
from tests.simulated import header

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHOWN = {
    "name": "s-1",
    "study": "s",
    "about": "A study.",
    "experiment": "s",
    "space": {"train/lr": "0 … 1"},
    "fixed": {"train/flip": True},
    "epochs": 3,
    "trials": 2,
    "command": "python -m search s",
}


def story():
    """Two trials as a search records them: one complete, one stopped."""
    yield "search", None, header(**SHOWN)
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


def test_a_long_trial_of_many_hyperparameters_that_is_written_at_once_loses_nothing(tmp_path):
    path, fixed = tmp_path / "record.db", {f"layer/{number}": number for number in range(250)}
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with Record(path, create=True) as record:
        record.append(("search", None, header(**{**SHOWN, "fixed": fixed})))
        record.append(("asked", 0, {"point": {"train/lr": 0.1}, "origin": "sampler"}))
        record.append(
            *(
                ("epoch", 0, EpochReport(epoch, {"val_accuracy": epoch / 1000}, 0.1).to_plain())
                for epoch in range(1, 601)
            )
        )
        record.append(("ended", 0, {"state": "complete", "why": "reached the full budget"}))
        record.append(("finished", None, {"state": "done", "why": "", "wall_s": 1.0}))
        last = record.last_id()
    parent, children, _ = runs_of(uri, tracked(path, uri))
    assert children["0"].data.params == {"train/lr": "0.1", **{name: str(value) for name, value in fixed.items()}}
    history = MlflowClient(tracking_uri=uri).get_metric_history(children["0"].info.run_id, "val_accuracy")
    assert sorted((point.step, point.value) for point in history) == [(n, n / 1000) for n in range(1, 601)]
    assert {name: parent.data.tags[f"best/{name}"] for name in fixed} == {name: str(fixed[name]) for name in fixed}
    assert parent.data.tags["search.cursor"] == str(last)


def test_what_mlflow_cannot_show_as_it_is_is_said_once_and_whole_in_the_record(tmp_path):
    path, long = tmp_path / "record.db", "x" * 7000
    uri, warnings = f"sqlite:///{tmp_path}/mlflow.db", []
    metrics = {"val_accuracy": 0.5, "mAP50-95(B)": 0.25, "seconds": 9.0, "../up": 0.1}
    with Record(path, create=True) as record:
        record.append(
            ("search", None, header(**{**SHOWN, "fixed": {"prompt": long, "none": None, "w": {"tuple": [1]}}}))
        )
        for trial in (0, 1):
            record.append(("asked", trial, {"point": {"train/lr": 0.1}, "origin": "sampler"}))
            record.append(("epoch", trial, EpochReport(1, metrics, 0.1).to_plain()))
            record.append(("ended", trial, {"state": "infeasible", "why": "too large"}))
        record.append(("finished", None, {"state": "done", "why": "", "wall_s": 1.0}))
    _, children, _ = runs_of(uri, tracked(path, uri, warnings))
    run = children["0"]
    assert run.info.status == "KILLED"
    assert run.data.params["prompt"].endswith("… (7,000 characters; the record has all)")
    assert (run.data.params["none"], run.data.params["w"]) == ("None", "(1,)")
    assert run.data.metrics["mAP50-95_B_"] == 0.25
    assert (run.data.metrics["seconds"], run.data.metrics["metrics/seconds"]) == (0.1, 9.0)
    assert run.data.metrics["___up"] == 0.1
    assert sorted(warnings) == [
        "MLflow shows the first 6,000 characters of prompt; the record has all",
        "MLflow shows the metric ../up as ___up",
        "MLflow shows the metric mAP50-95(B) as mAP50-95_B_",
        "MLflow shows the metric seconds as metrics/seconds",
    ]


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
    shown, count = everything(store, place.experiment_id)
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
    shown, count = everything(store, place.experiment_id)
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


# Later processes


def runs_of(uri, place):
    """Parent run and child runs by number, and how many runs there are in all."""
    runs = MlflowClient(tracking_uri=uri).search_runs([place.experiment_id])
    by_number = {run.data.tags.get("search.trial", "parent"): run for run in runs}
    return by_number.pop("parent"), by_number, len(runs)


def states(runs):
    return {number: (run.info.status, run.data.tags.get("search.state")) for number, run in runs.items()}


@pytest.fixture
def calls(monkeypatch):
    """The runs that values, parameters or tags are written to, in order."""
    made = []
    real = MlflowClient.log_batch

    def log_batch(self, run_id, *arguments, **options):
        made.append(run_id)
        return real(self, run_id, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    return made


def test_the_parent_says_how_much_of_the_record_is_written(tmp_path, store):
    with Record(tmp_path / "record.db", create=True) as record:
        for event in story():
            record.append(event)
    place = tracked(tmp_path / "record.db", store)
    parent, _, _ = runs_of(store, place)
    assert parent.info.run_id == place.parent_run_id
    assert parent.data.tags["search.cursor"] == str(len(list(story())))


def test_a_second_process_writes_nothing_that_is_written(tmp_path, store, calls):
    path = tmp_path / "record.db"
    with Record(path, create=True) as record:
        record.append(*story())
    place = tracked(path, store)
    assert calls
    calls.clear()
    assert tracked(path, store) == place
    assert calls == []
    with Record(path) as record:
        record.append(("resumed", None, {"pid": 2}), ("asked", 2, {"point": {"train/lr": 0.3}, "origin": "sampler"}))
    tracked(path, store)
    parent, children, count = runs_of(store, place)
    assert calls == [children["2"].info.run_id, parent.info.run_id]
    assert count == 4


def test_trials_and_search_are_killed_when_a_process_leaves_and_run_again_when_another_goes_on(tmp_path, store):
    path, events = tmp_path / "record.db", list(story())
    with Record(path, create=True) as record:
        record.append(*events[:5])
        place = tracked(path, store)
        assert {status for status, _ in states(runs_of(store, place)[1]).values()} == {"RUNNING"}

        record.append(("finished", None, {"state": "interrupted", "why": "stopped by SIGINT", "wall_s": 1.0}))
        tracked(path, store)
        parent, children, _ = runs_of(store, place)
        assert states(children) == dict.fromkeys(("0", "1"), ("KILLED", "interrupted"))
        assert children["0"].data.tags["search.why"] == "stopped by SIGINT"
        assert states({"": parent}) == {"": ("KILLED", "interrupted")}

        record.append(("resumed", None, {"pid": 2}))
        record.append(("restarted", 0, {"attempt": 2, "checkpoint": None, "epoch": 0}))
        tracked(path, store)
        parent, children, _ = runs_of(store, place)
        assert states(children) == dict.fromkeys(("0", "1"), ("RUNNING", "running"))
        assert children["0"].data.tags["search.attempt"] == "2"
        assert states({"": parent}) == {"": ("RUNNING", "running")}

        record.append(*events[5:])
    tracked(path, store)
    parent, children, count = runs_of(store, place)
    assert states(children) == {"0": ("FINISHED", "complete"), "1": ("KILLED", "stopped")}
    assert states({"": parent}) == {"": ("FINISHED", "done")}
    shown, _ = everything(store, place.experiment_id)
    assert {number: shown[number] for number in EXPECTED} == EXPECTED
    assert count == 3


def test_a_whole_life_written_at_once_ends_as_one_written_step_by_step(tmp_path, store):
    events = list(story())
    left = ("finished", None, {"state": "interrupted", "why": "stopped by SIGINT", "wall_s": 1.0})
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*events[:5], left, ("resumed", None, {"pid": 2}), *events[5:])
    place = tracked(tmp_path / "record.db", store)
    parent, children, _ = runs_of(store, place)
    assert states(children) == {"0": ("FINISHED", "complete"), "1": ("KILLED", "stopped")}
    assert states({"": parent}) == {"": ("FINISHED", "done")}


def cut_back(path, events):
    """The record as `salvage` leaves it, with other events at the same places."""
    assert isinstance(path, Path)
    path.unlink()
    with Record(path, create=True) as record:
        record.append(*events)


def test_runs_that_tell_more_than_a_record_that_was_cut_back_are_written_anew(tmp_path, store):
    path, events = tmp_path / "record.db", list(story())
    with Record(path, create=True) as record:
        record.append(*events)
    before = tracked(path, store)
    cut_back(path, events[:4])
    place = tracked(path, store)
    parent, children, count = runs_of(store, place)
    assert parent.info.run_id != before.parent_run_id
    assert parent.data.tags["search.cursor"] == "4"
    assert states(children) == {"0": ("RUNNING", None), "1": ("RUNNING", None)}
    assert count == 3
    shown, _ = everything(store, place.experiment_id)
    assert shown["0"][1] == {"val_accuracy": [(1, 0.6)]}


def test_runs_are_written_anew_also_if_the_cut_record_has_grown_again_since(tmp_path, store):
    # Nothing is written to MLflow before the workers are busy; by then there are several events more.
    path, events = tmp_path / "record.db", list(story())
    with Record(path, create=True) as record:
        record.append(*events[:6])
    tracked(path, store)
    again = ("restarted", 0, {"attempt": 2, "checkpoint": None, "epoch": 0})
    other = {**events[4][2], "metrics": {"val_accuracy": 0.65}}
    cut_back(path, [*events[:4], ("resumed", None, {"pid": 2}), again, ("epoch", 0, other)])
    place = tracked(path, store)
    shown, count = everything(store, place.experiment_id)
    assert shown["0"][1] == {"val_accuracy": [(1, 0.6), (2, 0.65)]}
    assert count == 3


@pytest.mark.parametrize("kind", ["child", "parent"])
def test_a_run_that_an_unanswered_call_has_doubled_is_removed(kind, tmp_path, store):
    path, events = tmp_path / "record.db", list(story())
    with Record(path, create=True) as record:
        record.append(*events[:5])
        place = tracked(path, store)
        parent, children, _ = runs_of(store, place)
        like = parent if kind == "parent" else children["0"]
        tags = {name: value for name, value in like.data.tags.items() if name != "search.cursor"}
        MlflowClient(tracking_uri=store).create_run(place.experiment_id, tags=tags)
        record.append(*events[5:])
    place = tracked(path, store)
    shown, count = everything(store, place.experiment_id)
    assert count == 3
    assert {number: shown[number] for number in EXPECTED} == EXPECTED
    assert shown["parent"][0] == "FINISHED"


@pytest.mark.nightly
def test_runs_that_were_deleted_with_the_store_are_written_again(tmp_path, store):
    path = tmp_path / "record.db"
    with Record(path, create=True) as record:
        record.append(*story())
    # In processes of their own, as resume and sync are; MLflow keeps files open that are gone.
    code = "import sys; from tests.tracking.test_tracking import Path, tracked; tracked(Path(sys.argv[1]), sys.argv[2])"
    for _ in range(2):
        (tmp_path / "mlflow.db").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", code, str(path), store], check=True, timeout=100, capture_output=True)
    place = tracked(path, store)
    shown, count = everything(store, place.experiment_id)
    assert {number: shown[number] for number in EXPECTED} == EXPECTED
    assert count == 3


def test_a_server_that_answers_without_sense_is_not_asked_hundreds_of_times(tmp_path):
    class Nonsense(BaseHTTPRequestHandler):
        def answer(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        do_GET = do_POST = answer

        def log_message(self, *told):
            pass

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path, warnings = tmp_path / "record.db", []
    with Record(path, create=True) as record:
        for event in story():
            record.append(event)
    tracker = Tracker(path, f"http://127.0.0.1:{server.server_port}", warnings.append)
    assert not tracker.flush(6.0)
    server.shutdown()
    server.server_close()
    assert 1 <= len(asked) <= 20, len(asked)
    assert len(warnings) == 1
