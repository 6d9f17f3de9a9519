"""The winner of a script: measured once by its own program, its model registered and loaded elsewhere.

The end of a search is played without Ray here; whole searches, by night, come to the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from search import load
from search.errors import EnvironmentFault, SearchFailed
from search.findings.summary import summarize
from search.record.events import EpochReport, Finished, InMLflow, Kind, WinnerTested
from search.record.header import Process
from search.record.reader import FILE, read
from search.record.reading import last
from search.record.record import Record
from search.session.claim import claimed
from search.session.predict import model_called
from search.session.prepare import prepare
from search.session.resume import going_on
from search.session.session import Session
from search.settings import More, Settings
from search.signals import Stop
from search.storage import checkpoints
from search.storage.runs import TRIALS, home_of
from search.terminal.console import Silent
from search.terminal.messages import result
from tests.session.test_end_to_end import search
from trainables.script.script import Script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

SCRIPT = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--evaluate", action="store_true")
given = parser.parse_args()
import torch
from search.report import model
torch.manual_seed(0)
inputs = torch.randn(400, 4)
labels = (inputs.sum(1) > 0).long()
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def accuracy(part):
    return (net(inputs[part]).argmax(1) == labels[part]).float().mean().item()


if given.evaluate:
    with open("tests.txt", "a") as file:
        print("tested", file=file)
    net.load_state_dict(torch.load(given.out / "best.pt"))
    print(f"test accuracy {accuracy(slice(300, 400))}")
    raise SystemExit
optimizer, best = torch.optim.SGD(net.parameters(), lr=given.lr), -1.0
for number in range(1, given.epochs + 1):
    for part in torch.randperm(200).split(20):
        loss = torch.nn.functional.cross_entropy(net(inputs[part]), labels[part])
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    value = accuracy(slice(200, 300))
    if value > best:
        best = value
        torch.save(net.state_dict(), given.out / "best.pt")
        KEEP
    print(json.dumps({"epoch": number, "val_accuracy": value}), flush=True)
"""
KEPT = {
    "pt2": "model(net, inputs[:2])",
    "onnx": "torch.onnx.export(net.eval(), (inputs[:2],), given.out / 'model.onnx', dynamo=True, external_data=False, "
    "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False)",
}
OPTIONS = ("--set", "lr=log(1e-2, 1)", "--epochs", "2", "--trials", "2", "--concurrent", "1", "--json")
WORDS = ("--", "--epochs", "{epochs}", "--out", "{folder}")
STRANGER = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
told = mlflow.pyfunc.load_model(sys.argv[2]).predict(np.ones((5, 4), np.float32))
print((next(iter(told.values())) if isinstance(told, dict) else told).shape)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"search", "spaces", "trainables"}))
"""


@dataclass
class Told(Silent):
    """What a user is told."""

    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


@contextlib.contextmanager
def trained(folder: Path, kept: str, told: Told, **settings: Any) -> Iterator[Session]:
    """A search of the script in `folder`, whose one trial is trained; its end is to come."""
    (folder / "train.py").write_text(SCRIPT.replace("KEEP", kept))
    asked = Settings(
        runs=folder / "runs", changes={"lr": "log(1e-2, 1)"}, epochs=2, trials=1, arguments=WORDS[1:], **settings
    )
    prepared = prepare("train.py", asked, told)
    prepared = replace(prepared, header=replace(prepared.header, process=Process(1, 1.0, os.getpid(), "here")))
    with claimed(prepared, Stop(time.monotonic())) as begun:
        run = folder / "runs" / "train-1"
        with Record(run / FILE) as record:
            session = Session(begun, record, told)
            shelf = checkpoints.shelf(run)
            shelf.root.mkdir()
            trial, script = session.search.ask(), begun.study.trainable
            assert trial is not None
            assert isinstance(script, Script)
            for epoch in script.at(run / TRIALS / home_of(0))(session.search.config(trial), None):
                assert epoch.save is not None
                written = shelf.write(0, epoch.number, epoch.save)
                where = (written.name, written.sha256, written.bytes)
                session.search.report(0, EpochReport(epoch.number, epoch.metrics, 1.0, *where))
            yield session


def crowned(session: Session) -> dict[str, Any]:
    """What the search ends with."""
    assert session.publish()
    session.search.note(Finished("done", "", 1.0))
    assert session.tracker.finish(60)
    return summarize(session.folder)


def measurements(folder: Path) -> Sequence[WinnerTested]:
    return [WinnerTested.of(event) for event in read(folder / FILE) if event.kind is Kind.TESTED]


def stranger(code: str, document: dict[str, Any], folder: Path) -> list[str]:
    """What a process elsewhere makes of the registered model."""
    place = document["mlflow"]
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, place["tracking_uri"], place["model_uri"]],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_the_winner_is_tested_once_and_its_model_registered_and_loaded_elsewhere(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    told, named = Told(), None if kind == "pt2" else "model.onnx"
    with trained(tmp_path, KEPT[kind], told, test="--evaluate", model=named) as session:
        document = crowned(session)
        assert session.publish()  # as after a crash: what is done is not done again
    best, place, run = document["best"], document["mlflow"], tmp_path / "runs" / "train-1"
    assert "train.py measures trial 0 on its test set, once" in told.lines
    assert (tmp_path / "tests.txt").read_text() == "tested\n"
    [tested] = measurements(run)
    assert (tested.test_accuracy, tested.images, tested.test_loss) == (best["test_accuracy"], None, None)
    assert best["test_accuracy"] > 0.5
    assert "(measured once, by its script)" in result(document)
    assert (place["model_uri"], place["aliases"]) == ("models:/train@champion", ["candidate", "champion"])
    assert "file" not in place
    assert stranger(STRANGER, document, tmp_path / "elsewhere")[:2] == ["(5, 2)", "[]"]
    if kind == "pt2":
        assert load("train-1", tmp_path / "runs").model() is not None
        with pytest.raises(SearchFailed, match="is a script's, and what pictures it takes is not recorded"):
            model_called("train-1", tmp_path / "runs")


@pytest.mark.nightly
def test_a_file_of_another_kind_is_registered_as_what_it_is_and_an_untested_one_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = Told()
    with trained(tmp_path, "pass", told, model="best.pt") as session:
        document = crowned(session)
    assert "train.py is asked for no test (--test), so the winner is not tested" in told.lines
    assert "best.pt is registered as a file: it takes the code of train.py to use it" in told.lines
    assert (document["best"]["test_accuracy"], document["test_openings"]) == (None, 0)
    assert (document["mlflow"]["file"], document["mlflow"]["aliases"]) == ("best.pt", ["candidate", "champion"])
    code = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); print(mlflow.artifacts.download_artifacts("
    [place, *_] = stranger(f"{code}sys.argv[2]))", document, tmp_path / "elsewhere")
    assert [path.name for path in Path(place).iterdir()] == ["best.pt"]
    assert "mlflow.artifacts.download_artifacts('models:/train@champion')" in result(document)


@pytest.mark.nightly
def test_a_test_that_fails_is_made_up_for_by_who_runs_the_code_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told, run = Told(), tmp_path / "runs" / "train-1"
    with trained(tmp_path, KEPT["pt2"], told, test="--evaluate --out nowhere") as session:
        with pytest.raises(
            EnvironmentFault, match=r"not tested: train\.py ended with exit code 1.*then resume train-1"
        ):
            session.publish()
        session.search.note(Finished("done", "", 1.0))
    assert measurements(run) == []
    for runs_code in (False, True):
        with (
            going_on(run, lambda events: More(), "", told, to_train=runs_code) as prepared,
            Record(run / FILE) as record,
        ):
            again = Session(prepared, record, told)
            message = "which this command does not run; `resume` does" if not runs_code else "exit code 1"
            with pytest.raises(EnvironmentFault, match=message):
                again.publish()
    assert last(read(run / FILE), InMLflow) is None


@pytest.mark.nightly
def test_a_whole_search_ends_with_a_tested_winner_and_neither_sync_nor_resume_tests_it_again(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.replace("KEEP", KEPT["pt2"]))
    done = search("train.py", *OPTIONS, "--test", "--evaluate", *WORDS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["best"]["test_accuracy"] > 0.5
    assert document["mlflow"]["aliases"] == ["candidate", "champion"]
    assert search("sync", "train-1", cwd=tmp_path).returncode == 0
    assert search("resume", "train-1", cwd=tmp_path).returncode == 0
    assert (tmp_path / "tests.txt").read_text() == "tested\n"
    assert search("export", "train-1", "out", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "model" / "model.pt2").is_file()


@pytest.mark.nightly
def test_a_model_that_is_never_written_ends_the_search_at_its_first_trial(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.replace("KEEP", "pass"))
    done = search("train.py", *OPTIONS, "--model", "beste.pt", *WORDS, cwd=tmp_path)
    assert done.returncode == 2
    assert "it wrote best.pt: name one with --model" in done.stderr
