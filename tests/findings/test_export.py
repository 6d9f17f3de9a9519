"""A search as plain files: Optuna and its dashboard read what the sampler was told, and a failure leaves nothing."""

from __future__ import annotations

import csv
import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from search.errors import BadInput, EnvironmentFault, SearchError, StorageFull
from search.findings.export import WRITTEN, export_search
from search.findings.exported_folder import model_in
from search.record.reader import FILE, read
from search.record.record import Record
from search.record.state import State
from search.storage import lock
from spaces.study import Study
from tests.simulated import begun, kept
from trainables.classifier import load_classifier


def opened(folder: Path) -> optuna.Study:
    """The study in an exported `folder`, as anybody would load it."""
    return optuna.load_study(study_name="tiny-1", storage=f"sqlite:///{folder}/optuna.db")


def told(trial: optuna.trial.FrozenTrial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.state,
        trial.values,
        trial.params,
        list(trial.distributions.items()),
        trial.intermediate_values,
    )


# Optuna's study file


@pytest.mark.parametrize("seed", range(4))
def test_optuna_finds_in_the_file_what_became_of_every_trial(seed: int, tiny_study: Study, tmp_path: Path) -> None:
    run, search = kept(tmp_path / "runs", tiny_study, seed=seed, trials=20)
    export_search(run, tmp_path / "out")
    found = opened(tmp_path / "out")
    for exported, trial in zip(found.trials, search.trials, strict=True):
        values = trial.best_so_far(tiny_study.objective)
        state, kept_values = {
            State.COMPLETE: (TrialState.COMPLETE, values),
            State.STOPPED: (TrialState.PRUNED, values),
            State.DIVERGED: (TrialState.PRUNED, []),
            State.OUT_OF_MEMORY: (TrialState.PRUNED, []),
            State.FAILED: (TrialState.FAIL, []),
        }[trial.state]
        assert exported.number == trial.number
        assert exported.state is state
        assert exported.params == dict(trial.point)
        assert exported.intermediate_values == dict(enumerate(kept_values, start=1))
        assert exported.value == (kept_values[-1] if kept_values else None)
    assert found.direction is optuna.study.StudyDirection.MAXIMIZE
    assert found.metric_names == ["val_accuracy"]
    states = {str(trial.state) for trial in search.trials}
    assert {"complete", "stopped"} < states, "the example shows too little"


def test_the_best_of_the_file_is_the_winner(tiny_study: Study, tmp_path: Path) -> None:
    run, search = kept(tmp_path / "runs", tiny_study, trials=20)
    export_search(run, tmp_path / "out")
    best = search.trials.best()
    assert best is not None
    assert opened(tmp_path / "out").best_value == best.best_value(tiny_study.objective)


def test_a_search_for_the_least_is_a_study_that_minimizes(tiny_study: Study, tmp_path: Path) -> None:
    study = replace(tiny_study, objective=replace(tiny_study.objective, metric="val_loss", mode="min"))
    run, _ = kept(tmp_path / "runs", study)
    export_search(run, tmp_path / "out")
    found = opened(tmp_path / "out")
    assert found.direction is optuna.study.StudyDirection.MINIMIZE
    assert found.metric_names == ["val_loss"]


def test_trials_begin_and_end_at_the_times_of_the_record(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    at = {(event.kind, event.trial): datetime.fromtimestamp(event.at) for event in read(run / FILE)}
    export_search(run, tmp_path / "out")
    trials = opened(tmp_path / "out").trials
    assert trials
    for trial in trials:
        assert trial.datetime_start == at["asked", trial.number]
        assert trial.datetime_complete == at["ended", trial.number]


def test_each_trial_says_where_it_came_from_and_why_it_ended(tiny_study: Study, tmp_path: Path) -> None:
    run, search = kept(tmp_path / "runs", tiny_study)
    export_search(run, tmp_path / "out")
    found = opened(tmp_path / "out")
    for trial in search.trials:
        assert found.trials[trial.number].user_attrs == {
            "trial": trial.number,
            "origin": trial.origin,
            "state": str(trial.state),
            "why": trial.why,
            "epochs": len(trial.epochs),
        }
    assert found.user_attrs["fixed/train/batch_size"] == 16


def test_a_trial_runs_in_the_file_only_while_somebody_works_on_its_search(tiny_study: Study, tmp_path: Path) -> None:
    run, search = kept(tmp_path / "runs", tiny_study, steps=3, end=None)
    (running,) = search.trials.running()[-1:]
    with lock.held(run):
        export_search(run, tmp_path / "while")
    trial = opened(tmp_path / "while").trials[running.number]
    assert (trial.state, trial.datetime_complete) == (TrialState.RUNNING, None)
    assert list(trial.intermediate_values.values()) == running.best_so_far(tiny_study.objective)
    export_search(run, tmp_path / "killed")
    trial = opened(tmp_path / "killed").trials[running.number]
    assert (trial.state, trial.user_attrs["state"]) == (TrialState.FAIL, "interrupted")
    assert trial.datetime_complete == datetime.fromtimestamp(read(run / FILE)[-1].at)


def test_an_interrupted_trial_is_no_success_ended_when_its_search_was_left_and_keeps_its_values(
    tiny_study: Study, tmp_path: Path
) -> None:
    run, search = kept(tmp_path / "runs", tiny_study, steps=4, end="interrupted")
    interrupted = next(trial for trial in search.trials if trial.state is State.INTERRUPTED and trial.epochs)
    export_search(run, tmp_path / "out")
    trial = opened(tmp_path / "out").trials[interrupted.number]
    assert (trial.state, trial.user_attrs["state"]) == (TrialState.FAIL, "interrupted")
    assert trial.datetime_complete == datetime.fromtimestamp(read(run / FILE)[-1].at)
    assert trial.intermediate_values


def test_what_a_point_holds_beyond_the_space_is_an_attribute_and_no_parameter(
    tiny_study: Study, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny-1"
    run.mkdir(parents=True)
    point = {**tiny_study.start[1], "train/decay": 0.1, "model/width": 10**6}
    with Record(run / FILE, create=True) as record:
        begun(tiny_study, record, space=dict.fromkeys(tiny_study.space, ""))
        record.append(
            ("asked", 0, {"point": point, "origin": "published setting 0"}),
            ("ended", 0, {"state": "failed", "why": "made up"}),
        )
    export_search(run, tmp_path / "out")
    (trial,) = opened(tmp_path / "out").trials
    assert trial.params == {name: point[name] for name in tiny_study.start[1] if name != "model/width"}
    assert trial.user_attrs["fixed/train/decay"] == 0.1
    assert trial.user_attrs["fixed/model/width"] == 10**6


def test_optuna_goes_on_with_the_study_of_the_file(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, trials=20)
    export_search(run, tmp_path / "out")
    study = opened(tmp_path / "out")
    study.sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=4)
    trial = study.ask(study.trials[0].distributions)
    assert trial.number == 20
    study.tell(trial, 0.5)
    assert len(opened(tmp_path / "out").trials) == 21


@pytest.mark.parametrize("name", ["a folder?with=signs", "50%", "ünter", "#1"])
def test_a_folder_may_have_any_name(name: str, tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, steps=5)
    export_search(run, tmp_path / name)
    os.rename(tmp_path / name, tmp_path / "plain")
    assert opened(tmp_path / "plain").trials


def test_the_users_own_verbosity_of_optuna_is_left_as_it_was(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, steps=5)
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        export_search(run, tmp_path / "out")
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


@pytest.fixture
def dashboard(tiny_study: Study, tmp_path: Path) -> Iterator[str]:
    """The address of Optuna's dashboard on an exported search."""
    run, _ = kept(tmp_path / "runs", tiny_study)
    export_search(run, tmp_path / "out")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), f"sqlite:///{tmp_path}/out/optuna.db"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.mark.slow
def test_optunas_dashboard_shows_the_search_and_its_trials(dashboard: str, tmp_path: Path) -> None:
    def asked(path: str) -> Any:
        with urllib.request.urlopen(f"{dashboard}/api/{path}", timeout=30) as answer:
            return json.load(answer)

    listed = asked("studies")
    (study,) = listed["study_summaries"] if "study_summaries" in listed else listed["studies"]
    assert study["study_name"] == "tiny-1"
    shown = asked(f"studies/{study['study_id']}")
    expected = opened(tmp_path / "out").trials
    assert [trial["state"].upper() for trial in shown["trials"]] == [trial.state.name for trial in expected]
    assert [len(trial["intermediate_values"]) for trial in shown["trials"]] == [
        len(trial.intermediate_values) for trial in expected
    ]
    assert [{param["name"] for param in trial["params"]} for trial in shown["trials"]] == [
        set(trial.params) for trial in expected
    ]
    assert all(trial["datetime_start"] and trial["datetime_complete"] for trial in shown["trials"])


# The other files


def test_tables_hold_a_row_per_trial_and_per_epoch_and_the_model_is_the_winners(
    tiny_study: Study, tmp_path: Path
) -> None:
    run, search = kept(tmp_path / "runs", tiny_study)
    names = {str(file.relative_to(tmp_path / "out")) for file in export_search(run, tmp_path / "out")}
    assert names == {
        "summary.json", "trials.csv", "curves.csv", "optuna.db", "config.json",
        "model/weights.safetensors", "model/architecture.json", "model/config.yaml", "model/load.py", "model/README.md",
    }  # fmt: skip
    with (tmp_path / "out" / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in trials[:3]] == [trial.number for trial in search.trials.ranking()[:3]]
    assert len(trials) == len(search.trials)
    assert set(tiny_study.space) < set(trials[0])
    with (tmp_path / "out" / "curves.csv").open(newline="") as file:
        rows = {(int(row["trial"]), int(row["epoch"])): row["val_accuracy"] for row in csv.DictReader(file)}
    told = {(t.number, epoch.number): str(epoch.metrics["val_accuracy"]) for t in search.trials for epoch in t.epochs}
    assert rows == told
    architecture, _ = load_classifier(tmp_path / "out" / "model")
    assert architecture.classes == ("a", "b", "c", "d")


# All or nothing


def tree(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if "runs" not in file.parts}


def refused(run: Path, folder: Path, kind: type[SearchError], message: str) -> None:
    """Assert that the export is refused in one line, and that nothing of it is left."""
    root = run.parents[1]
    before = tree(root)
    with pytest.raises(kind, match=message) as raised:
        export_search(run, folder)
    assert "\n" not in str(raised.value)
    assert tree(root) == before


def test_an_empty_folder_is_filled_in_its_place(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    (tmp_path / "out").mkdir()
    before, beside = (tmp_path / "out").stat().st_ino, []
    copy = shutil.copyfile

    def watched(source: Path, target: Path) -> None:
        beside.extend(os.listdir(tmp_path))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", watched)
    files = export_search(run, tmp_path / "out")
    assert (tmp_path / "out").stat().st_ino == before, "where somebody stands cannot be replaced"
    assert set(beside) == {"runs", "out"}, "nothing can be moved into a mount from beside it"
    assert len(files) == len([file for file in (tmp_path / "out").rglob("*") if file.is_file()]) == 10


def test_force_replaces_what_an_export_wrote_and_nothing_else(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    out = tmp_path / "out"
    first = export_search(run, out)
    (out / "notes.txt").write_text("mine")
    (out / "model" / "old.bin").write_text("of an earlier version")
    (out / "trials.csv").write_text("spoilt")
    refused(run, out, BadInput, "not empty; give the name of a new folder, or --force to export again")
    assert export_search(run, out, force=True) == first
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "model" / "old.bin").exists()
    assert (out / "trials.csv").read_text() != "spoilt"
    assert {path.name for path in out.iterdir()} <= {*WRITTEN, "notes.txt"}, "something is left over"


def test_force_does_not_touch_a_folder_that_is_no_export(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model").write_text("mine")
    with pytest.raises(BadInput, match="no export, which --force would replace"):
        export_search(run, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "model").read_text() == "mine"


def test_an_export_again_that_fails_leaves_the_one_before(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    export_search(run, tmp_path / "out")
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    rename, count = Path.rename, [0]

    def full(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == 9:  # some are moved out of the way by then, and some in
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageFull, match="no space left"):
        export_search(run, tmp_path / "out", force=True)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == before


def test_the_description_and_the_code_beside_the_model_say_what_it_is(tiny_study: Study, tmp_path: Path) -> None:
    run, search = kept(tmp_path / "runs", tiny_study, classes=["a", "b", "c", "d"])
    export_search(run, tmp_path / "out")
    told = yaml.safe_load((tmp_path / "out" / "model" / "config.yaml").read_text())
    best = search.trials.best()
    assert best is not None
    assert (told["search"], told["trial"], told["classes"]) == ("tiny-1", best.number, ["a", "b", "c", "d"])
    assert (told["shape"], told["dtype"], told["brightest"]) == ([1, 8, 8], "uint8", 255)
    assert told["hyperparameters"] == {**tiny_study.fixed, **best.point}
    read = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "from load import CLASSES, load" in read
    assert "model.onnx" not in read, "it was not written, for there was nothing to check it on"
    asked = model_in(tmp_path / "out")
    assert asked.classes == ("a", "b", "c", "d")
    assert model_in(tmp_path / "out" / "model").classes == asked.classes


def test_a_damaged_checkpoint_leaves_no_export(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    next(run.rglob("weights.safetensors")).write_bytes(b"damaged")
    refused(run, tmp_path / "new" / "out", EnvironmentFault, "is damaged: its SHA-256 is not the recorded one")


def test_a_folder_that_cannot_be_written_is_refused(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    (tmp_path / "file").touch()
    refused(run, tmp_path / "file" / "out", BadInput, "out cannot be made")
    refused(run, tmp_path / ("x" * 300), BadInput, "cannot be made")
    refused(run, Path("/proc/out"), BadInput, "/proc/out cannot be made")


@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
def test_an_export_that_finds_no_room_for_optunas_file_leaves_nothing(
    exists: bool, tiny_study: Study, tmp_path: Path
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    folder = tmp_path / "deep" / "out"
    if exists:
        folder.mkdir(parents=True)
    # A limit on the size of files is the full disk that a test can have to itself; the record's index just fits.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        refused(run, folder, SearchError, "Optuna's study file cannot be written .* another folder")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
def test_an_export_that_finds_no_room_for_the_model_leaves_nothing(
    exists: bool, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study)
    if exists:
        (tmp_path / "out").mkdir()

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    refused(run, tmp_path / "out", StorageFull, "no space left for .*out; free some, or give another folder")
