"""What the one opening of the test set leaves behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.errors import StorageFull
from search.findings import predictions
from search.findings.predictions import Predictions
from search.session.winner import measure_winner
from spaces.study import Study
from tests.findings.made_up import measured, ours, page
from trainables.classifier import Architecture
from trainables.data import Data, Split
from trainables.evaluation import evaluate, examined


def test_mistakes_come_first_and_the_most_confident_first_of_all() -> None:
    labels = torch.tensor([0, 1] * 50)
    predicted = labels.clone()
    predicted[[3, 10, 50]] = 1 - predicted[[3, 10, 50]]
    sure = torch.full((100,), 0.9)
    sure[[3, 10, 50]] = torch.tensor([0.6, 0.99, 0.8])
    kept = predictions.chosen(1, 2, Split(torch.zeros(100, 1, 4, 4, dtype=torch.uint8), labels), predicted, sure)
    assert kept.shown[:3].tolist() == [10, 50, 3]
    assert len(kept.shown) == len(set(kept.shown.tolist())) <= predictions.MOST
    assert len(kept.shown) > 30
    assert len(kept.images) == len(kept.shown)


def test_among_many_mistakes_some_right_answers_are_kept() -> None:
    labels = torch.zeros(200, dtype=torch.int64)
    predicted = (torch.arange(200) % 2).long()
    kept = predictions.chosen(
        1, 2, Split(torch.zeros(200, 1, 4, 4, dtype=torch.uint8), labels), predicted, torch.rand(200)
    )
    right = [labels[index] == predicted[index] for index in kept.shown]
    assert len(kept.shown) == predictions.MOST
    assert sum(map(bool, right)) == predictions.RIGHT
    assert not any(right[: -predictions.RIGHT])


def test_all_points_of_the_plane_are_kept() -> None:
    split = Split(torch.rand(500, 2, 1, 1), torch.zeros(500, dtype=torch.int64))
    kept = predictions.chosen(0, 1, split, torch.zeros(500, dtype=torch.int64), torch.rand(500))
    assert kept.images.shape == (500, 2, 1, 1)
    assert kept.images.dtype == np.float32


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    split = Split(torch.randint(0, 255, (60, 3, 5, 4), dtype=torch.uint8), torch.arange(60) % 7)
    kept = predictions.chosen(4, 2, split, torch.arange(60) % 5, torch.rand(60))
    predictions.write(tmp_path, kept)
    again = predictions.read(tmp_path)
    assert again is not None
    for name in Predictions.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(kept, name)), name
    assert [file.name for file in tmp_path.iterdir()] == [predictions.FILE]


def test_a_full_disk_leaves_no_half_written_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    split = Split(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(StorageFull, match=r"bytes free, too few for \d+ and"):
        predictions.write(tmp_path, predictions.chosen(0, 1, split, split.labels, torch.ones(3)))
    assert not list(tmp_path.iterdir())


def test_looking_at_each_image_changes_no_number(tiny_data: Data) -> None:
    model = Architecture("mlp", tiny_data.shape, tiny_data.classes, {"width": 8, "depth": 1}).build(
        list(tiny_data.mean), list(tiny_data.std)
    )
    metrics, predicted, sure = examined(model, tiny_data.train)
    assert metrics == evaluate(model, tiny_data.train)
    assert (predicted == tiny_data.train.labels).double().mean().item() == metrics["val_accuracy"]
    assert len(sure) == len(tiny_data.train)
    assert bool(((sure > 0.25) & (sure <= 1)).all())


def test_measuring_the_winner_leaves_its_answers_behind_from_one_opening(
    tiny_study: Study, tiny_data: Data, tmp_path: Path
) -> None:
    opened: list[int] = []
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, tiny_data, opened)
    accuracy = measure_winner(search, trial, source, folder, ours(trial, folder))
    assert measure_winner(search, trial, source, folder, ours(trial, folder)) == accuracy
    kept = predictions.read(tmp_path / "s")
    assert kept is not None
    assert (kept.trial, kept.epoch, kept.accuracy) == (0, 1, accuracy)
    assert kept.labels.tolist() == tiny_data.train.labels.tolist()
    page(tmp_path / "s")
    assert len(opened) == 1


def test_a_full_disk_while_measuring_leaves_the_test_set_unmeasured(
    tiny_study: Study, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, tiny_data, [])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(StorageFull):
        measure_winner(search, trial, source, folder, ours(trial, folder))
    assert not trial.tested
