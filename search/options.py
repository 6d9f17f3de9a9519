"""What an option is: how it is declared, read from words or Python's values, and checked. `settings` declares them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from search.errors import BadInput
from spaces.values import SpaceError
from spaces.written import written

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def seconds(text: str | float, flag: str = "--time-budget") -> float:
    """Read a duration: 90s, 10m, 1.5h or 1d, or a number of seconds. Raises BadInput, also for text without a unit."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 < text < math.inf:
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text) if isinstance(text, str) else None
    if match is None or not 0 < float(match[1]) < math.inf:
        raise BadInput(f"{flag} must be a time such as 90s, 10m or 2h, but got {text!r}")
    if not match[2]:
        number = match[1]
        raise BadInput(f"{flag} {number} has no unit; give {number}s, {number}m or {number}h")
    return float(match[1]) * UNITS[match[2]]


def size(text: str | int, flag: str = "--checkpoint-budget") -> int:
    """Read a number of bytes: 500KB, 200MB, 1.5GB or 1TB, in powers of 1000. Raises BadInput."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", str(text), re.IGNORECASE)
    if match is None or not 1 <= float(match[1]) * SIZES[match[2].upper()] < math.inf:
        raise BadInput(f"{flag} must be a size such as 500MB or 2GB, but got {text!r}")
    return int(float(match[1]) * SIZES[match[2].upper()])


def assignments(given: Mapping[str, Any] | Sequence[str], flag: str = "--set") -> dict[str, str]:
    """Read hyperparameters with values or ranges, by name or as texts NAME=VALUE. Raises BadInput."""
    if isinstance(given, Mapping):
        return {name: _as_text(name, value) for name, value in given.items()}
    changes = {}
    for change in given:
        key, equals, value = change.partition("=")
        if not equals:
            raise BadInput(f"{flag} takes NAME=VALUE, as in {flag} train/lr=0.1, but got {change!r}")
        changes[key.strip()] = value
    return changes


def _as_text(name: str, value: Any) -> str:
    """What `--set` would be given; the space's parser reads it back as it is."""
    try:
        return written(plain(value))
    except SpaceError as error:
        raise BadInput(f"set gives {name} what cannot be: {error}") from None


def names(given: str | Sequence[str], flag: str) -> tuple[str, ...]:
    """Read one name or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def place(given: Any, flag: str) -> str:
    """Read a path, an address or a word."""
    return str(given)


def plain(value: Any) -> Any:
    """Python's number for one of NumPy's, which no record could hold."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


@dataclass(frozen=True)
class Option:
    """What is declared of an option besides the name of its field.

    `type` is that of its value, or of the text that `read` makes it of. `resume_help` says what it means to a search
    that goes on, if not the same. In a record stands `unset` for None. A confirmed search that is given another value
    is reopened if it `reopens`.
    """

    flag: str
    type: type
    help: str
    default: Any = None
    metavar: str | None = None
    least: int | None = None
    most: int | None = None
    read: Callable[[Any, str], Any] | None = None
    resume_help: str = ""
    unset: Any = None
    reopens: bool = False

    @property
    def keyword(self) -> str:
        """The argument of `search.run`: `--no-x` is `x` that is false."""
        return self.flag.removeprefix("--").removeprefix("no-").replace("-", "_")


def option(flag: str, type_: type, help_: str, *, default: Any = None, **more: Any) -> Any:
    """A field that is an `Option`."""
    metadata = {"option": Option(flag, type_, help_, default, **more)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def declared(kind: type) -> dict[str, Option]:
    """The options of `kind` by the names of their fields, in the order in which they are shown."""
    return {each.name: each.metadata["option"] for each in fields(kind) if "option" in each.metadata}


def read(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind` that are among `given`, the words of a command line or the arguments of a call, by keyword.

    Raises BadInput.
    """
    values = {}
    for name, each in declared(kind).items():
        value = plain(given.get(each.keyword))
        if value is not None and each.read is not None:
            values[name] = each.read(value, each.flag)
        elif each.keyword in given and each.read is None:
            values[name] = value
    return values


def check(asked: object) -> None:
    """Raise BadInput for a number that is none, too small or too large."""
    for name, each in declared(type(asked)).items():
        value = getattr(asked, name)
        if each.type not in (int, float) or (value is None and each.default is None):
            continue
        if not isinstance(value, (int, each.type)) or isinstance(value, bool):
            kind = "whole number" if each.type is int else "number"
            raise BadInput(f"{each.flag} must be a {kind}, but got {value!r}")
        if each.least is not None and value < each.least:
            bound = f"at least {each.least}" if each.least else "0 or more"
            raise BadInput(f"{each.flag} must be {bound}, but got {value}")
        if each.most is not None and value > each.most:
            raise BadInput(f"{each.flag} must be at most {each.most:,}, but got {value:,}")
