"""The training loop: what goes on from a checkpoint, what is refused, and that every study can be trained."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import spaces
from spaces.study import Choice, Published, Study
from trainables.cnn import train_cnn
from trainables.data import Data, Split, part, statistics
from trainables.datasets import GENERATED, names, stand_in
from trainables.epoch import Diverged, Epoch
from trainables.losses import LOSSES
from trainables.mlp import train_mlp
from trainables.optimizers import OPTIMIZERS
from trainables.training import Training

EPOCHS = 4

# Not `auto`, which measures what is faster: a busy machine may answer either.
PLAIN = {
    "train/channels_last": False,
    "train/device": "cpu",
    "train/precision": "float32",
    "train/epochs": EPOCHS,
    "train/batch_size": 16,
}

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (train_mlp, {"model/depth": 2, "model/width": 12, "model/batch_norm": True, "model/dropout": 0.3}),
    "cnn": (train_cnn, {"model/depth": 2, "model/width": 4, "model/residual": True, "model/dropout": 0.2}),
}

# All that draws at random or keeps a state from step to step.
EVERYTHING = {
    "train/flip": True,
    "train/shift": 1,
    "train/label_smoothing": 0.1,
    "train/average": 0.9,
    "train/weight_decay": 1e-3,
    "train/warmup": 0.2,
}
LEARNING_RATES = {"sgd": 0.1, "adam": 0.01, "adamw": 0.01, "rmsprop": 0.003}


def config_for(family: str, **changes: Any) -> dict[str, Any]:
    """`config_for("mlp", lr=0.1)` is the family's configuration with train/lr=0.1."""
    return {**PLAIN, **FAMILIES[family][1], **{f"train/{name}": value for name, value in changes.items()}}


def start(family: str, data: Data, *, resume: Path | None = None, **changes: Any) -> Iterator[Epoch]:
    return FAMILIES[family][0](config_for(family, **changes), data, resume=resume)


def curve(epochs: Iterator[Epoch]) -> list[Mapping[str, float]]:
    return [epoch.metrics for epoch in epochs]


def saved_curve(epochs: Iterator[Epoch], folder: Path) -> dict[int, Mapping[str, float]]:
    """The metrics of each epoch, and a checkpoint of each in `folder/<number>`."""
    metrics = {}
    for epoch in epochs:
        (folder / str(epoch.number)).mkdir(parents=True)
        epoch.save(folder / str(epoch.number))
        metrics[epoch.number] = epoch.metrics
    return metrics


def same_files(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    for name in ("weights.safetensors", "optimizer.safetensors"):
        one, other = load_file(first / name), load_file(second / name)
        if one.keys() != other.keys() or not all(torch.equal(one[key], other[key]) for key in one):
            return False
    return True


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("optimizer", "extra"),
    [
        *((name, {}) for name in OPTIMIZERS),
        ("sgd", {"momentum": 0.0}),
        ("rmsprop", {"momentum": 0.9}),
        ("adamw", {"average": 0.0, "schedule": "cosine"}),
        ("sgd", {"precision": "bfloat16", "channels_last": True}),
        ("adam", {"precision": "bfloat16", "channels_last": True}),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value,
)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    family: str, optimizer: str, extra: dict[str, Any], tiny_data: Data, tmp_path: Path
) -> None:
    setting = {name.removeprefix("train/"): value for name, value in EVERYTHING.items()}
    setting |= {"optimizer": optimizer, "lr": LEARNING_RATES[optimizer], "seed": 5, **extra}
    whole = saved_curve(start(family, tiny_data, **setting), tmp_path / "whole")
    assert list(whole) == list(range(1, EPOCHS + 1))
    for done in range(1, EPOCHS):
        torch.manual_seed(random.Random(done).getrandbits(32))
        torch.rand(done)
        resumed = start(family, tiny_data, resume=tmp_path / "whole" / str(done), **setting)
        rest = saved_curve(resumed, tmp_path / f"from-{done}")
        assert rest == {number: metrics for number, metrics in whole.items() if number > done}
        assert same_files(tmp_path / f"from-{done}" / str(EPOCHS), tmp_path / "whole" / str(EPOCHS))


def test_a_training_resumed_twice_is_the_uninterrupted_one(tiny_data: Data, tmp_path: Path) -> None:
    whole = saved_curve(start("mlp", tiny_data, average=0.9), tmp_path / "whole")
    first = start("mlp", tiny_data, average=0.9, resume=tmp_path / "whole" / "1")
    second = next(first)
    (tmp_path / "second").mkdir()
    second.save(tmp_path / "second")
    assert curve(start("mlp", tiny_data, average=0.9, resume=tmp_path / "second")) == [whole[3], whole[4]]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pace_is_taken_from_real_steps_and_its_checkpoint_can_be_gone_on_with(
    family: str, tiny_data: Data, tmp_path: Path
) -> None:
    everything = {name.removeprefix("train/"): value for name, value in EVERYTHING.items()}
    training = start(family, tiny_data, **everything)
    assert isinstance(training, Training)
    pace = training.pace(0.1)
    assert pace.steps >= 1
    assert 0 < pace.seconds < 10
    assert 0 <= pace.waiting <= 1
    pace.save(tmp_path)
    moved = load_file(tmp_path / "weights.safetensors")
    fresh = next(iter(start(family, tiny_data, lr=1e-12)))
    (tmp_path / "fresh").mkdir()
    fresh.save(tmp_path / "fresh")
    before = load_file(tmp_path / "fresh" / "weights.safetensors")
    assert any(not torch.allclose(moved[name], before[name], atol=1e-4) for name in moved)
    assert [epoch.number for epoch in start(family, tiny_data, resume=tmp_path, **everything)] == [2, 3, 4]


def test_more_work_an_epoch_has_a_slower_pace(tiny_data: Data) -> None:
    def seconds(passes: int) -> float:
        training = start("mlp", tiny_data, passes=passes)
        assert isinstance(training, Training)
        return training.pace(0.2).seconds

    assert seconds(50) > 5 * seconds(1)


def test_a_finished_training_has_nothing_to_resume(tiny_data: Data, tmp_path: Path) -> None:
    saved_curve(start("mlp", tiny_data), tmp_path)
    assert curve(start("mlp", tiny_data, resume=tmp_path / str(EPOCHS))) == []


def test_saving_changes_nothing(tiny_data: Data, tmp_path: Path) -> None:
    assert curve(start("mlp", tiny_data)) == list(saved_curve(start("mlp", tiny_data), tmp_path).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_curve_and_another_seed_another(family: str, tiny_data: Data) -> None:
    torch.manual_seed(1)
    first = curve(start(family, tiny_data, seed=1))
    torch.manual_seed(2)
    assert curve(start(family, tiny_data, seed=1)) == first
    other = curve(start(family, tiny_data, seed=2))
    assert all(ours["train_loss"] != theirs["train_loss"] for ours, theirs in zip(first, other, strict=True))


@pytest.mark.parametrize("drawn", [{"model/dropout": 0.5}, {"train/flip": True}, {"train/shift": 2}], ids=str)
def test_every_epoch_draws_anew(drawn: dict[str, Any], tiny_data: Data) -> None:
    # One image 64 times over and weights that hardly move: epochs differ by what is drawn in them, and by that alone.
    same = Split(tiny_data.train.images[:1].repeat(64, 1, 1, 1), torch.zeros(64, dtype=torch.int64))
    same.images[..., :3] = 0
    config = {**config_for("mlp", lr=1e-12), "model/batch_norm": False, "model/dropout": 0.0}
    losses = [
        {round(metrics["train_loss"], 6) for metrics in curve(train_mlp(setting, replace(tiny_data, train=same)))}
        for setting in (config, {**config, **drawn})
    ]
    assert len(losses[0]) == 1
    assert len(losses[1]) > 1


def test_trainings_side_by_side_do_not_disturb_each_other(tiny_data: Data) -> None:
    alone = curve(start("mlp", tiny_data, seed=1))
    beside = [first.metrics for first, _ in zip(*(start("mlp", tiny_data, seed=s) for s in (1, 2)), strict=True)]
    assert beside == alone


@pytest.mark.parametrize("family", FAMILIES)
def test_torchs_own_random_state_is_as_before(family: str, tiny_data: Data) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    epochs = start(family, tiny_data, flip=True, shift=1)
    assert torch.equal(torch.get_rng_state(), before)
    for _ in epochs:
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)


def test_torchs_own_random_state_is_as_before_when_training_diverges(tiny_data: Data) -> None:
    before = torch.get_rng_state()
    with pytest.raises(Diverged, match="the loss became"):
        curve(start("mlp", tiny_data, lr=1e30, schedule="constant"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_learns_64_images_by_heart(family: str, tiny_data: Data) -> None:
    config = {**config_for(family, epochs=15, lr=0.1), "model/dropout": 0.0}
    last = curve(FAMILIES[family][0](config, tiny_data))[-1]
    assert last["train_loss"] < 0.05
    assert last["val_accuracy"] == 1.0


def test_metrics_are_named_finite_and_in_range(tiny_data: Data) -> None:
    for number, epoch in enumerate(start("mlp", tiny_data), start=1):
        assert epoch.number == number
        shares = {"val_accuracy", "val_balanced_accuracy", "val_macro_f1"}
        assert set(epoch.metrics) == {"train_loss", "val_loss", "parameters"} | shares
        assert all(0 <= epoch.metrics[name] <= 1 for name in shares)
        assert min(epoch.metrics["train_loss"], epoch.metrics["val_loss"]) > 0


@pytest.mark.parametrize(("activation", "more"), [("relu", 0), ("prelu", 2)])
def test_parameters_are_the_weights_that_are_trained(activation: str, more: int, tiny_data: Data) -> None:
    config = {**config_for("mlp"), "model/activation": activation}
    # Two hidden layers of 12, each with the scale and shift of batch norm, whose running statistics are not trained.
    expected = 64 * 12 + 24 + 12 * 12 + 24 + 12 * 4 + 4 + more
    assert {epoch["parameters"] for epoch in curve(train_mlp(config, tiny_data))} == {float(expected)}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_and_is_judged_by_the_cross_entropy(loss: str, tiny_data: Data) -> None:
    config = {**config_for("mlp", epochs=30, lr=0.3, loss=loss), "model/dropout": 0.0}
    epochs = curve(train_mlp(config, tiny_data))
    assert epochs[-1]["val_accuracy"] >= 0.9
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] / 2
    # A loss of probabilities is 1 at the very most; the cross-entropy of the first epoch is not.
    assert epochs[0]["val_loss"] > 1 if loss == "cross_entropy" else epochs[0]["train_loss"] < 1


def test_losses_of_one_network_are_judged_alike_before_they_differ(tiny_data: Data) -> None:
    # With a rate next to nothing the weights stay, so the judgement must not depend on the loss.
    judged = [curve(start("mlp", tiny_data, loss=loss, lr=1e-12, epochs=1))[0] for loss in LOSSES]
    assert len({each["train_loss"] for each in judged}) == len(LOSSES)
    assert [each["val_loss"] for each in judged] == pytest.approx([judged[0]["val_loss"]] * len(LOSSES), rel=1e-5)


def test_a_loss_smooths_labels_as_asked(tiny_data: Data) -> None:
    plain, smooth = (curve(start("mlp", tiny_data, loss="mse", label_smoothing=share))[0] for share in (0.0, 0.3))
    assert plain["train_loss"] != smooth["train_loss"]


def points(count: int, seed: int) -> Split:
    """Points in the plane, the second class right of the first."""
    labels = torch.arange(count) % 2
    where = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) + 3 * labels.unsqueeze(1)
    return Split(where.view(count, 2, 1, 1), labels)


@pytest.fixture(scope="module")
def plane() -> Data:
    train, val = points(64, 0), points(32, 1)
    return Data(train, val, ("left", "right"), *statistics(train.images))


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_points_are_learned_with_one_logit(loss: str, scaling: str, plane: Data) -> None:
    config = {**config_for("mlp", epochs=20, lr=0.1, loss=loss), "model/head": "logistic", "model/scaling": scaling}
    assert curve(train_mlp(config, plane))[-1]["val_accuracy"] >= 0.9


def test_a_training_on_points_is_resumed_bit_for_bit(plane: Data, tmp_path: Path) -> None:
    config = {**config_for("mlp", loss="mse"), "model/head": "logistic", "model/activation": "prelu"}
    whole = saved_curve(train_mlp(config, plane), tmp_path)
    rest = curve(train_mlp(config, plane, resume=tmp_path / "2"))
    assert rest == [whole[3], whole[4]]


def test_an_average_of_the_weights_is_what_is_validated_and_saved(tiny_data: Data, tmp_path: Path) -> None:
    plain = saved_curve(start("mlp", tiny_data), tmp_path / "plain")
    averaged = saved_curve(start("mlp", tiny_data, average=0.9), tmp_path / "averaged")
    for number in plain:
        assert plain[number]["train_loss"] == averaged[number]["train_loss"]
        assert plain[number]["val_loss"] != averaged[number]["val_loss"]
    weights = [load_file(tmp_path / name / "4" / "weights.safetensors") for name in ("plain", "averaged")]
    assert not torch.equal(*(tensors["network.1.weight"] for tensors in weights))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loss_that_is_not_finite_ends_training_at_once(family: str, optimizer: str, tiny_data: Data) -> None:
    epochs = start(family, tiny_data, optimizer=optimizer, lr=1e30, schedule="constant")
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) at step [2-4] of epoch 1") as caught:
        next(epochs)
    assert caught.value.epoch == 1
    assert 2 <= caught.value.step <= 4


def test_divergence_names_the_epoch_and_step_in_which_it_happened(tiny_data: Data) -> None:
    # The rate warms up to its absurd peak over two epochs of four steps.
    epochs = start("mlp", tiny_data, lr=1e30, schedule="constant", warmup=0.5)
    with pytest.raises(Diverged, match=r"at step 2 of epoch 1"):
        curve(epochs)


@pytest.mark.parametrize(
    ("setting", "value", "match"),
    [
        ("folds", 1, "train/folds must be 2 or more, or 0 for none, but got 1"),
        ("folds", 97, "train/folds=97 is more than the 96 images that are not for the test"),
        ("batch_size", 0, "train/batch_size must be at least 1, but got 0"),
        ("lr", float("nan"), "train/lr must be a finite number above 0, but got nan"),
        ("lr", float("inf"), "train/lr must be a finite number above 0, but got inf"),
        ("lr", 0.0, "train/lr must be a finite number above 0, but got 0"),
        ("lr", -0.1, "train/lr must be a finite number above 0, but got -0.1"),
        ("epochs", 0, "train/epochs must be at least 1, but got 0"),
        ("precision", "float16", "train/precision must be auto, float32 or bfloat16, but got 'float16'"),
        ("optimizer", "sdg", "unknown train/optimizer 'sdg'; known are sgd"),
        ("loss", "l2", "unknown train/loss 'l2'; known are cross_entropy, mse, l1, huber"),
        ("schedule", "cosin", "unknown schedule 'cosin'; known are constant"),
        ("warmup", 1.0, "train/warmup must be a share from 0 to below 1, but got 1.0"),
        ("weight_decay", -1e-4, "train/weight_decay must be at least 0, but got -0.0001"),
        ("label_smoothing", 1.0, "train/label_smoothing must be between 0 and 0.99, but got 1.0"),
        ("shift", 8, "train/shift must be between 0 and 7, but got 8"),
        ("average", 1.0, "train/average must be between 0 and 0.99999, but got 1.0"),
        ("momentum", -0.5, r"train/momentum must be .* but got -0\.5"),
        ("momentum", 1.5, r"train/momentum must be .* but got 1\.5"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused_before_the_first_step(
    setting: str, value: object, match: str, tiny_data: Data
) -> None:
    with pytest.raises(ValueError, match=match):
        start("mlp", tiny_data, **{setting: value})


@pytest.mark.parametrize(("setting", "value"), [("batch_size", 16.5), ("epochs", 2.5), ("shift", 1.5)])
def test_half_a_number_is_refused_before_the_first_step(setting: str, value: float, tiny_data: Data) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"train/{setting} .*{value}"):
        start("mlp", tiny_data, **{setting: value})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"optimizer": "adam", "momentum": 0.9},
            "train/momentum is unknown under train/optimizer=adam, which has beta1, beta2",
        ),
        ({"lrr": 0.1}, "train/lrr is unknown under train/optimizer=sgd, which has momentum, nesterov"),
    ],
    ids=["option of another optimizer", "misspelt"],
)
def test_an_unknown_hyperparameter_is_refused_before_the_first_step(
    changes: dict[str, Any], match: str, tiny_data: Data
) -> None:
    with pytest.raises(TypeError, match=match):
        start("mlp", tiny_data, **changes)


def test_an_unknown_model_hyperparameter_is_refused_before_the_first_step(tiny_data: Data) -> None:
    with pytest.raises(TypeError, match=r"the mlp has no hyperparameter model/kernel"):
        train_mlp({**PLAIN, "model/kernel": 3}, tiny_data)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_batch_is_all_images(family: str, tiny_data: Data) -> None:
    assert len(curve(start(family, tiny_data, batch_size=64))) == EPOCHS


def test_a_batch_larger_than_the_data_is_all_images_and_that_is_said(tiny_data: Data) -> None:
    cut, whole = start("mlp", tiny_data, batch_size=1000), start("mlp", tiny_data, batch_size=64)
    assert isinstance(cut, Training)
    assert isinstance(whole, Training)
    assert cut.notes == ["train/batch_size above the 64 training images is cut to their number"]
    assert whole.notes == []
    assert curve(cut) == curve(whole)


def test_a_single_training_image_is_refused(made_up: Any) -> None:
    with pytest.raises(ValueError, match=r"there are 1 training images, and at least 2 are needed"):
        start("mlp", made_up(1, 8))


def test_training_runs_in_bfloat16_too(tiny_data: Data) -> None:
    first = curve(start("mlp", tiny_data, precision="bfloat16"))
    assert first == curve(start("mlp", tiny_data, precision="bfloat16"))
    assert first != curve(start("mlp", tiny_data))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_auto_came_to_can_be_asked_for_and_gives_the_same(family: str, tiny_data: Data) -> None:
    chosen = start(family, tiny_data, precision="auto", channels_last=None)
    assert set(chosen.resolved) == {"train/precision", "train/channels_last"}  # type: ignore[attr-defined]
    asked = {name.removeprefix("train/"): value for name, value in chosen.resolved.items()}  # type: ignore[attr-defined]
    assert curve(start(family, tiny_data, **asked)) == curve(chosen)


def test_what_was_asked_for_is_not_measured(tiny_data: Data) -> None:
    for asked in ({"precision": "bfloat16"}, {"channels_last": True}, {"precision": "bfloat16", "channels_last": True}):
        told = start("cnn", tiny_data, **{"precision": "auto", "channels_last": None, **asked}).resolved  # type: ignore[attr-defined]
        assert not {f"train/{name}" for name in asked} & set(told)


def choice_values() -> Iterator[Any]:
    """Every value of every Choice of every study: a new study is tested by existing."""
    for name in (name for name in spaces.names() if spaces.load(name).dataset in names()):
        for hyperparameter, range_ in spaces.load(name).ranges.items():
            if isinstance(range_, Choice):
                for value in range_.values:
                    yield pytest.param(name, hyperparameter, value, id=f"{name}-{hyperparameter}={value}")


def point_with(study: Study, hyperparameter: str, value: Any) -> dict[str, Any]:
    """The first start point with `hyperparameter` set to `value`; what then exists anew gets its lower end."""
    wanted = {**(study.start[0] if study.start else {}), hyperparameter: value}
    for parent, values in study.ranges[hyperparameter].when.items():
        wanted[parent] = values[0] if isinstance(values, tuple) else values
    lowest: dict[str, Any] = {}
    for name, range_ in study.ranges.items():
        if study.ranges.active(name, lowest):
            lowest[name] = wanted.get(name, range_.values[0] if isinstance(range_, Choice) else range_.low)
    study.ranges.check_point(lowest)
    return lowest


@cache
def whole_data(dataset: str, val_fraction: float) -> Data:
    """Data of the shape and the classes of a data set that is known by name, without a download."""
    source = GENERATED[dataset]() if dataset in GENERATED else stand_in(dataset)
    return part(*source.train(), source.classes, val_fraction=val_fraction, seed=0)


def data_for(study: Study, config: Mapping[str, Any]) -> Data:
    """The data set of `study`, tiny, but large enough for a batch of `config`."""
    whole, count = whole_data(study.dataset, study.val_fraction), max(130, config["train/batch_size"])
    train, val = (
        Split(each.images[:size], each.labels[:size]) for each, size in ((whole.train, count), (whole.val, 50))
    )
    return replace(whole, train=train, val=val)


@pytest.mark.parametrize(("name", "hyperparameter", "value"), [*choice_values()])
def test_every_choice_of_every_study_trains(name: str, hyperparameter: str, value: object) -> None:
    study = spaces.load(name)
    point = point_with(study, hyperparameter, value)
    config = {**PLAIN, "train/batch_size": 32, **study.fixed, **point, "train/epochs": 1}
    (epoch,) = study.trainable(config, data_for(study, config))
    assert study.objective.metric in epoch.metrics


def published_settings() -> Iterator[Any]:
    for name in spaces.names():
        for number, published in enumerate(spaces.load(name).published):
            yield pytest.param(name, published, id=f"{name}-{number}")


@pytest.mark.parametrize(("name", "published"), [*published_settings()])
def test_every_published_setting_of_every_study_trains(name: str, published: Published) -> None:
    study = spaces.load(name)
    config = {**PLAIN, **study.full_config(published.config, seed=0), "train/epochs": 1}
    (epoch,) = study.trainable(config, data_for(study, config))
    assert study.objective.metric in epoch.metrics


@pytest.mark.parametrize(
    ("name", "number", "parameters"),
    [
        ("fashion_softmax", 0, 784 * 10 + 10),
        ("fashion_mlp", 0, 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
        ("mnist_mlp", 0, 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
        ("moons_mlp", 0, 2 * 5 + 5 + 5 + 1),
        ("cifar2_cnn", 0, 3 * 16 * 25 + 16 + 16 * 8 * 25 + 8 + 8 * 64 * 32 + 32 + 32 * 2 + 2),
    ],
)
def test_a_published_network_has_as_many_weights_as_its_description(name: str, number: int, parameters: int) -> None:
    study = spaces.load(name)
    config = {**PLAIN, **study.full_config(study.published[number].config, seed=0), "train/epochs": 1}
    (epoch,) = study.trainable(config, data_for(study, config))
    assert epoch.metrics["parameters"] == parameters


@pytest.mark.parametrize("how", [{"train/class_weights": "balanced"}, {"train/sampling": "balanced"}])
def test_a_small_class_is_recognised_where_it_counts_as_much_as_the_large_one(how: dict[str, str]) -> None:
    generator = torch.Generator().manual_seed(0)

    def split(large: int, small: int) -> Split:
        labels = torch.tensor([0] * large + [1] * small)
        grey = torch.randn(len(labels), 1, 2, 2, generator=generator) * 40 + 110 + 20 * labels.view(-1, 1, 1, 1)
        return Split(grey.clamp(0, 255).to(torch.uint8), labels)

    data = Data(split(1900, 100), split(950, 50), ("large", "small"), (110.0,), (40.0,))
    config = {"train/epochs": 5, "train/lr": 0.1, "train/batch_size": 50, "train/schedule": "constant"}
    plain, fair = (list(train_mlp({**config, **more}, data))[-1].metrics for more in ({}, how))
    assert plain["val_accuracy"] > fair["val_accuracy"]
    assert fair["val_balanced_accuracy"] > plain["val_balanced_accuracy"] + 0.1
    assert fair["val_roc_auc"] > 0.6


@pytest.mark.parametrize("name", ["train/class_weights", "train/sampling"])
def test_an_unknown_way_to_weigh_or_draw_is_refused(name: str, tiny_data: Data) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* or balanced, but got 'fair'"):
        train_mlp({"train/epochs": 1, "train/batch_size": 8, name: "fair"}, tiny_data)
