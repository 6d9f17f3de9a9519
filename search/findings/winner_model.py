"""The winner as a network that anybody can load: from its checkpoint, or from the graph kept beside the record."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import EnvironmentFault
from search.record.trial import EpochRow, Trial
from search.record.trials import Trials
from search.storage import checkpoints

if TYPE_CHECKING:
    from torch import nn

FILE = "model.pt2"
"""A network of a user's own, exported when it had won; see trainables/exported.py."""


def about(trial: Trial, row: EpochRow) -> dict[str, Any]:
    """What is said in the file about a network, so that it is not taken for that of another epoch."""
    return {"trial": trial.number, "epoch": row.number, "checkpoint": row.sha256}


def kept(folder: Path, trial: Trial, row: EpochRow) -> Path | None:
    """The file of the network after the epoch `row` of `trial` in the `folder` of the search; None if there is none."""
    from trainables.exported import described

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return path if described(path) == about(trial, row) else None
    except ValueError:  # damaged or of another make: it is made again
        return None


@dataclass(frozen=True)
class Found:
    """The winner's `checkpoint`, and the `graph` of a network of one's own, if it was exported."""

    checkpoint: Path
    graph: Path | None

    def network(self) -> nn.Module | None:
        """The network, on the CPU and in evaluation mode; None if it takes its author's code to load it.

        Raises EnvironmentFault if published weights that it was made of are no longer at hand.
        """
        from trainables import exported
        from trainables.classifier import ARCHITECTURE, load_classifier

        if not (self.checkpoint / ARCHITECTURE).is_file():
            return exported.load(self.graph)[0].eval() if self.graph else None
        try:
            return load_classifier(self.checkpoint)[1]
        except ValueError as error:
            raise EnvironmentFault(str(error)) from None

    def copy_to(self, folder: Path) -> None:
        """Put weights and architecture, or weights and graph, into `folder`, which exists. Raises as `network`."""
        from trainables.classifier import ARCHITECTURE, WEIGHTS, complete

        try:
            if (self.checkpoint / ARCHITECTURE).is_file():
                complete(self.checkpoint, folder)
        except ValueError as error:
            raise EnvironmentFault(str(error)) from None
        own = [self.checkpoint / WEIGHTS, *([self.graph] if self.graph else [])]
        for path in own if not (self.checkpoint / ARCHITECTURE).is_file() else ():
            if not path.is_file():  # a script has weights in files of its own
                continue
            shutil.copyfile(path, folder / path.name)


def found(folder: Path, trials: Trials) -> Found | None:
    """What there is of the winner's network; None if there is no winner, or none that this service wrote down.

    Raises EnvironmentFault for a checkpoint that is missing or damaged.
    """
    from trainables.classifier import WEIGHTS

    best, checkpoint = trials.best(), checkpoints.winning(checkpoints.shelf(folder), trials)
    if best is None or checkpoint is None:
        return None
    graph = kept(folder, best, best.best_epoch(trials.objective))
    return Found(checkpoint, graph) if graph or (checkpoint / WEIGHTS).is_file() else None
