"""K-fold validation: every image is judged once by a network that has not seen it, and the served one has seen all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.classifier import load_classifier
from trainables.cnn import train_cnn
from trainables.data import Data, Split
from trainables.epoch import Epoch
from trainables.evaluation import evaluate
from trainables.mlp import train_mlp
from trainables.supply import fold_rows
from trainables.training import Training

PLAIN = {
    "train/channels_last": False,
    "train/device": "cpu",
    "train/precision": "float32",
    "train/epochs": 3,
    "train/batch_size": 16,
    "train/lr": 0.05,
    "train/average": 0.9,
    "model/dropout": 0.2,
}


def start(data: Data, *, resume: Path | None = None, **changes: Any) -> Iterator[Epoch]:
    config = {**PLAIN, "model/width": 12, **{f"train/{name}": value for name, value in changes.items()}}
    return train_mlp(config, data, resume=resume)


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=60),
    held_out=st.integers(1, 10),
    count=st.integers(2, 6),
    seed=st.integers(0, 9),
)
def test_each_image_is_judged_once_and_never_by_a_network_that_was_trained_on_it(
    labels: list[int], held_out: int, count: int, seed: int
) -> None:
    images = len(labels) + held_out
    *folds, (whole, part) = fold_rows(torch.tensor(labels), held_out, count, seed)
    assert len(folds) == count
    assert sorted(torch.cat([judged for _, judged in folds]).tolist()) == list(range(images))
    for trained, judged in folds:
        assert sorted([*trained.tolist(), *judged.tolist()]) == list(range(images))
    assert whole.tolist() == list(range(images))
    assert part.tolist() == folds[0][1].tolist() == list(range(len(labels), images))
    sizes = [len(judged) for _, judged in folds[1:]]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        dealt = [sum(labels[row] == label for row in judged.tolist()) for _, judged in folds[1:]]
        assert max(dealt) - min(dealt) <= 1


def test_the_value_of_a_trial_is_the_mean_over_the_folds_each_image_counted_once(tiny_data: Data) -> None:
    folded = [epoch.metrics for epoch in start(tiny_data, folds=4)]
    rights = [metrics["val_accuracy"] * (len(tiny_data.train) + len(tiny_data.val)) for metrics in folded]
    assert all(abs(right - round(right)) < 1e-6 for right in rights)
    # Labels at random in one fold cost that fold its share and the others nothing to speak of.
    val = Split(tiny_data.val.images, (tiny_data.val.labels + 1) % 4)
    spoilt = Data(tiny_data.train, val, tiny_data.classes, tiny_data.mean, tiny_data.std)
    assert [*start(spoilt, folds=4)][-1].metrics["val_accuracy"] < folded[-1]["val_accuracy"]


def test_the_served_network_is_the_one_that_was_trained_on_all_images(tiny_data: Data, tmp_path: Path) -> None:
    epochs = list[Mapping[str, float]]()
    for epoch in start(tiny_data, folds=3, epochs=6):
        folder = tmp_path / str(epoch.number)
        folder.mkdir()
        epoch.save(folder)
        epochs.append(epoch.metrics)
    _, model = load_classifier(tmp_path / "6")
    assert evaluate(model, tiny_data.val)["val_accuracy"] == epochs[-1]["refit_val_accuracy"]
    assert evaluate(model, tiny_data.train)["val_accuracy"] >= epochs[-1]["val_accuracy"]
    assert sorted(path.name for path in (tmp_path / "6").iterdir() if path.is_dir()) == ["fold-0", "fold-1", "fold-2"]


@pytest.mark.parametrize("done", [1, 2])
def test_a_resumed_training_in_folds_is_the_uninterrupted_one_bit_for_bit(
    done: int, tiny_data: Data, tmp_path: Path
) -> None:
    whole = []
    for epoch in start(tiny_data, folds=3):
        if epoch.number == done:
            epoch.save(tmp_path)
        whole.append(epoch.metrics)
    torch.rand(done)
    assert [epoch.metrics for epoch in start(tiny_data, folds=3, resume=tmp_path)] == whole[done:]


def test_folds_cost_their_number_and_one_more(tiny_data: Data) -> None:
    alone, folded = start(tiny_data, passes=20), start(tiny_data, passes=20, folds=4)
    assert isinstance(alone, Training)
    assert isinstance(folded, Training)
    assert folded.pace(0.2).seconds > 3 * alone.pace(0.2).seconds


def test_a_network_of_convolutions_can_be_validated_in_folds_too(tiny_data: Data) -> None:
    config = {**PLAIN, "model/depth": 1, "model/width": 4, "train/folds": 2, "train/flip": True}
    assert len([*train_cnn(config, tiny_data)]) == 3


@given(groups=st.lists(st.integers(0, 15), min_size=8, max_size=80), count=st.integers(2, 5), seed=st.integers(0, 99))
def test_what_belongs_together_is_in_one_fold(groups: list[int], count: int, seed: int) -> None:
    labels = torch.tensor([group % 3 for group in groups])
    *folds, _ = fold_rows(labels, 4, count, seed, torch.tensor(groups))
    judged = [part.tolist() for _, part in folds]
    assert sorted(row for part in judged for row in part) == list(range(len(groups) + 4))
    homes = [{groups[row] for row in part if row < len(groups)} for part in judged]
    assert sum(map(len, homes)) == len(set(groups))
