"""A search as its record shows it at one moment, read once for all that is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from search.findings import audit, confirmed, experience, intervals
from search.record.events import Event
from search.record.header import Header
from search.record.reader import FILE, read
from search.record.reading import header_of, objective_of, space_of
from search.record.trial import Trial
from search.record.trials import Trials, replayed
from spaces.space import Space
from spaces.study import Objective, epochs_of

PLANE = (2, 1, 1)
"""The shape of data that are points in the plane."""
NAMES = {
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "val_balanced_accuracy": "balanced validation accuracy",
    "val_macro_f1": "macro F1 in validation",
    "val_roc_auc": "area under the ROC curve in validation",
    "train_loss": "training loss",
}


@dataclass(frozen=True)
class Accuracy:
    """The winner's accuracy on the test set, as of its epoch `epoch`: `value`, with the 95 % interval (Wilson).

    `beyond` has balanced accuracy and others, `no_better` says that it beats the largest class by chance at best. A
    script may say other measures only, and not of how many images.
    """

    epoch: int
    value: float | None
    interval: tuple[float, float] | None
    images: int | None
    beyond: Mapping[str, float]
    no_better: bool


@dataclass(frozen=True)
class Snapshot:
    """The search in `folder`, as `events` record it so far. All else follows from these, each when first asked for."""

    folder: Path
    events: Sequence[Event]
    followed: Trials | None = None
    """The trials, where somebody has followed the record so far already."""

    @classmethod
    def read(cls, folder: Path) -> Snapshot:
        """The search in `folder` as it is now. Raises EnvironmentFault for a damaged record."""
        return cls(folder, read(folder / FILE))

    @cached_property
    def header(self) -> Header:
        """What the search is, and how it runs."""
        return header_of(self.events)

    @cached_property
    def objective(self) -> Objective:
        """What is optimised."""
        return objective_of(self.events)

    @cached_property
    def metric(self) -> str:
        """The objective's metric as people call it."""
        return NAMES.get(self.objective.metric, self.objective.metric)

    @cached_property
    def space(self) -> Space:
        """What is searched."""
        return space_of(self.events)

    @cached_property
    def trials(self) -> Trials:
        """All trials."""
        return self.followed or replayed(self.events, self.objective)

    @cached_property
    def winner(self) -> Trial | None:
        """The best trial, which may confirm another one; None if no trial has a finite value."""
        return self.trials.best()

    @cached_property
    def proposal(self) -> Trial | None:
        """The trial of the search proper that has the winner's setting: the winner itself, or the one it confirms."""
        if self.winner is None or self.winner.confirms is None:
            return self.winner
        return self.trials[self.winner.confirms]

    @cached_property
    def tested(self) -> Accuracy | None:
        """The winner on the test set; None if it was not opened for this one."""
        tested = self.winner.tested_at_best(self.objective) if self.winner is not None else None
        if tested is None:
            return None
        value, images, interval = tested.test_accuracy, tested.images, None
        if value is not None and images is not None and 0 <= value <= 1:
            interval = intervals.share_interval(round(value * images), images)
        return Accuracy(tested.epoch, value, interval, images, tested.beyond or {}, tested.no_better)

    @cached_property
    def audit(self) -> Mapping[str, Any] | None:
        """See `audit.document`."""
        return audit.document(self.events, self.trials)

    @cached_property
    def confirmation(self) -> Mapping[str, Any] | None:
        """See `confirmed.document`."""
        return confirmed.document(self.header.fixed, self.trials)

    @cached_property
    def experience(self) -> Mapping[str, Any] | None:
        """See `experience.document`."""
        return experience.document(self.header, self.trials, self.proposal)

    def origin(self, trial: Trial) -> str:
        """See `experience.origin`."""
        return experience.origin(self.header, trial)

    @property
    def unit(self) -> str:
        """What the data consists of: "points" of the plane, or "images"."""
        return "points" if tuple(self.header.shape) == PLANE else "images"

    def budget(self, trial: Trial) -> int:
        """The epochs of `trial` at its full budget; a published setting has its own."""
        return epochs_of(trial.point, self.header.epochs)
