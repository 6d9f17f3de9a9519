"""Searches with made-up curves and images, and the report on them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from search.decide.search import Search
from search.findings import predictions, report
from search.findings.predictions import Predictions
from search.record.events import EpochReport, Finished, WinnerTested
from search.record.reader import FILE
from search.record.record import Record
from search.record.trial import Trial
from search.storage import checkpoints
from search.tracking.forms import Ours
from spaces.study import Study
from tests.simulated import Curves, first_event, searching, work
from trainables.classifier import Architecture
from trainables.data import Data, Split
from trainables.datasets import Source


def begun(folder: Path, study: Study, **changes: Any) -> Search:
    """A search with a record in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(folder / FILE, create=True)
    told = {"name": folder.name, "rungs": [1, 3], "classes": ["a", "b"], "shape": [1, 8, 8], **changes}
    return searching(study, record, record.append(first_event(study, **told)))


def searched(folder: Path, study: Study, *, ends: float = 0.06, seed: int = 0, **changes: Any) -> Search:
    """A finished search with made-up curves."""
    search = begun(folder, study, **changes)
    work(search, Curves(seed, ends), workers=2)
    search.note(Finished("done", "", 12.0))
    return search


def left_behind(search: Search, folder: Path, labels: Sequence[int], predicted: Sequence[int]) -> Predictions:
    """What measuring the winner leaves behind, with images of noise."""
    best = search.trials.best()
    assert best is not None
    row = best.best_epoch(search.study.objective)
    images = torch.randint(0, 255, (len(labels), 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.tensor(labels))
    kept = predictions.chosen(
        best.number, row.number, split, torch.tensor(predicted), torch.linspace(0.5, 1, len(labels))
    )
    predictions.write(folder, kept)
    search.note(WinnerTested(best.number, row.number, kept.accuracy, 0.1, len(labels)), best.number)
    return kept


def classifier(folder: Path, data: Data) -> Callable[[Path], None]:
    architecture = Architecture("mlp", data.shape, data.classes, {"width": 8, "depth": 1})
    model = architecture.build(list(data.mean), list(data.std))
    return lambda into: architecture.save(into, model)


def measured(folder: Path, study: Study, data: Data, opened: list[int]) -> tuple[Search, Trial, Source, Path]:
    """A search of one trial, whose one epoch has a checkpoint, and a source that counts how often it is opened."""

    def test() -> tuple[torch.Tensor, torch.Tensor]:
        opened.append(1)
        return data.train.images, data.train.labels

    source = Source("made up", "here", data.classes, lambda: (data.train.images, data.train.labels), test)
    search = begun(folder, study, trials=1, classes=list(data.classes), shape=list(data.shape))
    trial = search.ask()
    assert trial is not None
    (folder / "checkpoints").mkdir()
    written = checkpoints.shelf(folder).write(0, 1, classifier(folder, data))
    search.report(0, EpochReport(1, {"val_accuracy": 0.5}, 1.0, checkpoint=written.name, sha256=written.sha256))
    return search, trial, source, folder


def ours(trial: Trial, folder: Path) -> Ours:
    """The network in the checkpoint of the one epoch of `trial`."""
    return Ours(checkpoints.shelf(folder).root / str(trial.epochs[0].checkpoint))


def page(folder: Path) -> str:
    return report.write(folder).read_text()


def text(markup: str) -> str:
    """What one reads: no tags, no styles."""
    bare = re.sub(r"<style.*?</style>|<[^>]*>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())
