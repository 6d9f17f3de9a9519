"""K-fold validation: one trial is several networks, each judged by images that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from trainables.epoch import Epoch
from trainables.loop import Loop, Pace

SERVED = "refit_val_accuracy"
"""The accuracy of the network that is saved on the validation part, which it was trained on as well."""


class Folded:
    """Networks that are trained beside each other, an epoch of each at a time.

    All but the last are judged by a fold of their own: their metrics are averaged, each image counting once. The last
    one is trained on all images; it is what is saved and served, as in scikit-learn's searches, which refit. That it
    comes back from a disk as it was, `refit_val_accuracy` can show, and nothing else: it is no measure of quality.
    """

    def __init__(self, loops: Sequence[Callable[[], Loop]]) -> None:
        *self._folds, whole = loops
        self._whole = whole()  # now, because it shows what cannot be; the others when they are trained

    def epochs(self, last: int, resume: Path | None) -> Iterator[Epoch]:
        """The epochs up to `last`; a checkpoint has those of the folds in folders of their own."""
        folds = [make() for make in self._folds]
        trainings = [
            loop.epochs(last, resume / _folder(number) if resume else None) for number, loop in enumerate(folds)
        ]
        for *judged, whole in zip(*trainings, self._whole.epochs(last, resume), strict=True):
            weights = [len(loop.supply.val) for loop in folds]
            names = [name for name in judged[0].metrics if all(name in each.metrics for each in judged)]
            metrics = {
                name: sum(weight * each.metrics[name] for weight, each in zip(weights, judged, strict=True))
                / sum(weights)
                for name in names
            }
            metrics |= {SERVED: whole.metrics["val_accuracy"], "parameters": whole.metrics["parameters"]}
            yield Epoch(whole.number, metrics, partial(self._save, judged, whole))

    def pace(self, seconds: float) -> Pace:
        """As that of one network, times their number."""
        one = self._whole.pace(seconds)
        return Pace(one.seconds * (len(self._folds) + 1), one.waiting, one.steps, one.save)

    def _save(self, judged: Sequence[Epoch], whole: Epoch, folder: Path) -> None:
        _written(whole, folder)
        for number, epoch in enumerate(judged):
            own = folder / _folder(number)
            own.mkdir()
            _written(epoch, own)


def _written(epoch: Epoch, folder: Path) -> None:
    if epoch.writer is not None:
        epoch.writer(folder)


def _folder(number: int) -> str:
    return f"fold-{number}"
