"""The training loop, for every network."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.augmentation import flipped, shifted
from trainables.average import WeightAverage
from trainables.classifier import WEIGHTS, Architecture, Classifier
from trainables.data import Data, Split
from trainables.device import Mode, pick_device, probe, seeded, synchronize
from trainables.epoch import Diverged, Epoch
from trainables.layers import at_least
from trainables.losses import loss_function
from trainables.metrics import beyond_accuracy
from trainables.metrics import class_weights as class_weights_of
from trainables.optimizers import (
    check_options,
    learning_rates,
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
)
from trainables.step import Step, eager_step, graphed_step

OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"

LOOK_EVERY = 64
"""Steps between looks at the loss on a GPU, where a look waits for the device; on the CPU every step is looked at."""


def train(
    architecture: Architecture,
    data: Data,
    *,
    epochs: int,
    passes: int = 1,
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
    flip: bool = False,
    shift: int = 0,
    average: float = 0.0,
    device: str = "auto",
    precision: str = "auto",
    channels_last: bool | None = None,
    resume: Path | None = None,
    **optimizer_options: Any,
) -> Training:
    """Train a fresh network; each of `epochs` epochs yields `train_loss` and what `evaluate` says of it.

    `parameters`, the number of trained weights, is yielded with them. `loss` is one of `losses.LOSSES`; `val_loss` is
    the cross-entropy whatever `loss` is, so that trials can be compared.
    An epoch is `passes` passes over the data, more than one where the data are so few that one pass is not worth a
    report. `batch_size` images a step; what is left at the end of a pass, less than a batch, waits for the next. `lr`
    is the peak of `schedule`, which spans all `epochs`, after a `warmup` (share of the steps). `label_smoothing` in
    [0, 1). Where classes differ in size, `class_weights="balanced"` weighs the loss of each by the inverse of its size,
    and `sampling="balanced"` draws the images of a pass anew, with replacement, each class as often as any other.
    `flip` mirrors at random, `shift` moves by up to that many pixels. `average` in [0, 1) is the decay per step
    of an exponential moving average of the weights, which is then what is validated and saved (0 is none).
    `precision` is "float32", "bfloat16" or "auto", which asks a short probe, as None does for `channels_last`.
    `optimizer_options` are those of `trainables.optimizers`.

    Every draw comes from `seed` and the number of the epoch, so training goes on from a checkpoint as if it had never
    stopped; on one CPU thread bit for bit. Raises ValueError or TypeError for hyperparameters that cannot be, before
    anything is trained, and `Diverged` at the first loss that is not finite.
    """
    at_least("train/epochs", epochs, 1, whole=True)
    at_least("train/passes", passes, 1, whole=True)
    at_least("train/batch_size", batch_size, 1, whole=True)
    at_least("train/weight_decay", weight_decay, 0)
    at_least("train/label_smoothing", label_smoothing, 0, 0.99)
    at_least("train/shift", shift, 0, min(data.shape[1:]) - 1, whole=True)
    at_least("train/average", average, 0, 0.99999)
    if not isinstance(lr, (int, float)) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"train/lr must be a finite number above 0, but got {lr!r}")
    if batch_size > len(data.train):
        raise ValueError(f"train/batch_size={batch_size} is more than the {len(data.train)} training images")
    if sampling not in ("shuffled", "balanced"):
        raise ValueError(f"train/sampling must be shuffled or balanced, but got {sampling!r}")
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"train/precision must be auto, float32 or bfloat16, but got {precision!r}")
    check_options(optimizer, optimizer_options)
    steps = passes * (len(data.train) // batch_size)
    rate = learning_rates(schedule=schedule, lr=lr, steps=steps * epochs, warmup=warmup)
    where = pick_device(device)
    measure = loss_function(loss, label_smoothing, _weights(class_weights, data, where))
    mode = Mode(precision, bool(channels_last))
    if precision == "auto" or channels_last is None:
        probed = probe(where, convolutional=architecture.family == "cnn")
        mode = Mode(
            probed.precision if precision == "auto" else precision,
            probed.channels_last if channels_last is None else channels_last,
        )
    with seeded(seed, where):
        model = architecture.build(data.mean, data.std)

    def optimizer_of(model: nn.Module) -> Optimizer:
        graph = where.type == "cuda"
        return make_optimizer(optimizer, model, lr=lr, weight_decay=weight_decay, graph=graph, **optimizer_options)

    loop = _Loop(
        architecture=architecture,
        model=model,
        data=data,
        optimizer_of=optimizer_of,
        loss=measure,
        rate=rate,
        mode=mode,
        device=where,
        batch_size=batch_size,
        passes=passes,
        balanced=sampling == "balanced",
        flip=flip,
        shift=shift,
        average=average,
        seed=seed,
    )
    resolved: dict[str, Any] = {}
    if precision == "auto":
        resolved["train/precision"] = mode.precision
    if channels_last is None:
        resolved["train/channels_last"] = mode.channels_last
    return Training(loop.epochs(epochs, resume), resolved, loop.pace)


@dataclass(frozen=True)
class Pace:
    """How fast a network trains, judged by its first `steps`: an epoch with its validation takes about `seconds`.

    In the share `waiting` (0 to 1) of that time the thread was ready and other work had the processor, 0 if the system
    does not tell. `save` writes its checkpoint, as that of an epoch does.
    """

    seconds: float
    waiting: float
    steps: int
    save: Callable[[Path], None]


class Training(Iterator[Epoch]):
    """The epochs of one training; nothing is trained before the first is asked for.

    `resolved` has what "auto" came to on this machine, by the names of the hyperparameters, and nothing that was asked
    for. `pace(seconds)` takes real steps for about so long instead of the epochs; the training is of no further use
    then.
    """

    def __init__(self, epochs: Iterator[Epoch], resolved: Mapping[str, Any], pace: Callable[[float], Pace]) -> None:
        self._epochs, self.resolved, self.pace = epochs, resolved, pace

    def __next__(self) -> Epoch:
        return next(self._epochs)


@dataclass(kw_only=True)
class _Loop:
    """One network in training: the weights, the optimizer, and where the learning rate stands."""

    architecture: Architecture
    model: Classifier
    data: Data
    optimizer_of: Callable[[nn.Module], Optimizer]
    loss: Callable[[Tensor, Tensor], Tensor]
    rate: Callable[[int], float]
    mode: Mode
    device: torch.device
    batch_size: int
    passes: int
    balanced: bool
    flip: bool
    shift: int
    average: float
    seed: int

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.passes * (len(self.data.train) // self.batch_size)

    def epochs(self, last: int, resume: Path | None) -> Iterator[Epoch]:
        """The epochs up to `last`, from the first or from the one after the checkpoint in `resume`."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            first = self._start(resume)
        for number in range(first, last + 1):
            with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
                metrics = {"train_loss": self._train_epoch(number), **evaluate(self.judged, self.data.val)}
            metrics["parameters"] = float(sum(weights.numel() for weights in self.model.parameters()))
            if not math.isfinite(metrics["val_loss"]):
                raise Diverged(number, self.steps, metrics["val_loss"])
            yield Epoch(number, metrics, partial(self._save, number))

    @property
    def judged(self) -> Classifier:
        """The weights that are validated and served: their average if there is one."""
        return self.smoothed.module if self.smoothed else self.model

    def _start(self, resume: Path | None) -> int:
        self.data = self.data.to(self.device)
        self.model = self.model.to(self.device)
        if self.mode.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self.optimizer_of(self.model)
        self.smoothed = WeightAverage(self.model, self.average) if self.average else None
        done = 0 if resume is None else _restore(resume, self.model, self.smoothed, self.optimizer)
        # Last, because a captured graph holds on to the very tensors that a restore replaces.
        self.step = self._make_step()
        return done + 1

    def _make_step(self) -> Step:
        if self.device.type != "cuda":
            return eager_step(self.model, self.optimizer, self.loss, self.mode)
        images, labels = self.data.train.images[: self.batch_size], self.data.train.labels[: self.batch_size]
        return graphed_step(self.model.train(), self.optimizer, self.loss, self.mode, images, labels)

    def _train_epoch(self, number: int) -> float:
        """Take all steps of epoch `number` and return the mean loss."""
        look_every = LOOK_EVERY if self.device.type == "cuda" else 1
        total = torch.zeros((), device=self.device)
        for index, loss in enumerate(self._steps(number)):
            total += loss
            if index % look_every == 0:
                _finite(loss, number, index)
        return _finite(total, number, self.steps - 1) / self.steps

    def _steps(self, number: int) -> Generator[Tensor, None, None]:
        """Take the steps of epoch `number` one by one, each when it is asked for, and yield its loss."""
        self.model.train()
        with seeded(_mix(self.seed, -number), self.device):
            for index, (images, labels) in enumerate(self._batches(number)):
                set_learning_rate(self.optimizer, self.rate((number - 1) * self.steps + index))
                loss = self.step(images, labels)
                if self.smoothed:
                    self.smoothed.update()
                yield loss

    def pace(self, seconds: float) -> Pace:
        """Take steps of the first epoch, again and again, for about `seconds`, and judge a part of the images."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            self._start(None)
            shuffle = self._timed(lambda: next(self._batches(1)))
            taken, shuffles, spent, waiting = 0, 0, 0.0, 0.0
            warm = 1  # at the first step kernels are chosen and memory is fetched; it does not count
            while not taken or spent < seconds:
                with closing(self._steps(1)) as steps:
                    new = sum(1 for _ in itertools.islice(steps, warm)) - warm
                    synchronize(self.device)
                    begin, waited = time.perf_counter(), _waited()
                    for new, _ in enumerate(steps, start=1):  # noqa: B007
                        if time.perf_counter() - begin > seconds - spent:
                            break
                    synchronize(self.device)
                    spent, waiting = spent + time.perf_counter() - begin, waiting + _waited() - waited
                taken, shuffles = taken + new, shuffles + math.ceil((new + warm) * self.passes / self.steps) - warm
                warm = 0
            judged = 250 if self.device.type == "cpu" else 8000
            val = Split(self.data.val.images[:judged], self.data.val.labels[:judged])
            evaluate(self.judged, Split(val.images[:10], val.labels[:10]))
            validation = self._timed(lambda: evaluate(self.judged, val)) * len(self.data.val) / len(val)
        step = max(0.0, spent - shuffles * shuffle) / taken
        epoch = self.passes * shuffle + self.steps * step + validation
        return Pace(epoch, min(1.0, waiting / spent), taken, partial(self._save, 1))

    def _timed(self, work: Callable[[], object]) -> float:
        synchronize(self.device)
        begin = time.perf_counter()
        work()
        synchronize(self.device)
        return time.perf_counter() - begin

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `number`, shuffled anew for each pass."""
        for index in range((number - 1) * self.passes + 1, number * self.passes + 1):
            generator = torch.Generator(self.device).manual_seed(_mix(self.seed, index))
            shuffled = _shuffled(self.data.train, self.balanced, flip=self.flip, shift=self.shift, generator=generator)
            images, labels = shuffled.images.split(self.batch_size), shuffled.labels.split(self.batch_size)
            yield from itertools.islice(zip(images, labels, strict=True), len(shuffled) // self.batch_size)

    def _save(self, number: int, folder: Path) -> None:
        self.architecture.save(folder, self.judged)
        _save_progress(folder, number, self.model if self.smoothed else None, self.optimizer)


def _waited() -> float:
    """Seconds for which this thread has been ready to run so far, and others ran; Linux alone tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def evaluate(
    model: nn.Module, split: Split, *, hear: Callable[[Tensor], object] = lambda logits: None
) -> dict[str, float]:
    """`val_loss` (mean cross-entropy) and `val_accuracy` (share of right answers) of `model` on `split`.

    With them `val_balanced_accuracy`, `val_macro_f1` and, for two classes, `val_roc_auc`, as metrics.py has them.
    In float32 whatever the training ran in, so that the served model shows the same numbers anywhere. `hear` is called
    with the logits of each batch, in the order of `split`.
    """
    device = split.images.device
    loss = torch.zeros((), device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
    predicted: list[Tensor] = []
    scores: list[Tensor] = []
    training = model.training
    model.eval()
    # Batches of 250 stay in the cache of one CPU core; a GPU takes what it is given.
    size = 250 if device.type == "cpu" else 2000
    # cuDNN would round the inputs of convolutions to TF32.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with torch.inference_mode(), exact if device.type == "cuda" else nullcontext():
        for images, labels in zip(split.images.split(size), split.labels.split(size), strict=True):
            logits = model(images)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            predicted.append(logits.argmax(1))
            scores.append(logits[:, -1] - logits[:, 0])
            hear(logits)
    model.train(training)
    answers = torch.cat(predicted)
    return {
        "val_loss": loss.item() / len(split),
        "val_accuracy": (answers == split.labels).sum().item() / len(split),
        **{
            f"val_{name}": value
            for name, value in beyond_accuracy(split.labels, answers, logits.shape[1], torch.cat(scores)).items()
        },
    }


def examined(model: nn.Module, split: Split) -> tuple[dict[str, float], Tensor, Tensor]:
    """What `evaluate` gives; and of each image, from the same pass, the class it is taken for and how sure that is.

    Classes are int64 `(N,)`; the confidence is the softmax of that class, 1/classes to 1, float32 `(N,)`.
    """
    classes: list[Tensor] = []
    sure: list[Tensor] = []

    def hear(logits: Tensor) -> None:
        classes.append(logits.argmax(1))
        sure.append(logits.float().softmax(1).gather(1, classes[-1][:, None])[:, 0])

    metrics = evaluate(model, split, hear=hear)
    return metrics, torch.cat(classes), torch.cat(sure)


def _mix(seed: int, number: int) -> int:
    return random.Random(f"{seed}/{number}").getrandbits(63)


def _finite(value: Tensor, epoch: int, step: int) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise Diverged(epoch, step + 1, number)
    return number


def _weights(how: str, data: Data, device: torch.device) -> Tensor | None:
    if how not in ("none", "balanced"):
        raise ValueError(f"train/class_weights must be none or balanced, but got {how!r}")
    return None if how == "none" else class_weights_of(data.train.labels, len(data.classes)).to(device)


def _shuffled(split: Split, balanced: bool, *, flip: bool, shift: int, generator: torch.Generator) -> Split:
    if balanced:
        each = (1.0 / torch.bincount(split.labels).float())[split.labels]
        order = torch.multinomial(each, len(split), replacement=True, generator=generator)
    else:
        order = torch.randperm(len(split), generator=generator, device=generator.device)
    images = split.images[order]
    if flip:
        images = flipped(images, generator)
    if shift:
        images = shifted(images, shift, generator)
    return Split(images, split.labels[order])


def _save_progress(folder: Path, number: int, raw: nn.Module | None, optimizer: Optimizer) -> None:
    from safetensors.torch import save_file

    tensors = {f"optimizer/{name}": value for name, value in state_tensors(optimizer).items()}
    if raw is not None:
        tensors |= {f"model/{name}": value for name, value in raw.state_dict().items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps({"epoch": number}))


def _restore(folder: Path, model: nn.Module, smoothed: WeightAverage | None, optimizer: Optimizer) -> int:
    from safetensors.torch import load_file

    tensors = load_file(folder / OPTIMIZER)
    weights = load_file(folder / WEIGHTS)
    if smoothed:
        smoothed.module.load_state_dict(weights)
        smoothed.begun = True
        weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    model.load_state_dict(weights)
    load_state_tensors(
        optimizer, ((n.removeprefix("optimizer/"), t) for n, t in tensors.items() if n.startswith("optimizer/"))
    )
    return int(json.loads((folder / PROGRESS).read_text())["epoch"])
