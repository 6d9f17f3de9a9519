"""One optimizer step: eagerly, or as the replay of a captured CUDA graph where that is faster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.device import fastest
from trainables.mode import Mode

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor], Tensor]
"""`(images, labels)` of one batch to its mean loss, a tensor on the device; the weights have moved.

The next step may overwrite that tensor.
"""


def eager_step(model: nn.Module, optimizer: Optimizer, loss: Loss, mode: Mode) -> Step:
    """Forward, backward and update, one kernel after the other."""
    device = next(model.parameters()).device.type
    half = mode.precision == "bfloat16"

    def step(images: Tensor, labels: Tensor) -> Tensor:
        # Entering autocast costs microseconds that a small perceptron would feel, so float32 does without.
        with torch.autocast(device, torch.bfloat16, cache_enabled=False) if half else nullcontext():
            logits = model(images)
        value = loss(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def graphed_step(
    model: nn.Module, optimizer: Optimizer, loss: Loss, mode: Mode, images: Tensor, labels: Tensor
) -> Step:
    """The eager step or its captured graph, whichever is faster for batches like `images` and `labels` on a GPU.

    The optimizer must have been made with `graph=True`. Weights and optimizer state are as before afterwards.
    """
    eager = eager_step(model, optimizer, loss, mode)
    static_images, static_labels = images.clone(), labels.clone()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {
        parameter: {name: tensor.clone() for name, tensor in _tensors(values).items()}
        for parameter, values in optimizer.state.items()
    }
    # Capture wants every kernel loaded and every buffer allocated, on a stream of its own.
    side = _side_stream(images.device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            eager(static_images, static_labels)
    torch.cuda.current_stream().wait_stream(side)
    chosen = eager
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            static_loss = eager(static_images, static_labels)

        def replay(batch_images: Tensor, batch_labels: Tensor) -> Tensor:
            static_images.copy_(batch_images)
            static_labels.copy_(batch_labels)
            graph.replay()
            return static_loss

        slow = fastest(lambda: eager(images, labels), images.device, repeats=10)
        quick = fastest(lambda: replay(images, labels), images.device, repeats=10)
        if quick < slow:
            chosen = replay
    except RuntimeError as error:
        warnings.warn(f"steps run without a CUDA graph, because capture failed: {error}", stacklevel=2)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights[name])
        for parameter, values in optimizer.state.items():
            for name, tensor in _tensors(values).items():
                before = state.get(parameter, {}).get(name)
                tensor.copy_(before) if before is not None else tensor.zero_()
    return chosen


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all trials of this process: cuBLAS keeps memory for each stream it ever used (66 MB on an H200)."""
    return torch.cuda.Stream(device)


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
