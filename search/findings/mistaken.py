"""The winner's mistakes one by one, the most confident first: often it is the label that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from search.errors import EnvironmentFault
from search.findings import predictions
from search.findings.predictions import FILE, OF_VAL, Predictions
from search.findings.snapshot import Snapshot


@dataclass(frozen=True)
class Mistake:
    """A picture that the winner takes for another class than its label says.

    `file` is its path from the data's folder on, "" where pictures are no files; `index` counts in its `part` ("test"
    or "val") from 0. `said` is the class that the winner gives it with that `probability` (0 to 1).
    """

    file: str
    part: str
    index: int
    said: str
    labelled: str
    probability: float


def kept_test(search: Snapshot) -> tuple[Predictions | None, str]:
    """What measuring the winner of `search` left behind, or None and why it cannot be shown."""
    tested = search.tested
    if tested is None or search.winner is None:
        return None, "The test set was not opened for this winner."
    if "script" in search.header.definition:
        return None, "The script measured its winner itself, and says no more than numbers."
    try:
        kept = predictions.read(search.folder)
    except EnvironmentFault:
        return None, f"The file {FILE} beside the record is damaged."
    if kept is None:
        return None, f"There is no {FILE} beside the record, and the test set is not opened again for it."
    if (kept.trial, kept.epoch) != (search.winner.number, tested.epoch):
        return None, f"The file {FILE} beside the record is of another winner."
    if tested.value is None or abs(kept.accuracy - tested.value) > 1e-9 or len(kept.labels) != tested.images:
        return None, f"The file {FILE} beside the record is not of the measurement that is recorded."
    if not _are_classes(kept, search):
        return None, f"The file {FILE} beside the record has classes that the data does not have."
    return kept, ""


def kept_val(search: Snapshot) -> Predictions | None:
    """What the winner of `search` makes of the validation part; None if that was not kept, or is damaged."""
    winner = search.winner
    if winner is None or not winner.has_value(search.objective):
        return None
    try:
        kept = predictions.read(search.folder, OF_VAL)
    except EnvironmentFault:
        return None
    if kept is None or (kept.trial, kept.epoch) != (winner.number, winner.best_epoch(search.objective).number):
        return None
    return kept if len(kept.labels) == search.header.val_images and _are_classes(kept, search) else None


def mistaken(search: Snapshot) -> list[Mistake] | None:
    """All mistakes of the winner on the test set and the validation part; None if nothing of either was kept."""
    return among(kept_test(search)[0], kept_val(search), search)


def among(test: Predictions | None, val: Predictions | None, search: Snapshot) -> list[Mistake] | None:
    """The same where what was kept has been read."""
    classes = [str(name) for name in search.header.classes]
    if test is None and val is None:
        return None
    found = [each for kept, part in ((test, "test"), (val, "val")) if kept for each in _of_part(kept, part, classes)]
    return sorted(found, key=lambda each: -each.probability)


def table(mistakes: Sequence[Mistake]) -> tuple[list[str], list[dict[str, Any]]]:
    """The same as columns and rows; see `Mistake`."""
    rows = [{**asdict(each), "probability": f"{each.probability:.4f}"} for each in mistakes]
    return [each.name for each in fields(Mistake)], rows


def _of_part(kept: Predictions, part: str, classes: Sequence[str]) -> list[Mistake]:
    wrong = (kept.labels != kept.predicted).nonzero()[0].tolist()
    return [
        Mistake(
            file=kept.files[index] if kept.files else "",
            part=part,
            index=index,
            said=classes[int(kept.predicted[index])],
            labelled=classes[int(kept.labels[index])],
            probability=float(kept.confidence[index]),
        )
        for index in wrong
    ]


def _are_classes(kept: Predictions, search: Snapshot) -> bool:
    least, most = min(kept.labels.min(), kept.predicted.min()), max(kept.labels.max(), kept.predicted.max())
    return bool(least >= 0 and most < len(search.header.classes))
