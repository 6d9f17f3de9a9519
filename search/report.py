"""Functions for a training script of one's own: what it is to try, where it keeps things, what an epoch came to.

    from search.report import config, epoch, folder

    settings = config(lr=0.1, optimizer="sgd", epochs=10)
    for number in range(settings["epochs"]):
        ...
        torch.save(state, folder() / "last.pt")
        epoch(number, val_accuracy=accuracy)

Three more are for the winner: `model` keeps the network so that it can be served, and a script that asks `testing` is
run once more, for the winner alone, to say with `tested` what its test set gives.

Run by hand the script does as it always did: `config` gives the defaults, `epoch` and `tested` print. This file needs
nothing but Python's standard library, so it may be copied beside a script that runs where this package is not at hand.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "SEARCH_TRIAL"
"""In the environment of a script that a search runs: the folder of its trial."""
LOOK_SECONDS = 0.005
MODEL = "model.pt2"
"""The file that `model` writes."""
MOST_ANSWERS = 64
"""So many numbers of what a network answers are kept with it."""

_said = 0


def config(defaults: Mapping[str, Any] | None = None, /, **more: Any) -> dict[str, Any]:
    """The values to train with: the defaults, with those of this trial in their place.

    `epochs` and `seed` among the defaults become the trial's budget and its seed. Hyperparameters whose names are no
    names of Python's, such as `model.lr`, are given in a dict.
    """
    values = {**(defaults or {}), **more}
    trial = _trial()
    if trial is None:
        return values
    asked = json.loads((trial / "config.json").read_text())
    values |= {name: asked[name] for name in ("epochs", "seed") if name in values}
    return {**values, **asked["values"]}


def folder(by_hand: str | Path = ".") -> Path:
    """Where to keep what the training needs to go on: the trial's own folder, or `by_hand` outside of a search.

    What lies there is kept with every epoch, and is there again when a trial goes on after an interruption. It is empty
    when a trial begins.
    """
    trial = _trial()
    return Path(by_hand) if trial is None else trial / "files"


def epoch(number: float, /, **metrics: float) -> None:
    """Say what an epoch came to, once all of it is in `folder()`; returns when that was kept.

    `number` counts up, from wherever the script begins to count; a script that goes on goes on counting. Metrics are
    numbers, or tensors of one. A search may end the script here.
    """
    global _said
    numbers = {name: float(value) for name, value in metrics.items()}
    trial = _trial()
    if trial is None:
        print(json.dumps({"epoch": number, **numbers}), flush=True)
        return
    with (trial / "reports.jsonl").open("a") as file:
        file.write(json.dumps({**numbers, "epoch": float(number)}) + "\n")
    _said += 1
    while _taken(trial) < _said:
        time.sleep(LOOK_SECONDS)


def model(net: Any, example: Any) -> None:
    """Keep the torch module `net` in `folder()`, as torch.export has it: call it where an epoch is the best so far.

    It is kept as in evaluation, for any number of inputs like those of the tensor `example`, a batch of two or more.
    What it answers to one certain batch is kept with it, so that whoever loads it later can see that it is the same.
    By hand nothing is written. Raises what torch.export raises for a network that it does not take.
    """
    trial = _trial()
    if trial is None:
        return
    import torch

    shape = (2, *example.shape[1:])
    batch = torch.linspace(0, 1, math.prod(shape)).reshape(shape).to(example.dtype)
    still, aside = copy.deepcopy(net).cpu().eval(), trial / f".{MODEL}"
    with torch.no_grad():
        answers = still(batch).flatten()[:MOST_ANSWERS].tolist()
        program = torch.export.export(still, (batch,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, aside, extra_files={"answers.json": json.dumps(answers)})
    aside.replace(folder() / MODEL)


def testing() -> bool:
    """Whether this run is to measure what `folder()` has on the test set, and not to train: once, for the winner."""
    trial = _trial()
    return trial is not None and bool(json.loads((trial / "config.json").read_text()).get("testing"))


def tested(**metrics: float) -> None:
    """Say what the test set gave: `tested(accuracy=0.91)`. `images=` is how many there were."""
    numbers = {f"test_{name.removeprefix('test_')}": float(value) for name, value in metrics.items()}
    trial = _trial()
    if trial is None:
        print(json.dumps(numbers), flush=True)
        return
    with (trial / "reports.jsonl").open("a") as file:
        file.write(json.dumps(numbers) + "\n")


def _trial() -> Path | None:
    place = os.environ.get(VARIABLE)
    return Path(place) if place else None


def _taken(trial: Path) -> int:
    try:
        return int((trial / "taken").read_text())
    except (OSError, ValueError):
        return 0
