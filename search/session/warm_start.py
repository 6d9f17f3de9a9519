"""Start points from earlier searches: their best configurations, mapped onto the space of a new one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.errors import BadInput
from search.findings.text import short
from search.record.reader import FILE, read
from search.record.reading import header_of, objective_of
from search.record.trial import SEED
from search.record.trials import replayed
from search.storage.runs import find_search
from spaces.space import Choice, Config, Range, Space, Value
from spaces.study import Study, config_of
from spaces.values import config_to_plain, to_plain

BEST = 3
"""So many of the best configurations of each earlier search are taken."""


@dataclass(frozen=True)
class Mapped:
    """A configuration of an earlier search as a point of another space, and what had to be done to it.

    `changed` are hyperparameters whose value lies outside their new range, with the old value and the new one; `filled`
    those that the earlier search did not have; `dropped` those that it searched and the new space does not.
    """

    point: Config
    changed: Mapping[str, tuple[Value, Value]]
    filled: Sequence[str]
    dropped: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """The point and what was changed, as JSON can hold them."""
        changed = {name: [to_plain(value) for value in values] for name, values in self.changed.items()}
        return {"point": config_to_plain(self.point), "changed": changed}

    @property
    def changes(self) -> str:
        """What was changed, for people; "" for nothing."""
        return ", ".join(f"{name} {short(old)} became {short(new)}" for name, (old, new) in self.changed.items())


@dataclass(frozen=True)
class Taken:
    """A start point from `trial` of the search `name`."""

    name: str
    trial: int
    mapped: Mapped

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        left = {"filled": [*self.mapped.filled], "dropped": [*self.mapped.dropped]}
        return {"search": self.name, "trial": self.trial, **self.mapped.plain(), **left}

    def __str__(self) -> str:
        parts = [
            self.mapped.changes,
            f"filled in {', '.join(self.mapped.filled)}" if self.mapped.filled else "",
            f"dropped {', '.join(self.mapped.dropped)}" if self.mapped.dropped else "",
        ]
        return f"trial {self.trial} of {self.name}: " + ("; ".join(part for part in parts if part) or "as it was")


def warmed(study: Study, names: Sequence[str], runs: Path) -> tuple[Study, list[Taken]]:
    """`study`, started from the best of the searches `names` (in `runs`, or folders), and what was taken.

    They come first, the best of each search before the second best of any; the study's own start points follow. What
    became equal by mapping is taken once. Test accuracies play no part. Raises BadInput for a search that is not there,
    has no result or shares no hyperparameter with the study, EnvironmentFault for a damaged record.
    """
    by_rank = [_best(study, name, runs) for name in names]
    taken: list[Taken] = []
    for rank in range(BEST):
        for each in by_rank:
            if rank < len(each) and all(each[rank].mapped.point != t.mapped.point for t in taken):
                taken.append(each[rank])
    points = [config_of(each.mapped.point) for each in taken]
    own = [point for point in study.start if config_of(point) not in points]
    return replace(study, start=(*points, *own)), taken


def _best(study: Study, name: str, runs: Path) -> list[Taken]:
    folder = Path(name) if "/" in name else find_search(name, runs)
    if not (folder / FILE).is_file():
        raise BadInput(f"--warm-start {name}: no search is in that folder; give a name of `python -m search list`")
    events = read(folder / FILE)
    header, ranked = header_of(events), replayed(events, objective_of(events)).ranking()
    if not ranked:
        raise BadInput(f"--warm-start {name}: that search has no result to start from; leave it out")
    default = study.start[0] if study.start else {}
    taken: list[Taken] = []
    for trial in ranked:
        config = header.full_config(trial.point)
        if not set(config) & (set(study.space) - {SEED}):
            raise BadInput(
                f"--warm-start {name}: it has none of the hyperparameters that {study.name} searches "
                f"({', '.join(study.space) or 'none'}), but {', '.join(config)}; leave it out"
            )
        mapped = mapped_onto(study.ranges, config, default, searched=set(trial.point))
        if all(mapped.point != each.mapped.point for each in taken):
            taken.append(Taken(folder.name, trial.number, mapped))
        if len(taken) == BEST:
            break
    return taken


def mapped_onto(
    space: Space, config: Mapping[str, Value], default: Mapping[str, Value], *, searched: set[str]
) -> Mapped:
    """`config` as a point of `space`, in which it need not lie.

    A number goes to the nearest that its range has (by ratio where that is logarithmic, or a choice of positive
    numbers), any other value that a choice lacks counts as missing. What is missing is filled in from `default`, a
    point of the space, or with the middle of its range.
    """
    point: Config = {}
    changed: dict[str, tuple[Value, Value]] = {}
    filled = []
    for name in space:
        if not space.active(name, point):
            continue
        range_ = space.at(name, point)
        nearest = _nearest(range_, config[name]) if name in config else None
        if nearest is None:
            filled.append(name)
            point[name] = default[name] if name in default and default[name] in range_ else _middle(range_)
            continue
        (point[name],) = nearest
        if point[name] != config[name]:
            changed[name] = (config[name], point[name])
    return Mapped(point, changed, filled, sorted(searched - set(space) - {SEED}))


def _nearest(range_: Range, value: Value) -> tuple[Value] | None:
    """The value of `range_` that is next to `value`; None if they do not compare."""
    if value in range_:
        return (value,)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if isinstance(range_, Choice):
        numbers = [each for each in range_.values if isinstance(each, (int, float)) and not isinstance(each, bool)]
        if not numbers:
            return None
        if value > 0 and min(numbers) > 0:
            return (min(numbers, key=lambda number: abs(math.log(number / value))),)
        return (min(numbers, key=lambda number: abs(number - value)),)
    return (range_.nearest(value),)


def _middle(range_: Range) -> Value:
    if isinstance(range_, Choice):
        return range_.values[0]
    middle = math.sqrt(range_.low) * math.sqrt(range_.high) if range_.log else range_.low / 2 + range_.high / 2
    return range_.nearest(middle)
