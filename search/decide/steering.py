"""What becomes of a request that somebody makes of a running search: what the record is to say. No clock, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.errors import BadInput
from search.record.events import Ended, Steered
from search.record.state import State
from search.record.steering import Request, Steering
from search.record.trials import Trials
from search.settings import LARGEST, Options, nearest
from spaces.space import Choice, Config, Float, Space, SpaceError, Value
from spaces.study import Study, config_of


def answer(request: Request, trials: Trials, steering: Steering, rules: Options, study: Study) -> Steered:
    """What to write down: what was asked, and what follows from it, or why it is refused."""
    told = Steered(request.verb, request.id, request.who, request.sent_at, dict(request.given))
    try:
        return _answered(told, request, trials, steering, rules, study)
    except BadInput as error:
        return replace(told, refused=str(error))


def _answered(
    told: Steered, request: Request, trials: Trials, steering: Steering, rules: Options, study: Study
) -> Steered:
    """`told` with what the request comes to. Raises BadInput if nothing can come of it."""
    most = rules.trials or study.trials
    if request.verb == "stop-trial":
        if not 0 <= request.what < len(trials):
            raise BadInput(f"there is no trial {request.what} yet; there are {len(trials)}, counted from 0")
        trial = trials[request.what]
        if trial not in trials.going() or trial.state is State.INTERRUPTED:
            raise BadInput(f"trial {request.what} has ended: it is {trial.state}")
        return replace(told, trial=request.what)
    if request.verb == "time":
        if rules.time_budget is None:
            raise BadInput("the search has no limit of time; it ends after its trials")
        return replace(told, time_budget=rules.time_budget + request.what)
    if request.verb in ("trials", "add"):
        if trials.confirming is not None:
            raise BadInput("the best are being confirmed already; resume --trials gives it more afterwards")
        if trials.settled is not None:
            raise BadInput("the search is settled and about to end; resume --trials gives it more afterwards")
        more = request.what if request.verb == "trials" else 1
        if most + more > LARGEST:
            raise BadInput(f"a search has at most {LARGEST:,} trials")
        if request.verb == "trials":
            return replace(told, trials=most + more)
        return replace(told, trials=most + more, point=point_of(request.what, trials, study.ranges, study.start))
    if request.verb == "pause" and steering.paused:
        raise BadInput(f"it is paused already, by {steering.paused}")
    if request.verb == "go-on" and not steering.paused:
        raise BadInput("it is not paused")
    return told


def end_of(told: Steered) -> Ended:
    """The end of the trial that a request stops."""
    return Ended(State.STOPPED, f"stopped by {told.who}")


def point_of(given: Mapping[str, Any], trials: Trials, space: Space, start: Any) -> Config:
    """The point of `space` with these values; what is not given is as in the best trial, or in the first start point.

    Raises BadInput for a name that is not searched, a value outside of its range, or one that does not exist beside the
    others.
    """
    short = {name.rpartition("/")[2]: name for name in space}
    values: dict[str, Value] = {}
    for name, value in given.items():
        whole = name if name in space else short.get(name, name)
        if whole not in space:
            raise BadInput(nearest("hyperparameter", name, list(space)))
        # A whole number is a real one, too, as people write it.
        range_ = space[whole]
        as_real = isinstance(range_, Float) and isinstance(value, int) and not isinstance(value, bool)
        values[whole] = float(value) if as_real else value
    best = trials.best()
    default = [dict(best.point)] if best is not None else []
    default += [config_of(point) for point in start[:1]]
    point: Config = {}
    for name, range_ in space.items():
        if space.active(name, {**values, **point}):
            filled = next((each[name] for each in default if name in each and each[name] in range_), None)
            point[name] = values[name] if name in values else filled if filled is not None else _first(range_)
    try:
        space.check_point({**point, **values}, "the configuration")
    except SpaceError as error:
        raise BadInput(str(error)) from None
    return point


def _first(range_: Any) -> Value:
    value: Value = range_.values[0] if isinstance(range_, Choice) else range_.low
    return value
