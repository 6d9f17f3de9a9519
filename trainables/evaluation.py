"""What a classifier's answers on a part of the data are worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.data import Split
from trainables.metrics import beyond_accuracy
from trainables.photo_network import Prepared

METRICS = (
    "val_accuracy",
    "val_balanced_accuracy",
    "val_loss",
    "val_macro_f1",
    "val_roc_auc",
    "train_loss",
    "parameters",
)
"""What every epoch of our loop reports; of data with two classes alone `val_roc_auc`."""
LARGE = 64 * 64
"""Pixels of an image from which on fewer are judged at a time: what a network makes of them would fill the memory."""


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
    size = at_a_time(split.images, model)
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


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """What `model` answers to `images` `(N, C, H, W)`, of which it gets as many at a time as `at_a_time` says."""
    return torch.cat([model(part) for part in images.split(at_a_time(images, model))])


def at_a_time(images: Tensor, model: nn.Module) -> int:
    """How many of `images` `model` judges at a time: of small ones as many as stay in the cache of one CPU core.

    Small are those that `model` does not enlarge. A GPU takes what it is given.
    """
    most = 250 if images.device.type == "cpu" else 2000
    enlarged = [module.size**2 for module in model.modules() if isinstance(module, Prepared)]
    pixels = max([math.prod(images.shape[2:]), *enlarged])
    return most if pixels <= LARGE else max(1, most * LARGE // pixels)
