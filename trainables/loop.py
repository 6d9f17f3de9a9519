"""One network in training: its steps, its validation, its checkpoints, and how fast that is."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.average import WeightAverage
from trainables.data import Split
from trainables.device import seeded, synchronize
from trainables.epoch import Diverged, Epoch
from trainables.evaluation import at_a_time, evaluate
from trainables.mode import Mode
from trainables.optimizers import load_state_tensors, set_learning_rate, state_tensors
from trainables.step import Step, eager_step, graphed_step
from trainables.supply import Batch, Supply

OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"

LOOK_EVERY = 64
"""Steps between looks at the loss on a GPU, where a look waits for the device; on the CPU every step is looked at."""


class Blueprint(Protocol):
    """What is trained: how it is built, and how a checkpoint holds it."""

    @property
    def convolutional(self) -> bool:
        """Whether memory layout matters to it."""

    def build(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> nn.Module:
        """Fresh weights, from torch's default generator; inputs are scaled by `mean` and `std`."""

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write all that a reader needs into `folder`, which exists."""

    def weights(self, folder: Path) -> Mapping[str, Tensor]:
        """What `save` wrote, as the model's state."""


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


@dataclass(kw_only=True)
class Loop:
    """One network in training: the weights, the optimizer, and where the learning rate stands."""

    blueprint: Blueprint
    model: nn.Module
    supply: Supply
    optimizer_of: Callable[[nn.Module], Optimizer]
    loss: Callable[[Tensor, Tensor], Tensor]
    rate: Callable[[int], float]
    mode: Mode
    device: torch.device
    batch_size: int
    passes: int
    balanced: bool
    average: float
    seed: int

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.passes * (len(self.supply.labels) // self.batch_size)

    def epochs(self, last: int, resume: Path | None) -> Iterator[Epoch]:
        """The epochs up to `last`, from the first or from the one after the checkpoint in `resume`."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            first = self._start(resume)
        for number in range(first, last + 1):
            with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
                metrics = {"train_loss": self._train_epoch(number), **evaluate(self.judged, self.supply.val)}
            trained = sum(weights.numel() for weights in self.model.parameters() if weights.requires_grad)
            metrics["parameters"] = float(trained)
            if not math.isfinite(metrics["val_loss"]):
                raise Diverged(number, self.steps, metrics["val_loss"])
            yield Epoch(number, metrics, partial(self._save, number))

    @property
    def judged(self) -> nn.Module:
        """The weights that are validated and served: their average if there is one."""
        return self.smoothed.module if self.smoothed else self.model

    def _start(self, resume: Path | None, *, pretend: bool = False) -> int:
        self.supply.open(self.device, pretend=pretend)
        self.model = self.model.to(self.device)
        if self.mode.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if resume is None:
            self.supply.prime(self.model)
        self.optimizer = self.optimizer_of(self.model)
        self.smoothed = WeightAverage(self.model, self.average) if self.average else None
        done = 0 if resume is None else self._restore(resume)
        # Last, because a captured graph holds on to the very tensors that a restore replaces.
        self.step = self._make_step()
        return done + 1

    def _make_step(self) -> Step:
        if self.device.type != "cuda":
            return eager_step(self.model, self.optimizer, self.loss, self.mode)
        with seeded(self.seed, self.device):
            images, labels = next(self._batches(1))
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
        with seeded(mix(self.seed, -number), self.device):
            for index, (images, labels) in enumerate(self._batches(number)):
                set_learning_rate(self.optimizer, self.rate((number - 1) * self.steps + index))
                loss = self.step(images, labels)
                if self.smoothed:
                    self.smoothed.update()
                yield loss

    def pace(self, seconds: float) -> Pace:
        """Take steps of the first epoch, again and again, for about `seconds`, and judge a part of the images."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            self._start(None, pretend=True)
            with seeded(self.seed, self.device):
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
            whole = self.supply.val
            judged = at_a_time(whole.images, self.judged) * (1 if self.device.type == "cpu" else 4)
            val = Split(whole.images[:judged], whole.labels[:judged])
            evaluate(self.judged, Split(val.images[:10], val.labels[:10]))
            validation = self._timed(lambda: evaluate(self.judged, val)) * len(whole) / len(val)
        step = max(0.0, spent - shuffles * shuffle) / taken
        epoch = self.passes * shuffle + self.steps * step + validation
        return Pace(epoch, min(1.0, waiting / spent), taken, partial(self._save, 1))

    def _timed(self, work: Callable[[], object]) -> float:
        synchronize(self.device)
        begin = time.perf_counter()
        work()
        synchronize(self.device)
        return time.perf_counter() - begin

    def _batches(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, shuffled anew for each pass."""
        for index in range((number - 1) * self.passes + 1, number * self.passes + 1):
            generator = torch.Generator(self.device).manual_seed(mix(self.seed, index))
            yield from self.supply.batches(self.batch_size, generator, balanced=self.balanced)

    def _save(self, number: int, folder: Path) -> None:
        from safetensors.torch import save_file

        self.blueprint.save(folder, self.judged)
        tensors = {f"optimizer/{name}": value for name, value in state_tensors(self.optimizer).items()}
        if self.smoothed:
            tensors |= {f"model/{name}": value for name, value in self.model.state_dict().items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / OPTIMIZER)
        (folder / PROGRESS).write_text(json.dumps({"epoch": number}))

    def _restore(self, folder: Path) -> int:
        """Go on from the checkpoint in `folder`, and say of which epoch it is."""
        from safetensors.torch import load_file

        tensors = load_file(folder / OPTIMIZER)
        weights = dict(self.blueprint.weights(folder))
        if self.smoothed:
            self.smoothed.module.load_state_dict(weights)
            self.smoothed.begun = True
            weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
        self.model.load_state_dict(weights)
        load_state_tensors(
            self.optimizer,
            ((n.removeprefix("optimizer/"), t) for n, t in tensors.items() if n.startswith("optimizer/")),
        )
        return int(json.loads((folder / PROGRESS).read_text())["epoch"])


def mix(seed: int, number: int) -> int:
    """A seed of its own for `number`, from that of the trial."""
    return random.Random(f"{seed}/{number}").getrandbits(63)


def _waited() -> float:
    """Seconds for which this thread has been ready to run so far, and others ran; Linux alone tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _finite(value: Tensor, epoch: int, step: int) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise Diverged(epoch, step + 1, number)
    return number
