"""What a search is about: a trainable, data, a space, and what counts as good."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spaces.objective import Constraint, Objective, constraints_of, objective_of
from spaces.ranges import Choice, Float, Int, Range, from_plain_range, to_plain_range, with_when
from spaces.space import Space, check_name, possible
from spaces.values import (
    Config,
    SpaceError,
    Value,
    checked,
    config_from_plain,
    config_to_plain,
    copied,
    is_number,
    plain_number,
    shortened,
)
from trainables.epoch import Trainable
from trainables.own import Build, OwnNetwork
from trainables.script.script import Script

if TYPE_CHECKING:
    from trainables.data import Data

__all__ = ["Choice", "Float", "Int", "Objective", "Study"]


@dataclass(frozen=True)
class Published:
    """A configuration from elsewhere, and the test accuracy (0 to 1) that is claimed for it, None if none is.

    It names `train/epochs` and need not lie in the space; what it leaves out is as the study fixes it.
    """

    config: Mapping[str, Value]
    test_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search problem, as data.

    It names a `trainable`, or a `network`: a function `(config, data)` that builds one, which our loop then trains; and
    a `dataset`, or `data`: a function that reads data of the user's own (`trainables.own_data`).

    `dataset` is a known data set, or "" if the trainable reads data of its own. `space` holds what is searched, `fixed`
    what is not; both by name, such as `train/lr`. `published` are trained first, as they are: no scheduler stops them,
    no sampler hears of them, so that claims can be checked and beaten. `start` are points of the space that are tried
    next, in this order, and never stopped: a portfolio of what is known to be good on other data. `sampler` and
    `scheduler` are the names of those to use if nothing else is asked for, and "" leaves it to the search. `epochs` is
    the full budget of a trial: the last rung, and the length of the learning-rate schedule. The scheduler compares
    trials first after `first_rung` epochs, then at each `reduction_factor` times as many. `trials` and `time_budget`
    (seconds of the whole command, None for no limit) are the default budgets: the search ends at whichever comes first.
    `val_fraction` of the training images are held out for validation, the same ones in every search (`split_seed`).
    `objective` may be given as text, "val_loss min". `constraint` has bounds by metric, {"parameters": "<= 1e6"}; a
    trial that breaks one ends as infeasible and cannot win. `image_size` is what pictures of other sizes than one of 64
    at most are fitted to, `image_size`×`image_size` pixels; 64 if it is None.

    Raises SpaceError at birth for whatever cannot be searched.
    """

    trainable: Trainable = None  # type: ignore[assignment]  # of a network it is made at birth
    network: InitVar[Build | None] = None
    dataset: str = ""
    data: Callable[[], Data] | None = None
    space: Mapping[str, Range]
    epochs: int
    fixed: Mapping[str, Value] = field(default_factory=dict)
    start: Sequence[Mapping[str, Value]] = ()
    published: Sequence[Published] = ()
    sampler: str = ""
    scheduler: str = ""
    objective: Objective = field(default_factory=Objective)
    constraint: Mapping[str, str] = field(default_factory=dict)
    trials: int = 32
    time_budget: float | None = None
    first_rung: int = 1
    reduction_factor: int = 3
    val_fraction: float = 1 / 12
    split_seed: int = 0
    image_size: int | None = None
    name: str = ""
    about: str = ""

    def __post_init__(self, network: Build | None) -> None:
        object.__setattr__(self, "trainable", _trainable(self.trainable, network))
        object.__setattr__(self, "dataset", _dataset(self.dataset, self.data, self.trainable))
        for name in ("start", "published"):  # which may be read once only
            if not isinstance(given := getattr(self, name), Mapping) and isinstance(given, Iterable):
                object.__setattr__(self, name, tuple(given))
        _check_shapes(self)
        fixed = {name: _checked(name, value, f"{name} is fixed at") for name, value in self.fixed.items()}
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "space", Space(self.space, fixed))
        object.__setattr__(self, "objective", objective_of(self.objective))
        constraints_of(self.constraint)
        points = ({name: plain_number(value) for name, value in each.items()} for each in self.start)
        object.__setattr__(self, "start", tuple(points))
        both = sorted(set(self.space) & set(fixed))
        if both:
            raise SpaceError(f"{', '.join(both)} cannot be searched and fixed at once; keep one")
        if "train/epochs" in self.space or "train/epochs" in fixed:
            raise SpaceError("train/epochs is given by the study's epochs; leave it out")
        if "train/seed" in fixed:
            raise SpaceError("train/seed is given by the trial; leave it out, or search it as a Choice of seeds")
        for number, published in enumerate(self.published):
            _check_published(published, f"published setting {number}")
        for number, point in enumerate(self.start):
            self.ranges.check_point(point, f"start point {number}")
        _check_budgets(self)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """`constraint`, with its methods."""
        return constraints_of(self.constraint)

    @property
    def ranges(self) -> Space:
        """`space`, with its methods."""
        assert isinstance(self.space, Space)
        return self.space

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which trials are compared: `first_rung`·`reduction_factor`^k below the full budget."""
        found: list[int] = []
        while (rung := self.first_rung * self.reduction_factor ** len(found)) < self.epochs:
            found.append(rung)
        return tuple(found)

    def full_config(self, point: Mapping[str, Value], *, seed: int) -> dict[str, Any]:
        """What the trainable is called with: fixed values, a point of the space, the epochs and the seed.

        A published setting may stand for the point; one that is searched goes before `seed`.
        """
        config = {**self.fixed, "train/seed": seed, **point, "train/epochs": self.epochs_of(point)}
        return {name: copied(value) for name, value in config.items()}

    def epochs_of(self, point: Mapping[str, Value]) -> int:
        """The full budget of a trial of `point`, in epochs."""
        return epochs_of(point, self.epochs)

    def changed(self, settings: Mapping[str, Range | Value]) -> Study:
        """This study with hyperparameters set to a value or searched in another range.

        Start points follow where they can: a value that is now fixed is dropped from them, and one that lies outside
        its new range drops the point. Raises SpaceError.
        """
        space, fixed = dict(self.space), dict(self.fixed)
        held: dict[str, Value] = {}
        for name, setting in settings.items():
            check_name(name)
            when = space[name].when if name in space else {}
            if isinstance(setting, (Float, Int, Choice)):
                fixed.pop(name, None)
                searched = with_when(setting, when) if when and not setting.when else setting
                first = any(name in getattr(each, "bounds", {}).values() for each in space.values())
                space = {name: searched, **space} if first and name not in space else {**space, name: searched}
            elif when:
                # Fixed where it exists: a trial without it must not be given it.
                space[name], held[name] = Choice.of([setting], when), setting
            else:
                fixed[name] = setting
        now_fixed = {name: fixed[name] for name in space if name in fixed}
        reduced = Space(possible(space), fixed).without(now_fixed)
        # A hyperparameter whose condition can no longer hold is neither searched nor passed on.
        start = []
        for point in self.start:
            kept = {name: held.get(name, value) for name, value in point.items() if name in reduced}
            kept = {name: value for name, value in kept.items() if reduced.active(name, kept)}
            try:
                reduced.check_point(kept)
            except SpaceError:
                continue
            if kept not in start:
                start.append(kept)
        return replace(self, space=reduced, fixed=fixed, start=tuple(start))


def _check_shapes(study: Study) -> None:
    """Raise SpaceError for fields that are not what they are named after."""
    for name, value in (("space", study.space), ("fixed", study.fixed)):
        if not isinstance(value, Mapping):
            raise SpaceError(f"{name} maps names to values, as in {{'train/lr': …}}, but is a {type(value).__name__}")
    if not study.space and not study.fixed:
        raise SpaceError("space is empty, so there is nothing to search; give it a range: {'train/lr': Float(1e-4, 1)}")
    for name, example in (("sampler", "'tpe'"), ("scheduler", "'asha', or 'none'"), ("dataset", "'digits'")):
        if not isinstance(given := getattr(study, name), str):
            raise SpaceError(f"{name} must be a word, as {example}, but is {shortened(given)}")
    for name in ("start", "published"):
        if not isinstance(given := getattr(study, name), tuple):
            raise SpaceError(f"{name} must be a list, [] for none, but is {shortened(given)}")
    for number, point in enumerate(study.start):
        if not isinstance(point, Mapping):
            raise SpaceError(f"start point {number} must map names to values, but is a {type(point).__name__}")
    for number, each in enumerate(study.published):
        if not isinstance(each, Published):
            raise SpaceError(f"published setting {number} must be a Published({{…}}, 0.93), but is {shortened(each)}")


def _check_published(published: Published, what: str) -> None:
    for name, value in published.config.items():
        _checked(name, value, f"{what} has {name} at")
    if published.test_accuracy is not None and not 0 <= published.test_accuracy <= 1:
        raise SpaceError(f"a test accuracy lies between 0 and 1, but published is {published.test_accuracy}")
    epochs = published.config.get("train/epochs")
    if type(epochs) is not int or epochs < 1:
        raise SpaceError(f"{what} needs train/epochs, 1 or more, but says {epochs!r}")


def _checked(name: str, value: Any, what: str) -> Value:
    """A value of hyperparameter `name`, or SpaceError about `what`."""
    check_name(name)
    return checked(value, what)


def _check_budgets(study: Study) -> None:
    for name in ("epochs", "trials", "first_rung", "reduction_factor", "split_seed"):
        if type(getattr(study, name)) is not int:
            raise SpaceError(f"{name} must be a whole number, but got {getattr(study, name)!r}")
    if study.epochs < 1:
        raise SpaceError(f"epochs must be at least 1, but got {study.epochs}")
    if study.trials < 1:
        raise SpaceError(f"trials must be at least 1, but got {study.trials}")
    if study.time_budget is not None and not is_number(study.time_budget):
        raise SpaceError(
            f"time_budget is a number of seconds, 600 for ten minutes, or None, but got {study.time_budget!r}"
        )
    if study.time_budget == math.inf:
        raise SpaceError("time_budget must be a finite number of seconds; None is for no limit")
    if study.time_budget is not None and not study.time_budget > 0:
        raise SpaceError(f"time_budget must be more than 0 seconds, but got {study.time_budget}")
    if study.first_rung < 1:
        raise SpaceError(f"first_rung must be at least 1 epoch, but got {study.first_rung}")
    if study.reduction_factor < 2:
        raise SpaceError(f"reduction_factor must be at least 2, but got {study.reduction_factor}")
    if study.image_size is not None and (type(study.image_size) is not int or study.image_size < 1):
        raise SpaceError(f"image_size must be a whole number of pixels, 1 or more, but got {study.image_size!r}")
    if not is_number(study.val_fraction) or not 0 < study.val_fraction < 1:
        raise SpaceError(f"val_fraction must lie between 0 and 1, but got {study.val_fraction}")


def _dataset(name: str, data: Callable[[], Data] | None, trainable: Trainable) -> str:
    """What the data are called: a known data set, or the function that reads a user's own; "" for none at all.

    Raises SpaceError where our loop would have nothing to train on.
    """
    if data is not None and not callable(data):
        raise SpaceError(f"data must be a function that returns data_of(…), but is a {type(data).__name__}")
    if data is None and not name and isinstance(trainable, OwnNetwork):
        raise SpaceError("a network needs a dataset (the name of one), or data (a function that returns data_of(…))")
    return ("" if name is None else name) if data is None else str(getattr(data, "__name__", "data"))


def _trainable(trainable: Trainable | None, network: Build | None) -> Trainable:
    """The trainable of a study that was given one of the two. Raises SpaceError if it was not."""
    if trainable is not None and network is not None:
        raise SpaceError("a study takes trainable or network, not both: one trains, the other is trained by our loop")
    if hasattr(trainable, "state_dict"):
        raise SpaceError(
            "trainable must be a generator that trains; a network is network=build, a function that builds it"
        )
    if trainable is not None:
        return trainable
    if network is None:
        raise SpaceError("a study needs a trainable (a generator), or a network (a function that builds one)")
    if not callable(network) or (hasattr(network, "state_dict") and not isinstance(network, type)):
        raise SpaceError(
            f"network must be a function (config, data) that builds one, but is a {type(network).__name__}"
        )
    try:
        inspect.signature(network).bind({}, None)
    except TypeError as error:
        raise SpaceError(f"network must be a function (config, data) that builds one: {error}") from None
    except ValueError:  # written in C; its call will tell
        pass
    return OwnNetwork(network)


PLAIN = (
    "sampler",
    "scheduler",
    "dataset",
    "epochs",
    "trials",
    "time_budget",
    "first_rung",
    "reduction_factor",
    "val_fraction",
    "split_seed",
)
"""The fields of a study that JSON holds as they are."""


def epochs_of(point: Mapping[str, Value], epochs: int) -> int:
    """The full budget of a trial of `point`, where others have `epochs`: a published setting may have less."""
    own = point.get("train/epochs", epochs)
    return min(own, epochs) if isinstance(own, int) else epochs


def to_plain(study: Study) -> dict[str, Any]:
    """All of `study` but its trainable, as JSON can hold it; of a script all but where its program is."""
    plain = {
        **{name: getattr(study, name) for name in PLAIN},
        **({"image_size": study.image_size} if study.image_size is not None else {}),
        "name": study.name,
        "about": study.about,
        "objective": study.objective.to_plain(),
        # A list, because the order is that in which a sampler draws, and JSON objects have none to rely on.
        "space": [{"name": name, **to_plain_range(range_)} for name, range_ in study.ranges.items()],
        "fixed": config_to_plain(study.fixed),
        "start": [config_to_plain(point) for point in study.start],
        "published": [
            {"config": config_to_plain(each.config), "test_accuracy": each.test_accuracy} for each in study.published
        ],
        **({"script": study.trainable.to_plain()} if isinstance(study.trainable, Script) else {}),
    }
    # Left out where there is none, so that records of other studies stay as they were.
    more = {"constraint": dict(study.constraint), "own_data": study.data is not None}
    return {**plain, **{name: value for name, value in more.items() if value}}


def from_plain(stored: Mapping[str, Any], trainable: Trainable, data: Callable[[], Data] | None = None) -> Study:
    """The study that `to_plain` wrote, with `trainable`, and `data` if it read its own. Raises SpaceError."""
    stored = dict(stored)
    own_data = stored.pop("own_data", False)
    return Study(
        trainable=trainable,
        data=data if own_data else None,
        **{
            **{"sampler": "tpe", "scheduler": "asha"},  # what studies had before they were recorded
            **{name: each for name, each in stored.items() if name != "script"},
            "objective": Objective(**stored["objective"]),
            "space": {range_["name"]: from_plain_range(range_) for range_ in stored["space"]},
            "fixed": config_from_plain(stored.get("fixed", {})),
            "start": [config_from_plain(point) for point in stored.get("start", ())],
            "published": [
                Published(config_from_plain(each["config"]), each["test_accuracy"])
                for each in stored.get("published", ())
            ],
        },
    )


def script_of(stored: Mapping[str, Any], source: str) -> Script | None:
    """The script at the path `source` of a study that `to_plain` wrote; None if it is of none. Raises SpaceError."""
    if "script" not in stored:
        return None
    try:
        return Script.from_plain({**stored["script"], "program": source})
    except (ValueError, TypeError) as error:
        raise SpaceError(f"the script of the study: {error}") from None


def config_of(point: Mapping[str, Value]) -> Config:
    """A plain, sorted copy of `point`, as it is recorded."""
    return {name: point[name] for name in sorted(point)}
