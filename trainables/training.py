"""The training of every network: what its hyperparameters mean, and their checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.data import Data
from trainables.device import pick_device, seeded
from trainables.epoch import Epoch
from trainables.folds import Folded
from trainables.layers import at_least
from trainables.loop import Blueprint, Loop, Pace, mix
from trainables.losses import loss_function
from trainables.metrics import class_weights as class_weights_of
from trainables.mode import Mode, probe
from trainables.optimizers import check_options, learning_rates, make_optimizer
from trainables.supply import Images, Supply


class Training(Iterator[Epoch]):
    """The epochs of one training; nothing is trained before the first is asked for.

    `resolved` has what "auto" came to on this machine, by the names of the hyperparameters, and nothing that was asked
    for. `notes` are lines for the user: what is otherwise than asked for. `pace(seconds)` takes real steps for about so
    long instead of the epochs; the training is of no further use then.
    """

    def __init__(
        self,
        epochs: Iterator[Epoch],
        resolved: Mapping[str, Any],
        pace: Callable[[float], Pace],
        notes: Sequence[str] = (),
    ) -> None:
        self._epochs, self.resolved, self.pace, self.notes = epochs, dict(resolved), pace, list(notes)

    def __next__(self) -> Epoch:
        return next(self._epochs)


def train(architecture: Blueprint, data: Data, *, flip: bool = False, shift: int = 0, **settings: Any) -> Training:
    """Train on the images of `data`: `flip` mirrors them at random, `shift` moves them by up to that many pixels.

    All other `settings` are those of `fit`, which see.
    """
    at_least("train/shift", shift, 0, min(data.shape[1:]) - 1, whole=True)
    return fit(architecture, Images(data, flip=flip, shift=shift), **settings)


def fit(
    blueprint: Blueprint,
    supply: Supply,
    *,
    epochs: int,
    passes: int = 1,
    folds: int = 0,
    seed: int = 0,
    batch_size: int = 128,
    lr: float = 0.05,
    optimizer: str = "sgd",
    loss: str = "cross_entropy",
    schedule: str = "one_cycle",
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    class_weights: str = "none",
    sampling: str = "shuffled",
    average: float = 0.0,
    device: str = "auto",
    precision: str = "auto",
    channels_last: bool | None = None,
    resume: Path | None = None,
    slower: Mapping[str, float] | None = None,
    **optimizer_options: Any,
) -> Training:
    """Train a fresh network; each of `epochs` epochs yields `train_loss` and what `evaluate` says of it.

    `parameters`, the number of trained weights, is yielded with them. `loss` is one of `losses.LOSSES`; `val_loss` is
    the cross-entropy whatever `loss` is, so that trials can be compared.
    An epoch is `passes` passes over the data, more than one where the data are so few that one pass is not worth a
    report. `batch_size` images a step, or all there are if they are fewer, which `notes` say; what is left at the end
    of a pass, less than a batch, waits for the next. `lr` is the peak of `schedule`, which spans all `epochs`, after a
    `warmup` (share of the steps). Weights whose names begin with a key of `slower` learn so many times as fast.
    `label_smoothing` in [0, 1). Where classes differ in size, `class_weights="balanced"` weighs the loss of each by the
    inverse of its size, and `sampling="balanced"` draws the images of a pass anew, with replacement, each class as
    often as any other. `average` in [0, 1) is the decay per step of an exponential moving average of the weights, which
    is then what is validated and saved (0 is none). `precision` is "float32", "bfloat16" or "auto", which asks a short
    probe, as None does for `channels_last`. `optimizer_options` are those of `trainables.optimizers`.

    With `folds` (2 or more, 0 is none) as many networks are trained beside each other, each judged by another part of
    train and validation images, which are one set then, and one more on all of it, which is what is saved and served:
    see `folds.Folded`.

    Every draw comes from `seed` and the number of the epoch, so training goes on from a checkpoint as if it had never
    stopped; on one CPU thread bit for bit. Raises ValueError or TypeError for hyperparameters that cannot be, before
    anything is trained, and `Diverged` at the first loss that is not finite.
    """
    at_least("train/epochs", epochs, 1, whole=True)
    at_least("train/passes", passes, 1, whole=True)
    at_least("train/batch_size", batch_size, 1, whole=True)
    at_least("train/weight_decay", weight_decay, 0)
    at_least("train/label_smoothing", label_smoothing, 0, 0.99)
    at_least("train/average", average, 0, 0.99999)
    if len(supply.labels) < 2:
        raise ValueError(f"there are {len(supply.labels)} training images, and at least 2 are needed")
    _check_folds(folds, len(supply.labels) + len(supply.val))
    if not isinstance(lr, (int, float)) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"train/lr must be a finite number above 0, but got {lr!r}")
    if sampling not in ("shuffled", "balanced"):
        raise ValueError(f"train/sampling must be shuffled or balanced, but got {sampling!r}")
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"train/precision must be auto, float32 or bfloat16, but got {precision!r}")
    check_options(optimizer, optimizer_options)
    where = pick_device(device)
    mode, resolved = _mode(where, precision, channels_last, convolutional=blueprint.convolutional)
    # Checked before anything takes time; the rate itself depends on the steps of a fold.
    learning_rates(schedule=schedule, lr=lr, steps=1, warmup=warmup)
    loss_function(loss, label_smoothing, _weights(class_weights, supply, where))

    def optimizer_of(model: nn.Module) -> Optimizer:
        graph = where.type == "cuda"
        return make_optimizer(
            optimizer, model, lr=lr, weight_decay=weight_decay, graph=graph, slower=slower, **optimizer_options
        )

    def loop(supply: Supply, seed: int) -> Loop:
        size = min(batch_size, len(supply.labels))
        steps = passes * (len(supply.labels) // size)
        with seeded(seed, where):
            model = blueprint.build(supply.mean, supply.std)
        return Loop(
            blueprint=blueprint,
            model=model,
            supply=supply,
            optimizer_of=optimizer_of,
            loss=loss_function(loss, label_smoothing, _weights(class_weights, supply, where)),
            rate=learning_rates(schedule=schedule, lr=lr, steps=steps * epochs, warmup=warmup),
            mode=mode,
            device=where,
            batch_size=size,
            passes=passes,
            balanced=sampling == "balanced",
            average=average,
            seed=seed,
        )

    notes = []
    if batch_size > len(supply.labels):
        notes.append(f"train/batch_size above the {len(supply.labels)} training images is cut to their number")
    if folds:
        supplies = supply.folds(folds, seed=0)  # the same folds in all trials, or luck with the folds would win
        whole = Folded([partial(loop, each, mix(seed, number)) for number, each in enumerate(supplies)])
        return Training(whole.epochs(epochs, resume), resolved, whole.pace, notes)
    alone = loop(supply, seed)
    return Training(alone.epochs(epochs, resume), resolved, alone.pace, notes)


def _check_folds(folds: int, images: int) -> None:
    at_least("train/folds", folds, 0, whole=True)
    if folds == 1:
        raise ValueError("train/folds must be 2 or more, or 0 for none, but got 1")
    if folds > images:
        raise ValueError(f"train/folds={folds} is more than the {images} images that are not for the test")


def _mode(
    device: torch.device, precision: str, channels_last: bool | None, *, convolutional: bool
) -> tuple[Mode, dict[str, Any]]:
    """How the network runs on `device`, and what of that was worked out here."""
    mode = Mode(precision, bool(channels_last))
    resolved: dict[str, Any] = {}
    if precision == "auto" or channels_last is None:
        probed = probe(device, convolutional=convolutional)
        mode = Mode(
            probed.precision if precision == "auto" else precision,
            probed.channels_last if channels_last is None else channels_last,
        )
    if precision == "auto":
        resolved["train/precision"] = mode.precision
    if channels_last is None:
        resolved["train/channels_last"] = mode.channels_last
    return mode, resolved


def _weights(how: str, supply: Supply, device: torch.device) -> Tensor | None:
    if how not in ("none", "balanced"):
        raise ValueError(f"train/class_weights must be none or balanced, but got {how!r}")
    return None if how == "none" else class_weights_of(supply.labels, supply.classes).to(device)
