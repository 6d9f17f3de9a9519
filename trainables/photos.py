"""Photos: a backbone that others have trained, some of its last stages trained on, and a head of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables import backbones
from trainables.classifier import ARCHITECTURE, WEIGHTS, Architecture
from trainables.data import Data
from trainables.epoch import Epoch, check_sections, section
from trainables.fused import Frozen
from trainables.gallery import Gallery, Stem
from trainables.layers import at_least
from trainables.photo_network import Head, Photos, Prepared
from trainables.photo_supply import Augmented, Featured, Mixing
from trainables.training import fit
from trainables.views import POLICIES, Recipe

SCRATCH = "none"
"""What stands for the SHA-256 of weights where there are none: all is trained from scratch."""
FEW = 200
"""With fewer images for validation than these, folds are the default."""
FOLDS = 5
HEAD_PHOTOS, TAIL_PHOTOS = 1000, 200
"""So many photos at least are passed in an epoch, if nothing else is said, through a head alone, or through stages."""
MOST_BYTES = 2 * 10**9
"""What the maps of all photos may take; where they would take more, they are computed anew in each pass."""


def network(
    shape: tuple[int, int, int],
    classes: int,
    *,
    backbone: str = "efficientnet_lite0",
    weights: str = SCRATCH,
    path: str = "",
    trained_stages: int = 0,
    image_size: int = 224,
    hidden_width: int = 0,
    dropout: float = 0.0,
    mirrored: bool = False,
) -> Photos:
    """`(N, C, H, W)` grey levels (C 1 or 3) to `(N, classes)` logits, with fresh weights.

    `weights` is the SHA-256 of those that a checkpoint of it was trained from (see `published`), and `path` where they
    were found, "" for their usual place. For all else see `train_photos`.
    """
    known = backbones.known(backbone)
    parts = backbones.stages(backbone, None)
    kept = 0 if weights == SCRATCH else len(parts) - trained_stages
    body = nn.Sequential(Prepared(image_size, known.mean, known.std), *parts[:kept])
    head = Head(known.channels, classes, hidden_width=hidden_width, dropout=dropout)
    return Photos(body, parts[kept:], head, mirrored=mirrored, still=weights != SCRATCH)


def published(arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a checkpoint of `network(…, **arguments)` leaves out, because others have published it; by its names.

    Raises ValueError if it cannot be found on this machine.
    """
    name, sha256 = arguments["backbone"], arguments["weights"]
    if sha256 == SCRATCH:
        return {}
    found = backbones.find(name, arguments.get("path", ""))
    if found is None:
        raise ValueError(f"the weights of {name} are not at hand; {backbones.hint(name)}")
    parts = backbones.frozen(name, found.path, sha256)
    return {
        f"body.{number}.{key}": value
        for number, stage in enumerate(parts[: len(parts) - arguments["trained_stages"]], start=1)
        for key, value in stage.state_dict().items()
    }


def quicker(network: nn.Module) -> nn.Module:
    """`network`, which is trained no more, changed so that it answers sooner: the same but for rounding."""
    assert isinstance(network, Photos)
    network.eval()
    if isinstance(network.body, nn.Sequential):
        network.body = Frozen(*network.body)
    network.tail = Frozen(*network.tail)
    return network


def train_photos(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
    """Train a head, and the last stages of a backbone, on photos: uint8 `(N, C, S, S)`, C 1 or 3, of any one size.

    `model/backbone` is one of `backbones.KNOWN`; of its stages the last `model/trained_stages` are trained, from 0 (it
    stays as it is) to all. `model/image_size` is the side, in pixels, to which photos are resized for it,
    `model/hidden_width` the units of a hidden layer of the head (0 is none), `model/dropout` (0 to 0.95) comes before
    its last layer. With `model/mirror` a photo and its mirror image are judged together.

    `weights/NAME` is the SHA-256 of the weights of the backbone NAME, or "none" to train from scratch; if it is not
    given, the weights that are found are used. `weights/path` is a file of weights or a folder of such files.

    `train/lr` is that of the head, `train/backbone_lr` that of the stages (a tenth of it if left out). Each photo is
    seen as it is and, with `train/flip`, mirrored, and in `train/views` (0 or more) further random views, which
    `train/crop`, `train/colour`, `train/policy` and `train/strength` make as `views.Recipe` says. What frozen stages
    make of all these is computed once per node (`gallery.Gallery`) and shared by all trials. Where nothing is frozen, a
    new view is made of each photo in each pass. `train/mixup` and `train/cutmix` above 0 mix photos, each with one half
    of the batches where both are given. `train/passes` is by default such that an epoch takes a moment, `train/folds`
    by default 5 where there are fewer than 200 images for validation. All else is as in `training.fit`.

    Raises ValueError or TypeError for what cannot be, before anything is computed.
    """
    check_sections(config, ("model", "train", "weights"))
    model, train, given = (section(config, name) for name in ("model", "train", "weights"))
    name = model.setdefault("backbone", "efficientnet_lite0")
    found, notes = _found(name, given)
    arguments = _arguments(model, found, given.get("path", ""))
    frozen = 0 if found is None else backbones.count(name) - arguments["trained_stages"]
    stem = Stem(name, found, frozen, arguments["image_size"]) if found else None
    recipe, views, mixing = _augmentation(train, arguments)
    if mixing.cutmix and stem is not None and stem.whole:
        raise ValueError("train/cutmix mixes parts of photos, and a frozen backbone sees whole ones; use train/mixup")
    supply: Augmented | Featured = Augmented(data, recipe, mixing, ends=_ends(data, stem))
    if stem is not None and stem.stages:
        size = 4 * (len(data.train) + len(data.val)) * prod(stem.shape) * (1 + views + recipe.flip)
        if size <= MOST_BYTES:
            gallery = Gallery(data, stem, recipe, views)
            supply = Featured(gallery, mixing, mirrored=arguments["mirrored"], ends=_ends(data, stem))
        else:
            notes.append(f"maps of all photos at {_stages(stem)} would take {size:,} bytes, so each pass computes them")
    folds = train.pop("folds", None)
    if folds is None:
        folds = FOLDS if len(data.val) < FEW else 0
    floor = HEAD_PHOTOS if stem is not None and stem.whole else TAIL_PHOTOS
    train.setdefault("passes", max(1, round(floor / len(data.train))))
    rate, slower = train.setdefault("lr", 0.01), train.pop("backbone_lr", None)
    at_least("train/backbone_lr", slower if slower is not None else 0, 0)
    training = fit(
        _Blueprint(data.shape, data.classes, arguments, found, isinstance(supply, Featured)),
        supply,
        folds=folds,
        slower={"tail.": slower / rate if slower is not None else 0.1},
        resume=resume,
        **train,
    )
    training.resolved["train/folds"] = folds
    training.notes[:0] = notes
    return training


def _stages(stem: Stem) -> str:
    return f"stage {stem.stages} of {stem.backbone}"


def _ends(data: Data, stem: Stem | None) -> Gallery | None:
    """What the whole backbone makes of the photos as they are, for the scale of the head's inputs."""
    return Gallery(data, stem.to_the_end(), Recipe(stem.size), 0) if stem else None


def _found(name: str, given: Mapping[str, str]) -> tuple[backbones.Weights | None, list[str]]:
    """The weights to begin with, and what the user must know of that."""
    unknown = [key for key in given if key != "path" and key not in backbones.KNOWN]
    if unknown:
        raise ValueError(f"unknown weights/{unknown[0]}; there are weights of {', '.join(backbones.KNOWN)}")
    told = given.get(name)
    if told == SCRATCH:
        return None, []
    found = backbones.find(name, given.get("path", ""))
    if told is not None and (found is None or found.sha256 != told):
        there = f"are {found.sha256[:12]}…" if found else "are not there"
        raise ValueError(f"weights/{name} is {told[:12]}…, but those at hand {there}; {backbones.hint(name)}")
    if found is None:
        return None, [without_weights(name)]
    return found, []


def without_weights(name: str) -> str:
    """What the user is told where the weights of backbone `name` cannot be had."""
    return (
        f"NO WEIGHTS OF {name.upper()} CAN BE HAD, SO ALL OF IT IS TRAINED FROM SCRATCH, WHICH TAKES FAR MORE TIME AND "
        f"PHOTOS: {backbones.hint(name)}"
    )


def _arguments(model: dict[str, Any], found: backbones.Weights | None, path: str) -> dict[str, Any]:
    """The arguments of `network`, in full. Raises ValueError or TypeError."""
    arguments = {
        "backbone": model.pop("backbone"),
        "weights": found.sha256 if found else SCRATCH,
        "path": path,
        "trained_stages": model.pop("trained_stages", 0),
        "image_size": model.pop("image_size", 224),
        "hidden_width": model.pop("hidden_width", 0),
        "dropout": model.pop("dropout", 0.0),
        "mirrored": bool(model.pop("mirror", False)),
    }
    if model:
        raise TypeError(f"a network for photos has no hyperparameter model/{next(iter(model))}")
    most = backbones.count(arguments["backbone"])
    at_least("model/trained_stages", arguments["trained_stages"], 0, most, whole=True)
    at_least("model/image_size", arguments["image_size"], 32, 1024, whole=True)
    at_least("model/hidden_width", arguments["hidden_width"], 0, whole=True)
    at_least("model/dropout", arguments["dropout"], 0, 0.95)
    return arguments


def _augmentation(train: dict[str, Any], arguments: Mapping[str, Any]) -> tuple[Recipe, int, Mixing]:
    """How photos are varied, taken out of `train`. Raises ValueError."""
    recipe = Recipe(
        arguments["image_size"],
        crop=train.pop("crop", 0.5),
        flip=bool(train.pop("flip", False)),
        colour=train.pop("colour", 0.0),
        policy=train.pop("policy", "none"),
        strength=train.pop("strength", 0.3),
    )
    views = train.pop("views", 0)
    mixing = Mixing(train.pop("mixup", 0.0), train.pop("cutmix", 0.0))
    at_least("train/views", views, 0, 64, whole=True)
    at_least("train/crop", recipe.crop, 0.01, 1)
    at_least("train/colour", recipe.colour, 0, 1)
    at_least("train/strength", recipe.strength, 0, 1)
    at_least("train/mixup", mixing.mixup, 0)
    at_least("train/cutmix", mixing.cutmix, 0)
    if recipe.policy not in POLICIES:
        raise ValueError(f"unknown train/policy {recipe.policy!r}; known are {', '.join(POLICIES)}")
    if mixing.cutmix + mixing.mixup and train.get("loss", "cross_entropy") != "cross_entropy":
        raise ValueError("train/mixup and train/cutmix need train/loss=cross_entropy")
    return recipe, views, mixing


@dataclass(frozen=True)
class _Blueprint:
    """What is trained: with `features_only` the frozen stages are left out, because the supply has what they make."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    arguments: Mapping[str, Any]
    found: backbones.Weights | None
    features_only: bool

    @property
    def convolutional(self) -> bool:
        """Whether memory layout matters to it."""
        return self.found is None or self.arguments["trained_stages"] > 0

    def build(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> nn.Module:
        """A fresh head on stages that are as published, or fresh too where there are no weights."""
        arguments = self.arguments
        if self.found is None:
            return network(self.shape, len(self.classes), **arguments)
        known = backbones.known(arguments["backbone"])
        parts = backbones.frozen(arguments["backbone"], self.found.path, self.found.sha256)
        kept = len(parts) - arguments["trained_stages"]
        body = None
        if not self.features_only:
            prepared = Prepared(arguments["image_size"], known.mean, known.std)
            body = nn.Sequential(prepared, *(deepcopy(stage) for stage in parts[:kept]))
        tail = [deepcopy(stage).requires_grad_(True) for stage in parts[kept:]]
        width, dropout = arguments["hidden_width"], arguments["dropout"]
        head = Head(known.channels, len(self.classes), hidden_width=width, dropout=dropout)
        return Photos(body, tail, head, mirrored=arguments["mirrored"], still=True)

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the architecture, and of the weights those that are trained, as those of a `Classifier`."""
        from safetensors.torch import save_file

        # Photos are scaled by the network itself, as its backbone is used to.
        architecture = Architecture("photos", self.shape, self.classes, {**self.arguments, "scaling": "none"})
        (folder / ARCHITECTURE).write_text(json.dumps(asdict(architecture), indent=1))
        plain = torch.zeros(1, self.shape[0], 1, 1)
        state = {f"network.{name}": value for name, value in model.state_dict().items() if not _left_out(name)}
        state |= {"mean": plain, "scale": plain + 1}
        save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)

    def weights(self, folder: Path) -> Mapping[str, Tensor]:
        """What `save` wrote, with the frozen stages where they are part of the model in training."""
        from safetensors.torch import load_file

        stored = {name.removeprefix("network."): value for name, value in load_file(folder / WEIGHTS).items()}
        own = {name: value for name, value in stored.items() if name not in ("mean", "scale")}
        return own if self.features_only else {**published(self.arguments), **own}


def _left_out(name: str) -> bool:
    return name.startswith("body.")
