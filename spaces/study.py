"""What a search is about: a trainable, data, a space, and what counts as good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spaces.space import Choice, Config, Float, Int, Range, Space, SpaceError, Value, check_name, possible, with_when
from spaces.space import from_plain as range_from_plain
from spaces.space import to_plain as range_to_plain
from trainables.epoch import Trainable

__all__ = ["Choice", "Float", "Int", "Objective", "Study"]


@dataclass(frozen=True)
class Objective:
    """What counts as good: declared once, used by sampler, scheduler, checkpoints, MLflow and report alike.

    `metric` is a key of `Epoch.metrics`, `mode` is "max" or "min". A trial is worth its best epoch.
    """

    metric: str = "val_accuracy"
    mode: str = "max"

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise SpaceError(f"mode must be max or min, but got {self.mode!r}")

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is better than `than`; nothing but a finite number is better than anything."""
        if not math.isfinite(value):
            return False
        if not math.isfinite(than):
            return True
        return value > than if self.mode == "max" else value < than

    @property
    def worst(self) -> float:
        """A value that every finite one is better than."""
        return -math.inf if self.mode == "max" else math.inf

    def best(self, values: Iterable[float]) -> float:
        """The best of `values`, the first where several are equal; `worst` if there is none."""
        best = self.worst
        for value in values:
            if self.better(value, best):
                best = value
        return best


@dataclass(frozen=True)
class Published:
    """A configuration from elsewhere, and the test accuracy (0 to 1) that is claimed for it, None if none is.

    It names `train/epochs` and need not lie in the space; what it leaves out is as the study fixes it.
    """

    config: Mapping[str, Value]
    test_accuracy: float | None = None


@dataclass(frozen=True)
class Study:
    """One search problem, as data.

    `space` holds what is searched, `fixed` what is not; both by name, such as `train/lr`. `published` are
    trained first, as they are: no scheduler stops them, no sampler hears of them, so that claims can be checked and
    beaten. `start` are points of the space that are tried next, in this order, and in full: a portfolio of what is
    known to be good on other data. `sampler` and `scheduler` are the names of those to use if nothing else is asked
    for. `epochs` is the full budget of a trial: the last rung, and the length of the learning-rate schedule. The
    scheduler compares trials first after `first_rung` epochs, then at each `reduction_factor` times as many.
    `trials` and `time_budget` (seconds of the whole command, None for no limit) are the default budgets: the search
    ends at whichever comes first. `val_fraction` of the training images are held out for validation, the same ones
    in every search (`split_seed`).

    Raises SpaceError at birth for whatever cannot be searched.
    """

    trainable: Trainable
    dataset: str
    space: Mapping[str, Range]
    epochs: int
    fixed: Mapping[str, Value] = field(default_factory=dict)
    start: Sequence[Mapping[str, Value]] = ()
    published: Sequence[Published] = ()
    sampler: str = "tpe"
    scheduler: str = "asha"
    objective: Objective = field(default_factory=Objective)
    trials: int = 32
    time_budget: float | None = None
    first_rung: int = 1
    reduction_factor: int = 3
    val_fraction: float = 1 / 12
    split_seed: int = 0
    name: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", Space(self.space))
        for name in ("start", "published"):  # so that a study equals the one that was read back from a record
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, value in self.fixed.items():
            check_name(name)
            if isinstance(value, float) and not math.isfinite(value):
                raise SpaceError(f"{name} is fixed at {value}, which is no finite number")
        both = sorted(set(self.space) & set(self.fixed))
        if both:
            raise SpaceError(f"{', '.join(both)} cannot be searched and fixed at once; keep one")
        if "train/epochs" in self.space or "train/epochs" in self.fixed:
            raise SpaceError("train/epochs is given by the study's epochs; leave it out")
        if "train/seed" in self.fixed:
            raise SpaceError("train/seed is given by the trial; leave it out, or search it as a Choice of seeds")
        for number, published in enumerate(self.published):
            for name, value in published.config.items():
                check_name(name)
                if isinstance(value, float) and not math.isfinite(value):
                    raise SpaceError(f"published setting {number} has {name}={value}, which is no finite number")
            if published.test_accuracy is not None and not 0 <= published.test_accuracy <= 1:
                raise SpaceError(f"a test accuracy lies between 0 and 1, but published is {published.test_accuracy}")
            epochs = published.config.get("train/epochs")
            if type(epochs) is not int or epochs < 1:
                raise SpaceError(f"published setting {number} needs train/epochs, 1 or more, but says {epochs!r}")
        for number, point in enumerate(self.start):
            self.ranges.check_point(point, f"start point {number}")
        if self.epochs < 1:
            raise SpaceError(f"epochs must be at least 1, but got {self.epochs}")
        if self.trials < 1:
            raise SpaceError(f"trials must be at least 1, but got {self.trials}")
        if self.time_budget is not None and not self.time_budget > 0:
            raise SpaceError(f"time_budget must be more than 0 seconds, but got {self.time_budget}")
        if self.first_rung < 1:
            raise SpaceError(f"first_rung must be at least 1 epoch, but got {self.first_rung}")
        if self.reduction_factor < 2:
            raise SpaceError(f"reduction_factor must be at least 2, but got {self.reduction_factor}")
        if not 0 < self.val_fraction < 1:
            raise SpaceError(f"val_fraction must lie between 0 and 1, but got {self.val_fraction}")

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
        return {**self.fixed, "train/seed": seed, **point, "train/epochs": self.epochs_of(point)}

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
                space[name] = with_when(setting, when) if when and not setting.when else setting
            elif when:
                # Fixed where it exists: a trial without it must not be given it.
                space[name], held[name] = Choice(setting, when=when), setting
            else:
                fixed[name] = setting
        now_fixed = {name: fixed[name] for name in space if name in fixed}
        reduced = Space(possible(space)).without(now_fixed)
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
    return min(int(point.get("train/epochs", epochs)), epochs)


def to_plain(study: Study) -> dict[str, Any]:
    """All of `study` but its trainable, as JSON can hold it."""
    return {
        **{name: getattr(study, name) for name in PLAIN},
        "name": study.name,
        "about": study.about,
        "objective": {"metric": study.objective.metric, "mode": study.objective.mode},
        # A list, because the order is that in which a sampler draws, and JSON objects have none to rely on.
        "space": [{"name": name, **range_to_plain(range_)} for name, range_ in study.ranges.items()],
        "fixed": dict(study.fixed),
        "start": [dict(point) for point in study.start],
        "published": [{"config": dict(p.config), "test_accuracy": p.test_accuracy} for p in study.published],
    }


def from_plain(stored: Mapping[str, Any], trainable: Trainable) -> Study:
    """The study that `to_plain` wrote, with `trainable` to train it. Raises SpaceError."""
    return Study(
        trainable=trainable,
        **{
            **stored,
            "objective": Objective(**stored["objective"]),
            "space": {range_["name"]: range_from_plain(range_) for range_ in stored["space"]},
            "published": [Published(**published) for published in stored.get("published", ())],
        },
    )


def config_of(point: Mapping[str, Value]) -> Config:
    """A plain, sorted copy of `point`, as it is recorded."""
    return {name: point[name] for name in sorted(point)}
