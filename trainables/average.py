"""An exponential moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class WeightAverage:
    """`module` follows the weights of `model`: after each step it keeps `decay` of itself and takes the rest from them.

    Batch norm's statistics are averaged with the weights; whole numbers (its counters) are copied. The first update is
    a copy. Nothing here waits for the device; torch's AveragedModel (2.15) reads its counter twice a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.module.requires_grad_(False)
        self.begun = False
        self._decay = decay
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        self._real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._whole = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        own, new = [pair[0] for pair in self._real], [pair[1] for pair in self._real]
        torch._foreach_lerp_(own, new, 1.0 - self._decay if self.begun else 1.0)
        for kept, current in self._whole:
            kept.copy_(current)
        self.begun = True


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
