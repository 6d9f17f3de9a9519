"""Weights that backbones begin with: found before a search begins, named in its record by SHA-256, checked later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.errors import BadInput, EnvironmentFault
from search.terminal.console import Display
from spaces.space import Choice
from spaces.study import Study
from trainables import backbones
from trainables.photos import SCRATCH, train_photos, without_weights

NAME = "model/backbone"
PATH = "weights/path"


def check_path(study: Study, given: str) -> str:
    """What `--weights` gives, absolute, for workers with other working folders. Raises BadInput."""
    if study.trainable is not train_photos:
        raise BadInput(f"--weights is for the backbones of photos, and {study.name} has none")
    if not Path(given).exists():
        raise BadInput(f"no weights at {given}; give a file, or a folder with files such as resnet18.pth")
    return str(Path(given).resolve())


def with_weights(study: Study, display: Display, *, download: bool) -> Study:
    """`study` with the weights of all its backbones fixed: their SHA-256, or that there are none, which is said aloud.

    What the study says of them itself stays. A study of other networks is as it was. Raises BadInput.
    """
    if study.trainable is not train_photos:
        return study
    found: dict[str, Any] = {}
    for name in _names(study):
        if f"weights/{name}" in study.fixed:
            continue
        try:
            weights = backbones.find(name, str(study.fixed.get(PATH, "")), download=download)
        except ValueError as error:
            raise BadInput(str(error)) from None
        if weights is None:
            display.warn(without_weights(name))
        else:
            display.say(f"weights of {name}: {weights.where}, SHA-256 {weights.sha256[:12]}…")
        found[f"weights/{name}"] = weights.sha256 if weights else SCRATCH
    return replace(study, fixed={**study.fixed, **found})


def check_weights(study: Study) -> None:
    """Raise EnvironmentFault unless the weights that a recorded `study` began with are at hand."""
    if study.trainable is not train_photos:
        return
    for name in _names(study):
        told = study.fixed.get(f"weights/{name}", SCRATCH)
        if told == SCRATCH:
            continue
        try:
            weights = backbones.find(name, str(study.fixed.get(PATH, "")))
        except ValueError as error:
            raise EnvironmentFault(str(error)) from None
        if weights is None or weights.sha256 != told:
            there = f"has the SHA-256 {weights.sha256[:12]}…" if weights else "is not at hand"
            raise EnvironmentFault(
                f"the search began with weights of {name} whose SHA-256 is {str(told)[:12]}…, and what there is now "
                f"{there}; {backbones.hint(name)}"
            )


def _names(study: Study) -> list[str]:
    """The backbones that trials of `study` may have. Raises BadInput for unknown ones."""
    points: list[Mapping[str, Any]] = [study.fixed, *(each.config for each in study.published)]
    names = [str(point[NAME]) for point in points if NAME in point]
    range_ = study.ranges.get(NAME)
    if isinstance(range_, Choice):
        names += map(str, range_.values)
    for name in names:
        if name not in backbones.KNOWN:
            raise BadInput(f"unknown {NAME} {name!r}; known are {', '.join(backbones.KNOWN)}")
    return list(dict.fromkeys(names))
