"""Points of a space as rows of numbers, so that a model can measure how far two of them are from one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaces.ranges import Choice, Float, Int, Range, alternatives
from spaces.space import Space
from spaces.values import Config, Value, copied, is_number

Array = NDArray[np.float64]

STEPS = (0.05, 0.15, 0.3)
"""A neighbour of a point lies so far from it in each hyperparameter that is moved: one of these for all, as a standard
deviation in shares of the range."""
MOVED = 0.6
"""Each hyperparameter of a neighbour is moved with this chance."""
REDRAWN = 0.3
"""A choice that is moved is drawn anew with this chance, and else stays: there is no small step to another value."""


@dataclass(frozen=True)
class Points:
    """Many points: of each hyperparameter (columns) its `place` in its range, 0 to 1, and whether it exists.

    The place is that of `Float.place` and its like; of a choice the middle of the part of its value. That of what does
    not exist says nothing.
    """

    place: Array
    exists: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, rows: NDArray[np.int64]) -> Points:
        return Points(self.place[rows], self.exists[rows])

    def __add__(self, other: Points) -> Points:
        return Points(np.concatenate([self.place, other.place]), np.concatenate([self.exists, other.exists]))


class Coordinates:
    """The points of `space` as rows.

    A number takes one coordinate, its place; so does a choice among numbers, or of two values, by its rank. Any other
    choice takes one coordinate for each value, so that two different ones are always at the distance 1. What does not
    exist lies in the middle. `owner` is the hyperparameter of each coordinate, as a number.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.names = space, list(space)
        self.ranges: list[Range] = [space[name] for name in self.names]
        self._ranks = [_ranks(range_) for range_ in self.ranges]
        widths = [
            len(range_.values) if isinstance(range_, Choice) and ranks is None else 1
            for range_, ranks in zip(self.ranges, self._ranks, strict=True)
        ]
        self.owner = np.repeat(np.arange(len(self.names)), widths)

    def of(self, points: Sequence[Mapping[str, Value]]) -> Points:
        """`points` as they stand in the space; what lies outside its range counts as its end, or first choice."""
        place = np.full((len(points), len(self.names)), 0.5)
        exists = np.zeros(place.shape, bool)
        for row, point in enumerate(points):
            for column, name in enumerate(self.names):
                if name in point and self.space.active(name, point):
                    place[row, column] = _place(self.space.at(name, point), point[name])
                    exists[row, column] = True
        return Points(place, exists)

    def config(self, points: Points, row: int) -> Config:
        """One of `points`, with values of the types that the space has."""
        found: Config = {}
        for column, name in enumerate(self.names):
            if self.space.active(name, found):
                found[name] = _at_place(self.space.at(name, found), float(points.place[row, column]))
        return found

    def draw(self, chance: np.random.Generator, count: int) -> Points:
        """So many points, drawn evenly and independently, on the scale of each range."""
        return self._existing(chance.random((count, len(self.names))))

    def near(self, chance: np.random.Generator, points: Points, count: int) -> Points:
        """So many neighbours of each of `points`; what exists only in the neighbour is drawn."""
        base, was = np.repeat(points.place, count, axis=0), np.repeat(points.exists, count, axis=0)
        fresh = chance.random(base.shape)
        step = chance.normal(size=base.shape) * chance.choice(STEPS, size=(len(base), 1))
        moved = chance.random(base.shape) < MOVED
        redrawn = moved & (chance.random(base.shape) < REDRAWN)
        choice = np.array([isinstance(range_, Choice) for range_ in self.ranges], bool)
        stepped = base + np.where(moved & ~choice, step, 0.0)
        stepped = np.abs(stepped)  # what would leave the range comes back into it
        stepped = np.where(stepped > 1, 2 - stepped, stepped).clip(0, 1)
        return self._existing(np.where(was & ~(redrawn & choice), stepped, fresh))

    def rows(self, points: Points) -> Array:
        """`points` by coordinate (columns)."""
        columns: list[Array] = []
        for column, (range_, ranks) in enumerate(zip(self.ranges, self._ranks, strict=True)):
            place, exists = points.place[:, column], points.exists[:, column]
            if not isinstance(range_, Choice):
                columns.append(np.where(exists, place, 0.5))
                continue
            index = _index(range_, place)
            if ranks is not None:
                columns.append(np.where(exists, ranks[index], 0.5))
            else:
                columns += [np.where(exists & (index == i), math.sqrt(0.5), 0.0) for i in range(len(range_.values))]
        return np.stack(columns, axis=1) if columns else np.zeros((len(points), 0))

    def _existing(self, place: Array) -> Points:
        """Points at these places, each moved to where a value is, and which of their hyperparameters exist."""
        place = np.stack([_snapped(r, place[:, i]) for i, r in enumerate(self.ranges)], axis=1) if self.names else place
        exists = np.ones(place.shape, bool)
        for column, range_ in enumerate(self.ranges):
            for parent, wanted in range_.when.items():
                at = self.names.index(parent)
                places = [_place(self.ranges[at], value) for value in alternatives(wanted)]
                met = (np.abs(place[:, at, None] - np.array(places)) < 1e-9).any(axis=1)
                exists[:, column] &= exists[:, at] & met
            for parent in () if isinstance(range_, Choice) else range_.bounds.values():
                if parent in self.names:
                    exists[:, column] &= exists[:, self.names.index(parent)]
        return Points(place, exists)


def _ranks(range_: Range) -> Array | None:
    """The coordinate of each value of a choice of two, or among numbers; None of any other range."""
    if not isinstance(range_, Choice):
        return None
    count = len(range_.values)
    if count > 2 and not all(is_number(value) for value in range_.values):
        return None
    order = np.argsort(np.array(range_.values, float)) if count > 2 else np.arange(count)
    ranks = np.zeros(count)
    ranks[order] = np.linspace(0, 1, count)
    return ranks


def _place(range_: Range, value: Value) -> float:
    if isinstance(range_, Choice):
        index = range_.index(value) if value in range_ else 0
        return (index + 0.5) / len(range_.values)
    inside = range_.nearest(value) if is_number(value) else range_.low  # type: ignore[arg-type]
    return min(max(range_.place(inside), 0.0), 1.0)  # type: ignore[arg-type]


def _at_place(range_: Range, place: float) -> Value:
    if isinstance(range_, Choice):
        return copied(range_.values[min(int(place * len(range_.values)), len(range_.values) - 1)])
    return range_.at_place(place)


def _index(range_: Choice, place: Array) -> NDArray[np.int64]:
    return np.minimum((place * len(range_.values)).astype(np.int64), len(range_.values) - 1)


def _snapped(range_: Range, place: Array) -> Array:
    """The place of the value that is at each `place`; as it is where the range depends on others."""
    if isinstance(range_, Choice):
        return (_index(range_, place) + 0.5) / len(range_.values)
    if range_.bounds:
        return place
    if isinstance(range_, Int) and range_.log:
        low, high = math.log(range_.low - 0.5), math.log(range_.high + 0.5)
        value = np.clip(np.round(np.exp(low * (1 - place) + high * place)), range_.low, range_.high)
        return (np.log(value) - low) / (high - low)
    if isinstance(range_, Float) and range_.low == range_.high:
        return np.full_like(place, 0.5)
    if isinstance(range_, Float) and range_.step is None:
        return place
    return (np.minimum(np.floor(place * range_.count), range_.count - 1) + 0.5) / range_.count
