"""The model that is trained, saved and served: raw images in, logits out, normalisation inside."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FAMILIES = ("mlp", "cnn", "photos")
"""Modules of this package with a function `network(shape, classes, **arguments)`."""

SCALINGS: Mapping[str, tuple[float, float] | None] = {
    "standard": None,
    "unit": (0.0, 255.0),
    "symmetric": (127.5, 127.5),
    "none": (0.0, 1.0),
}
"""What is subtracted from grey levels, and by what they are divided: mean and deviation of the train part (standard),
or the same for all data: 0 to 255 become 0 to 1 (unit), -1 to 1 (symmetric), or stay (none)."""

WEIGHTS = "weights.safetensors"
ARCHITECTURE = "architecture.json"


class Classifier(nn.Module):
    """Grey levels `(N, C, H, W)` uint8, or points `(N, features, 1, 1)` float32, to logits `(N, classes)`.

    `mean` and `std` hold one value per channel, in grey levels. They are buffers, so they travel with the weights.
    With `mirror`, an image and its mirror image are judged together once training is over: the logits are averaged.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], *, mirror: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.mirror = mirror
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("scale", 1.0 / torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits; the memory format of the network's weights decides that of the activations."""
        normalised = (images.float() - self.mean) * self.scale
        logits: Tensor = self.network(normalised)
        if self.mirror and not self.training:
            logits = (logits + self.network(normalised.flip(3))) / 2
        return logits


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network without weights; it reads back from JSON as it was."""

    family: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Classifier:
        """A classifier with fresh weights, drawn from torch's default generator.

        `mean` and `std`, one value per channel, are those of the data. Of `arguments`, `mirror` and `scaling` (one of
        SCALINGS) are the classifier's, all others the network's. Raises ValueError for an unknown family or a value out
        of range, TypeError for an unknown argument.
        """
        if self.family not in FAMILIES:
            raise ValueError(f"unknown model family {self.family!r}; known are {', '.join(FAMILIES)}")
        # By name, because the families import the training loop, which imports this module.
        network = importlib.import_module(f"trainables.{self.family}").network
        arguments = dict(self.arguments)
        around = {name: arguments.pop(name) for name in ("scaling", "mirror") if name in arguments}
        unknown = [name for name in arguments if name not in inspect.signature(network).parameters]
        if unknown:
            raise TypeError(f"the {self.family} has no hyperparameter model/{unknown[0]}")
        body = network(self.shape, len(self.classes), **arguments)
        return scaled(body, self.shape[0], mean, std, **around)

    @property
    def convolutional(self) -> bool:
        """Whether memory layout matters to it."""
        return self.family == "cnn"

    def weights(self, folder: Path) -> dict[str, Tensor]:
        """The weights that `save` wrote."""
        from safetensors.torch import load_file

        return load_file(folder / WEIGHTS)

    def left_out(self) -> dict[str, Tensor]:
        """What a checkpoint of this family leaves out, because others have published it.

        Raises ValueError if it cannot be found on this machine.
        """
        family = importlib.import_module(f"trainables.{self.family}")
        named = family.published(self.arguments) if hasattr(family, "published") else {}
        return {f"network.{name}": value for name, value in named.items()}

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write architecture and weights into `folder`, which exists."""
        from safetensors.torch import save_file

        (folder / ARCHITECTURE).write_text(json.dumps(asdict(self), indent=1))
        # contiguous: channels_last weights are stored in the plain order, so any reader gets the same file.
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)


def scaled(
    network: nn.Module,
    channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    scaling: str = "standard",
    mirror: bool = False,
) -> Classifier:
    """`network` behind the normalisation called `scaling`; `mean` and `std` are those of the data, per channel.

    Raises ValueError for a scaling that is none of SCALINGS.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown model/scaling {scaling!r}; known are {', '.join(SCALINGS)}")
    fixed = SCALINGS[scaling]
    if fixed is not None:
        mean, std = [fixed[0]] * channels, [fixed[1]] * channels
    return Classifier(network, mean or [0.0] * channels, std or [1.0] * channels, mirror=bool(mirror))


def load_classifier(folder: Path) -> tuple[Architecture, Classifier]:
    """The classifier that `Architecture.save` wrote, on the CPU and in evaluation mode. No pickle is read."""
    stored = json.loads((folder / ARCHITECTURE).read_text())
    architecture = Architecture(stored["family"], tuple(stored["shape"]), tuple(stored["classes"]), stored["arguments"])
    model = architecture.build()
    state = architecture.weights(folder)
    if model.state_dict().keys() - state.keys():
        state |= architecture.left_out()
    model.load_state_dict(state)
    return architecture, model.eval()


def load_to_serve(folder: Path) -> tuple[Architecture, Classifier]:
    """The same, to be asked and no more: a family that can makes it quicker, and its answers differ by rounding."""
    architecture, model = load_classifier(folder)
    quicker = getattr(importlib.import_module(f"trainables.{architecture.family}"), "quicker", None)
    if quicker is not None:
        model.network = quicker(model.network)
    return architecture, model


def complete(checkpoint: Path, folder: Path) -> None:
    """Write the classifier in `checkpoint` into `folder`, which exists, with all that its reader needs.

    Of one that leaves out what others have published the file holds that too, and says nothing of where it was found.
    """
    if not json.loads((checkpoint / ARCHITECTURE).read_text())["arguments"].get("weights"):
        for name in (WEIGHTS, ARCHITECTURE):
            shutil.copyfile(checkpoint / name, folder / name)
        return
    architecture, model = load_classifier(checkpoint)
    replace(architecture, arguments={**architecture.arguments, "path": ""}).save(folder, model)
