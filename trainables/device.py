"""Which device to train on, and what it must be told."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


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
