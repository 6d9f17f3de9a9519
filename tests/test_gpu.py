"""Training and searching on a real GPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.chaos import command
from tests.faults.stage import ends, of
from trainables import step, training
from trainables.cnn import train_cnn
from trainables.data import Data, Split
from trainables.device import keep_to, release
from trainables.epoch import Epoch
from trainables.mlp import train_mlp
from trainables.optimizers import OPTIMIZERS
from trainables.step import eager_step

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore"),
]

EPOCHS = 4
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (train_mlp, {"model/depth": 2, "model/width": 32, "model/batch_norm": True}),
    "cnn": (train_cnn, {"model/depth": 2, "model/width": 8, "model/residual": True}),
}
LEARNING_RATES = {"sgd": 0.05, "adam": 0.01, "adamw": 0.01, "rmsprop": 0.001}
DRAWS = {"train/flip": True, "train/shift": 1, "model/dropout": 0.2}


def train(family: str, data: Data, device: str, resume: Path | None = None, **changes: Any) -> Iterator[Epoch]:
    """`train("cnn", data, "cuda", lr=0.1)`; a name without a section is of `train`."""
    make, fixed = FAMILIES[family]
    config = {"train/epochs": EPOCHS, "train/batch_size": 16, "train/precision": "float32", **fixed}
    config |= {"train/channels_last": False, "train/device": device}
    config |= {name if "/" in name else f"train/{name}": value for name, value in changes.items()}
    epochs: Iterator[Epoch] = make(config, data, resume=resume)
    return epochs


def saved(epochs: Iterator[Epoch], folder: Path) -> list[float]:
    """The validation losses, and a checkpoint of each epoch in `folder/<number>`."""
    losses = []
    for epoch in epochs:
        (folder / str(epoch.number)).mkdir(parents=True)
        epoch.save(folder / str(epoch.number))
        losses.append(float(epoch.metrics["val_loss"]))
    return losses


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "weights.safetensors")
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def apart(first: Path, second: Path) -> float:
    """How far the weights of two checkpoints are from one another, relative to their size."""
    one, other = weights(first), weights(second)
    return float((one - other).norm() / one.norm())


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every step is a replay, even where eager ones are faster; the list tells of each choice."""
    chosen: list[str] = []
    times = iter(range(10**6, 0, -1))

    def faster_each_time(call: Any, device: torch.device, *, repeats: int) -> float:
        call()
        chosen.append("timed")
        return next(times)

    monkeypatch.setattr(step, "fastest", faster_each_time)
    return chosen


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_learns_on_a_gpu(family: str, precision: str, tiny_data: Data) -> None:
    epochs = train(family, tiny_data, "cuda", lr=0.05, precision=precision, channels_last=family == "cnn")
    accuracies = [epoch.metrics["val_accuracy"] for epoch in epochs]
    assert accuracies[-1] > 0.9


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_replayed_steps_train_as_eager_ones_do(
    family: str, optimizer: str, tiny_data: Data, tmp_path: Path, replayed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"optimizer": optimizer, "lr": LEARNING_RATES[optimizer], "weight_decay": 1e-3, "average": 0.9, "shift": 1}
    graph = saved(train(family, tiny_data, "cuda", **how), tmp_path / "graph")
    assert len(replayed) == 2, "no graph was captured"
    monkeypatch.setattr(training, "graphed_step", lambda *a: eager_step(*a[:4]))
    eager = saved(train(family, tiny_data, "cuda", **how), tmp_path / "eager")
    assert graph == pytest.approx(eager, rel=1e-3)
    assert apart(tmp_path / "graph" / "1", tmp_path / "eager" / "1") < 1e-3


def test_replayed_steps_draw_other_dropout_masks_each_time(tiny_data: Data, replayed: list[str]) -> None:
    """With weights that stand still and images that are all the same the loss differs by dropout alone."""
    images = tiny_data.train.images[:1].expand_as(tiny_data.train.images).contiguous()
    same = replace(tiny_data, train=Split(images, torch.zeros_like(tiny_data.train.labels)))
    how = {"lr": 1e-12, "batch_size": len(tiny_data.train), "model/dropout": 0.5, "model/batch_norm": False}
    losses = sorted(float(epoch.metrics["train_loss"]) for epoch in train("mlp", same, "cuda", **how))
    assert all(after - before > 1e-5 for before, after in pairwise(losses))
    assert replayed


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_resumed_on_a_gpu_is_the_uninterrupted_one(
    family: str, optimizer: str, tiny_data: Data, tmp_path: Path
) -> None:
    how = {"optimizer": optimizer, "lr": LEARNING_RATES[optimizer], "average": 0.9, **DRAWS}
    whole = saved(train(family, tiny_data, "cuda", **how), tmp_path / "whole")
    rest = saved(train(family, tiny_data, "cuda", resume=tmp_path / "whole" / "2", **how), tmp_path / "rest")
    assert rest == pytest.approx(whole[2:], rel=1e-3)
    assert apart(tmp_path / "rest" / "4", tmp_path / "whole" / "4") < 1e-3


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_goes_on_on_the_other_kind_of_device(
    family: str, optimizer: str, first: str, then: str, tiny_data: Data, tmp_path: Path
) -> None:
    """One batch holds all images, so that their order, which the device draws, changes nothing but rounding."""
    how = {"optimizer": optimizer, "lr": LEARNING_RATES[optimizer] / 10, "batch_size": len(tiny_data.train)}
    how |= {"average": 0.5, "weight_decay": 1e-3}
    whole = saved(train(family, tiny_data, first, **how), tmp_path / "whole")
    rest = saved(train(family, tiny_data, then, resume=tmp_path / "whole" / "2", **how), tmp_path / "rest")
    assert rest == pytest.approx(whole[2:], rel=2e-3)
    assert apart(tmp_path / "rest" / "4", tmp_path / "whole" / "4") < 2e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_memory_of_a_trial_is_free_again_when_it_ends(family: str, tiny_data: Data) -> None:
    def trial() -> int:
        for _ in train(family, tiny_data, "cuda", lr=0.05):
            pass
        release()
        return torch.cuda.memory_reserved()

    kept = [trial() for _ in range(4)]
    # What cuBLAS and cuDNN keep for their own use stays with the process.
    assert kept[-1] <= kept[0]
    assert kept[-1] < 200 * 2**20


def test_a_process_that_keeps_to_its_part_runs_out_of_memory_at_that_part() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        keep_to(0.05)
        torch.empty(int(0.03 * total), dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda")
    finally:
        keep_to(1.0)
        release()


# --- whole searches ---------------------------------------------------------------------------------------------------

GREEDY = '''
"""Trials that take a share of the device."""

import torch

from spaces.study import Float, Study
from trainables.epoch import Epoch


def train(config, data, *, resume=None):
    total = torch.cuda.get_device_properties(0).total_memory
    taken = torch.empty(int(config["model/share"] * total), dtype=torch.uint8, device="cuda")
    for number in range(1, config["train/epochs"] + 1):
        yield Epoch(number, {"val_accuracy": 0.5}, lambda folder: (folder / "empty").touch())


STUDY = Study(trainable=train, dataset="digits", epochs=2, space={"model/share": Float(0.01, 0.3)}, scheduler="none",
              start=[{"model/share": share} for share in SHARES], trials=4)
'''


def searched(folder: Path, *arguments: str, seconds: float = 150) -> command.Ended:
    return command.finish(command.launch(*arguments, "--name", command.NAME, folder=folder), seconds)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_trains_several_trials_on_one_gpu(chaos_folder: Path) -> None:
    ended = searched(chaos_folder, "digits_cnn", "--gpus", "0.5", "--concurrent", "2", "--trials", "6", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.document["best"]["test_accuracy"] > 0.9
    epochs = of(command.events_of(command.record_of(chaos_folder)), "epoch")
    assert {row["gpus"] for row in epochs} == {"0"}
    assert len({row["pid"] for row in epochs}) >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_part_that_is_too_small_is_refused_before_the_search_begins(chaos_folder: Path) -> None:
    (chaos_folder / "greedy.py").write_text(GREEDY.replace("SHARES", "(0.2,)"))
    ended = searched(chaos_folder, "greedy.py", "--gpus", "0.1")
    assert ended.code == 3
    assert "0.1 of a GPU is too small" in ended.stderr.splitlines()[-1]
    assert not list(chaos_folder.glob("runs/*"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_that_wants_more_than_its_part_is_out_of_memory_and_its_neighbours_go_on(chaos_folder: Path) -> None:
    (chaos_folder / "greedy.py").write_text(GREEDY.replace("SHARES", "()"))
    options = ("--gpus", "0.1", "--set", "model/share=choice(0.02, 0.03, 0.2)", "--sampler", "grid")
    ended = searched(chaos_folder, "greedy.py", *options)
    assert ended.code == 0, ended.stderr
    assert "trials like these will end as out of memory" in ended.stderr
    states = sorted(state for state, _ in ends(command.events_of(command.record_of(chaos_folder))).values())
    assert states == ["complete", "complete", "out of memory"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_search_on_gpu_and_processors_goes_on(chaos_folder: Path) -> None:
    """One trial on the device, one beside it without; which is where after the kill, time decides."""
    options = (
        "--gpus",
        "1",
        "--also-cpus",
        "--concurrent",
        "2",
        "--trials",
        "6",
        "--epochs",
        "27",
        "--scheduler",
        "none",
    )
    running = command.launch("digits_cnn", "--name", command.NAME, *options, folder=chaos_folder)
    record = command.record_of(chaos_folder)
    command.wait_for(record, lambda events: len(of(events, "epoch")) >= 8, process=running, seconds=120)
    command.kill(running)
    ended = command.finish(command.launch("resume", command.NAME, "--json", folder=chaos_folder), 200)
    assert ended.code == 0, ended.stderr
    assert ended.document["trials"] == {"complete": 6}
    places = {row.get("gpus", "none") for row in of(command.events_of(record), "epoch")}
    assert places == {"0", "none"}
