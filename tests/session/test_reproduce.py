"""A trial trained again from Python: what came out, beside what is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import search
from search.api import Result
from search.errors import BadInput, SearchFailed
from search.record.events import EpochReport
from search.record.header import Process
from search.record.reader import FILE, read
from search.record.record import Record
from search.session.prepare import prepare
from search.settings import Settings
from search.terminal.console import Silent
from tests.simulated import searching

STUDY = '''"""Curves out of the seed. WHAT in the environment changes what comes out."""
import os
import random

from spaces.study import Float, Study
from trainables.epoch import Diverged, Epoch


def train(config, data, *, resume=None):
    chance, what = random.Random(config["train/seed"]), os.environ.get("WHAT", "")
    for number in range(1, 4):
        if what == "diverges":
            raise Diverged(number, 1, float("nan"))
        if what == "ends" and number == 2:
            return
        drift = 0.25 if what == "drifts" and number > 1 else 0.0
        yield Epoch(number, {"val_accuracy": chance.random() / 2 + drift, "val_loss": 0.5}, lambda folder: None)


STUDY = Study(trainable=train, dataset="digits", epochs=3, space={"train/lr": Float(0.01, 0.1)}, sampler="random",
              scheduler="none", trials=2)
'''


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A search of two trials, of which the second has no epoch yet."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SEARCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine.py").write_text(STUDY)
    prepared = prepare(str(tmp_path / "mine.py"), Settings(runs=tmp_path / "runs"), Silent())
    header = replace(prepared.header, name="mine-1", id="0f", process=Process(1, 1.0, 1, "here"))
    (tmp_path / "runs" / "mine-1").mkdir(parents=True)
    with Record(tmp_path / "runs" / "mine-1" / FILE, create=True) as record:
        work = searching(prepared.study, record, record.append(("search", None, header.to_plain())))
        first = work.ask()
        assert first is not None
        for epoch in prepared.study.trainable(work.config(first), prepared.data):
            work.report(first.number, EpochReport(epoch.number, epoch.metrics, 1.0))
        assert work.ask() is not None
    return search.load("mine-1", tmp_path / "runs")


def test_the_winner_comes_out_as_recorded_in_both_curves(result: Result) -> None:
    again = result.reproduce()
    assert (again.trial, again.epochs, again.match) == (0, 3, True)
    curves = {curve.metric: curve for curve in again.curves}
    assert curves["val_loss"].again == [0.5, 0.5, 0.5]
    assert curves["val_accuracy"].again == list(result.curves["val_accuracy"])
    assert again.verdict == "trial 0 came out as recorded, bit for bit"


def test_what_came_out_is_the_document_that_the_command_line_prints(result: Result) -> None:
    document = json.loads(json.dumps(result.reproduce(trial=0).document()))
    assert {key: document[key] for key in ("name", "trial", "match", "epochs")} == {
        "name": "mine-1",
        "trial": 0,
        "match": True,
        "epochs": 3,
    }
    assert set(document["metrics"]) == {"val_accuracy", "val_loss"}
    assert document["metrics"]["val_loss"] == {"recorded": [0.5] * 3, "again": [0.5] * 3, "drift": 0.0}


@pytest.mark.parametrize(
    ("what", "verdict"),
    [
        ("drifts", "trial 0 drifted: val_accuracy by up to 0.25, first at epoch 2"),
        ("ends", "trial 0 came to 1 of 3 epochs, which are as recorded"),
        ("diverges", "trial 0 has 3 epochs on record, and came to none this time"),
    ],
)
def test_what_came_out_otherwise_is_no_match_and_is_told(
    result: Result, monkeypatch: pytest.MonkeyPatch, what: str, verdict: str
) -> None:
    monkeypatch.setenv("WHAT", what)
    again = result.reproduce()
    assert (again.match, again.verdict) == (False, verdict)
    assert again.document()["match"] is False


def test_the_process_has_its_threads_back_afterwards(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    told: list[Any] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    result.reproduce()
    assert told == [1, threads]


@pytest.mark.parametrize("trial", [1, 7, -1])
def test_a_trial_without_an_epoch_is_refused_with_those_that_have_one(result: Result, trial: int) -> None:
    with pytest.raises(BadInput, match=rf"--trial {trial}: mine-1 has epochs of trials 0$"):
        result.reproduce(trial=trial)


def test_without_a_winner_a_trial_has_to_be_named(result: Result, tmp_path: Path) -> None:
    first = read(tmp_path / "runs" / "mine-1" / FILE)[0]
    (tmp_path / "runs" / "empty").mkdir()
    with Record(tmp_path / "runs" / "empty" / FILE, create=True) as record:
        record.append((first.kind, None, {**first.body, "name": "empty"}))
    with pytest.raises(SearchFailed, match="empty has no winner; name a trial with --trial"):
        search.load("empty", tmp_path / "runs").reproduce()
