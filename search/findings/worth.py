"""Whether a model knows more than which class is the largest."""

from __future__ import annotations

from torch import Tensor

from search.findings.intervals import mean_share_interval, share_interval
from trainables.metrics import confusion

BALANCED = ("val_balanced_accuracy", "val_macro_f1", "val_roc_auc")
"""Objectives to which all classes are worth the same, whatever their size."""


def against_the_largest_class(metric: str, labels: Tensor, predicted: Tensor) -> tuple[float, float]:
    """The lower end of the 95 % interval of a model's accuracy, and what always saying the largest class would give.

    In balanced accuracy where the objective's `metric` is one of BALANCED. `labels` and `predicted` are int64 `(N,)`.
    """
    labels, predicted = labels.cpu(), predicted.cpu()
    counts = confusion(labels, predicted, int(max(labels.max(), predicted.max())) + 1)
    totals, rights = counts.sum(1), counts.diagonal()
    if metric in BALANCED:
        there = totals > 0
        low, _ = mean_share_interval(rights[there].tolist(), totals[there].tolist())
        return low, 1 / int(there.sum())
    low, _ = share_interval(int(rights.sum()), len(labels))
    return low, totals.max().item() / len(labels)
