"""What a trial's own code logs to MLflow lands in the run of its trial, or a line says why not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient

from search.record.events import Asked, Ended, EpochReport, Event, Finished
from search.record.state import State
from search.session.own_mlflow import place_for_trials
from search.tracking.agreement import disagreements
from search.tracking.runs import Runs
from search.tracking.trial_run import Place, active
from tests.simulated import Memory, header
from trainables.script.script import Script

pytestmark = [pytest.mark.filterwarnings("ignore")]


def recorded() -> list[Event]:
    """A search of a user's own code with a trial that has an epoch and was stopped."""
    record = Memory()
    space = {"space": [{"name": "lr", "kind": "Float", "low": 0.0, "high": 1.0}]}
    record.append(("search", None, header(study_code="00", definition=space)))
    record.append(Asked({"lr": 0.5}, "sampler").entry(0))
    record.append(EpochReport(1, {"val_accuracy": 0.25}, 1.0).entry(0))
    record.append(Ended(State.STOPPED, "at rung 1").entry(0))
    record.append(Finished("done", "", 2.0).entry())
    return record.events


OWN = """
import mlflow
with mlflow.start_run():
    mlflow.log_metric("mine", 7.0)
    mlflow.log_metric("val_accuracy", 0.9, step=9)
    mlflow.log_param("lr", "a half")
"""


@pytest.mark.filterwarnings("ignore")
def test_calls_land_in_the_trials_run_and_what_they_leave_there_is_no_harm(tmp_path: Path) -> None:
    uri, events = f"sqlite:///{tmp_path}/mlflow.db", recorded()
    runs = Runs(uri, events[:1])
    client = MlflowClient(tracking_uri=uri)
    runs.write(events[:1])
    runs._projection.take(events[:2])
    made = runs._begin_child(0, {})  # made when its trial is recorded; its parameters come after the trial's own
    before = dict(os.environ)
    with active(Place(uri, "tiny", "0f"), 0, 30) as why:
        assert why == ""
        subprocess.run([sys.executable, "-c", OWN], check=True)
        told: list[Any] = []

        def logs() -> None:  # as a trial of a loop does, in a thread of its own
            import mlflow

            mlflow.log_metric("from a thread", 1.0)
            told.append(mlflow.active_run().info.run_id)

        thread = threading.Thread(target=logs)
        thread.start()
        thread.join()
    assert dict(os.environ) == before
    assert told == [made]
    runs.write(events[1:4])
    client.set_terminated(made, "FINISHED")  # as its own code does when it is told to end
    runs.write(events[4:])
    run = client.get_run(made)
    assert run.info.status == "KILLED"
    assert (run.data.metrics["mine"], run.data.metrics["from a thread"]) == (7.0, 1.0)
    assert run.data.params["lr"] == "a half"
    assert "MLflow shows lr as the trials' own code logs it" in runs.notes["param lr"]
    assert disagreements(client, events) == []
    assert len(client.search_runs([run.info.experiment_id])) == 2  # the parent and this one


def test_a_run_that_is_not_to_be_had_is_told_in_time_and_nothing_is_made(tmp_path: Path) -> None:
    before = dict(os.environ)
    with active(Place(f"sqlite:///{tmp_path}/mlflow.db", "tiny", "0f"), 0, 0.1) as why:
        assert why.startswith("what trials log to MLflow themselves does not reach their runs: none is there yet")
        assert dict(os.environ) == before
    assert not (tmp_path / "mlflow.db").exists()
    with active(None, 0) as why:
        assert why == ""


def asked(folder: Path, text: str, *, helper: str = "", ray: str | None = None) -> tuple[Place | None, list[str]]:
    (folder / "train.py").write_text(text)
    (folder / "helper.py").write_text(helper)
    said: list[str] = []
    prepared: Any = SimpleNamespace(
        study=SimpleNamespace(trainable=Script(str(folder / "train.py"), str(folder))),
        settings=SimpleNamespace(ray_address=ray, tracking="sqlite:////x/mlflow.db"),
        header=SimpleNamespace(experiment="train", id="0f"),
    )
    return place_for_trials(prepared, said.append), said


@pytest.mark.parametrize(
    ("text", "helper"),
    [("import mlflow", ""), ("from helper import log", "import mlflow"), ("Trainer(report_to='mlflow')", "")],
)
def test_code_that_names_mlflow_gets_its_run(text: str, helper: str, tmp_path: Path) -> None:
    assert asked(tmp_path, text, helper=helper) == (Place("sqlite:////x/mlflow.db", "train", "0f"), [])


def test_code_that_does_not_is_not_held_up(tmp_path: Path) -> None:
    assert asked(tmp_path, "import torch", helper="import mlflow") == (None, [])


def test_code_that_names_its_own_place_keeps_it_and_that_is_said(tmp_path: Path) -> None:
    place, said = asked(tmp_path, "import mlflow\nmlflow.set_experiment('mine')")
    assert place is None
    assert said == [
        "train.py calls mlflow.set_experiment, so what it logs goes there; without that call it goes to the run of its "
        "trial"
    ]


def test_workers_of_a_cluster_are_led_to_no_server_that_nobody_here_has_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place, [line] = asked(tmp_path, "import mlflow", ray="head:6379")
    assert place is None
    assert "name a server with MLFLOW_TRACKING_URI" in line
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine:5000")
    assert asked(tmp_path, "import mlflow", ray="head:6379")[0] is not None
