"""What a search that has ended teaches others: what it searched, on which data, and the curves of its trials.

As plain data it lies in `experience.db` and in files that people send each other, so all of it is checked when it is
read, as a record is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.record.events import Event
from search.record.header import Header
from search.record.reading import finished, header_of, objective_of, space_of
from search.record.state import State
from search.record.trial import SEED, Trial
from search.record.trials import Trials, replayed
from search.record.validity import LARGEST, is_number
from spaces.objective import Objective
from spaces.ranges import Choice, alternatives
from spaces.space import Space, check_name
from spaces.study import epochs_of
from spaces.values import Config, checked, config_from_plain, config_to_plain, to_plain

FEWEST = 4
"""A search with fewer trials that were compared or complete teaches nothing."""
MOST_TRIALS = 200
"""So many trials of a search are kept, at most."""
GROWTH = 1.5
"""The epochs of a curve that are kept lie so far apart, as a factor."""
LONGEST = 300
"""Characters of a name, at most."""


@dataclass(frozen=True)
class Problem:
    """What must be the same where one search is to learn from another.

    `trains` says whose code trains (`spaces.trained_by`), `objective` is that of the study as plain data, and `space`
    has the hyperparameters in the order of their names: `{"name", "kind"}`, the kind being "range" or "choice", and
    `when` with the values of others at which one exists. Ranges may differ. A seed that is searched does not count.
    """

    trains: str
    objective: Mapping[str, Any]
    space: Sequence[Mapping[str, Any]]

    @property
    def key(self) -> str:
        """Text that is equal for the same problem only."""
        return json.dumps(self.to_plain(), sort_keys=True)

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"trains": self.trains, "objective": dict(self.objective), "space": [dict(each) for each in self.space]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Problem:
        """Read what `to_plain` gave. Raises ValueError or one of its like for what it never gives."""
        space = plain["space"]
        _require(isinstance(space, list) and bool(space), "no hyperparameters")
        for each in space:
            check_name(each["name"])
            _require(each["kind"] in ("range", "choice"), "a hyperparameter of no kind")
            for parent, values in each.get("when", {}).items():
                check_name(parent)
                _require(isinstance(values, list), "a condition without values")
        objective = {"metric": _text(plain["objective"]["metric"]), "mode": plain["objective"]["mode"]}
        weights = plain["objective"].get("weights")
        objective |= {"weights": dict(weights)} if weights else {}
        Objective(**objective)
        return cls(_text(plain["trains"]), objective, space)


def problem_of(trains: str, objective: Objective, space: Space) -> Problem:
    """The problem of a search of `space` for the best by `objective`."""
    told = []
    for name in sorted(set(space) - {SEED}):
        range_ = space[name]
        each: dict[str, Any] = {"name": name, "kind": "choice" if isinstance(range_, Choice) else "range"}
        if range_.when:
            when = {parent: [to_plain(value) for value in alternatives(of)] for parent, of in range_.when.items()}
            each["when"] = {parent: sorted(values, key=repr) for parent, values in sorted(when.items())}
        told.append(each)
    return Problem(trains, objective.to_plain(), told)


@dataclass(frozen=True)
class Tried:
    """One trial of a search. `point` is what was searched, without a seed.

    `curve` has epochs (from 1) and the best value so far after them; of the epochs some, the last among them. A trial
    that diverged is worth nothing, whatever its curve says.
    """

    number: int
    point: Config
    curve: Sequence[tuple[int, float]]
    complete: bool
    diverged: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        told = {
            "number": self.number,
            "point": config_to_plain(self.point),
            "curve": [list(each) for each in self.curve],
        }
        return {**told, "complete": self.complete, **({"diverged": True} if self.diverged else {})}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], names: set[str]) -> Tried:
        """Read what `to_plain` gave of a search of hyperparameters called `names`. Raises as `Problem.from_plain`."""
        point = config_from_plain(plain["point"])
        _require(set(point) <= names, "a trial with hyperparameters that were not searched")
        point = {name: checked(value, f"{name} is") for name, value in point.items()}
        complete, diverged = plain["complete"], plain.get("diverged", False)
        _require(isinstance(complete, bool) and isinstance(diverged, bool), "a trial that ended in no way")
        curve, last = [], 0
        for epoch, value in plain["curve"]:
            _require(is_number(epoch, int) and epoch > last, "a curve that goes back")
            _require(is_number(value, float) and math.isfinite(value), "a curve without numbers")
            curve.append((epoch, float(value)))
            last = epoch
        _require(diverged or bool(curve), "a trial without a value")
        return cls(_count(plain["number"], least=0), point, tuple(curve), complete, diverged)


@dataclass(frozen=True)
class Lesson:
    """What the search called `name` found out, of `problem`, on the data set `dataset` with its `digest` (SHA-256).

    Its data have so many `images` (train and validation part), of `shape` (C, H, W), in so many `classes`. `id` tells
    the search from every other, `at` is when it began, in seconds since 1970, `epochs` the full budget of a trial.
    """

    problem: Problem
    name: str
    id: str
    at: float
    study: str
    dataset: str
    digest: str
    images: int
    shape: Sequence[int]
    classes: int
    epochs: int
    trials: Sequence[Tried]

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            **vars(self),
            "problem": self.problem.to_plain(),
            "shape": list(self.shape),
            "trials": [trial.to_plain() for trial in self.trials],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Lesson:
        """Read what `to_plain` gave, from whoever it comes. Raises ValueError, in one line, for what it never gives."""
        try:
            return cls._read(plain)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            said = " ".join(str(error).split())[:100]
            raise ValueError(f"it lacks {said}" if isinstance(error, KeyError) else said or "it is none") from None

    @classmethod
    def _read(cls, plain: Mapping[str, Any]) -> Lesson:
        problem = Problem.from_plain(plain["problem"])
        names = {str(each["name"]) for each in problem.space}
        name, shape, trials = plain["name"], plain["shape"], plain["trials"]
        _require(bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)), "its name is no name of a search")
        _require(bool(re.fullmatch(r"[0-9A-Za-z]{1,64}", plain["id"])), "its id is no id")
        _require(bool(re.fullmatch(r"[0-9a-f]{1,128}", plain["digest"])), "its digest is none")
        _require(isinstance(shape, list) and len(shape) <= 9, "its shape is none")
        _require(isinstance(trials, list) and len(trials) <= MOST_TRIALS, f"more than {MOST_TRIALS} trials")
        _require(is_number(plain["at"], float) and math.isfinite(plain["at"]), "it began at no time")
        return cls(
            problem=problem,
            name=name,
            id=plain["id"],
            at=float(plain["at"]),
            study=_text(plain["study"]),
            dataset=_text(plain["dataset"]),
            digest=plain["digest"],
            images=_count(plain["images"], least=0),
            shape=[_count(each, least=0) for each in shape],
            classes=_count(plain["classes"], least=0),
            epochs=_count(plain["epochs"], least=1),
            trials=tuple(Tried.from_plain(each, names) for each in trials),
        )


def lesson_of(name: str, events: Sequence[Event]) -> Lesson | None:
    """What the search that `events` record, in the folder `name`, teaches; None if nothing.

    It must have ended, on data that have a digest and are no stand-in, with FEWEST trials that were compared or
    complete. What the test set gave plays no part. Records of earlier versions, which do not say what trains, teach
    nothing.
    """
    header, objective = header_of(events), objective_of(events)
    problem = problem_of(header.trains, objective, space_of(events))
    if not (finished(events) and header.trains and header.digest and problem.space) or header.stand_in:
        return None
    trials = _telling(replayed(events, objective), header)
    if sum(not trial.diverged for trial in trials) < FEWEST:
        return None
    return Lesson(
        problem=problem,
        name=name,
        id=header.id,
        at=header.started_at,
        study=header.study[:LONGEST],
        dataset=header.dataset[:LONGEST],
        digest=header.digest,
        images=header.train_images + header.val_images,
        shape=list(header.shape),
        classes=len(header.classes),
        epochs=header.epochs,
        trials=tuple(trials),
    )


def _telling(trials: Trials, header: Header) -> list[Tried]:
    """The trials that say something of their setting, by number; of too many half are the best, the others any."""
    compared = header.rungs[0] if header.rungs else header.epochs
    found: dict[int, Tried] = {}
    for trial in trials.searched:
        budget = epochs_of(trial.point, header.epochs)
        complete, diverged = trial.state is State.COMPLETE, trial.state is State.DIVERGED
        curve = [each for each in _thinned(trial.best_so_far(trials.objective)) if abs(each[1]) <= LARGEST]
        if complete and curve and curve[-1][0] < budget:  # which had no use for the rest
            curve.append((budget, curve[-1][1]))
        if not trial.exempt and (diverged or (curve and (complete or curve[-1][0] >= compared))):
            found[trial.number] = Tried(trial.number, _without_seed(trial), tuple(curve), complete, diverged)
    if len(found) > MOST_TRIALS:
        best = [trial.number for trial in trials.ranking() if trial.number in found][: MOST_TRIALS // 2]
        others = [number for number in found if number not in set(best)]
        left = MOST_TRIALS - len(best)
        some = [others[place * len(others) // left] for place in range(left)]
        found = {number: found[number] for number in sorted({*best, *some})}
    return list(found.values())


def _without_seed(trial: Trial) -> Config:
    return {name: value for name, value in trial.point.items() if name != SEED}


def _thinned(curve: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Epochs and values of `curve`: the first ones, fewer and fewer of the others, and the last."""
    epoch = 1
    while epoch < len(curve):
        yield epoch, curve[epoch - 1]
        epoch = max(epoch + 1, round(epoch * GROWTH))
    if curve:
        yield len(curve), curve[-1]


def _text(value: Any) -> str:
    _require(isinstance(value, str) and len(value) <= LONGEST, "a text that is none, or is too long")
    return str(value)


def _count(value: Any, *, least: int) -> int:
    _require(is_number(value, int) and value >= least, "a number that counts nothing")
    return int(value)


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)
