"""Losses by name: cross-entropy, and three that compare probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

ON_PROBABILITIES: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
}
"""Distances between the probabilities `(N, classes)` and the labels as such, averaged over both; Huber's delta is 1."""

LOSSES = ("cross_entropy", *ON_PROBABILITIES)


def loss_function(
    name: str, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """From logits `(N, classes)` and labels `(N,)` to the mean loss. Raises ValueError for an unknown `name`.

    `label_smoothing` in [0, 1) is the share of each label that is spread over all classes. `weights` `(classes,)`, on
    the device of the logits, say how much an image of each class counts; the mean is a weighted one then.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown train/loss {name!r}; known are {', '.join(LOSSES)}")
    if name == "cross_entropy":
        return partial(F.cross_entropy, label_smoothing=label_smoothing, weight=weights)
    distance = ON_PROBABILITIES[name]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        probabilities = logits.softmax(1)
        # Not one_hot, which waits for a GPU to check the labels.
        wanted = torch.zeros_like(probabilities).scatter_(1, labels.unsqueeze(1), 1.0)
        wanted = torch.lerp(wanted, torch.full_like(wanted, 1 / wanted.shape[1]), label_smoothing)
        if weights is None:
            return distance(probabilities, wanted)
        each = distance(probabilities, wanted, reduction="none").mean(1)
        return (each * weights[labels]).sum() / weights[labels].sum()

    return loss
