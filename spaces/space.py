"""Ranges of hyperparameters, and spaces made of them: plain data, checked at birth."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

Value = Union[bool, int, float, str]
Config = dict[str, Value]
When = Mapping[str, Any]


class SpaceError(ValueError):
    """A range, a start point or a fixed value that cannot be; the message names it, the rule, and the way out."""


@dataclass(frozen=True)
class Float:
    """Real numbers from `low` to `high`, both included; `log` draws the exponent evenly and needs `low > 0`.

    `when` names other hyperparameters and the value (or tuple of values) at which this one exists.
    """

    low: float
    high: float
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_bounds(self)

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Int:
    """Whole numbers from `low` to `high`, both included; `log` as for `Float`."""

    low: int
    high: int
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if not isinstance(getattr(self, name), int) or isinstance(getattr(self, name), bool):
                raise SpaceError(f"Int needs whole numbers, but got {name}={getattr(self, name)!r}")
        _check_bounds(self)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} … {self.high}{' (log)' if self.log else ''}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of `values`: at least one, all different, each a string, number or truth value."""

    values: tuple[Value, ...]
    when: When

    def __init__(self, *values: Value, when: When | None = None) -> None:
        if not values:
            raise SpaceError("Choice needs at least one value, as in Choice('sgd', 'adam')")
        for value in values:
            if not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not _is_finite(value)):
                raise SpaceError(f"Choice takes strings, finite numbers and truth values, but got {value!r}")
        if len({(type(value), value) for value in values}) < len(values):
            raise SpaceError(f"the values of a Choice must differ, but got {values}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "when", dict(when or {}))

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(own) and value == own for own in self.values)

    def __str__(self) -> str:
        return " | ".join(str(value) for value in self.values)


Range = Union[Float, Int, Choice]


class Space(dict[str, Range]):
    """Ranges by name, in the order in which they are drawn; a condition names hyperparameters that stand before it."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        super().__init__(ranges)
        seen: set[str] = set()
        for name, range_ in self.items():
            check_name(name)
            if not isinstance(range_, (Float, Int, Choice)):
                raise SpaceError(f"{name} must be a Float, Int or Choice, but got {range_!r}")
            for parent, wanted in range_.when.items():
                if parent not in seen:
                    raise SpaceError(f"{name} exists when {parent} is {wanted!r}, but no {parent} stands before it")
                for value in _as_tuple(wanted):
                    if value not in self[parent]:
                        raise SpaceError(f"{name} exists when {parent} is {value!r}, which {self[parent]} never is")
            seen.add(name)

    def active(self, name: str, config: Mapping[str, Value]) -> bool:
        """Whether hyperparameter `name` exists, given the values in `config` of those before it."""
        return all(
            parent in config and config[parent] in _as_tuple(wanted) for parent, wanted in self[name].when.items()
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
                    raise SpaceError(f"{what} sets {name}, which exists only when {dict(range_.when)}")
            elif name not in point:
                raise SpaceError(f"{what} lacks {name}; give it a value in {range_}")
            elif point[name] not in range_:
                raise SpaceError(f"{what} has {name}={point[name]!r}, which lies outside {range_}")

    def without(self, fixed: Mapping[str, Value]) -> Space:
        """This space with the hyperparameters in `fixed` taken out, and conditions on them resolved."""
        kept: dict[str, Range] = {}
        for name, range_ in self.items():
            if name in fixed:
                continue
            decided = {parent: wanted for parent, wanted in range_.when.items() if parent in fixed}
            if any(fixed[parent] not in _as_tuple(wanted) for parent, wanted in decided.items()):
                continue
            if any(parent not in kept and parent not in fixed for parent in range_.when):
                continue
            open_ = {parent: wanted for parent, wanted in range_.when.items() if parent not in fixed}
            kept[name] = with_when(range_, open_) if decided else range_
        return Space(kept)

    def corner(self, *, high: bool, pinned: Mapping[str, Value] | None = None) -> Config:
        """The point with every numeric hyperparameter at its upper (or lower) end, and the last (first) choice.

        Those in `pinned` have the value given there, and what they depend on has one at which they exist.
        """
        chosen = dict(pinned or {})
        for name in reversed(list(self)):
            if name in chosen:
                for parent, wanted in self[name].when.items():
                    chosen.setdefault(parent, _as_tuple(wanted)[0])
        point: Config = {}
        for name, range_ in self.items():
            if self.active(name, point):
                if name in chosen:
                    point[name] = chosen[name]
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


NAME = re.compile(r"[^\W\d][\w.-]*(/\w[\w.-]*)*")
"""Sections and a name, with slashes between: what MLflow, a command line and a table can all take."""
LONGEST_NAME = 200
"""Characters; MLflow takes 250, with what is written before a name."""


def check_name(name: str) -> None:
    """Raise SpaceError unless a hyperparameter can have this name: lr, model.lr, train/lr or optim/adam/lr."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SpaceError(
            f"hyperparameter {name!r} must be named with letters, digits, '_', '.' and '-', and '/' after a section, "
            "as in lr or train/lr"
        )
    if len(name) > LONGEST_NAME:
        raise SpaceError(f"hyperparameter {name[:40]}… has {len(name)} characters, but may have {LONGEST_NAME}")


def parse(text: str) -> Range | Value:
    """Read a value or a range as one writes it on the command line.

    `0.1`, `3`, `true` and `adam` are values; `log(1e-4, 1e-1)`, `uniform(0, 0.5)`, `int(1, 4)`, `intlog(16, 256)` and
    `choice(32, 64)` are ranges, with both ends included. Raises SpaceError for anything else.
    """
    call = re.fullmatch(r"\s*([a-z]+)\s*\((.*)\)\s*", text, re.DOTALL)
    if call is None:
        return _literal(text)
    kind, arguments = call[1], [_literal(part) for part in call[2].split(",") if part.strip()]
    if kind == "choice":
        return Choice(*arguments)
    makers: dict[str, Callable[..., Range]] = {
        "log": lambda low, high: Float(float(low), float(high), log=True),
        "uniform": lambda low, high: Float(float(low), float(high)),
        "int": Int,
        "intlog": lambda low, high: Int(low, high, log=True),
    }
    if kind not in makers:
        raise SpaceError(f"unknown range {kind}(…); known are {', '.join(makers)}, choice")
    if len(arguments) != 2 or not all(_is_number(argument) for argument in arguments):
        raise SpaceError(f"{kind}(…) takes two numbers, low and high, but got {text.strip()!r}")
    return makers[kind](*arguments)


def _literal(text: str) -> Value:
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if (
        isinstance(value, str)
        and re.fullmatch(r"[\w.+-]+", value)
        and value.lower().lstrip("+-") not in ("nan", "inf", "infinity")
    ):
        return value
    if isinstance(value, (int, float)) and _is_finite(value):
        return value
    raise SpaceError(f"cannot read {text!r}; write a number, true, false, a word, or a range such as log(1e-4, 1e-1)")


def _as_tuple(wanted: Any) -> tuple[Any, ...]:
    return tuple(wanted) if isinstance(wanted, (tuple, list)) else (wanted,)


def possible(ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges` without those whose condition no value of its parent can meet."""
    kept: dict[str, Range] = {}
    for name, range_ in ranges.items():
        when: dict[str, Any] = {}
        for parent, wanted in range_.when.items():
            values = tuple(value for value in _as_tuple(wanted) if parent not in ranges or value in ranges[parent])
            if not values or (parent in ranges and parent not in kept):
                break
            when[parent] = values if isinstance(wanted, (tuple, list)) else wanted
        else:
            kept[name] = with_when(range_, when) if when else range_
    return kept


def with_when(range_: Range, when: When) -> Range:
    """`range_` under another condition."""
    if isinstance(range_, Choice):
        return Choice(*range_.values, when=when)
    return type(range_)(range_.low, range_.high, range_.log, when)  # type: ignore[arg-type]


def to_plain(range_: Range) -> dict[str, Any]:
    """`range_` as JSON can hold it; `from_plain` reads it back as it was."""
    kind = type(range_).__name__
    if isinstance(range_, Choice):
        return {"kind": kind, "values": list(range_.values), "when": dict(range_.when)}
    return {"kind": kind, "low": range_.low, "high": range_.high, "log": range_.log, "when": dict(range_.when)}


def from_plain(stored: Mapping[str, Any]) -> Range:
    """The range that `to_plain` wrote."""
    when = {name: tuple(wanted) if isinstance(wanted, list) else wanted for name, wanted in stored["when"].items()}
    if stored["kind"] == "Choice":
        return Choice(*stored["values"], when=when)
    if stored["kind"] == "Int":
        return Int(stored["low"], stored["high"], stored["log"], when)
    return Float(stored["low"], stored["high"], stored["log"], when)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _check_bounds(range_: Float | Int) -> None:
    kind, low, high = type(range_).__name__, range_.low, range_.high
    for name, bound in (("low", low), ("high", high)):
        if not _is_number(bound) or not _is_finite(bound):
            raise SpaceError(f"{kind} needs finite bounds, but got {name}={bound!r}")
    if low > high:
        raise SpaceError(f"{kind} needs low <= high, but got low={low!r} and high={high!r}; swap them")
    if range_.log and low <= 0:
        raise SpaceError(f"{kind} with log needs low above 0, but got low={low!r}")
