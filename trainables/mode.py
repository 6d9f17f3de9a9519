"""In which precision and memory layout a network is fastest: measured once per machine, and kept.

Measured anew at every start, beside other work, the answer flips now and then, and two searches with one seed differ
from the first epoch on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from trainables.cache import cache_folder
from trainables.device import seeded, synchronize

CLEAR_GAIN = 1.15
"""A mode must beat plain float32 by this factor, so that noise alone never decides for the less exact one."""
MARGIN = 1.1
"""The measurement goes on while the gain is nearer to `CLEAR_GAIN` than this factor,"""
FEWEST_TURNS, MOST_SECONDS = 30, 3.0
"""but takes so many turns at least, and so long at most."""


@dataclass(frozen=True)
class Mode:
    """How a network runs: `precision` is "float32" or "bfloat16" (autocast; weights stay float32)."""

    precision: str = "float32"
    channels_last: bool = False


@cache
def probe(device: torch.device, *, convolutional: bool) -> Mode:
    """The fastest mode of `device`, by timing steps of a small network; 0.2 to 3 s, once per machine.

    bfloat16 gains 2 to 3 times where the processor has instructions for it and loses 10 times where it has not, and
    no capability flag says which for every device. The answer is kept in the cache folder (`kept_at`), for this
    processor or GPU, version of torch, number of threads and kind of network; of two processes that measure at the same
    time, the first decides for both. Where the folder cannot be written, each process measures for itself.
    """
    path, about = kept_at(device, convolutional=convolutional)
    known = _read(path)
    if known is not None:
        return known
    with seeded(0, device):
        mode = _measured(device, convolutional)
    return _keep(path, about, mode)


def kept_at(device: torch.device, *, convolutional: bool) -> tuple[Path, str]:
    """The file with the answer of `probe`, and for what it holds, in words."""
    about = f"{_name(device)}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
    about += "convolutional" if convolutional else "fully connected"
    return cache_folder() / "modes" / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.json", about


def _name(device: torch.device) -> str:
    """The GPU, or the processor with what it can do: machines of a cloud differ in that under one name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines: list[str] = []
    with contextlib.suppress(OSError):  # Linux alone has it
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = {key: next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags")}
    name = told["model name"].partition(":")[2].strip() or platform.processor() or platform.machine()
    flags = hashlib.sha256(told["flags"].encode()).hexdigest()[:8]
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}, {flags})"


def _read(path: Path) -> Mode | None:
    try:
        stored = json.loads(path.read_text())
        mode = Mode(stored["precision"], stored["channels_last"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return mode if mode.precision in ("float32", "bfloat16") and isinstance(mode.channels_last, bool) else None


def _keep(path: Path, about: str, mode: Mode) -> Mode:
    """Keep `mode` at `path`, unless another process was first; returns the one that is kept."""
    aside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps({"for": about, **asdict(mode)}))
        if path.exists() and _read(path) is None:
            path.unlink()  # damaged
        os.link(aside, path)
    except FileExistsError:
        return _read(path) or mode
    except OSError:
        return mode
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return mode


def _measured(device: torch.device, convolutional: bool) -> Mode:
    modes = [Mode(), Mode("bfloat16")]
    if convolutional:
        modes = [Mode(), Mode(channels_last=True), Mode("bfloat16", channels_last=True)]
    return choose(modes, [_step(mode, device, convolutional) for mode in modes], lambda: synchronize(device))


def choose(
    modes: Sequence[Mode], steps: Sequence[Callable[[], object]], wait: Callable[[], object] = lambda: None
) -> Mode:
    """The mode whose step is fastest, the first unless another gains clearly.

    Steps take turns, so that other work meets all of them, and the quickest of each counts, which it met least. `wait`
    returns once a step is done.
    """
    seconds = [float("inf")] * len(modes)
    for step in steps:  # kernels are chosen and memory is fetched
        step()
    turns, began = 0, time.perf_counter()
    while True:
        for index, step in enumerate(steps):
            wait()
            start = time.perf_counter()
            step()
            wait()
            seconds[index] = min(seconds[index], time.perf_counter() - start)
        turns += 1
        best = min(range(len(modes)), key=seconds.__getitem__)
        gain = seconds[0] / seconds[best]
        clear = gain > CLEAR_GAIN * MARGIN or gain < CLEAR_GAIN / MARGIN
        if turns >= FEWEST_TURNS and (clear or time.perf_counter() - began > MOST_SECONDS):
            return modes[best] if gain > CLEAR_GAIN else modes[0]


def _step(mode: Mode, device: torch.device, convolutional: bool) -> Callable[[], object]:
    """A step of training of a small network in `mode`."""
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

    return step
