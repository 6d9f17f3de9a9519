"""What people ask of a search while it runs: the requests, and what is in force of them."""

from __future__ import annotations

import math
import re
import shlex
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.errors import BadInput
from search.options import assignments
from search.record.events import Asked, Event, Kind, Steered
from search.record.trial import ADDED
from spaces.space import SpaceError, Value
from spaces.written import parse

VERBS: Mapping[str, type | None] = {
    "stop-trial": int,
    "finish": None,
    "pause": None,
    "go-on": None,
    "trials": int,
    "time": float,
    "add": dict,
    "stop": None,
}
"""What can be asked, and of which type is what is said besides (`what`).

`stop-trial` ends a trial, `finish` the search with what is there, `stop` leaves it so that it can be resumed; `pause`
lets its trials wait at their next epoch, `go-on` lets them go on; `trials` and `time` (seconds) give it so much more;
`add` has a configuration tried next, as values by name.
"""
MOST = 10_000
"""Trials that one request may add, and hours."""
LONGEST = 200
"""Characters of a name or a value."""


@dataclass(frozen=True)
class Request:
    """`who` asks `verb` of a search, with `given` (`what` in it, or nothing), at `sent_at` (seconds since 1970).

    Raises BadInput for what nobody can ask.
    """

    verb: str
    given: Mapping[str, Any] = field(default_factory=dict)
    who: str = ""
    sent_at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        kind = VERBS.get(self.verb) if isinstance(self.verb, str) else None
        if not isinstance(self.verb, str) or self.verb not in VERBS:
            raise BadInput(f"a search can be asked {', '.join(VERBS)}, but not {str(self.verb)[:40]!r}")
        if not re.fullmatch(r"[0-9a-f]{32}", str(self.id)):
            raise BadInput("the id of a request is 32 hexadecimal digits")
        if not isinstance(self.who, str) or len(self.who) > LONGEST:
            raise BadInput(f"who asks is a name of at most {LONGEST} characters")
        if not isinstance(self.sent_at, (int, float)) or not math.isfinite(self.sent_at):
            raise BadInput("when a request was sent is a number of seconds")
        if not isinstance(self.given, Mapping) or set(self.given) != ({"what"} if kind else set()):
            raise BadInput(f"{self.verb} takes {'one thing besides' if kind else 'nothing besides'}")
        if kind is dict:
            self._check_values(self.given["what"])
        elif kind is not None:
            self._check_number(kind, self.given["what"])

    def _check_number(self, kind: type, value: Any) -> None:
        right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        least, most = (0, 10**9) if self.verb == "stop-trial" else (1, MOST * (3600 if self.verb == "time" else 1))
        if not right or not least <= value <= most:
            raise BadInput(f"{self.verb} takes a number from {least} to {most:,}, but got {str(value)[:40]!r}")

    @staticmethod
    def _check_values(values: Any) -> None:
        if not isinstance(values, Mapping) or not values or len(values) > 1000:
            raise BadInput("add takes values by name, as in train/lr=0.1")
        for name, value in values.items():
            plain = (
                value is None
                or isinstance(value, (str, bool, int))
                or (isinstance(value, float) and math.isfinite(value))
            )
            if not isinstance(name, str) or not plain or max(len(name), len(str(value))) > LONGEST:
                raise BadInput(
                    f"add takes values by name, as in train/lr=0.1, but got {str(name)[:40]}={str(value)[:40]}"
                )

    @property
    def what(self) -> Any:
        """What is said besides the verb; None if it takes nothing."""
        return self.given.get("what")

    @classmethod
    def of(cls, steered: Steered) -> Request:
        """The request that led to `steered`."""
        return cls(steered.verb, steered.given, steered.who, steered.sent_at, steered.id)


class Steering:
    """What is in force of what was asked. `apply` each event of the record once, in order."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.paused = ""
        """Who paused the search; "" if it goes on."""
        self.finished = ""
        """Who asked for its end with what is there; "" if nobody did."""
        self.next: list[tuple[Mapping[str, Value], str]] = []
        """Configurations that are to be tried next, and who wants them."""
        self.ids: set[str] = set()
        """The requests that were taken."""
        self.told: list[tuple[float, Steered]] = []
        """All of them, each with the time at which it was taken."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in one event; most change nothing."""
        if event.kind == Kind.STEERED:
            told = Steered.of(event)
            self.ids.add(told.id)
            self.told.append((event.at, told))
            if told.refused is None:
                self._obey(told)
        elif event.kind == Kind.ASKED and self.next and Asked.of(event).origin.startswith(ADDED):
            del self.next[0]
        elif event.kind == Kind.RESUMED:
            self.paused = self.finished = ""  # who goes on with a search wants it to go on

    def _obey(self, told: Steered) -> None:
        if told.verb == "pause":
            self.paused = told.who
        elif told.verb == "go-on":
            self.paused = ""
        elif told.verb == "finish":
            self.finished = told.who
        elif told.verb == "add" and told.point is not None:
            self.next.append((told.point, told.who))


def in_words(told: Steered) -> str:
    """A request and what came of it, in a line: `ana@host: stop trial 7`."""
    return f"{told.who}: {_wish(told)}" + (f" – refused: {told.refused}" if told.refused else "")


def _wish(told: Steered) -> str:
    what = told.given.get("what")
    if told.verb == "add" and isinstance(what, Mapping):
        return "try next " + " ".join(f"{name}={value}" for name, value in what.items())
    said = {
        "stop-trial": f"stop trial {what}",
        "finish": "finish now, with what is there",
        "go-on": "go on",
        "trials": f"{what} trials more",
        "time": f"{what} s more",
        "stop": "stop, to be resumed",
    }
    return said.get(told.verb, told.verb)


def values_in(text: str) -> dict[str, Any]:
    """The values in a text such as `train/lr=0.1 model/width=32`, by name. Raises BadInput."""
    values: dict[str, Any] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"add takes values by name, as in train/lr=0.1, but got {text[:80]!r} ({error})") from None
    for name, word in assignments(words, "add").items():
        try:
            values[name] = parse(word)
        except SpaceError as error:
            raise BadInput(f"add {name}={word}: {error}") from None
        if values[name] is not None and not isinstance(values[name], (bool, int, float, str)):
            raise BadInput(f"add gives {name} one word, number or truth value, but got {word}")
    return values
