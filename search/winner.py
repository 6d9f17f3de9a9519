"""The end of a search: the test set is opened, here and only here, once, for the winner alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from search import checkpoints
from search.errors import SearchFailed
from search.search import Search
from search.trials import Trial
from trainables.classifier import load_classifier
from trainables.data import Split
from trainables.datasets import Source
from trainables.training import evaluate


def winner(search: Search) -> Trial:
    """The best trial. Raises SearchFailed, with the most frequent reason, if no trial has a finite value."""
    best = search.trials.best()
    if search.hopeless():
        last = max(search.trials, key=lambda trial: trial.ended or 0)
        raise SearchFailed(f"the last trials all failed, the last with: {last.why}")
    if best is not None:
        return best
    reasons = Counter(trial.why for trial in search.trials)
    if not reasons:
        raise SearchFailed("the time budget was spent before a trial began; give more with --time-budget")
    why, count = reasons.most_common(1)[0]
    raise SearchFailed(f"none of {len(search.trials)} trials has a result; the most frequent end ({count}): {why}")


def measure(search: Search, trial: Trial, source: Source, root: Path) -> float | None:
    """The test accuracy of the best epoch of `trial`, written into the record; None if the data has no test part."""
    row = trial.best_epoch(search.study.objective)
    assert row.checkpoint is not None and row.sha256 is not None
    folder = checkpoints.verified(root, row.checkpoint, row.sha256)
    if source.test is None:
        return None
    _, model = load_classifier(folder)
    split = Split(*source.test())
    metrics = evaluate(model, split)
    told: dict[str, Any] = {
        "trial": trial.number,
        "epoch": row.number,
        "test_accuracy": metrics["val_accuracy"],
        "test_loss": metrics["val_loss"],
        "images": len(split),
    }
    search.note("tested", told, trial.number)
    return metrics["val_accuracy"]
