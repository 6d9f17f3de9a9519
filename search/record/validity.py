"""Whether what a record says is possible at all, so that nobody who reads on meets a surprise.

Searches are folders that people send each other, and a checksum proves only that a row is as it was written. Checked
are types, ranges and names of every row, and that rows refer to what came before them.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any

from search.errors import BadInput
from search.record.events import (
    Asked,
    Body,
    Confirming,
    EpochReport,
    Event,
    Kind,
    Repeated,
    Restarted,
    Steered,
    WinnerTested,
)
from search.record.header import Header, Process
from search.record.reading import header_of, objective_of, space_of
from search.record.state import State
from search.record.steering import Request
from search.record.trial import CONFIRMATION, PUBLISHED, REPEAT
from spaces.space import Space
from spaces.study import script_of

CHECKPOINT = re.compile(r"trial-\d{4,9}/attempt-\d{1,9}/epoch-\d{4,9}")
"""How a checkpoint is called, below the search's own folder of them; what is called otherwise is none of ours."""
LARGEST = 2**53
"""No number in a record is larger: a float still tells it from the next one."""
OF_A_TRIAL = (
    Kind.ASKED,
    Kind.LOST,
    Kind.RESTARTED,
    Kind.EPOCH,
    Kind.REPEATED,
    Kind.DECIDED,
    Kind.CONTINUED,
    Kind.ENDED,
    Kind.TESTED,
)
STATES = tuple(State)
BODIES: Mapping[Kind, type[Body]] = {body.kind: body for body in Body.__subclasses__()}


def first_fault(events: Sequence[Event]) -> tuple[int, str] | None:
    """The number of the first event that cannot be, and why; None if all can."""
    return Check().first_fault(events)


class Check:
    """Looks at the events of one record as they come."""

    def __init__(self) -> None:
        self._epochs: list[int] = []
        """How many each trial has."""
        self._points = _Points(Space({}))

    def first_fault(self, events: Sequence[Event], known: int = 0) -> tuple[int, str] | None:
        """See `first_fault`; of all `events` the first `known` were looked at before."""
        for index in range(known, len(events)):
            event = events[index]
            try:
                _check_place(event, self._epochs)
                if event.kind in BODIES:
                    _check_body(event, self._epochs, self._points)
                else:
                    _check_header(events, event)
                if event.id == 1:
                    self._points = _Points(space_of(events))
            except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
                said = " ".join(str(error).split())[:100]
                return event.id, f"it lacks {said}" if isinstance(error, KeyError) else said or type(error).__name__
        return None


class _Points:
    """The points of trials, which must lie in the space; a published setting and what trains it again need not."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._outside: list[bool] = []

    def check(self, asked: Asked) -> None:
        """Raise SpaceError, a ValueError, for the next trial if its point cannot be."""
        again = asked.origin.startswith((CONFIRMATION, REPEAT))
        free = self._outside[int(asked.origin.rsplit(" ", 1)[1])] if again else asked.origin.startswith(PUBLISHED)
        if not free:
            self._space.check_point(asked.point, "the trial")
        self._outside.append(free)


def _check_place(event: Event, epochs: list[int]) -> None:
    """Whether an event may stand where it stands, after trials that have so many `epochs` each."""
    _require(isinstance(event.body, dict), "its body is no object")
    _require((event.kind is Kind.SEARCH) == (event.id == 1), "a record begins with the search, and only begins with it")
    if event.kind in OF_A_TRIAL:
        next_one = event.kind is Kind.ASKED
        _require(is_number(event.trial, int), f"{event.kind} is of no trial")
        _require(event.trial == len(epochs) if next_one else 0 <= (event.trial or 0) < len(epochs), "no such trial")
    else:
        _require(event.trial is None, f"{event.kind} is of no trial, but names one")


def _check_body(event: Event, epochs: list[int], points: _Points) -> None:
    kind = BODIES[event.kind]
    _check_types(kind, event.body)
    body = kind.of(event)
    if isinstance(body, Asked):
        for beginning in (CONFIRMATION, REPEAT):
            if body.origin.startswith(beginning):
                _require(0 <= int(body.origin.rsplit(" ", 1)[1]) < len(epochs), "it trains again what there is not")
        _require(all(is_value(value) for value in body.point.values()), "its point holds no plain values")
        points.check(body)
        epochs.append(0)
        return
    if isinstance(body, (EpochReport, Repeated, Restarted)):
        name = body.checkpoint
        _require(name is None or bool(CHECKPOINT.fullmatch(name)), "its checkpoint is named like none of ours")
        had = epochs[event.trial or 0]
        if isinstance(body, EpochReport):
            _require(body.epoch == had + 1, f"epoch {body.epoch} follows epoch {had}")
            _require(all(is_number(value, float) for value in body.metrics.values()), "its metrics are no numbers")
            busy = (body.system or {}).values()
            _require(all(is_number(value, float) for value in busy), "how busy its machine was are no numbers")
            epochs[event.trial or 0] += 1
        else:
            _require((isinstance(body, Restarted) or body.epoch > 0) and 0 <= body.epoch <= had, "no such epoch")
    if isinstance(body, Steered):
        _check_steered(body, epochs)
    if isinstance(body, WinnerTested):
        numbers = {"accuracy": body.test_accuracy, "loss": body.test_loss, **(body.beyond or {})}
        _require(any(value is not None for value in numbers.values()), "it says nothing of the test set")
        _require(body.images is None or body.images >= 1, "so many images cannot be")
    if isinstance(body, Confirming):
        named = [*body.trials, *([] if body.control is None else [body.control])]
        _require(all(is_number(each, int) and 0 <= each < len(epochs) for each in named), "no such trial")
        _require(1 <= body.seeds <= LARGEST, "so many seeds cannot be")


def _check_steered(body: Steered, epochs: list[int]) -> None:
    try:
        Request.of(body)
    except BadInput as error:
        raise ValueError(str(error)) from None
    _require(body.trial is None or 0 <= body.trial < len(epochs), "no such trial")
    _require(body.trials is None or body.trials >= 1, "so many trials cannot be")
    _require(body.time_budget is None or body.time_budget > 0, "so much time cannot be")
    _require(all(is_value(value) for value in (body.point or {}).values()), "its point holds no plain values")


def _check_header(events: Sequence[Event], event: Event) -> None:
    """The first event, or one of a process that went on: what they say together must be a search."""
    so_far = [each for each in events[: event.id] if each.kind in (Kind.SEARCH, Kind.RESUMED)]
    header = header_of(so_far)
    _check_types(Header, {name: value for name, value in vars(header).items() if name not in ("process", "objective")})
    _check_types(Process, vars(header.process))
    _require(is_number(event.body["after_s"], float), "after_s is no number")
    if event.kind is Kind.SEARCH:
        objective_of(so_far)
        script_of(header.definition, header.source)
        space_of(so_far)
        _require(bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", header.name)), "its name is no name of a search")
        _require(bool(re.fullmatch(r"[0-9A-Za-z]{1,64}", header.id)), "its id is no id")  # MLflow is asked with it
        for name in (header.study, header.experiment):  # of which folders are named
            _require(name not in ("", ".", "..") and not set(name) & {"/", "\0"}, "its study is named like a path")
        _require(header.epochs >= 1 and header.trials >= 0, "its budgets cannot be")
        _require(all(is_number(rung, int) for rung in header.rungs), "its rungs are no epochs")
        _require(all(isinstance(name, str) for name in header.classes), "its classes have no names")
        _require(all(is_value(value) for value in header.fixed.values()), "its fixed values are no plain values")
        _require(all(map(_is_learned, header.experience)), "its experience is of no search")


def _is_learned(told: Any) -> bool:
    """Whether `told` can be a start point from experience: its number, and of which trial it is."""
    if not isinstance(told, Mapping):
        return False
    numbers = all(is_number(told.get(name), int) for name in ("start", "trial"))
    return numbers and all(isinstance(told.get(name), str) for name in ("search", "dataset"))


def _check_types(kind: type[Any], plain: Mapping[str, Any]) -> None:
    for name, wanted in _types(typing.cast(Any, kind)).items():
        if name in plain and not any(_is_a(plain[name], each) for each in wanted):
            raise TypeError(f"{name} is {str(plain[name])[:40]!r}")


@cache
def _types(kind: Any) -> dict[str, tuple[Any, ...]]:
    """The types that each field of a dataclass may have, without what they hold."""
    hints = typing.get_type_hints(kind)
    named = {each.name: hints[each.name] for each in fields(kind)}
    several = {
        name: typing.get_args(hint)
        if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
        for name, hint in named.items()
    }
    return {name: tuple(typing.get_origin(each) or each for each in hints) for name, hints in several.items()}


def _is_a(value: Any, wanted: Any) -> bool:
    if wanted is int or wanted is float:
        return is_number(value, wanted)
    if wanted is State:
        return value in STATES
    if wanted is Mapping:
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    if wanted is Sequence:
        return isinstance(value, (list, tuple))
    if wanted in (str, bool, NoneType):
        return isinstance(value, wanted)
    return True


def is_number(value: Any, kind: type[int] | type[float]) -> bool:
    """Whether `value` is one that can be counted with; NaN and infinities are numbers that JSON has here."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return False
    return not math.isfinite(value) or abs(value) <= LARGEST


def is_value(value: Any) -> bool:
    """Whether a hyperparameter may have this value."""
    if isinstance(value, (list, tuple)):
        return all(is_value(each) for each in value)
    return value is None or isinstance(value, (bool, str)) or is_number(value, float)


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)
