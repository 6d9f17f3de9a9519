"""A winner as a file of plain torch, `load.py`: what a colleague needs who has none of our code.

A perceptron and a CNN are written out layer by layer, and their weights read from safetensors, so that one can train
them on. Other networks are graphs, which torch itself loads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LAYERS = (
    *("Conv2d", "MaxPool2d", "BatchNorm2d", "BatchNorm1d", "Linear", "Flatten", "Dropout", "Identity", "ReLU"),
    *("LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus", "Hardtanh", "Hardsigmoid"),
)
"""Layers of torch whose text is the code that makes them."""

HEAD = '''"""{about}

`load()` gives the network on the CPU, in evaluation mode: {takes} to logits (N, {count}). It needs torch alone.
"""

{imports}

CLASSES = {classes}
'''

OF_GRAPH = '''

def load():
    """The network as torch.export wrote it; its weights alone are in weights.safetensors."""
    return torch.export.load(str(Path(__file__).with_name("model.pt2"))).module()
'''

RESIDUAL = """

class Residual(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, images):
        return images + self.block(images)
"""

LOGISTIC = '''

class LogisticHead(nn.Module):
    """One logit for two classes, beside a 0."""

    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features):
        return F.pad(self.linear(features), (1, 0))
'''

NETWORK = '''

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = {layers}
        self.register_buffer("mean", torch.zeros(1, {channels}, 1, 1))
        self.register_buffer("scale", torch.ones(1, {channels}, 1, 1))

    def forward(self, images):
        normalised = (images.float() - self.mean) * self.scale
        {returned}


def weights(path):
    """What a file of safetensors holds: the length of its head, the head (JSON), and numbers."""
    raw = Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {{}}
    for name, told in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            low, high = told["data_offsets"]
            dtype = {{"F32": torch.float32, "I64": torch.int64, "F16": torch.float16}}[told["dtype"]]
            numbers = torch.frombuffer(bytearray(raw[start + low : start + high]), dtype=dtype)
            found[name] = numbers.reshape(told["shape"])
    return found


def load():
    model = Network()
    model.load_state_dict(weights(Path(__file__).with_name("weights.safetensors")))
    return model.eval()
'''

MIRRORED = """logits = self.network(normalised)
        return logits if self.training else (logits + self.network(normalised.flip(3))) / 2"""


def source(model: nn.Module, about: str, takes: str, classes: Sequence[str]) -> str:
    """The text of `load.py` for `model`; `about` and `takes` are of one line, and of our own words."""
    from trainables.classifier import Classifier

    layers = None
    if isinstance(model, Classifier):
        with contextlib.suppress(_NotWritten):
            layers = "\n".join(_written(model.network, 2)).lstrip()
    head = {"about": about, "takes": takes, "count": len(classes), "classes": ascii(list(classes))}
    if layers is None or not isinstance(model, Classifier):
        return HEAD.format(imports="from pathlib import Path\n\nimport torch", **head) + OF_GRAPH
    kinds = {type(module).__name__ for module in model.modules()}
    imports = ["import json", "from pathlib import Path", "", "import torch"]
    imports += ["import torch.nn.functional as F"] * ("LogisticHead" in kinds) + ["from torch import nn"]
    returned = MIRRORED if model.mirror else "return self.network(normalised)"
    return (
        HEAD.format(imports="\n".join(imports), **head)
        + RESIDUAL * ("Residual" in kinds)
        + LOGISTIC * ("LogisticHead" in kinds)
        + NETWORK.format(layers=layers, channels=model.mean.shape[1], returned=returned)
    )


class _NotWritten(Exception):
    """A layer that this file does not know as code."""


def _written(module: nn.Module, depth: int) -> Iterator[str]:
    """The lines of code that make `module`, `depth` steps to the right."""
    space, kind = " " * 4 * depth, type(module).__name__
    if kind == "Sequential":
        yield f"{space}nn.Sequential("
        for inner in module.children():
            *lines, last = _written(inner, depth + 1)
            yield from (*lines, f"{last},")
        yield f"{space})"
    elif kind == "Residual":
        first, *rest = _written(_only(module.block), depth)
        yield f"{space}Residual({first.lstrip()}"
        *lines, last = rest
        yield from (*lines, f"{last})")
    elif kind == "LogisticHead":
        yield f"{space}LogisticHead({_only(module.linear).in_features})"
    elif kind in LAYERS and type(module).__module__.startswith("torch.nn."):
        yield f"{space}nn.{module!r}"
    else:
        raise _NotWritten(kind)


def _only(module: Any) -> Any:
    """An attribute of a module, which torch types as a tensor or a module."""
    return module
