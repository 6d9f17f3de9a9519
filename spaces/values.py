"""What a hyperparameter may be set to, when two values are the same, and how one is kept where JSON would change it."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from typing import Any, Union

Value = Union[None, bool, int, float, str, tuple[Any, ...], list[Any]]
"""None, a truth value, a finite number, a word, or a tuple or list of such values."""
Config = dict[str, Value]

TUPLE = "tuple"
"""Under this key JSON holds the values of a tuple; JSON's own lists are lists."""


class SpaceError(ValueError):
    """A range, a start point or a fixed value that cannot be; the message names it, the rule, and the way out."""


def is_number(value: object) -> bool:
    """Whether `value` is a whole or real number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: float) -> bool:
    """Whether a float can hold `value`, which is neither NaN nor infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def plain_number(value: Any) -> Any:
    """Python's own number for one of NumPy or torch; anything else as it is."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 else value


def checked(value: Any, what: str) -> Value:
    """`value` as Python's own kind: of NumPy's numbers, and of enumerations, what they stand for.

    Raises SpaceError about `what`, as in "train/lr is fixed at".
    """
    value = plain_number(value)
    if isinstance(value, (int, float)) and not is_finite(value):
        raise SpaceError(f"{what} {shortened(value)}, which is no finite number")
    for kind, plain in ((bool, bool), (int, int), (float, float), (str, str.__str__)):
        if isinstance(value, kind):
            return plain(value)  # type: ignore[no-any-return, operator]
    if value is None:
        return None
    if type(value) in (tuple, list):
        return type(value)(checked(each, what) for each in value)  # type: ignore[no-any-return]
    raise SpaceError(
        f"{what} {shortened(value)}, but a value is a word, a finite number, a truth value, None, or a tuple or list "
        "of these; give it a name, and look that up in the trainable"
    )


def shortened(value: object) -> str:
    """`value` as Python writes it, without its place in memory, cut to what fits into a line."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(value).split()))
    return text if len(text) <= 80 else f"{text[:79]}…"


def identity(value: Value) -> Hashable:
    """What is equal for the same value only: it tells 1, True and 1.0 apart, and a list from a tuple."""
    if isinstance(value, (tuple, list)):
        return type(value), tuple(identity(each) for each in value)
    return type(value), value


def same(one: Value, other: Value) -> bool:
    """Whether two values are the same, in type too."""
    return identity(one) == identity(other)


def copied(value: Value) -> Value:
    """`value`, without the lists of the original: who is given it may change them."""
    return type(value)(copied(each) for each in value) if isinstance(value, (tuple, list)) else value


def to_plain(value: Value) -> Any:
    """`value` as JSON keeps it whole; `from_plain` reads it back as it was, a tuple as a tuple."""
    if isinstance(value, tuple):
        return {TUPLE: [to_plain(each) for each in value]}
    return [to_plain(each) for each in value] if isinstance(value, list) else value


def from_plain(stored: Any) -> Value:
    """The value that `to_plain` wrote. Raises ValueError for what it never writes."""
    if isinstance(stored, Mapping):
        if set(stored) != {TUPLE} or not isinstance(stored[TUPLE], list):
            raise ValueError(f"{shortened(stored)} is no value of a hyperparameter")
        return tuple(from_plain(each) for each in stored[TUPLE])
    if isinstance(stored, (list, tuple)):
        return type(stored)(from_plain(each) for each in stored)
    value: Value = stored
    return value


def config_to_plain(config: Mapping[str, Value]) -> dict[str, Any]:
    """Every value of `config` as JSON keeps it."""
    return {name: to_plain(value) for name, value in config.items()}


def config_from_plain(stored: Mapping[str, Any]) -> Config:
    """The configuration that `config_to_plain` wrote."""
    return {name: from_plain(value) for name, value in stored.items()}
