"""Networks of every shape, and the classifier that is saved and served."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.classifier import Architecture, Classifier, load_classifier
from trainables.layers import ACTIVATIONS

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]
CLASSES = ("a", "b", "c")


def build(family: str, shape: tuple[int, int, int] = (1, 8, 8), **arguments: Any) -> Classifier:
    torch.manual_seed(0)
    channels = shape[0]
    return Architecture(family, shape, CLASSES, arguments).build([100.0] * channels, [50.0] * channels)


def grey(count: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("depth", range(4))
def test_every_mlp_gives_one_logit_per_class(shape: tuple[int, int, int], depth: int) -> None:
    for batch_norm, dropout, mirror in itertools.product((False, True), (0.0, 0.5), (False, True)):
        model = build("mlp", shape, depth=depth, width=8, batch_norm=batch_norm, dropout=dropout, mirror=mirror)
        for training in (True, False):
            logits = model.train(training)(grey(2, shape))
            assert logits.shape == (2, len(CLASSES))
            assert logits.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("depth", range(1, 7))
def test_every_cnn_gives_one_logit_per_class(shape: tuple[int, int, int], depth: int) -> None:
    for kernel, residual, hidden_depth, growth in itertools.product((1, 3, 5), (False, True), (0, 2), (0.5, 2.0)):
        arguments = {"kernel": kernel, "residual": residual, "hidden_depth": hidden_depth, "growth": growth}
        model = build("cnn", shape, depth=depth, width=3, hidden_width=5, dropout=0.2, **arguments)
        logits = model(grey(2, shape))
        assert logits.shape == (2, len(CLASSES))
        assert logits.isfinite().all()


def test_a_cnn_without_batch_norm_gives_one_logit_per_class() -> None:
    assert build("cnn", depth=2, width=4, batch_norm=False, residual=True)(grey(2)).shape == (2, len(CLASSES))


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_one_image_alone_gets_the_logits_it_gets_among_others(family: str) -> None:
    model, images = build(family, batch_norm=True).eval(), grey(5)
    torch.testing.assert_close(model(images[:1]), model(images)[:1])


def test_a_perceptron_of_depth_0_is_softmax_regression() -> None:
    model, images = build("mlp", depth=0, dropout=0.5, batch_norm=True).eval(), grey(4)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert len(linear) == 1
    expected = ((images.float() - 100) / 50).flatten(1) @ linear[0].weight.T + linear[0].bias
    torch.testing.assert_close(model(images), expected)
    assert sum(parameter.numel() for parameter in model.parameters()) == 64 * 3 + 3


def test_a_deeper_perceptron_has_one_more_linear_layer() -> None:
    for depth in range(4):
        linear = [layer for layer in build("mlp", depth=depth).modules() if isinstance(layer, nn.Linear)]
        assert len(linear) == depth + 1


def test_a_residual_block_is_a_shortcut() -> None:
    model = build("cnn", depth=1, width=4, residual=True, batch_norm=False, activation="identity")
    with torch.no_grad():
        for layer in [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][1:]:
            layer.weight.zero_()
            assert layer.bias is not None
            layer.bias.zero_()
    plain = build("cnn", depth=1, width=4, batch_norm=False, activation="identity")
    first = {name: tensor for name, tensor in model.state_dict().items() if ".block." not in name}
    plain.load_state_dict(dict(zip(plain.state_dict(), first.values(), strict=True)))
    torch.testing.assert_close(model(grey(3)), plain(grey(3)))


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_gives_finite_outputs_and_gradients(family: str, name: str) -> None:
    model = build(family, depth=2, width=4, activation=name)
    logits = model(grey(4))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("family", "arguments", "match"),
    [
        ("mlp", {"activation": "relux"}, "unknown activation 'relux'; known are .*relu"),
        ("cnn", {"activation": "relux"}, "unknown activation 'relux'; known are .*relu"),
        ("mlp", {"depth": -1}, "model/depth must be at least 0, but got -1"),
        ("cnn", {"depth": 0}, "model/depth must be at least 1, but got 0"),
        ("mlp", {"width": 0}, "model/width must be at least 1, but got 0"),
        ("cnn", {"width": 0}, "model/width must be at least 1, but got 0"),
        ("mlp", {"dropout": 1.0}, "model/dropout must be between 0 and 0.95, but got 1.0"),
        ("cnn", {"dropout": -0.1}, "model/dropout must be between 0 and 0.95, but got -0.1"),
        ("mlp", {"dropout": float("nan")}, "model/dropout must be between .* but got nan"),
        ("cnn", {"kernel": 2}, "model/kernel must be an odd number from 1, but got 2"),
        ("cnn", {"kernel": 0}, "model/kernel must be an odd number from 1, but got 0"),
        ("cnn", {"kernel": -3}, "model/kernel must be an odd number from 1, but got -3"),
        ("cnn", {"growth": 0.0}, "model/growth must be between .* but got 0"),
        ("cnn", {"hidden_depth": -1}, "model/hidden_depth must be at least 0, but got -1"),
        ("cnn", {"hidden_width": 0}, "model/hidden_width must be at least 1, but got 0"),
        ("transformer", {}, "unknown model family 'transformer'; known are mlp, cnn"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(family: str, arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build(family, **arguments)


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_an_unknown_argument_is_refused_by_name(family: str) -> None:
    with pytest.raises(TypeError, match=f"the {family} has no hyperparameter model/widht"):
        build(family, widht=3)


def test_normalisation_is_inside() -> None:
    images = grey(4, (3, 8, 8))
    mean, std = [10.0, 100.0, 200.0], [1.0, 20.0, 50.0]
    model = Architecture("mlp", (3, 8, 8), CLASSES, {"depth": 1}).build(mean, std).eval()
    by_hand = (images.double() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(model(images), model.network(by_hand.float()))


def test_an_image_and_its_mirror_image_are_judged_together_after_training_only() -> None:
    both, one, images = build("mlp", depth=1, mirror=True), build("mlp", depth=1), grey(4)
    torch.testing.assert_close(both.eval()(images), (one(images) + one(images.flip(3))) / 2)
    torch.testing.assert_close(both.eval()(images), both.eval()(images.flip(3)))
    assert torch.equal(both.train()(images), one(images))


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("mlp", {"depth": 2, "width": 8, "batch_norm": True, "dropout": 0.3, "activation": "gelu"}),
        ("cnn", {"depth": 2, "width": 4, "residual": True, "hidden_depth": 1, "mirror": True}),
    ],
    ids=["mlp", "cnn"],
)
def test_a_saved_classifier_reads_back_bit_for_bit_and_without_pickle(
    family: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a pickle was read")

    architecture = Architecture(family, (1, 8, 8), CLASSES, arguments)
    model = architecture.build([33.3], [77.7])
    for _ in range(2):
        model.train()(grey(8))  # batch norm's statistics leave their initial values
    architecture.save(tmp_path, model)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["architecture.json", "weights.safetensors"]
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    loaded_architecture, loaded = load_classifier(tmp_path)
    assert loaded_architecture == architecture
    assert not loaded.training
    assert torch.equal(loaded(grey(8)), model.eval()(grey(8)))


def test_the_architecture_file_is_plain_json(tmp_path: Path) -> None:
    architecture = Architecture("mlp", (1, 8, 8), CLASSES, {"depth": 0})
    architecture.save(tmp_path, architecture.build())
    stored = json.loads((tmp_path / "architecture.json").read_text())
    assert stored == {"family": "mlp", "shape": [1, 8, 8], "classes": ["a", "b", "c"], "arguments": {"depth": 0}}


def test_weights_are_stored_alike_whatever_their_memory_format(tmp_path: Path) -> None:
    architecture = Architecture("cnn", (3, 8, 8), CLASSES, {"depth": 2, "width": 4})
    model = architecture.build()
    for name in ("plain", "last"):
        (tmp_path / name).mkdir()
        architecture.save(tmp_path / name, model)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = "weights.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (tmp_path / "last" / weights).read_bytes()
