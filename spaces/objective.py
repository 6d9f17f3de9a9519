"""What counts as good: a metric with its direction, and what a trial must keep to."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spaces.values import SpaceError, is_finite, is_number, shortened

HOW = "Objective('val_loss', 'min'), or as text 'val_loss min'"
TAKEN = ("trial", "epoch", "seconds")
"""What a table of epochs calls its own columns."""


@dataclass(frozen=True)
class Objective:
    """What counts as good: declared once, used by sampler, scheduler, checkpoints, MLflow and report alike.

    `metric` is a key of `Epoch.metrics`, `mode` is "max" or "min". A trial is worth its best epoch. With `weights`,
    by the names of metrics, `metric` is the name of their weighted sum, which the search adds to the metrics of each
    epoch: `Objective("score", "max", {"val_accuracy": 1, "latency_ms": -0.01})`. Raises SpaceError.
    """

    metric: str = "val_accuracy"
    mode: str = "max"
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric.strip():
            raise SpaceError(f"an objective is one metric by its name, but got {shortened(self.metric)}; give {HOW}")
        if self.metric in TAKEN:
            raise SpaceError(f"a metric may not be called {self.metric}, as tables of epochs have that; rename it")
        if self.mode not in ("max", "min"):
            raise SpaceError(f"mode must be max or min, but got {self.mode!r}")
        if not isinstance(self.weights, Mapping):
            raise SpaceError(f"weights are numbers by the names of metrics, but got {shortened(self.weights)}")
        for name, weight in self.weights.items():
            if not is_number(weight) or not is_finite(weight):
                raise SpaceError(f"the weight of {name} must be a finite number, but is {shortened(weight)}")
        if self.metric in self.weights:
            raise SpaceError(f"the weighted sum needs a name of its own, and {self.metric} is one of what is added up")

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

    @property
    def needed(self) -> tuple[str, ...]:
        """The metrics that an epoch must have, to be worth something."""
        return tuple(self.weights) or (self.metric,)

    def weighed(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """`metrics` with the weighted sum, if there are weights and all that they weigh."""
        if not self.weights or not all(name in metrics for name in self.needed):
            return metrics
        return {**metrics, self.metric: sum(self.weights[name] * metrics[name] for name in sorted(self.weights))}

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it; `Objective(**plain)` is the objective again."""
        plain = {"metric": self.metric, "mode": self.mode}
        return {**plain, "weights": dict(self.weights)} if self.weights else plain


def objective_of(given: Any) -> Objective:
    """An objective as people write it: itself, or as text "val_loss min". Raises SpaceError."""
    if isinstance(given, Objective):
        return given
    if isinstance(given, (list, tuple)) and any(isinstance(each, Objective) for each in given):
        raise SpaceError(
            f"a study has one objective, but got {len(given)}; make the others a constraint, as in "
            'constraint={"parameters": "<= 1e6"}, or weigh them: Objective("score", "max", {"val_accuracy": 1, …})'
        )
    words = given.split() if isinstance(given, str) else list(given) if isinstance(given, (list, tuple)) else []
    if words and words[0] in ("max", "min"):
        words.reverse()
    if len(words) == 2 and words[1] in ("max", "min"):
        return Objective(*words)
    if len(words) == 1:
        raise SpaceError(f"objective {words[0]!r} does not say whether more or less is better; give {HOW}")
    raise SpaceError(f"an objective is one metric and its mode, but got {shortened(given)}; give {HOW}")


LOWER_IS_BETTER = re.compile(
    r"(^|[_/. -])(loss|error|err|mse|rmse|mae|nll|bpb|perplexity|ppl|wer|cer|fid|eer)([_/. -]|$)"
)
"""Metrics of which nobody wants the largest."""


def mode_of(metric: str) -> str:
    """`max`, as for accuracies. Raises SpaceError for a metric of which one may want the least."""
    if LOWER_IS_BETTER.search(metric.lower()):
        raise SpaceError(f"{metric} may be one to make small; say --mode min, or --mode max")
    return "max"


COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Constraint:
    """What a metric must keep to at every epoch that has it, such as "<= 1e6"; a trial that does not is infeasible.

    It is for what does not change while a trial trains: parameters, memory, latency. Raises SpaceError.
    """

    metric: str
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not isinstance(self.text, str) or _read(self.text) is None:
            raise SpaceError(
                f"a constraint is a metric with <=, <, >= or > and a number, as in "
                f'{{"parameters": "<= 1e6"}}, but got {{{self.metric!r}: {shortened(self.text)}}}'
            )

    def broken(self, metrics: Mapping[str, float]) -> str:
        """How `metrics` break it, in words; "" if they keep to it, or do not have its metric."""
        sign, bound = _read(self.text) or ("", 0.0)
        value = metrics.get(self.metric)
        if value is None or COMPARED[sign](value, bound):
            return ""
        return f"{self.metric} is {value:g}, which is not {self.text.strip()}"


def constraints_of(given: Any) -> tuple[Constraint, ...]:
    """The constraints of a study, given as texts by metrics. Raises SpaceError."""
    if not isinstance(given, Mapping):
        raise SpaceError(
            f'constraint maps metrics to bounds, as {{"parameters": "<= 1e6"}}, but got {shortened(given)}'
        )
    return tuple(Constraint(metric, text) for metric, text in given.items())


def _read(text: str) -> tuple[str, float] | None:
    found = re.fullmatch(r"\s*(<=|>=|<|>)\s*(\S+)\s*", text)
    try:
        bound = float(found[2]) if found else math.nan
    except ValueError:
        return None
    return (found[1], bound) if found and math.isfinite(bound) else None
