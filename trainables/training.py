"""The training loop, for every network."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augmentation import flipped, shifted
from trainables.classifier import WEIGHTS, Architecture, Classifier
from trainables.data import Data, Split
from trainables.device import Mode, pick_device, probe, release, seeded
from trainables.epoch import Diverged, Epoch
from trainables.layers import at_least
from trainables.optimizers import (
    learning_rates,
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
)
from trainables.step import eager_step, graphed_step

OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"

LOOK_EVERY = 64
"""Steps between looks at the loss on a GPU, where a look waits for the device; on the CPU every step is looked at."""


def train(
    architecture: Architecture,
    data: Data,
    *,
    epochs: int,
    seed: int = 0,
    batch_size: int = 128,
    lr: float = 0.05,
    optimizer: str = "sgd",
    schedule: str = "one_cycle",
    warmup: float = 0.0,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    flip: bool = False,
    shift: int = 0,
    average: float = 0.0,
    device: str = "auto",
    precision: str = "auto",
    resume: Path | None = None,
    **optimizer_options: Any,
) -> Iterator[Epoch]:
    """Train a fresh network; each of `epochs` epochs yields `train_loss`, `val_loss` and `val_accuracy` (0 to 1).

    `batch_size` images a step; what is left at the end of an epoch, less than a batch, waits for the next shuffle. `lr`
    is the peak of `schedule`, which spans all `epochs`, after a `warmup` (share of the steps). `label_smoothing` in
    [0, 1). `flip` mirrors at random, `shift` moves by up to that many pixels. `average` in [0, 1) is the decay per step
    of an exponential moving average of the weights, which is then what is validated and saved (0 is none).
    `precision` is "float32", "bfloat16" or "auto", which asks a short probe. `optimizer_options` are those of
    `trainables.optimizers`.

    Every draw comes from `seed` and the number of the epoch, so training goes on from a checkpoint as if it had never
    stopped; on one CPU thread bit for bit. Raises ValueError or TypeError for hyperparameters that cannot be, before
    the first step, and `Diverged` at the first loss that is not finite.
    """
    at_least("train/epochs", epochs, 1)
    at_least("train/batch_size", batch_size, 1)
    at_least("train/weight_decay", weight_decay, 0)
    at_least("train/label_smoothing", label_smoothing, 0, 0.99)
    at_least("train/shift", shift, 0, min(data.shape[1:]) - 1)
    at_least("train/average", average, 0, 0.99999)
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"train/lr must be a finite number above 0, but got {lr}")
    if batch_size > len(data.train):
        raise ValueError(f"train/batch_size={batch_size} is more than the {len(data.train)} training images")

    where = pick_device(device)
    mode = probe(where, convolutional=architecture.family == "cnn") if precision == "auto" else _mode(precision)
    data = data.to(where)
    with seeded(seed, where):
        model = architecture.build(data.mean, data.std)
    model = model.to(where)
    if mode.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_gpu = where.type == "cuda"
    optim = make_optimizer(optimizer, model, lr=lr, weight_decay=weight_decay, graph=on_gpu, **optimizer_options)
    steps = len(data.train) // batch_size
    rate = learning_rates(schedule=schedule, lr=lr, steps=steps * epochs, warmup=warmup)
    smoothed = average_of(model, average) if average else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    if on_gpu:
        batch = Split(data.train.images[:batch_size], data.train.labels[:batch_size])
        step = graphed_step(model.train(), optim, loss, mode, batch.images, batch.labels)
    else:
        step = eager_step(model, optim, loss, mode)

    first = 1
    if resume is not None:
        first = 1 + _restore(resume, model, smoothed, optim)

    def judged() -> Classifier:
        return smoothed.module if smoothed else model  # type: ignore[return-value]

    def save(folder: Path, number: int) -> None:
        architecture.save(folder, judged())
        _save_progress(folder, number, model if smoothed else None, optim)

    def run() -> Iterator[Epoch]:
        try:
            for number in range(first, epochs + 1):
                generator = torch.Generator(where).manual_seed(_mix(seed, number))
                batches = _shuffled(data.train, flip=flip, shift=shift, generator=generator)
                model.train()
                total = torch.zeros((), device=where)
                with seeded(_mix(seed, -number), where):
                    for index in range(steps):
                        part = slice(index * batch_size, (index + 1) * batch_size)
                        set_learning_rate(optim, rate((number - 1) * steps + index))
                        value = step(batches.images[part], batches.labels[part])
                        if smoothed:
                            smoothed.update_parameters(model)
                        total += value
                        if not on_gpu or index % LOOK_EVERY == 0:
                            _finite(value, number, index)
                metrics = {"train_loss": _finite(total, number, steps - 1) / steps}
                metrics |= evaluate(judged(), data.val)
                if not math.isfinite(metrics["val_loss"]):
                    raise Diverged(number, steps, metrics["val_loss"])
                yield Epoch(number, metrics, lambda folder, number=number: save(folder, number))  # type: ignore[misc]
        finally:
            release(where)

    return run()


def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    """`val_loss` (mean cross-entropy) and `val_accuracy` (share of right answers) of `model` on `split`.

    In float32 whatever the training ran in, so that the served model shows the same numbers anywhere.
    """
    device = split.images.device
    loss = torch.zeros((), device=device, dtype=torch.float64)
    right = torch.zeros((), device=device, dtype=torch.int64)
    training = model.training
    model.eval()
    # Batches of 250 stay in the cache of one CPU core; a GPU takes what it is given.
    size = 250 if device.type == "cpu" else 2000
    with torch.inference_mode():
        for images, labels in zip(split.images.split(size), split.labels.split(size), strict=True):
            logits = model(images)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            right += (logits.argmax(1) == labels).sum()
    model.train(training)
    return {"val_loss": loss.item() / len(split), "val_accuracy": right.item() / len(split)}


def average_of(model: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """An exponential moving average of the weights of `model`; batch norm's statistics are averaged with them."""
    return torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay), use_buffers=True
    )


def _mode(precision: str) -> Mode:
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"train/precision must be auto, float32 or bfloat16, but got {precision!r}")
    return Mode(precision)


def _mix(seed: int, number: int) -> int:
    return random.Random(f"{seed}/{number}").getrandbits(63)


def _finite(value: Tensor, epoch: int, step: int) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise Diverged(epoch, step + 1, number)
    return number


def _shuffled(split: Split, *, flip: bool, shift: int, generator: torch.Generator) -> Split:
    order = torch.randperm(len(split), generator=generator, device=generator.device)
    images = split.images[order]
    if flip:
        images = flipped(images, generator)
    if shift:
        images = shifted(images, shift, generator)
    return Split(images, split.labels[order])


def _save_progress(folder: Path, number: int, raw: nn.Module | None, optimizer: torch.optim.Optimizer) -> None:
    from safetensors.torch import save_file

    tensors = {f"optimizer/{name}": value for name, value in state_tensors(optimizer).items()}
    if raw is not None:
        tensors |= {f"model/{name}": value for name, value in raw.state_dict().items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps({"epoch": number}))


def _restore(folder: Path, model: nn.Module, smoothed: Any, optimizer: torch.optim.Optimizer) -> int:
    from safetensors.torch import load_file

    tensors = load_file(folder / OPTIMIZER)
    weights = load_file(folder / WEIGHTS)
    if smoothed:
        smoothed.module.load_state_dict(weights)
        smoothed.n_averaged.fill_(1)
        weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    model.load_state_dict(weights)
    load_state_tensors(
        optimizer, ((n.removeprefix("optimizer/"), t) for n, t in tensors.items() if n.startswith("optimizer/"))
    )
    return int(json.loads((folder / PROGRESS).read_text())["epoch"])
