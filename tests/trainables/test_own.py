"""A network of one's own: trained by our loop, built again from its checkpoint, exported and read back."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spaces.space import SpaceError
from spaces.study import Float, Study
from trainables import exported
from trainables.data import Data
from trainables.epoch import Epoch, restore
from trainables.evaluation import evaluate
from trainables.exported import NotExportable
from trainables.own import OwnNetwork
from trainables.read_only import ReadOnly
from trainables.rebuilt import NotRebuilt, rebuilt
from trainables.started import started

CONFIG = {"width": 4, "train/epochs": 3, "train/seed": 1, "train/batch_size": 16, "train/lr": 0.1,
          "train/precision": "float32", "train/channels_last": False}  # fmt: skip


def build(config: Mapping[str, Any], data: Data) -> nn.Module:
    width = config["width"]
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.LazyLinear(len(data.classes))
    )


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, classes))

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.layers(images / 255)
        return answers


def generator(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
    net = Net(len(data.classes))
    net(data.val.images[:1].float())
    steps = torch.optim.Adam(net.parameters(), lr=0.01)
    for number in range(restore(resume, model=net, optimizer=steps), config["train/epochs"] + 1):
        for batch in torch.randperm(len(data.train)).split(16):
            loss = nn.functional.cross_entropy(net(data.train.images[batch].float()), data.train.labels[batch])
            steps.zero_grad()
            loss.backward()
            steps.step()
        with torch.no_grad():
            right = net(data.val.images.float()).argmax(1) == data.val.labels
        yield Epoch(number, {"val_accuracy": right.float().mean()}, model=net, optimizer=steps)


def last_of(trainable: Any, data: Data, folder: Path, **changes: Any) -> Epoch:
    """The last epoch of a training, whose checkpoint is in `folder`."""
    *_, last = started(trainable, {**CONFIG, **changes}, data)
    assert last.writer is not None
    last.writer(folder)
    return last


@pytest.mark.parametrize("trainable", [OwnNetwork(build), generator], ids=["network", "generator"])
def test_the_network_of_a_checkpoint_is_built_again_and_shows_the_accuracy_of_its_epoch(
    trainable: Any, tiny_data: Data, tmp_path: Path
) -> None:
    last = last_of(trainable, tiny_data, tmp_path)
    model = rebuilt(trainable, CONFIG, tiny_data, tmp_path)
    assert evaluate(model, tiny_data.val)["val_accuracy"] == pytest.approx(last.metrics["val_accuracy"], abs=1e-6)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_our_loop_goes_on_with_a_network_of_ones_own_as_if_it_had_never_stopped(
    average: float, tiny_data: Data, tmp_path: Path
) -> None:
    config = {**CONFIG, "train/average": average, "train/schedule": "cosine"}
    whole = []
    for epoch in started(OwnNetwork(build), config, tiny_data):
        whole.append(dict(epoch.metrics))
        if epoch.number == 1 and epoch.writer is not None:
            epoch.writer(tmp_path)
    assert [dict(e.metrics) for e in started(OwnNetwork(build), config, tiny_data, resume=tmp_path)] == whole[1:]


def test_what_the_loop_offers_our_networks_it_offers_ones_own(tiny_data: Data, tmp_path: Path) -> None:
    options = {"model/mirror": True, "model/scaling": "unit", "train/folds": 2, "train/flip": True}
    last = last_of(OwnNetwork(build), tiny_data, tmp_path, **options)
    assert {"val_accuracy", "val_balanced_accuracy", "parameters"} <= set(last.metrics)
    model = rebuilt(OwnNetwork(build), {**CONFIG, **options}, tiny_data, tmp_path)
    flipped = tiny_data.val.images.flip(3)
    assert torch.allclose(model(tiny_data.val.images), model(flipped), atol=1e-5)


def test_weights_that_layers_share_are_kept_shared(tiny_data: Data, tmp_path: Path) -> None:
    def tied(config: Mapping[str, Any], data: Data) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 4))
        net[3].weight = net[1].weight
        return net

    last_of(OwnNetwork(tied), tiny_data, tmp_path)
    network: Any = rebuilt(OwnNetwork(tied), CONFIG, tiny_data, tmp_path).network
    assert network[3].weight is network[1].weight


@pytest.mark.parametrize(
    ("wrong", "error", "why"),
    [
        (lambda config, data: None, TypeError, "must return a torch module, but returned a NoneType"),
        (
            lambda config, data: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)),
            ValueError,
            r"gives \(2, 7\) for 2 images of 1×8×8, but must give \(2, 4\): a logit per class",
        ),
        (
            lambda config, data: nn.Sequential(nn.Flatten(), nn.Linear(3, 4)),
            RuntimeError,
            "shapes cannot be multiplied",
        ),
        (lambda config, data: nn.Linear(8, config["depth"]), KeyError, "depth"),
    ],
)
def test_what_is_no_network_for_the_data_is_told_before_anything_is_trained(
    wrong: Any, error: type[Exception], why: str, tiny_data: Data
) -> None:
    with pytest.raises(error, match=why):
        started(OwnNetwork(wrong), CONFIG, tiny_data)


def test_a_hyperparameter_of_the_loop_that_there_is_not_is_told(tiny_data: Data) -> None:
    with pytest.raises(TypeError, match="train/momentun"):
        started(OwnNetwork(build), {**CONFIG, "train/momentun": 0.9}, tiny_data)


def test_who_builds_a_network_cannot_change_the_data(tiny_data: Data) -> None:
    def greedy(config: Mapping[str, Any], data: Data) -> nn.Module:
        assert isinstance(data.train.images, ReadOnly)
        data.train.images.zero_()
        return build(config, data)

    with pytest.raises(RuntimeError, match="cannot be changed in place"):
        started(OwnNetwork(greedy), CONFIG, tiny_data)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "needs a trainable .* or a network"),
        ({"network": build, "trainable": generator}, "trainable or network, not both"),
        ({"network": nn.Linear(1, 1)}, "must be a function .* but is a Linear"),
        ({"network": lambda config: None}, r"must be a function \(config, data\)"),
    ],
)
def test_a_study_takes_a_trainable_or_a_function_that_builds_a_network(given: Any, why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        Study(dataset="digits", epochs=1, space={"lr": Float(0, 1)}, **given)


# Built again


def test_a_generator_is_run_no_further_than_to_its_network(tiny_data: Data, tmp_path: Path) -> None:
    last_of(generator, tiny_data, tmp_path)
    steps: list[int] = []

    def watched(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        try:
            yield from generator(config, data)
        except Exception:  # a broad one of the user's own does not hold what ends it here
            steps.append(0)
            yield Epoch(1, {})

    optimizer_step = torch.optim.Adam.step
    torch.optim.Adam.step = lambda *args, **kwargs: steps.append(1)  # type: ignore[method-assign, assignment]
    try:
        rebuilt(watched, CONFIG, tiny_data, tmp_path)
    finally:
        torch.optim.Adam.step = optimizer_step  # type: ignore[method-assign]
    assert not steps


def test_a_network_that_is_called_in_parts_is_taken_from_the_first_epoch(tiny_data: Data, tmp_path: Path) -> None:
    def parts(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        for number in (1, 2):
            net[1](net[0](data.val.images.float()))
            yield Epoch(number, {}, model=net)

    last_of(parts, tiny_data, tmp_path)
    assert rebuilt(parts, CONFIG, tiny_data, tmp_path)(tiny_data.val.images).shape == (32, 4)


def other(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    yield Epoch(1, {}, model=net)


def raising(config: Mapping[str, Any], data: Data) -> Iterator[Epoch]:
    raise FileNotFoundError("photos/train")
    yield


@pytest.mark.parametrize(
    ("trainable", "why"),
    [(raising, "FileNotFoundError: photos/train"), (other, "those of another network")],
)
def test_what_cannot_be_built_again_says_why(trainable: Any, why: str, tiny_data: Data, tmp_path: Path) -> None:
    last_of(generator, tiny_data, tmp_path)
    with pytest.raises(NotRebuilt, match=why):
        rebuilt(trainable, CONFIG, tiny_data, tmp_path)


def test_a_checkpoint_of_a_make_of_ones_own_cannot_be_built_again(tiny_data: Data, tmp_path: Path) -> None:
    with pytest.raises(NotRebuilt, match="no weights that this service wrote"):
        rebuilt(generator, CONFIG, tiny_data, tmp_path)


# Exported


def test_an_exported_network_takes_any_number_of_images_and_gives_what_it_gave(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)).eval()
    exported.export(net, torch.rand(2, 3, 8, 8), tmp_path / "model.pt2", {"trial": 3})
    again, about = exported.load(tmp_path / "model.pt2")
    assert about == exported.described(tmp_path / "model.pt2") == {"trial": 3}
    for count in (1, 2, 5, 251):
        images = torch.rand(count, 3, 8, 8)
        assert torch.allclose(again.eval()(images), net(images), atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]


def test_the_images_that_a_network_was_exported_with_are_not_in_its_file(tmp_path: Path) -> None:
    images = torch.full((2, 1, 4, 4), 171, dtype=torch.uint8)

    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.float().flatten(1)[:, :2]

    exported.export(Bright(), images, tmp_path / "model.pt2", {})
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        assert not any(b"\xab" * 8 in archive.read(name) for name in archive.namelist())
        assert not any(name.endswith(".pkl") or "pickle" in name for name in archive.namelist())


class Choosy(nn.Module):
    """Its course depends on what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        flat: Tensor = self.linear(images.flatten(1).float())
        return flat if flat.sum() > 0 else -flat


def test_a_network_whose_course_depends_on_values_is_not_exported_and_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotExportable, match="data-dependent"):
        exported.export(Choosy(), torch.zeros(2, 1, 8, 8), tmp_path / "model.pt2", {})
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("forged", ["a member", "a pickle", "no archive", "samples"])
def test_a_file_with_anything_in_it_that_torch_would_unpickle_is_refused(forged: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    exported.export(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(2, 1, 2, 2), path, {})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = next(name for name in members if name.endswith("weights_config.json"))
    samples = next(name for name in members if "/sample_inputs/" in name)
    change = {
        "a member": {"model/data/constants/custom_obj_0": b"x"},
        "a pickle": {config: members[config].replace(b'"use_pickle": false', b'"use_pickle": true')},
        "samples": {samples: b"x"},
        "no archive": {},
    }[forged]
    assert members | change != members or forged == "no archive"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | change).items():
            archive.writestr(name, content)
    if forged == "no archive":
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no network that this service exported"):
        exported.load(path)
