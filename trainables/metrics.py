"""What a classifier's answers are worth beside accuracy: metrics that a large class cannot carry alone.

Names and definitions are scikit-learn's (`balanced_accuracy`, `macro_f1`, `roc_auc`, 1.9); its log loss is the
cross-entropy that is called `val_loss` here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How often each class `(row)` was taken for each class `(column)`: int64 `(classes, classes)`."""
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).view(classes, classes)


def recalls(counts: Tensor) -> Tensor:
    """Of each class the share that was recognised, float64 `(classes,)`; NaN for one of which there is no image."""
    counts = counts.double()
    return counts.diagonal() / counts.sum(1)


def balanced_accuracy(counts: Tensor) -> float:
    """The mean recall over the classes that there are images of, 0 to 1, from `confusion`."""
    return recalls(counts).nanmean().item()


def macro_f1(counts: Tensor) -> float:
    """The mean F1 over the classes that there are images of or that images were taken for, 0 to 1."""
    counts = counts.double()
    both = counts.sum(0) + counts.sum(1)
    return (2 * counts.diagonal() / both).nanmean().item()  # 0/0 where a class neither is there nor was seen


def roc_auc(scores: Tensor, positive: Tensor) -> float | None:
    """The chance that a positive image has a higher score than a negative one, ties counted half; 0 to 1.

    `scores` float `(N,)`, `positive` bool `(N,)`. None where there are images of one kind only.
    """
    ahead, against = int(positive.sum()), int((~positive).sum())
    if not ahead or not against:
        return None
    _, group, sizes = scores.double().unique(return_inverse=True, return_counts=True)
    ranks = sizes.cumsum(0).double() - (sizes.double() - 1) / 2  # the mean rank, from 1, of each group of ties
    return (ranks[group][positive].sum().item() - ahead * (ahead + 1) / 2) / (ahead * against)


def beyond_accuracy(labels: Tensor, predicted: Tensor, classes: int, scores: Tensor | None = None) -> dict[str, float]:
    """`balanced_accuracy` and `macro_f1`, and `roc_auc` where there are two classes and their `scores`.

    `labels` and `predicted` int64 `(N,)`; `scores` `(N,)` grow with the belief in class 1.
    """
    counts = confusion(labels.cpu(), predicted.cpu(), classes)
    found = {"balanced_accuracy": balanced_accuracy(counts), "macro_f1": macro_f1(counts)}
    if classes == 2 and scores is not None:
        area = roc_auc(scores.cpu(), labels.cpu() == 1)
        if area is not None:
            found["roc_auc"] = area
    return found


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights inverse to how many images a class has, float32 `(classes,)`; their mean over the images is 1.

    N / (classes · count), as scikit-learn's `class_weight="balanced"` has it; 1 for a class without images.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    weights = len(labels) / (classes * counts)
    return torch.where(counts > 0, weights, torch.ones_like(weights)).float()
