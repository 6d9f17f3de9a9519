"""Which device to train on, and in which precision and memory layout it is fastest."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

CLEAR_GAIN = 1.15
"""A mode must beat plain float32 by this factor, so that noise alone never decides for the less exact one."""


@dataclass(frozen=True)
class Mode:
    """How a network runs: `precision` is "float32" or "bfloat16" (autocast; weights stay float32)."""

    precision: str = "float32"
    channels_last: bool = False


def pick_device(name: str = "auto") -> torch.device:
    """The device `name`; "auto" is the GPU that this process sees, else Apple's mps, else the CPU."""
    if name != "auto":
        try:
            return torch.device(name)
        except RuntimeError:
            raise ValueError(f"unknown train/device {name!r}; known are auto, cpu, cuda, mps") from None
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's default generators start from `seed`; outside they are as before.

    The one place where the default generators are set: fresh weights and dropout draw from them.
    """
    forked = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)
        yield


@cache
def probe(device: torch.device, *, convolutional: bool) -> Mode:
    """The fastest mode of `device`, by timing a few steps of a small network; about 0.1 s, once per process.

    bfloat16 gains 2 to 3 times where the processor has instructions for it and loses 10 times where it has not, and
    no capability flag says which for every device.
    """
    candidates = [Mode(), Mode("bfloat16")]
    if convolutional:
        candidates = [Mode(), Mode(channels_last=True), Mode("bfloat16", channels_last=True)]
    with seeded(0, device):
        seconds = {mode: _step_seconds(mode, device, convolutional) for mode in candidates}
    best = min(seconds, key=lambda mode: seconds[mode])
    return best if seconds[Mode()] > CLEAR_GAIN * seconds[best] else Mode()


def _step_seconds(mode: Mode, device: torch.device, convolutional: bool) -> float:
    model: nn.Module = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    inputs = torch.rand(128, 784)
    if convolutional:
        model = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        inputs = torch.rand(32, 16, 14, 14)
    if device.type != "cpu":
        inputs = inputs.repeat(64, *[1] * (inputs.ndim - 1))  # smaller steps would time the launch of kernels
    model, inputs = model.to(device), inputs.to(device)
    if mode.channels_last:
        model, inputs = model.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=mode.precision == "bfloat16"):
            loss = model(inputs).float().square().mean()
        loss.backward()

    return fastest(step, device, repeats=5)


def fastest(step: Callable[[], object], device: torch.device, *, repeats: int) -> float:
    """Seconds of the quickest of `repeats` calls, after one that is not counted."""
    step()
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def keep_to(share: float) -> None:
    """Let this process take at most `share` (0 to 1) of a GPU's memory, so that none takes what is another trial's.

    A trial that needs more is out of memory by itself, whatever its neighbours do. Without a GPU nothing is done.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def release() -> None:
    """Give GPU memory that no tensor needs any more back, for the trials beside this one.

    On the processor there is nothing to do, and looking for cycles would take a tenth of a second.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()  # graphs of tensors may lie in cycles
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        gc.collect()
        torch.mps.empty_cache()
