"""What the winner decides all over the plane, where data are points in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import EnvironmentFault
from search.findings.figures import regions as figures
from search.findings.mistaken import kept_test
from search.findings.snapshot import PLANE, Snapshot
from search.storage import checkpoints

if TYPE_CHECKING:
    from trainables.data import Data

GRID = 200
"""Places in each direction at which the winner is asked."""
MARGIN = 0.08
"""So much of the range of the points is shown beyond them."""

Points = Sequence[tuple[str, Any, Any]]
"""For each part of the data its name, positions `(N, 2)` and labels."""


@dataclass(frozen=True)
class Regions:
    """The figure, and the `parts` of the data whose points are drawn in it."""

    figure: str
    parts: Sequence[str]


def build(search: Snapshot, data: Data | None = None) -> Regions | None:
    """The decisions of the winner of `search`, with the points of `data`, or those kept of the test set.

    None where data are no points of the plane, and where the winner's weights or all points are missing.
    """
    model = _winners_checkpoint(search) if tuple(search.header.shape) == PLANE else None
    points = _points(search, data) if model else ()
    if model is None or not points:
        return None
    classes = [str(name) for name in search.header.classes]
    return Regions(_figure(model, points, classes), [part for part, _, _ in points])


def _winners_checkpoint(search: Snapshot) -> Path | None:
    """Where the winner's weights are, if they are there and whole, and its classes are ours."""
    from trainables.classifier import ARCHITECTURE  # with torch, for which a page of pictures need not wait

    row = search.winner.best_epoch(search.objective) if search.winner else None
    if row is None or row.checkpoint is None or row.sha256 is None:
        return None
    try:
        folder = checkpoints.verified(checkpoints.shelf(search.folder), row.checkpoint, row.sha256)
    except EnvironmentFault:
        return None
    return folder if (folder / ARCHITECTURE).is_file() else None


def _points(search: Snapshot, data: Data | None) -> Points:
    if data is not None and data.shape == PLANE:
        splits = (("training", data.train), ("validation", data.val))
        return [(part, split.images.flatten(1).cpu().numpy(), split.labels.cpu().numpy()) for part, split in splits]
    kept, _ = kept_test(search)
    if kept is None or kept.images.shape[1:] != PLANE:
        return []
    return [("test", kept.images.reshape(-1, 2), kept.labels[kept.shown])]


def _figure(checkpoint: Path, points: Points, classes: Sequence[str]) -> str:
    import numpy as np
    import torch

    from trainables.classifier import load_classifier

    every = np.concatenate([positions for _, positions, _ in points])
    low, high = every.min(0), every.max(0)
    margin = MARGIN * np.maximum(high - low, 1e-6)
    xs, ys = (np.linspace(low[i] - margin[i], high[i] + margin[i], GRID) for i in (0, 1))
    across, up = np.meshgrid(xs, ys)
    places = torch.from_numpy(np.stack([across.ravel(), up.ravel()], 1).astype(np.float32)).view(-1, *PLANE)
    model: Callable[[Any], Any] = load_classifier(checkpoint)[1]
    with torch.inference_mode():
        decided = torch.cat([model(batch).argmax(1) for batch in places.split(4096)])
    return figures.regions(xs, ys, decided.view(GRID, GRID).numpy(), points, classes)
