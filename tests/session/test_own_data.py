"""Data of one's own with the studies there are: sizes and classes are read from it, whatever they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import spaces
from tests.session.test_end_to_end import search
from trainables.classifier import load_classifier
from trainables.data import part
from trainables.datasets import find


def arrays(count: int, shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """Images that can be learned: the brighter, the higher the class."""
    labels = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 40, (count, *shape))
    bright = (labels * 215 // (classes - 1)).reshape(-1, *[1] * len(shape))
    return {"x": (noise + bright).astype(np.uint8), "y": labels}


def npz(path: Path, shape: tuple[int, ...], classes: int, count: int = 400, *, test: bool) -> Path:
    train = arrays(count, shape, classes)
    held_out = {"x_test": train["x"][:40], "y_test": train["y"][:40]} if test else {}
    np.savez(path, x_train=train["x"], y_train=train["y"], **held_out)
    return path


@pytest.mark.parametrize("study", ["digits_mlp", "digits_cnn", "fashion_cnn"])
@pytest.mark.parametrize(
    ("shape", "classes"),
    [((5, 7), 2), ((1, 1), 2), ((64, 48), 3), ((5, 7, 3), 150), ((1, 1, 3), 150), ((2, 9, 1), 2)],
    ids=str,
)
def test_every_size_and_number_of_classes_is_trained_saved_and_read_back(
    study: str, shape: tuple[int, ...], classes: int, tmp_path: Path
) -> None:
    source = find("digits", npz(tmp_path / "mine.npz", shape, classes, test=False))
    data = part(*source.train(), source.classes, val_fraction=0.2, seed=0)
    of = spaces.load(study)
    smallest = of.ranges.corner(high=False)
    config = {**of.fixed, **smallest, "train/epochs": 1, "train/seed": 0, "train/precision": "float32"}
    (epoch,) = of.trainable({**config, "train/channels_last": False}, data)
    assert {"train_loss", "val_loss", "val_accuracy", "parameters"} <= set(epoch.metrics)
    assert all(math.isfinite(value) for value in epoch.metrics.values())
    epoch.save(tmp_path)
    architecture, model = load_classifier(tmp_path)
    channels = shape[2] if len(shape) == 3 else 1
    assert architecture.shape == (channels, *shape[:2])
    assert tuple(model(data.val.images[:3]).shape) == (3, classes)


def image_folder(root: Path, *, test: bool) -> Path:
    """Colour pictures of 9x12 in three classes, 40 for each."""
    for which in ("train", "test") if test else ("train",):
        made = arrays(120, (9, 12, 3), 3)
        for index, (image, label) in enumerate(zip(made["x"], made["y"], strict=True)):
            folder = root / which / ("dark", "dim", "bright")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index}.png")
    return root


SEARCHES = {
    "a colour npz without test part, CNN": (
        "digits_cnn", lambda at: npz(at / "wide.npz", (6, 11, 3), 5, test=False), "wide", 5, None),
    "a colour image folder, CNN": ("fashion_cnn", lambda at: image_folder(at / "light", test=True), "light", 3, 120),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("study", "make", "name", "classes", "tested"), SEARCHES.values(), ids=SEARCHES.keys())
def test_a_study_is_searched_on_data_of_ones_own(
    study: str, make: Any, name: str, classes: int, tested: int | None, tmp_path: Path
) -> None:
    make(tmp_path)
    data = next(path for path in tmp_path.iterdir())
    batch = ("--set", "train/batch_size=16")
    done = search(
        study, "--data", data.name, "--trials", "1", "--epochs", "1", *batch, "--name", "mine", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["dataset"], document["stand_in"]) == ("done", name, False)
    assert document["best"]["test_images"] == tested
    assert (document["best"]["test_accuracy"] is None) == (tested is None)
    assert document["test_openings"] == (tested is not None)
    assert document["mlflow"]["model_version"] == 1
    assert ("measuring trial 0 on the test set, once" in done.stderr) == (tested is not None)
    assert ("the data has no test part, so the winner is not tested" in done.stderr) == (tested is None)
    shown = search("best", "mine", cwd=tmp_path).stdout
    assert ("test accuracy       not measured" in shown) == (tested is None)
    folder = tmp_path / "runs" / "mine" / "checkpoints" / document["best"]["checkpoint"]
    assert len(load_classifier(folder)[0].classes) == classes


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_a_winner_that_only_knows_the_largest_class_is_told_and_is_no_champion(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (1000, 6, 6)).astype(np.uint8)
    labels = (np.arange(1000) % 100 == 0).astype(np.int64)
    np.savez(tmp_path / "rare.npz", x_train=images, y_train=labels, x_test=images[::-1], y_test=labels[::-1])
    budget = ("--trials", "1", "--epochs", "1", "--set", "train/batch_size=16", "--set", "train/lr=0.001")
    done = search("digits_mlp", "--data", "rare.npz", *budget, "--name", "mine", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["best"]["test_accuracy"] == pytest.approx(0.99)
    assert document["best"]["test_metrics"]["balanced_accuracy"] == 0.5
    assert document["best"]["no_better_than_largest_class"] is True
    assert document["mlflow"]["aliases"] == ["candidate"]
    assert "THE WINNER IS NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS" in done.stderr
    assert "NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS" in search("best", "mine", cwd=tmp_path).stdout
    assert "NO BETTER THAN ALWAYS" in (tmp_path / "runs" / "mine" / "report.html").read_text()
