"""An event of a record, and what all that events say has in common; the kinds of it stand in `events.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self, cast

from search.record.kind import Kind


@dataclass(frozen=True)
class Event:
    """One row: `id` counts from 1 without gaps, `at` is the time in seconds since 1970.

    Between the events of one process `at` advances by the monotonic clock, so a clock that is set while a search runs
    changes no duration. `body` is as it was stored; `Asked.of` and its like read it.
    """

    id: int
    at: float
    kind: Kind
    trial: int | None
    body: Mapping[str, Any]


Entry = tuple[Kind, int | None, Mapping[str, Any]]
"""An event before it is written: kind, trial, body."""


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@dataclass(frozen=True)
class Body:
    """What an event of one `kind` says; the keys that are stored are the names of the fields.

    Of the `optional` ones those that are None are not stored. What records of earlier versions lack has a default.
    """

    kind: ClassVar[Kind]
    optional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, event: Event) -> Self:
        """The body of `event`, which must be of this kind; keys that are not known are passed over."""
        assert event.kind == cls.kind, event
        return cls.from_plain(event.body)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read what was stored. Raises TypeError if that lacks something."""
        return cls(**{name: plain[name] for name in _names(cast(Any, cls)) if name in plain})

    def to_plain(self) -> dict[str, Any]:
        """As it is stored, in the order of the keys."""
        plain = {name: getattr(self, name) for name in _names(cast(Any, type(self)))}
        return {name: plain[name] for name in sorted(plain) if plain[name] is not None or name not in self.optional}

    def entry(self, trial: int | None = None) -> Entry:
        """An event that says this, about `trial` if it is about one."""
        return self.kind, trial, self.to_plain()
