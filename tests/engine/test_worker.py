"""What a worker reports of a trial, whatever the trainable does. In this process, without Ray."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import pickle
import re
import shutil
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.engine import shared_data
from search.engine.worker import Task, reports, stack_file
from search.record.state import State
from search.storage import checkpoints
from search.storage.checkpoints import Shelf
from search.storage.runs import log_file
from trainables.data import Data
from trainables.epoch import Diverged, Epoch, Infeasible
from trainables.trial import folder

Report = dict[str, Any]
Run = Callable[..., list[Report]]


class Reference:
    """In place of one into Ray's object store."""

    def hex(self) -> str:
        return "made up"


@pytest.fixture
def run(tmp_path: Path, tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What is reported for a trainable; `ends` say what it does instead of an epoch."""
    monkeypatch.setitem(shared_data._FETCHED, "made up", tiny_data)

    def reported(trainable: Any, *, silence: float = 60.0, **changes: Any) -> list[Report]:
        asked = {name: changes.pop(name) for name in ("budget", "shelf") if name in changes}
        told: dict[str, Any] = {"shelf": Shelf(tmp_path / "checkpoints"), "stacks": tmp_path / "stacks", "cpus": 1.0}
        task = Task(trainable, (Reference(),), **{**told, **asked})
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        config = {"trial": 3, "attempt": 2, "config": {"train/seed": 7}, "resume": None, "silence": silence, **changes}
        config = {"done": 0, "gpus": 0.0, **config}
        return list(reports(task, config))

    return reported


def epoch(number: int, save: Callable[[Path], None] | None = None) -> Epoch:
    return Epoch(number, {"val_accuracy": number / 10}, save or (lambda folder: _write(folder, f"weights {number}")))


def _write(folder: Path, text: str) -> None:
    (folder / "weights.safetensors").write_text(text)


def ending(error: BaseException | None, epochs: int = 2) -> Any:
    """A trainable of so many epochs that then raises `error`, or returns."""

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        for number in range(1, epochs + 1):
            yield epoch(number)
        if error is not None:
            raise error

    return trainable


@pytest.mark.parametrize(("gpus", "share"), [(0.25, [0.25]), (1.0, []), (0.0, [])])
def test_a_trial_with_a_part_of_a_gpu_keeps_to_that_part_of_its_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch, gpus: float, share: list[float]
) -> None:
    kept: list[float] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", kept.append)
    run(ending(None), gpus=gpus)
    assert kept == share


def test_a_report_tells_which_gpus_the_trial_saw(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert run(ending(None))[0]["place"]["gpus"] == "3"


def test_a_node_that_does_not_share_the_folder_says_so_and_trains_nothing(run: Run, tmp_path: Path) -> None:
    [told] = run(ending(None), shelf=Shelf(tmp_path / "elsewhere"))
    assert "does not see" in told["unfit"]


def test_an_epoch_is_reported_with_its_checkpoint(run: Run, tmp_path: Path) -> None:
    first, second, _ = run(ending(None))
    assert [first["epoch"], second["epoch"]] == [1, 2]
    assert second["metrics"] == {"val_accuracy": 0.2}
    assert second["checkpoint"] == "trial-0003/attempt-2/epoch-0002"
    assert second["bytes"] == len("weights 2")
    assert checkpoints.verified(Shelf(tmp_path / "checkpoints"), second["checkpoint"], second["sha256"])
    assert second["seconds"] >= 0
    assert set(second["place"]) == {"pid", "node", "began"}


def test_the_trainable_is_given_configuration_data_and_where_to_go_on(
    run: Run, tiny_data: Data, tmp_path: Path
) -> None:
    heard: list[Any] = []

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        heard.append((dict(config), data, resume))
        yield epoch(6)

    for resume in (None, "trial-0003/attempt-1/epoch-0005"):
        run(trainable, resume=resume, done=5)
    config, data, resumed = heard[0]
    assert (config, resumed) == ({"train/seed": 7}, None)
    assert torch.equal(data.train.images, tiny_data.train.images)
    assert heard[1][2] == tmp_path / "checkpoints/trial-0003/attempt-1/epoch-0005"


def test_seconds_are_those_of_the_epoch_and_not_of_its_checkpoint(run: Run) -> None:
    def slow(folder: Path) -> None:
        time.sleep(0.3)
        _write(folder, "weights")

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        for number in (1, 2):
            time.sleep(0.05)
            yield epoch(number, slow)

    for report in run(trainable)[:2]:
        assert 0.05 <= report["seconds"] < 0.3


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (None, {"end": State.COMPLETE, "why": "finished early"}),
        (Diverged(3, 17, float("nan")), {"end": State.DIVERGED, "why": "the loss became nan at step 17 of epoch 3"}),
        (MemoryError("made up"), {"end": State.OUT_OF_MEMORY, "why": "MemoryError: made up"}),
        (torch.OutOfMemoryError("made up"), {"end": State.OUT_OF_MEMORY}),
        (OSError(errno.ENOSPC, "No space"), {"storage_full": "OSError: [Errno 28] No space"}),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), {"storage_full": "OSError: [Errno 122] Disk quota exceeded"}),
        # As safetensors says it.
        (RuntimeError("No space left on device (28)"), {"storage_full": "RuntimeError: No space left on device (28)"}),
        (ValueError("made up"), {"end": State.FAILED, "why": "ValueError: made up"}),
        (OSError(errno.EIO, "made up"), {"end": State.FAILED, "why": "OSError: [Errno 5] made up"}),
        (ValueError("first line\nlast line"), {"end": State.FAILED, "why": "last line"}),
        (KeyError(), {"end": State.FAILED, "why": "KeyError"}),
    ],
    ids=repr,
)  # fmt: skip
def test_every_end_is_reported_after_the_epochs_there_were(
    error: BaseException | None, report: Report, run: Run
) -> None:
    *epochs, last = run(ending(error))
    assert [each["epoch"] for each in epochs] == [1, 2]
    assert {key: last[key] for key in report} == report
    assert ("traceback" in last) == (last.get("end") is State.FAILED and error is not None)
    if "traceback" in last:
        assert "in trainable" in last["traceback"]


def nothing(folder: Path) -> None:
    """A `save` that keeps nothing."""


@pytest.mark.parametrize("save", [None, nothing])
def test_an_epoch_that_keeps_nothing_is_reported_without_a_checkpoint(save: Any, run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        yield Epoch(1, {"x": 1}, save)

    first, last = run(trainable)
    assert (first["checkpoint"], first["sha256"], first["bytes"]) == (None, None, 0)
    assert last["end"] is State.COMPLETE
    assert not Shelf(tmp_path / "checkpoints").names()


def test_a_trainable_without_resume_begins_again(run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        yield epoch(1)

    assert run(trainable, resume="trial-0003/attempt-1/epoch-0005", done=5)[0]["epoch"] == 1


def test_a_trial_that_had_finished_by_itself_when_it_was_lost_is_complete(run: Run) -> None:
    (report,) = run(ending(None, epochs=0), resume="trial-0003/attempt-1/epoch-0005", done=5)
    assert (report["end"], report["why"]) == (State.COMPLETE, "finished early")


def test_a_trial_that_changes_the_shared_data_fails_and_the_next_one_finds_them_as_they_were(
    run: Run, tiny_data: Data
) -> None:
    before = tiny_data.train.images.clone()

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        data.train.images[:] = 0
        yield epoch(1)

    for _ in range(2):
        (report,) = run(trainable)
        assert report["end"] is State.FAILED
        assert "the data are shared by all trials and cannot be changed in place (setitem)" in report["why"]
    assert torch.equal(tiny_data.train.images, before)


def test_an_error_before_the_first_epoch_is_reported(run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        raise ValueError("depth must be at least 1")

    (report,) = run(trainable)
    assert (report["end"], report["why"]) == (State.FAILED, "ValueError: depth must be at least 1")


def test_a_device_that_is_broken_ends_the_process(run: Run) -> None:
    with pytest.raises(torch.AcceleratorError):
        run(ending(torch.AcceleratorError("made up")))


def test_what_ends_a_process_is_not_taken_for_the_end_of_a_trial(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(ending(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda: sys.exit("no data here"), "the trainable called sys.exit: no data here"),
        (
            lambda: argparse.ArgumentParser("mine").parse_args(["--lr"]),
            "mine: error: unrecognized arguments: --lr (exit",
        ),
        (lambda: sys.exit(3), "(exit code 3)"),
        (
            lambda: importlib.import_module("no_such_module"),
            "No module named 'no_such_module'; put it beside the study",
        ),
        (lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL), "so leave out signal handlers there"),
    ],
    ids=["sys.exit", "argparse", "exit code", "import", "signal handler"],
)
def test_an_exit_an_import_error_or_a_signal_handler_is_one_failure_with_its_text(
    body: Callable[[], Any], why: str, run: Run
) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        body()
        yield epoch(1)

    found: list[Report] = []
    thread = threading.Thread(target=lambda: found.extend(run(trainable)))  # as in a worker
    thread.start()
    thread.join()
    (report,) = found
    assert report["end"] is State.FAILED
    assert why in report["why"]
    assert "\n" not in report["why"]


def test_a_class_of_a_study_called_like_a_module_is_told_how_it_can_be_pickled(run: Run) -> None:
    module = types.ModuleType("/home/me/json.py")
    exec("class Own:\n    pass", module.__dict__)

    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        pickle.dumps(module.Own)
        yield epoch(1)

    (report,) = run(trainable)
    assert "the study is called like a module that exists already: rename its file" in report["why"]


def test_an_infeasible_setting_is_no_failure(run: Run) -> None:
    last = run(ending(Infeasible("3e7 parameters are too many")))[-1]
    assert last == {"end": State.INFEASIBLE, "why": "3e7 parameters are too many"}


# What a trial leaves behind


def test_what_a_trial_prints_in_any_way_is_in_its_log_and_nobody_elses(run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        print("printed")
        sys.stderr.write("\r 50%|#####     | as tqdm does")
        os.system("echo from a child")
        os.write(2, b"from below\n")
        yield epoch(1)
        print("after the epoch")

    run(trainable)
    print("afterwards")
    log = log_file(tmp_path, 3).read_text()
    for text in ("--- attempt 2 ---", "printed", "as tqdm does", "from a child", "from below"):
        assert text in log, text
    assert "after the epoch" in log
    assert "afterwards" not in log


def test_a_later_attempt_adds_to_the_log_and_a_silent_trial_has_none(run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        print(f"attempt {config['train/seed']}")
        yield epoch(1)

    run(trainable, attempt=1)
    run(trainable, attempt=2)
    assert log_file(tmp_path, 3).read_text() == "attempt 7\n--- attempt 2 ---\nattempt 7\n"
    run(ending(None), trial=4, attempt=1)
    assert not log_file(tmp_path, 4).exists()


def test_a_log_that_is_a_link_is_not_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "trial-0003.log").symlink_to(tmp_path / "elsewhere")

    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        print("printed")
        yield epoch(1)

    assert run(trainable)[-1]["end"] is State.COMPLETE
    assert not (tmp_path / "elsewhere").exists()


def test_a_trial_has_a_folder_that_is_kept(run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        (folder() / "notes.txt").write_text("mine")
        yield epoch(1)

    run(trainable)
    assert (tmp_path / "trials" / "trial-0003" / "notes.txt").read_text() == "mine"
    assert not folder().is_relative_to(tmp_path / "trials")


def test_a_full_disk_while_a_checkpoint_is_written_is_reported_as_that(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shelf.write, "__kwdefaults__", {**Shelf.write.__kwdefaults__, "patience": 0.0})

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield epoch(1)
        yield epoch(2, full)

    first, last = run(trainable)
    assert first["epoch"] == 1
    assert "No space left on device" in last["storage_full"]
    assert "bytes free" in last["storage_full"]


def test_a_budget_for_checkpoints_that_is_too_small_is_reported_as_that(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shelf.write, "__kwdefaults__", {**Shelf.write.__kwdefaults__, "patience": 0.0})
    first, last = run(ending(None), budget=10)
    assert first["epoch"] == 1
    assert "10 bytes of --checkpoint-budget" in last["storage_full"]


def test_a_checkpoint_that_cannot_be_saved_for_another_reason_fails_the_trial(run: Run) -> None:
    def broken(folder: Path) -> None:
        raise RuntimeError("made up")

    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield epoch(1, broken)

    (report,) = run(trainable)
    assert (report["end"], report["why"]) == (State.FAILED, "RuntimeError: made up")


# What breaks the contract


def save(folder: Path) -> None:
    _write(folder, "weights")


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, r"the trainable yielded a NoneType, but must yield Epoch\(number, metrics, model=…\)"),
    "a number": (lambda: 0.9, r"the trainable yielded a float, but must yield Epoch"),
    "a dictionary": (lambda: {"val_accuracy": 0.9}, r"the trainable yielded a dict, but must yield Epoch"),
    "epoch 0": (lambda: Epoch(0, {"val_accuracy": 0.9}, save), r"must be a whole number from 1, but is 0"),
    "epoch 1.0": (lambda: Epoch(1.0, {"val_accuracy": 0.9}, save), r"must be a whole number from 1, but is 1\.0"),  # type: ignore[arg-type]
    "epoch 2 first": (lambda: Epoch(2, {"val_accuracy": 0.9}, save), r"yielded epoch 2, but 1 was due"),
    "a folder as save": (lambda: Epoch(1, {}, Path("/")), r"save must be a function of a folder, but is a PosixPath"),  # type: ignore[arg-type]
    "metrics as a list": (lambda: Epoch(1, [0.9], save), r"metrics must map names to numbers, but are a list"),  # type: ignore[arg-type]
    "a word": (lambda: Epoch(1, {"val_accuracy": "0.9"}, save), r"val_accuracy must be one number, but is a str"),  # type: ignore[dict-item]
    "None": (lambda: Epoch(1, {"val_accuracy": None}, save), r"val_accuracy must be one number, but is a NoneType"),  # type: ignore[dict-item]
    "a tensor of two": (
        lambda: Epoch(1, {"val_accuracy": torch.ones(2)}, save),  # type: ignore[dict-item]
        r"val_accuracy must be one number, but is a Tensor of shape \(2,\)",
    ),
    "an array of two": (
        lambda: Epoch(1, {"val_accuracy": np.ones(2)}, save),  # type: ignore[dict-item]
        r"val_accuracy must be one number, but is a ndarray of shape \(2,\)",
    ),
    "a complex number": (lambda: Epoch(1, {"val_accuracy": 1j}, save), r"val_accuracy must be one number"),  # type: ignore[dict-item]
    "a number of 400 digits": (lambda: Epoch(1, {"x": 10**400}, save), r"the metric x must be one number"),
    "a metric without a word for it": (lambda: Epoch(1, {1: 0.9}, save), "a metric is named with .* one is 1"),  # type: ignore[dict-item]
    "a metric that cannot be shown": (lambda: Epoch(1, {"acc\n": 0.9}, save), r"a metric is named with .* 'acc.n'"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_epoch_fails_the_trial_in_one_line(make: Callable[[], Any], why: str, run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield make()

    (report,) = run(trainable)
    assert report["end"] is State.FAILED
    assert re.search(why, report["why"])
    assert "\n" not in report["why"]


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([1, 1], "yielded epoch 1, but 2 was due"),
        ([1, 3], "yielded epoch 3, but 2 was due"),
        ([1, 2, 1], "yielded epoch 1, but 3 was due"),
    ],
    ids=str,
)
def test_epochs_that_are_numbered_wrongly_fail_the_trial(numbers: list[int], why: str, run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield from map(epoch, numbers)

    *before, report = run(trainable)
    assert [each["epoch"] for each in before] == numbers[:-1]
    assert report["end"] is State.FAILED
    assert why in report["why"]


@pytest.mark.parametrize(("first", "taken"), [(1, True), (5, False), (6, True), (7, False)])
def test_who_resumes_goes_on_after_the_checkpoint_or_begins_again(first: int, taken: bool, run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield epoch(first)

    report = run(trainable, done=5)[0]
    assert report.get("epoch") == (first if taken else None)
    assert taken or "but 1 or 6 was due" in report["why"]


def test_a_trainable_that_yields_nothing_is_told_what_to_yield(run: Run) -> None:
    (report,) = run(ending(None, epochs=0))
    assert report["end"] is State.FAILED
    assert "yielded nothing, but must yield Epoch(number, metrics, model=…) after each epoch" in report["why"]


def test_numbers_of_torch_and_numpy_are_reported_as_floats(run: Run) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield Epoch(1, {"a": torch.tensor(0.5), "b": np.float32(0.25), "c": np.array([3]), "d": True, "e": 2}, save)  # type: ignore[dict-item]

    metrics = run(trainable)[0]["metrics"]
    assert metrics == {"a": 0.5, "b": 0.25, "c": 3.0, "d": 1.0, "e": 2.0}
    assert {type(value) for value in metrics.values()} == {float}


def test_five_trials_that_break_the_contract_with_other_values_fail_alike(run: Run) -> None:
    whys = set()
    for value in (torch.tensor([0.5, -1e-9]), torch.tensor([3.0, 1e9])):

        def trainable(config: Any, data: Any, *, resume: Any = None, value: Any = value) -> Iterator[Epoch]:
            yield Epoch(1, {"val_accuracy": value}, save)

        whys |= {report["why"] for report in run(trainable)}
    assert len(whys) == 1


# Silence


def spin(seconds: float) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        pass


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("hang", [spin, sleep], ids=lambda hang: hang.__name__)
def test_the_stacks_of_a_silent_trial_are_dumped(hang: Callable[[float], None], run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield epoch(1)
        hang(0.6)
        yield epoch(2)

    run(trainable, silence=0.3)
    stack = stack_file(tmp_path / "stacks", 3, 2)
    assert stack.name == "trial-0003-attempt-2.txt"
    assert f"in {hang.__name__}" in stack.read_text()
    assert "in trainable" in stack.read_text()


def test_a_trial_that_reports_in_time_leaves_no_stacks(run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        for number in range(1, 6):
            time.sleep(0.15)
            yield epoch(number)

    assert len(run(trainable, silence=0.5)) == 6
    assert list((tmp_path / "stacks").iterdir()) == []
    # Nor is anything dumped once the trial is over: other files get its descriptor then.
    with (tmp_path / "other").open("w"):
        time.sleep(0.6)
    assert (tmp_path / "other").read_text() == ""


def test_a_trial_goes_on_where_no_stacks_can_be_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "stacks").write_text("in the way")
    assert [report.get("epoch") for report in run(ending(None))] == [1, 2, None]


def test_a_trial_goes_on_where_its_stacks_are_removed_meanwhile(run: Run, tmp_path: Path) -> None:
    def trainable(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        yield epoch(1)
        shutil.rmtree(tmp_path / "stacks")

    assert [report.get("epoch") for report in run(trainable)] == [1, None]
