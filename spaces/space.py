"""A space: ranges by name, which may depend on those before them. Points of it, and what is left if some are fixed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from spaces.ranges import (
    Choice,
    Float,
    Int,
    Range,
    alternatives,
    bounded,
    numbers_of,
    with_when,
    within,
)
from spaces.values import Config, SpaceError, Value, copied, is_finite, is_number, shortened

__all__ = ["Choice", "Config", "Float", "Int", "Range", "Space", "SpaceError", "Value", "check_name", "with_when"]

NAME = re.compile(r"[^\W\d][\w.-]*(/\w[\w.-]*)*")
"""Sections and a name, with slashes between: what MLflow, a command line and a table can all take."""
LONGEST_NAME = 200
"""Characters; MLflow takes 250, with what is written before a name."""


class Space(dict[str, Range]):
    """Ranges by name, in the order in which they are drawn; what one depends on stands before it, or is `fixed`.

    A bound that is named may be fixed; a condition on what is fixed is for `without` to resolve.
    """

    def __init__(self, ranges: Mapping[str, Range], fixed: Mapping[str, Value] | None = None) -> None:
        super().__init__()
        self.fixed = dict(fixed or {})
        for name, range_ in ranges.items():
            check_name(name)
            if not isinstance(range_, (Float, Int, Choice)):
                inside = f"; what lies in {name} is named {name}/…" if isinstance(range_, Mapping) else ""
                raise SpaceError(
                    f"{name} must be a Float, Int or Choice, but got {shortened(range_)}; write Float(1e-4, 1e-1, "
                    f"log=True), Int(8, 64) or Choice('sgd', 'adam'), and what is not searched into fixed{inside}"
                )
            made = self._with_condition(name, range_, ranges)
            self[name] = made if isinstance(made, Choice) else self._with_bounds(name, made, ranges)

    def _with_condition(self, name: str, range_: Range, ranges: Collection[str]) -> Range:
        """`range_` with conditions that hold at some value; a tuple that is itself a value is one of one."""
        when: dict[str, Any] = {}
        for parent, wanted in range_.when.items():
            if parent not in self:
                what = f"{name} exists when {parent} is {wanted!r}, but"
                if parent in self.fixed:
                    raise SpaceError(f"{what} {parent} is fixed at {self.fixed[parent]!r}; leave out the condition")
                raise SpaceError(f"{what} no {parent} stands before it{_move(parent, name, ranges)}")
            own = self[parent]
            is_value = isinstance(wanted, (tuple, list)) and wanted in own
            when[parent] = (wanted,) if is_value else wanted
            for value in alternatives(when[parent]):
                if value not in own:
                    raise SpaceError(f"{name} exists when {parent} is {value!r}, which {own} never is")
        return with_when(range_, when) if when else range_

    def _with_bounds(self, name: str, range_: Float | Int, ranges: Collection[str]) -> Float | Int:
        """`range_`, between the widest that its named bounds can be. Raises SpaceError if it could be empty."""
        ends = {"low": (range_.low, range_.low), "high": (range_.high, range_.high)}
        for end, parent in range_.bounds.items():
            ends[end] = self._reach(name, end, parent, ranges, whole=isinstance(range_, Int))
        (lowest, latest), (earliest, highest) = ends["low"], ends["high"]
        if latest > earliest:
            raise SpaceError(
                f"{name} goes from {range_.bounds.get('low', latest)} to {range_.bounds.get('high', earliest)}, but "
                f"that can be from {latest:g} to {earliest:g}; narrow what it depends on"
            )
        if range_.log and lowest <= 0:
            raise SpaceError(f"{name} with log needs low above 0, but {range_.bounds['low']} can be {lowest:g}")
        return within(range_, lowest, highest) if range_.bounds else range_

    def _reach(self, name: str, end: str, parent: str, ranges: Collection[str], *, whole: bool) -> tuple[Any, Any]:
        """The least and the largest number that the bound `parent` of `name` can be."""
        if parent in self.fixed:
            low = high = self.fixed[parent]
        elif parent in self:
            try:
                low, high = numbers_of(self[parent])
            except SpaceError as error:
                raise SpaceError(f"{name} has {parent} as its {end}, but {error}") from None
            if whole and isinstance(self[parent], Float):
                low = None
        else:
            begin = f"{name} has {parent} as its {end}, but"
            if not NAME.fullmatch(parent):
                raise SpaceError(
                    f"{begin} {parent!r} is a text and names no hyperparameter; write numbers without quotes"
                )
            raise SpaceError(f"{begin} no {parent} stands before it{_move(parent, name, ranges)}")
        for number in (low, high):
            if not is_number(number) or not is_finite(number) or (whole and not isinstance(number, int)):  # type: ignore[arg-type]
                kind = "whole number" if whole else "number"
                what = self.fixed[parent] if parent in self.fixed else self[parent]
                raise SpaceError(f"{name} has {parent} as its {end}, which must be a {kind}, but is {what}")
        return low, high

    def at(self, name: str, config: Mapping[str, Value]) -> Range:
        """The range of `name`, given the values in `config` of those before it; `name` must exist there."""
        range_ = self[name]
        return range_ if isinstance(range_, Choice) or not range_.bounds else bounded(range_, {**self.fixed, **config})

    def active(self, name: str, config: Mapping[str, Value]) -> bool:
        """Whether hyperparameter `name` exists, given the values in `config` of those before it.

        It does if its conditions hold and the bounds that it names exist.
        """
        range_ = self[name]
        if not isinstance(range_, Choice) and any(
            parent not in config and parent not in self.fixed for parent in range_.bounds.values()
        ):
            return False
        return all(
            parent in config and any(_meets(config[parent], value) for value in alternatives(wanted))
            for parent, wanted in range_.when.items()
        )

    @property
    def conditional(self) -> bool:
        """Whether any hyperparameter exists only under a value of another."""
        return any(range_.when for range_ in self.values())

    def check_point(self, point: Mapping[str, Value], what: str = "start point") -> None:
        """Raise SpaceError unless `point` gives every hyperparameter that exists a value in its range, and no other."""
        for name in point:
            if name not in self:
                raise SpaceError(f"{what} sets {name}, which is not searched; searched are {', '.join(self)}")
        for name, range_ in self.items():
            if not self.active(name, point):
                if name in point:
                    raise SpaceError(f"{what} sets {name}, which exists only when {_needs(range_)}")
            elif name not in point:
                raise SpaceError(f"{what} lacks {name}; give it a value in {range_}")
            # By the widest range first: the bound that a wrong value gives another is no news.
            elif point[name] not in range_ or point[name] not in (here := self.at(name, point)):
                outside = range_ if point[name] not in range_ else f"{here} ({range_})"
                raise SpaceError(f"{what} has {name}={point[name]!r}, which lies outside {outside}")

    def without(self, fixed: Mapping[str, Value]) -> Space:
        """This space with the hyperparameters in `fixed` taken out, and what depends on them resolved."""
        kept: dict[str, Range] = {}
        given = {**self.fixed, **fixed}
        for name, range_ in self.items():
            if name in fixed:
                continue
            decided = {parent: wanted for parent, wanted in range_.when.items() if parent in fixed}
            if any(
                not any(_meets(fixed[parent], value) for value in alternatives(wanted))
                for parent, wanted in decided.items()
            ):
                continue
            if any(parent not in kept and parent not in given for parent in _parents(range_)):
                continue
            open_ = {parent: wanted for parent, wanted in range_.when.items() if parent not in fixed}
            kept[name] = with_when(range_, open_) if decided else range_
        return Space(kept, given)

    def corner(self, *, high: bool, pinned: Mapping[str, Value] | None = None) -> Config:
        """The point with every numeric hyperparameter at its upper (or lower) end, and the last (first) choice.

        Those in `pinned` have the value given there, and what they depend on has one at which they exist.
        """
        chosen = dict(pinned or {})
        needed = set(chosen)
        for name in reversed(list(self)):
            if name in needed:
                needed |= set(_parents(self[name]))
                for parent, wanted in self[name].when.items():
                    chosen.setdefault(parent, alternatives(wanted)[0])
        point: Config = {}
        for name in self:
            if self.active(name, point):
                range_ = self.at(name, point)
                if name in chosen:
                    point[name] = copied(chosen[name])
                elif isinstance(range_, Choice):
                    point[name] = range_.values[-1 if high else 0]
                else:
                    point[name] = range_.high if high else range_.low
        return point

    def corners(self) -> dict[str, Config]:
        """The two corners, and the upper one with each other value of each Choice: every extreme, by what it is called.

        Of points that are the same the first is kept.
        """
        found = {"low": self.corner(high=False), "high": self.corner(high=True)}
        for name, range_ in self.items():
            for value in range_.values if isinstance(range_, Choice) else ():
                point = self.corner(high=True, pinned={name: value})
                if point not in found.values():
                    found[f"high, {name}={value}"] = point
        return found


def check_name(name: str) -> None:
    """Raise SpaceError unless a hyperparameter can have this name: lr, model.lr, train/lr or optim/adam/lr."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpaceError(
            f"hyperparameter {name!r} must be named with letters, digits, '_', '.' and '-', and '/' after a section, "
            "as in lr or train/lr"
        )
    if len(name) > LONGEST_NAME:
        raise SpaceError(f"hyperparameter {name[:40]}… has {len(name)} characters, but may have {LONGEST_NAME}")


def possible(ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges` without those whose condition no value of its parent can meet."""
    kept: dict[str, Range] = {}
    for name, range_ in ranges.items():
        when: dict[str, Any] = {}
        if any(parent in ranges and parent not in kept for parent in _parents(range_)):
            continue
        for parent, wanted in range_.when.items():
            values = tuple(value for value in alternatives(wanted) if parent not in ranges or value in ranges[parent])
            if not values:
                break
            when[parent] = values if isinstance(wanted, (tuple, list)) else wanted
        else:
            kept[name] = with_when(range_, when) if when else range_
    return kept


def _parents(range_: Range) -> list[str]:
    """The hyperparameters that `range_` depends on."""
    return [*range_.when, *(() if isinstance(range_, Choice) else range_.bounds.values())]


def _move(parent: str, name: str, ranges: Collection[str]) -> str:
    """What to do where `name` depends on a `parent` that does not stand before it."""
    return f"; put {parent} before {name}" if parent in ranges and parent != name else ""


def _needs(range_: Range) -> str:
    bounds = [] if isinstance(range_, Choice) else [*range_.bounds.values()]
    return " and ".join([*([f"{dict(range_.when)}"] if range_.when else []), *(f"{name} exists" for name in bounds)])


def _meets(value: Value, wanted: Value) -> bool:
    """Whether a condition holds: numbers are compared as such, and no truth value is one."""
    return value == wanted and isinstance(value, bool) is isinstance(wanted, bool)
