"""The winner, made ready to be measured and served: loaded, or built again by its author's code and exported."""

from __future__ import annotations

from pathlib import Path

import spaces
from search.decide.search import Search
from search.engine import left_behind
from search.findings import winner_model
from search.prepared import Prepared
from search.record.trial import EpochRow, Trial
from search.session.resume import not_run
from search.storage import mirror
from search.terminal.console import Display
from search.tracking.exam import AGREEMENT
from search.tracking.forms import Graph, OfImages, Ours, WithCode
from trainables.classifier import ARCHITECTURE
from trainables.evaluation import evaluate
from trainables.exported import NotExportable, export
from trainables.folds import SERVED
from trainables.rebuilt import NotRebuilt, rebuilt

UNSERVED = "so it is neither tested nor registered; its checkpoint is kept"


def obtained(
    prepared: Prepared, search: Search, trial: Trial, row: EpochRow, checkpoint: Path, display: Display
) -> OfImages | None:
    """The network after the epoch `row` of `trial`, whose verified `checkpoint` that is; None, with a warning, if none.

    One of a user's own must show the recorded accuracy on the validation part before it is anything. Its graph is kept
    beside the record, so that later processes need not build it again.
    """
    if (checkpoint / ARCHITECTURE).is_file():
        return Ours(checkpoint)
    folder = prepared.settings.runs / prepared.header.name
    graph = winner_model.kept(folder, trial, row)
    if graph is not None:
        return Graph(graph)
    study, val = prepared.study, prepared.data.val
    if study.trainable is not_run:
        display.warn("the winner has to be built by its author's code, which this command does not run; `resume` does")
        return None
    try:
        with left_behind.kept(folder, trial.number, "built again to be measured"):
            model = rebuilt(study.trainable, search.config(trial), prepared.data, checkpoint)
            right = evaluate(model, val)["val_accuracy"] * len(val)
    except NotRebuilt as error:
        display.warn(f"the winner could not be built again ({error}), {UNSERVED}")
        return None
    expected = row.metrics.get(SERVED, row.metrics["val_accuracy"]) * len(val)
    if abs(right - expected) > AGREEMENT:
        display.warn(
            f"built again, the winner gets {right:.0f} of {len(val)} validation images right and {expected:.0f} were "
            f"recorded, {UNSERVED}; its network must take images as data.val has them, with all scaling inside"
        )
        return None
    path = folder / winner_model.FILE
    try:
        export(model, val.images[:2], path, winner_model.about(trial, row))
    except NotExportable as error:
        display.warn(
            f"torch.export does not take the winner ({error}), so it is logged as a pickle with the study's code: load "
            "it where you trust that"
        )
        return WithCode(model, [Path(module.__file__) for module in spaces.users_modules() if module.__file__])
    mirror.push(path)
    return Graph(path)
