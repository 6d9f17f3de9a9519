"""A winner in use: a model by the name of its search, by its address in MLflow or in a folder, and what it answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.errors import BadInput, SearchFailed
from search.findings import exported_folder, winner_model
from search.findings.answers import Answers, Model, answers
from search.findings.snapshot import Snapshot
from search.settings import Settings, from_environment
from search.storage.runs import find_search

IN_MLFLOW = ("models:/", "runs:/", "mlflow-artifacts:/")


def model_called(name: str, runs: Path) -> Model:
    """The model called `name`: a search in `runs`, an address in MLflow, or a folder that `export` wrote.

    No code of its author is run. Raises BadInput if there is none, SearchFailed for a search without a winner that
    can be asked, EnvironmentFault if what is kept of it is missing or damaged.
    """
    if name.startswith(IN_MLFLOW):
        from search.tracking.served import model_at

        return model_at(name, Settings(runs=runs, tracking_uri=from_environment()["tracking_uri"]).tracking)
    folder = Path(name)
    if folder.is_dir() and (os.sep in name or not (runs / name).is_dir()):
        return exported_folder.model_in(folder)
    if os.sep in name:
        raise BadInput(f"no folder {name}; give one that `export` wrote, the name of a search, or models:/NAME@ALIAS")
    return model_of(Snapshot.read(find_search(name, runs)))


def model_of(search: Snapshot) -> Model:
    """The winner of a search, by its record, with its best weights. Raises as `model_called`."""
    from trainables.request import Intake

    name, header = search.header.name, search.header
    if search.winner is None:
        raise SearchFailed(f"{name} has no result yet")
    there = winner_model.found(search.folder, search.trials)
    network = there.network() if there else None
    if network is None:
        raise SearchFailed(f"the winner of {name} was not exported, so only its own code can load its checkpoint")
    if not header.knows_input:
        raise SearchFailed(
            f"the winner of {name} is a script's, and what pictures it takes is not recorded; load it from MLflow"
        )
    channels, height, width = header.shape
    return Model(name, network, Intake((channels, height, width), header.brightest), tuple(header.classes))


def predicted(model: Model, paths: Sequence[str | os.PathLike[str]], limit: int | None = None) -> Answers:
    """What `model` says of the pictures at `paths`: files, folders, archives, arrays. Raises BadInput.

    Files that are no pictures are `broken` in the answer; all others are answered.
    """
    from trainables.datasets import LIMIT, DataError
    from trainables.datasets.unlabelled import Unlabelled

    try:
        there = Unlabelled(paths, model.intake, limit=limit or LIMIT)
        names, probabilities = answers(model, there.batches)
    except DataError as error:
        raise BadInput(str(error)) from None
    return Answers(model.name, model.classes, names, probabilities, there.broken, there.notes)


def asked(model: Model, pictures: Any) -> Answers:
    """What `model` says of `pictures` in memory, which are named by their number. Raises BadInput."""
    import numpy as np

    from trainables.pictures import Unreadable

    notes: list[str] = []

    def say(text: str) -> None:
        if text not in notes:
            notes.append(text)

    try:
        rows = [model.probabilities(batch) for batch in model.intake.batches(pictures, say)]
    except Unreadable as error:
        raise BadInput(str(error)) from None
    probabilities = np.concatenate(rows)
    names = [str(number) for number in range(len(probabilities))]
    return Answers(model.name, model.classes, names, probabilities, (), notes)
