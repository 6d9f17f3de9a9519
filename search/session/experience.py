"""What a new search takes from those before it: start points that did well on other data, in the same space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import spaces
from search.decide.portfolio import Trained, greedy, losses
from search.decide.samplers.sampler import identity
from search.errors import BadInput
from search.printable import one_line
from search.record.lesson import Lesson, Tried, problem_of
from search.session.warm_start import Mapped, mapped_onto
from search.settings import NOTHING, Settings
from search.storage import bucket, experience
from search.terminal.console import Display
from spaces.space import Space
from spaces.study import Study, config_of
from trainables.datasets import Source

POINTS = 4
"""So many start points are taken, at most."""
CANDIDATES = 20
"""So many of the best trials of each data set are looked at."""
MOST_DATA_SETS = 30
"""So many data sets are asked, those that were searched last; each takes some 50 ms."""
MOST_TRIALS = 100
"""So many trials of each are modelled."""
FEWEST = 4
"""A data set with fewer trials in the new ranges predicts nothing."""
ALIKE = 0.5
"""Of several searches on one data set those count that have so much of the longest budget, in epochs."""


@dataclass(frozen=True)
class Learned:
    """Start point `start` of the new search is `trial` of the search `name`, which was on `dataset`."""

    start: int
    name: str
    trial: int
    dataset: str
    mapped: Mapped

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        told = {"start": self.start, "search": self.name, "trial": self.trial, "dataset": self.dataset}
        return {**told, **self.mapped.plain()}

    def __str__(self) -> str:
        where = f"trial {self.trial} of {self.name} ({one_line(self.dataset)})"
        return f"{where}: {self.mapped.changes}" if self.mapped.changes else where


def check(study: Study, settings: Settings) -> None:
    """Raise BadInput where `--experience` cannot be: its place is not there, or nothing is to be taken from it."""
    asked = settings.experience
    if asked is None or asked == NOTHING:
        return
    if settings.warm_start:
        raise BadInput("--experience and --warm-start both say where start points come from; leave one of them out")
    if study.sampler == "grid":
        raise BadInput("--experience gives start points, and a grid has all its points already; leave it out")
    if not asked.startswith(bucket.SCHEME) and not _exists(Path(asked)):
        raise BadInput(f"--experience {asked}: no folder and no file is there; give one, or {NOTHING}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def experienced(
    study: Study, source: Source, digest: str, settings: Settings, display: Display
) -> tuple[Study, list[Learned]]:
    """`study` with start points from searches of the same problem on other data, and what was taken.

    The study's own start points come first. Nothing is taken from the same data (by their `digest`; of what was shipped
    with a study also by their name), so that no search is tuned on what it is shown on, and the same command stays the
    same search. Test accuracies play no part. What cannot be read is one warning.
    """
    if settings.experience == NOTHING or settings.warm_start or study.sampler == "grid":
        return study, []
    if not digest:
        if settings.experience:
            display.warn(f"nothing is known of the data, so --experience {settings.experience} is not used")
        return study, []
    lessons = [*_shipped(study, source, settings, display), *_asked(study, settings, display)]
    lessons = [*{each.id: each for each in lessons if each.digest != digest}.values()]
    taken = _portfolio(study, lessons)
    if settings.experience and not taken:
        nothing = "no search of this space on other data is known there"
        display.say(
            f"--experience {settings.experience}: {nothing if not lessons else 'too few trials in these ranges'}"
        )
    return replace(study, start=(*study.start, *(config_of(each.mapped.point) for each in taken))), taken


def _asked(study: Study, settings: Settings, display: Display) -> list[Lesson]:
    """What the searches in the runs folder teach, or in the place that was asked for."""
    asked, runs = settings.experience, settings.runs
    place = runs if asked is None else Path(asked)
    if asked is not None and asked.startswith(bucket.SCHEME):
        display.warn(f"experience is taken from a folder or a file, so --experience {asked} is not used")
        return []
    if asked is None and (bucket.of(runs) is not None or not runs.is_dir()):
        return []
    key = _key(study)
    if place.is_file():
        return _of_file(place, key, display)
    keep = not settings.dry_run and place.resolve() == runs.resolve()
    return experience.of_folder(place, key, display.warn, keep=keep)


def _shipped(study: Study, source: Source, settings: Settings, display: Display) -> list[Lesson]:
    """What came with the study, on data of another name."""
    file = spaces.EXPERIENCE / f"{study.name}.json"
    if spaces.code_of(study.trainable).partition(".")[0] not in spaces.OURS or not file.is_file():
        return []
    return [each for each in _of_file(file, _key(study), display) if each.dataset != source.name]


def _of_file(file: Path, key: str, display: Display) -> list[Lesson]:
    try:
        return experience.of_file(file, key)
    except experience.Unreadable as error:
        display.warn(f"{file} {error}; the search goes on without it")
        return []


def _key(study: Study) -> str:
    return problem_of(spaces.trained_by(study.trainable), study.objective, study.ranges).key


# The portfolio


@dataclass(frozen=True)
class _Known:
    """A trial of an earlier search as a point of the new space."""

    lesson: Lesson
    tried: Tried
    mapped: Mapped

    def trained(self, sign: int) -> Trained:
        """As the portfolio is told of it."""
        tried = self.tried
        curve = [(epoch, sign * value) for epoch, value in tried.curve]
        return Trained(self.mapped.point, curve, self.lesson.epochs, tried.complete, tried.diverged)


def _portfolio(study: Study, lessons: Sequence[Lesson]) -> list[Learned]:
    """The start points that `lessons` suggest beside those of `study`, the first choice first."""
    if not set(study.ranges) or not lessons:
        return []
    sign = 1 if study.objective.mode == "max" else -1
    data = [known for known in _by_data(study.ranges, lessons, sign) if sum(map(_inside, known)) >= FEWEST]
    own = {identity(config_of(point)): config_of(point) for point in study.start}
    candidates: dict[object, _Known] = {}
    for known in data:
        good = (each for each in known if not each.mapped.filled and not each.tried.diverged)
        for each in [*good][:CANDIDATES]:
            if (key := identity(config_of(each.mapped.point))) not in own:
                candidates.setdefault(key, each)
    told = [[each.trained(sign) for each in known if _inside(each)] for known in data]
    some = [*candidates.values()]
    lost = losses(study.ranges, told, [*own.values(), *(each.mapped.point for each in some)])
    chosen = [some[column - len(own)] for column in greedy(lost, POINTS, given=range(len(own)))]
    return [
        Learned(start, each.lesson.name, each.tried.number, each.lesson.dataset, each.mapped)
        for start, each in enumerate(chosen, len(study.start))
    ]


def _by_data(space: Space, lessons: Sequence[Lesson], sign: int) -> Iterator[list[_Known]]:
    """The trials of each data set, the best first: complete ones, then those that got further.

    Of too many data sets it is those that were searched last, of too many trials the best ones and others.
    """
    groups: dict[str, list[Lesson]] = {}
    for lesson in sorted(lessons, key=lambda each: (-each.at, each.id)):
        groups.setdefault(lesson.digest, []).append(lesson)
    for _, group in sorted([*groups.items()][:MOST_DATA_SETS]):
        longest = max(lesson.epochs for lesson in group)
        known = [
            _Known(lesson, tried, mapped)
            for lesson in group
            if lesson.epochs >= ALIKE * longest
            for tried in lesson.trials
            if (mapped := _mapped(space, tried)) is not None
        ]
        known.sort(key=lambda each: _rank(each, sign))
        half = MOST_TRIALS // 2
        yield known if len(known) <= MOST_TRIALS else [*known[:half], *_some(known[half:], half)]


def _some(known: Sequence[_Known], count: int) -> list[_Known]:
    """So many of `known`, evenly from first to last."""
    return [known[place * len(known) // count] for place in range(count)]


def _rank(known: _Known, sign: int) -> tuple[Any, ...]:
    tried = known.tried
    if tried.diverged:
        return (2, 0, 0.0, known.lesson.id, tried.number)
    epochs, value = tried.curve[-1]
    return (not tried.complete, 0 if tried.complete else -epochs, -sign * value, known.lesson.id, tried.number)


def _mapped(space: Space, tried: Tried) -> Mapped | None:
    """The trial as a point of `space`; None for numbers with which nobody can count."""
    try:
        return mapped_onto(space, tried.point, {}, searched=set(tried.point))
    except (ArithmeticError, ValueError):
        return None


def _inside(known: _Known) -> bool:
    """Whether the trial lies in the new space as it is, so that its values are those of a point there."""
    return not known.mapped.changed and not known.mapped.filled
