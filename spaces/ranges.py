"""Ranges of hyperparameters: plain data, checked at birth."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar, Union

from spaces.values import (
    SpaceError,
    Value,
    checked,
    from_plain,
    identity,
    is_finite,
    is_number,
    plain_number,
    same,
    shortened,
    to_plain,
)

When = Mapping[str, Any]
Bound = Union[float, str]
"""A number, or the name of a hyperparameter that stands before and is the bound."""

OFF = 1e-6
"""So much of a step a real number may lie beside it: steps such as 0.1 are no whole number of binary digits."""


class _Numbers:
    """What `Float` and `Int` share.

    `low` and `high` are both included. In `bounds` stand the names of hyperparameters that are one of them, under
    "low" or "high"; the number is then the least or largest that it can be, as far as is known: a space knows it.
    """

    low: Any
    high: Any
    log: bool
    when: When
    step: Any
    bounds: Mapping[str, str]

    def _begin(self, low: Bound, high: Bound, log: bool, when: When | None, step: Any) -> None:
        named = {end: bound for end, bound in (("low", low), ("high", high)) if isinstance(bound, str)}
        given: dict[str, Any] = {
            "low": -math.inf if "low" in named else low,
            "high": math.inf if "high" in named else high,
        }
        kind = type(self).__name__
        for end, bound in given.items():
            if hasattr(bound, "dtype") and getattr(bound, "ndim", None) == 0:
                given[end] = bound = bound.item()
            if end not in named:
                self._check_bound(end, bound)
        if not isinstance(log, bool):
            raise SpaceError(f"{kind} has log=True or log=False, but got log={log!r}")
        if given["low"] > given["high"]:
            raise SpaceError(f"{kind} needs low <= high, but got low={low!r} and high={high!r}; swap them")
        if log and "low" not in named and given["low"] <= 0:
            raise SpaceError(f"{kind} with log needs low above 0, but got low={low!r}")
        if step is not None:
            self._check_step(step, log)
            if not named:
                given["high"] = _at_step(given["low"], step, _steps(given["low"], given["high"], step))
        for name, value in {**given, "log": log, "when": _plain_when(when), "step": step, "bounds": named}.items():
            object.__setattr__(self, name, value)

    def _check_bound(self, end: str, bound: Any) -> None:
        if not is_number(bound) or not is_finite(bound):
            raise SpaceError(f"{type(self).__name__} needs finite bounds, but got {end}={bound!r}")

    def _check_step(self, step: Any, log: bool) -> None:
        kind = type(self).__name__
        if not is_number(step) or not is_finite(step) or step <= 0:
            raise SpaceError(f"{kind} needs a step above 0, but got step={step!r}")
        if log:
            raise SpaceError(f"{kind} takes log or a step, not both; leave one of them out, or use a Choice")

    def __contains__(self, value: object) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:  # type: ignore[operator]
            return False
        if self.step is None or "low" in self.bounds:
            return True
        steps = (value - self.low) / self.step  # type: ignore[operator]
        return abs(steps - round(steps)) <= OFF

    def _text(self, low: str, high: str) -> str:
        steps = "" if self.step is None else f" (in steps of {self.step:g})"
        return f"{self.bounds.get('low', low)} … {self.bounds.get('high', high)}{' (log)' if self.log else ''}{steps}"

    @property
    def count(self) -> int:
        """How many values there are; only of one with a step, or of whole numbers."""
        return _steps(self.low, self.high, 1 if self.step is None else self.step) + 1


@dataclass(frozen=True, init=False)
class Float(_Numbers):
    """Real numbers from `low` to `high`, both included; `log` draws the exponent evenly and needs `low > 0`.

    With `step` only `low` and whole numbers of steps above it, up to `high`. A bound may be the name of a
    hyperparameter that stands before. `when` names others and the value (or several) at which this one exists.
    """

    low: float
    high: float
    log: bool
    when: When
    step: float | None
    bounds: Mapping[str, str]

    def __init__(
        self, low: Bound, high: Bound, log: bool = False, when: When | None = None, step: float | None = None
    ) -> None:
        self._begin(low, high, log, when, step)

    def __str__(self) -> str:
        return self._text(f"{self.low:g}", f"{self.high:g}")

    def nearest(self, value: float) -> float:
        """What of this range is next to `value`."""
        inside = min(max(value, self.low), self.high)
        if self.step is None:
            return float(inside)
        return float(_at_step(self.low, self.step, round((inside - self.low) / self.step)))

    def place(self, value: float) -> float:
        """Where `value` lies, from 0 (low) to 1 (high), on the range's scale."""
        if self.low == self.high:
            return 0.5
        if self.step is not None:
            return (round((value - self.low) / self.step) + 0.5) / self.count
        low, high, at = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return (at - low) / (high - low)

    def at_place(self, place: float) -> float:
        """The value at `place`, from 0 to 1; evenly spread places give evenly spread values."""
        if self.step is not None:
            return float(_at_step(self.low, self.step, min(int(place * self.count), self.count - 1)))
        if self.log:
            return self.nearest(math.exp(math.log(self.low) * (1 - place) + math.log(self.high) * place))
        return self.nearest(self.low * (1 - place) + self.high * place)


@dataclass(frozen=True, init=False)
class Int(_Numbers):
    """Whole numbers from `low` to `high`, both included; `log`, `step`, bounds by name and `when` as for `Float`."""

    low: int
    high: int
    log: bool
    when: When
    step: int | None
    bounds: Mapping[str, str]

    def __init__(
        self, low: int | str, high: int | str, log: bool = False, when: When | None = None, step: int | None = None
    ) -> None:
        self._begin(low, high, log, when, step)

    def _check_bound(self, end: str, bound: Any) -> None:
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise SpaceError(f"Int needs whole numbers, but got {end}={bound!r}")
        super()._check_bound(end, bound)

    def _check_step(self, step: Any, log: bool) -> None:
        super()._check_step(step, log)
        if not isinstance(step, int):
            raise SpaceError(f"Int needs whole numbers, but got step={step!r}")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and super().__contains__(value)

    def __str__(self) -> str:
        return self._text(str(self.low), str(self.high))

    def nearest(self, value: float) -> int:
        """What of this range is next to `value`."""
        step = self.step or 1
        return self.low + step * round((min(max(value, self.low), self.high) - self.low) / step)

    def place(self, value: float) -> float:
        """Where `value` lies, from 0 to 1, on the range's scale; each value has an equal part of it, or of its log."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return (math.log(value) - low) / (high - low)
        return ((value - self.low) // (self.step or 1) + 0.5) / self.count

    def at_place(self, place: float) -> int:
        """The value at `place`, from 0 to 1."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self.nearest(math.exp(low * (1 - place) + high * place))
        return self.low + (self.step or 1) * min(int(place * self.count), self.count - 1)


@dataclass(frozen=True, init=False)
class Choice:
    """One of `values`: at least one, all different; each a word, a number, a truth value, None, or a tuple or list.

    One list or tuple alone holds the values: `Choice(["sgd", "adam"])` is `Choice("sgd", "adam")`.
    """

    values: tuple[Value, ...]
    when: When

    def __init__(self, *values: Any, when: When | None = None) -> None:
        if len(values) == 1 and isinstance(values[0], (list, tuple)):
            values = tuple(values[0])
        elif len(values) == 1 and _is_collection(values[0]):
            inside = "*sorted(…)" if isinstance(values[0], (set, frozenset)) else "*…"
            raise SpaceError(
                f"Choice takes values, or a list of them, but got {shortened(values[0])}; for what is in it write "
                f"Choice({inside})"
            )
        self._begin(values, when)

    @classmethod
    def of(cls, values: Iterable[Value], when: When | None = None) -> Choice:
        """A choice of exactly `values`, also where a single one is a list or tuple."""
        made = cls.__new__(cls)
        made._begin(values, when)
        return made

    def _begin(self, given: Iterable[Any], when: When | None) -> None:
        values = tuple(checked(value, "Choice has") for value in given)
        if not values:
            raise SpaceError("Choice needs at least one value, as in Choice('sgd', 'adam')")
        if len({identity(value) for value in values}) < len(values):
            raise SpaceError(f"the values of a Choice must differ, but got {values}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "when", _plain_when(when))

    def __contains__(self, value: Any) -> bool:
        return any(type(value) is type(own) and same(value, own) for own in self.values)

    def index(self, value: Value) -> int:
        """The place of `value` among the values. Raises ValueError if it is none of them."""
        return [identity(own) for own in self.values].index(identity(value))

    def __str__(self) -> str:
        return " | ".join(str(value) for value in self.values)


Range = Union[Float, Int, Choice]
AnyRange = TypeVar("AnyRange", bound=Range)


def bounded(range_: Float | Int, numbers: Mapping[str, Any]) -> Float | Int:
    """`range_` with the bounds that `numbers` name, which are numbers then. Raises SpaceError."""
    ends = {"low": range_.low, "high": range_.high, **{end: numbers[name] for end, name in range_.bounds.items()}}
    return type(range_)(ends["low"], ends["high"], range_.log, range_.when, range_.step)  # type: ignore[arg-type]


def within(range_: Float | Int, low: Any, high: Any) -> Float | Int:
    """`range_`, whose named bounds can be no less than `low` and no more than `high`."""
    made = copy.copy(range_)
    object.__setattr__(made, "low", low)
    object.__setattr__(made, "high", high)
    return made


def with_when(range_: AnyRange, when: When) -> AnyRange:
    """`range_` under another condition."""
    made = copy.copy(range_)
    object.__setattr__(made, "when", _plain_when(when))
    return made


def alternatives(wanted: Any) -> tuple[Any, ...]:
    """The values at which a condition holds."""
    return tuple(wanted) if isinstance(wanted, (tuple, list)) else (wanted,)


def to_plain_range(range_: Range) -> dict[str, Any]:
    """`range_` as JSON can hold it; `from_plain_range` reads it back as it was."""
    kind, when = type(range_).__name__, {name: _alternatives_to_plain(wanted) for name, wanted in range_.when.items()}
    if isinstance(range_, Choice):
        return {"kind": kind, "values": [to_plain(value) for value in range_.values], "when": when}
    ends = {"low": range_.low, "high": range_.high, **range_.bounds}
    plain = {"kind": kind, **ends, "log": range_.log, "when": when}
    return plain if range_.step is None else {**plain, "step": range_.step}


def from_plain_range(stored: Mapping[str, Any]) -> Range:
    """The range that `to_plain_range` wrote. Raises SpaceError."""
    when = {
        name: tuple(from_plain(each) for each in wanted) if isinstance(wanted, list) else from_plain(wanted)
        for name, wanted in stored["when"].items()
    }
    if stored["kind"] == "Choice":
        return Choice.of([from_plain(value) for value in stored["values"]], when)
    kind = Int if stored["kind"] == "Int" else Float
    return kind(stored["low"], stored["high"], stored["log"], when, stored.get("step"))


def _alternatives_to_plain(wanted: Any) -> Any:
    return [to_plain(each) for each in wanted] if isinstance(wanted, (tuple, list)) else wanted


def _plain_when(when: When | None) -> When:
    """A condition as plain data: of a set, its values in an order that is the same in every process.

    Raises SpaceError for what is none.
    """
    try:
        return {name: _plain_wanted(name, wanted) for name, wanted in dict(when or {}).items()}
    except (TypeError, ValueError) as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(
            f"when maps a hyperparameter to its value, or to several, as in when={{'train/optimizer': 'sgd'}}, but is "
            f"{shortened(when)}"
        ) from None


def _plain_wanted(name: Any, wanted: Any) -> Any:
    """The value at which a condition on `name` holds, or several. Raises SpaceError."""
    if isinstance(wanted, (_Numbers, Choice)):
        raise SpaceError(f"a condition on {name} is a value or several, but got the range {wanted}; list its values")
    if _is_collection(wanted):
        several = sorted(wanted, key=repr) if isinstance(wanted, (set, frozenset)) else list(wanted)
        if not several:
            raise SpaceError(f"a condition on {name} has no value, so it never holds; name one, or leave it out")
        return [*map(plain_number, several)] if isinstance(wanted, list) else tuple(map(plain_number, several))
    return plain_number(wanted)


def _is_collection(value: Any) -> bool:
    """Whether `value` holds others, and is no word and no array of a single number."""
    plain = isinstance(value, (str, bytes, Mapping)) or getattr(value, "ndim", None) == 0
    return isinstance(value, Iterable) and not plain


def _steps(low: Any, high: Any, step: Any) -> int:
    """How many whole steps there are from `low` to `high`, as one counts who writes decimals."""
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return (high - low) // step
    return int((Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step)) + Decimal(repr(OFF)))


def _at_step(low: Any, step: Any, number: int) -> Any:
    """`number` steps above `low`: 0.15 and not 0.15000000000000002."""
    if isinstance(low, int) and isinstance(step, int):
        return low + number * step
    return float(Decimal(repr(low)) + number * Decimal(repr(step)))


def numbers_of(range_: Range) -> Sequence[float]:
    """The least and the largest number of `range_`. Raises SpaceError if it has a value that is none."""
    if not isinstance(range_, Choice):
        return range_.low, range_.high
    if not all(is_number(value) for value in range_.values):
        raise SpaceError(f"{range_} is no range of numbers")
    numbers: list[Any] = [*range_.values]
    return min(numbers), max(numbers)
