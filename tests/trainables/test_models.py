"""Networks of every shape, and the classifier that is saved and served."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.classifier import SCALINGS, Architecture, Classifier, load_classifier
from trainables.layers import ACTIVATIONS, INITS

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
        ("cnn", {"kernel": 2}, "model/kernel must be an odd number from 1, or two such as 1x3, but got 2"),
        ("cnn", {"kernel": 0}, "model/kernel must be an odd number from 1, or two such as 1x3, but got 0"),
        ("cnn", {"kernel": -3}, "model/kernel must be an odd number from 1, or two such as 1x3, but got -3"),
        ("cnn", {"kernel": "2x3"}, "model/kernel must be an odd number from 1, or two such as 1x3, but got '2x3'"),
        ("cnn", {"kernel": "3x0"}, "model/kernel must be an odd number from 1, or two such as 1x3, but got '3x0'"),
        ("cnn", {"kernel": "wide"}, "model/kernel must be an odd number from 1, or two such as 1x3, but got 'wide'"),
        ("cnn", {"kernel": 3.0}, "model/kernel must be an odd number from 1, or two such as 1x3, but got 3.0"),
        ("cnn", {"kernel": True}, "model/kernel must be an odd number from 1, or two such as 1x3, but got True"),
        ("cnn", {"channels": "16-0"}, "model/channels must be numbers of channels such as 32-16-16, but got '16-0'"),
        ("cnn", {"channels": "16-"}, "model/channels must be numbers of channels such as 32-16-16, but got '16-'"),
        ("cnn", {"channels": "16,8"}, "model/channels must be numbers of channels such as 32-16-16, but got '16,8'"),
        ("mlp", {"init": "he"}, "unknown model/init 'he'; known are default, kaiming_normal, .*xavier_uniform"),
        ("cnn", {"init": "he"}, "unknown model/init 'he'; known are default, kaiming_normal, .*xavier_uniform"),
        ("mlp", {"head": "sigmoid"}, "unknown model/head 'sigmoid'; known are softmax, logistic"),
        ("mlp", {"head": "logistic"}, "model/head=logistic is for two classes, but the data has 3; use softmax"),
        ("cnn", {"head": "logistic"}, "model/head=logistic is for two classes, but the data has 3; use softmax"),
        ("cnn", {"scaling": "minmax"}, "unknown model/scaling 'minmax'; known are standard, unit, symmetric, none"),
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


# Stages, kernels


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("residual", [False, True])
@given(channels=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_channels_give_those_of_each_stage_whatever_depth_width_and_growth_say(
    residual: bool, channels: list[int]
) -> None:
    text = "-".join(map(str, channels))
    model = build("cnn", (3, 16, 16), channels=text, depth=2, width=30, growth=4.0, residual=residual)
    stages = [(inputs, outputs) for inputs, outputs in zip([3, *channels], channels, strict=False)]
    each = [[stage, (stage[1], stage[1])] if residual else [stage] for stage in stages]
    assert [(c.in_channels, c.out_channels) for c in convolutions(model)] == list(itertools.chain(*each))
    assert model(grey(2, (3, 16, 16))).shape == (2, len(CLASSES))


def test_the_channels_of_a_single_stage_may_be_a_number_as_the_command_line_reads_it() -> None:
    assert [layer.out_channels for layer in convolutions(build("cnn", (1, 32, 32), channels=7, depth=3))] == [7]


def test_without_channels_stages_are_as_deep_wide_and_growing_as_is_said() -> None:
    model = build("cnn", (1, 32, 32), channels="", depth=3, width=5, growth=2.0)
    assert [layer.out_channels for layer in convolutions(model)] == [5, 10, 20]


@pytest.mark.parametrize(("kernel", "sides"), [(5, (5, 5)), ("1x3", (1, 3)), ("3x1", (3, 1)), ("5x5", (5, 5))])
def test_a_kernel_has_the_sides_that_are_asked_for_and_keeps_the_size_of_images(
    kernel: int | str, sides: tuple[int, int]
) -> None:
    model = build("cnn", (1, 9, 7), kernel=kernel, channels="4-4", residual=True)
    assert {layer.kernel_size for layer in convolutions(model)} == {sides}
    for layer in convolutions(model):
        assert layer(torch.zeros(1, layer.in_channels, 9, 7)).shape == (1, 4, 9, 7)
    assert model(grey(2, (1, 9, 7))).shape == (2, len(CLASSES))


def test_a_kernel_of_1x3_looks_sideways_and_not_up() -> None:
    # Of a single bright pixel, the columns beside it hear, the rows above it do not.
    layer = convolutions(build("cnn", channels="1", kernel="1x3", batch_norm=False))[0]
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 4] = 1
    changed = (layer(image) != layer(torch.zeros_like(image))).nonzero().tolist()
    assert changed == [[0, 0, 4, column] for column in (3, 4, 5)]


# Activations


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("swish", lambda x: x * torch.sigmoid(x)),
        ("logistic", lambda x: 1 / (1 + torch.exp(-x))),
        ("hard_sigmoid", lambda x: torch.clamp(x / 6 + 1 / 2, 0, 1)),
        ("prelu", lambda x: torch.where(x > 0, x, 0.25 * x)),
    ],
)
def test_an_activation_is_the_function_that_its_name_says(name: str, formula: Callable[[Tensor], Tensor]) -> None:
    points = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(ACTIVATIONS[name]()(points), formula(points))


def test_the_slope_of_prelu_is_trained_with_the_weights() -> None:
    plain, sloped = build("mlp", depth=2, activation="relu"), build("mlp", depth=2, activation="prelu")
    assert len(list(sloped.parameters())) == len(list(plain.parameters())) + 2


# Fresh weights


WIDE: dict[str, dict[str, Any]] = {
    "mlp": {"depth": 2, "width": 700},
    "cnn": {"channels": "40-90", "kernel": 5, "hidden_depth": 1, "hidden_width": 300},
}


def drawn(family: str, init: str, activation: str = "relu") -> list[tuple[int, int, Tensor]]:
    """Fan-in, fan-out and weights of each layer that has enough of them to measure a variance."""
    model = build(family, (3, 16, 16), init=init, activation=activation, **WIDE[family])
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    found = []
    for layer in layers:
        field = math.prod(layer.weight.shape[2:])
        outputs, inputs = layer.weight.shape[:2]
        if layer.weight.numel() > 2500:
            found.append((inputs * field, outputs * field, layer.weight.detach()))
    assert len(found) >= 2
    return found


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("init", ["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"])
@pytest.mark.parametrize(
    ("activation", "gain"), [("relu", 2.0), ("gelu", 2.0), ("tanh", 1.0), ("logistic", 1.0), ("identity", 1.0)]
)
def test_fresh_weights_have_the_variance_of_the_paper(family: str, init: str, activation: str, gain: float) -> None:
    for fan_in, fan_out, weight in drawn(family, init, activation):
        expected = gain / fan_in if init.startswith("kaiming") else 2 / (fan_in + fan_out)
        assert weight.var().item() == pytest.approx(expected, rel=0.12)
        assert abs(weight.mean().item()) < 5 * math.sqrt(expected / weight.numel())
        # A uniform distribution ends at the square root of three deviations, a normal one far beyond.
        assert (weight.abs().max().item() <= math.sqrt(3 * expected) * 1.001) == init.endswith("uniform")


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_fresh_biases_are_zero_unless_left_to_torch(family: str) -> None:
    for init in INITS:
        layers = build(family, init=init, depth=2, width=8, batch_norm=False).modules()
        biases = [layer.bias for layer in layers if isinstance(layer, (nn.Linear, nn.Conv2d))]
        assert len(biases) == 3
        assert all(bool((bias == 0).all()) for bias in biases if bias is not None) == (init != "default")


def test_default_weights_are_those_that_torch_draws() -> None:
    torch.manual_seed(0)
    by_hand = nn.Linear(64, 3)
    model = build("mlp", depth=0, init="default")
    assert torch.equal(next(model.parameters()), by_hand.weight)


# Heads


PAIR = ("no", "yes")


def one_logit(family: str, **arguments: Any) -> Classifier:
    torch.manual_seed(0)
    return Architecture(family, (1, 8, 8), PAIR, {**arguments, "head": "logistic"}).build([100.0], [50.0])


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_a_logistic_head_is_one_logit_whose_sigmoid_is_the_probability_of_the_second_class(family: str) -> None:
    model, images = one_logit(family, depth=1, width=6).eval(), grey(20)
    before = model.network[:-1]((images.float() - 100) / 50)  # type: ignore[index]
    (linear,) = [layer for layer in model.network[-1].modules() if isinstance(layer, nn.Linear)]  # type: ignore[index]
    assert linear.out_features == 1
    second = torch.sigmoid(linear(before).squeeze(1))
    assert model(images).shape == (20, 2)
    torch.testing.assert_close(model(images).softmax(1), torch.stack([1 - second, second], dim=1))


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_cross_entropy_of_a_logistic_head_is_binary_cross_entropy_in_value_and_gradient(family: str) -> None:
    model, images, labels = one_logit(family, depth=1, width=6), grey(20), torch.arange(20) % 2
    gradients = []
    for loss in (
        lambda logits: F.cross_entropy(logits, labels),
        lambda logits: F.binary_cross_entropy_with_logits(logits[:, 1], labels.float()),
    ):
        model.zero_grad()
        value = loss(model(images))
        value.backward()
        gradients.append([value.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_softmax_head_of_two_classes_has_a_logit_for_each() -> None:
    two = Architecture("mlp", (1, 8, 8), PAIR, {"depth": 0, "head": "softmax"}).build()
    one = Architecture("mlp", (1, 8, 8), PAIR, {"depth": 0, "head": "logistic"}).build()
    assert [sum(p.numel() for p in model.parameters()) for model in (two, one)] == [2 * 65, 65]


# Scaling


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("standard", [-2.0, 0.55, 3.1]),
        ("unit", [0.0, 0.5, 1.0]),
        ("symmetric", [-1.0, 0.0, 1.0]),
        ("none", [0.0, 127.5, 255.0]),
    ],
)
def test_scaling_takes_black_grey_and_white_where_it_says(scaling: str, expected: list[float]) -> None:
    model = Architecture("mlp", (3, 1, 1), CLASSES, {"depth": 0, "scaling": scaling}).build([100.0] * 3, [50.0] * 3)
    levels = torch.tensor([0.0, 127.5, 255.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(levels)
    torch.testing.assert_close(seen[0][:, 1, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_saved_classifier_scales_as_the_trained_one(scaling: str, tmp_path: Path) -> None:
    architecture = Architecture("mlp", (1, 8, 8), CLASSES, {"depth": 1, "scaling": scaling})
    model = architecture.build([33.3], [77.7]).eval()
    architecture.save(tmp_path, model)
    assert torch.equal(load_classifier(tmp_path)[1](grey(4)), model(grey(4)))


# Saved


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("mlp", {"depth": 2, "width": 8, "batch_norm": True, "dropout": 0.3, "activation": "gelu"}),
        ("cnn", {"depth": 2, "width": 4, "residual": True, "hidden_depth": 1, "mirror": True}),
        ("mlp", {"depth": 1, "width": 8, "activation": "prelu", "init": "xavier_normal", "scaling": "none"}),
        ("cnn", {"channels": "4-3", "kernel": "1x3", "init": "kaiming_uniform", "scaling": "symmetric"}),
    ],
    ids=["mlp", "cnn", "mlp-by-name", "cnn-by-name"],
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
