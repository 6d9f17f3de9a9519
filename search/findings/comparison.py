"""A controlled comparison: where a grid was searched, what each setting changes, all else and the seeds being equal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from search.findings.intervals import mean_interval
from search.findings.text import setting
from search.record.state import State
from search.record.trial import SEED, Trial
from search.record.trials import Trials
from spaces.space import Choice, Space, Value
from spaces.values import identity


@dataclass(frozen=True)
class Level:
    """One setting of a hyperparameter: the final values of its trials, and what sets it apart from the first setting.

    `values` has the value after the last epoch of each complete trial, by seed; `mean` is None without any, `deviation`
    (over seeds) with fewer than two. `difference` to the first level is the mean over the `pairs` of trials with equal
    seed, `low` to `high` its 95 % t interval; None where it cannot be had. `curves` are the values after each epoch.
    """

    value: Value
    values: Mapping[Value, float]
    curves: Mapping[Value, Sequence[float]]
    mean: float | None
    deviation: float | None
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    verdict: str

    @property
    def n(self) -> int:
        """How many complete trials there are of it."""
        return len(self.values)


@dataclass(frozen=True)
class Group:
    """The levels of hyperparameter `name`, with every other choice held at `others`."""

    name: str
    others: Mapping[str, Value]
    levels: tuple[Level, ...]


def compare(space: Space, trials: Trials) -> list[Group]:
    """Every comparison that the grid `space` holds: one group per hyperparameter and combination of the others.

    Hyperparameters with one value, and those that are no choices, are compared by nobody. Only complete trials count;
    of several with the same setting and seed, the first.
    """
    groups = []
    for name, range_ in space.items():
        if name == SEED or not isinstance(range_, Choice) or len(range_.values) < 2:
            continue
        cells: dict[Hashable, tuple[dict[str, Value], dict[int, list[Trial]]]] = {}
        for trial in trials:
            if name not in trial.point or trial.point[name] not in range_:
                continue
            others = {k: v for k, v in trial.point.items() if k in space and k not in (name, SEED)}
            key = tuple((k, identity(v)) for k, v in others.items())
            cells.setdefault(key, (others, {}))[1].setdefault(range_.index(trial.point[name]), []).append(trial)
        for others, levels in cells.values():
            made: list[Level] = []
            for index, value in enumerate(range_.values):
                made.append(_level(value, levels.get(index, []), made[0] if made else None, trials))
            groups.append(Group(name, others, tuple(made)))
    return groups


def table(groups: Sequence[Group], metric: str) -> str:
    """The groups as lines of text, one per level, each with its verdict."""
    lines = []
    for group in groups:
        held = f" ({setting(group.others)})" if group.others else ""
        lines.append(f"{group.name}{held}: final {metric}, mean ± standard deviation over seeds; difference (95 %)")
        width = max(len(str(level.value)) for level in group.levels)
        for level in group.levels:
            spread = "" if level.deviation is None else f" ± {level.deviation:.4f}"
            mean = "no result" if level.mean is None else f"{level.mean:.4f}{spread}"
            apart = "" if level.difference is None else f"{level.difference:+.4f}"
            apart += "" if level.low is None else f" ({level.low:+.4f} … {level.high:+.4f})"
            lines.append(f"  {level.value!s:<{width}}  n={level.n}  {mean:<17}  {apart:<27}  {level.verdict}")
    return "\n".join(lines)


def _level(value: Value, tried: Sequence[Trial], first: Level | None, trials: Trials) -> Level:
    objective = trials.objective
    values: dict[Value, float] = {}
    curves: dict[Value, Sequence[float]] = {}
    for trial in tried:
        curve = trial.values(objective)
        seed = trial.point.get(SEED, 0)
        told = [value for value in curve if math.isfinite(value)]
        if trial.state is State.COMPLETE and told and seed not in values:
            values[seed], curves[seed] = told[-1], curve
    mean = statistics.fmean(values.values()) if values else None
    deviation = statistics.stdev(values.values()) if len(values) > 1 else None
    differences = [values[seed] - first.values[seed] for seed in values if seed in first.values] if first else []
    difference = statistics.fmean(differences) if differences else None
    low, high = mean_interval(differences) or (None, None)
    made = Level(value, values, curves, mean, deviation, len(differences), difference, low, high, "")
    return Level(**{**vars(made), "verdict": _verdict(made, first, 1.0 if objective.mode == "max" else -1.0)})


def _verdict(level: Level, first: Level | None, sign: float) -> str:
    if first is None:
        return "what the others are compared with"
    if not level.values:
        return "no complete trial, so nothing to compare"
    if level.difference is None:
        return f"no seed in common with {first.value}, so nothing to compare"
    if level.low is None or level.high is None:
        return f"one seed in common with {first.value}: may be chance"
    if level.low == level.high == 0:
        return f"the same as {first.value} with each of {level.pairs} seeds"
    if level.low <= 0 <= level.high:
        return f"no difference to {first.value} that {level.pairs} seeds can show"
    return f"{'better' if sign * level.difference > 0 else 'worse'} than {first.value}"
