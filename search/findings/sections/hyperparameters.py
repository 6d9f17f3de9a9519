"""What the hyperparameters did, among trials that are compared after equally many epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.findings import importance
from search.findings.figures import hyperparameters as figures
from search.findings.figures.axes import window
from search.findings.snapshot import Snapshot
from search.findings.text import without_section
from search.record.trial import Trial
from spaces.space import Choice, Range, Value


@dataclass(frozen=True)
class Hyperparameters:
    """What mattered. Without figures where too few trials are `compared` to say anything.

    `compared` are trials at one rung, of `trials` in the search proper; `needed` make importance worth a look. Of
    `searched` hyperparameters `importances` has those that all these trials have, the largest share first, and
    `conditional` the others, with their conditions. `mixed` is what would come first if trials were compared by what
    they ended with, however early, as Optuna's own importance of a study does; empty if that is the same. Of more than
    `looked_at` trials only so many make importance. `slices` are a figure for each. Left out are `published` trials,
    whose settings lie outside of the space.
    """

    searched: int
    metric: str
    compared: importance.Slice
    trials: int
    needed: int
    published: int
    parallel: str = ""
    importances: Sequence[importance.Share] = ()
    mixed: str = ""
    looked_at: int = importance.MOST
    conditional: Sequence[tuple[str, str]] = ()
    slices: Sequence[tuple[str, figures.Slice]] = ()


def build(search: Snapshot, rung: int | None = None) -> Hyperparameters | None:
    """What the hyperparameters of `search` did; None if none was searched.

    Trials are compared at `rung`, an epoch that some have reached; at the one that says most if it is None.
    """
    if not search.space:
        return None
    needed = max(importance.FEWEST, 2 * len(search.space))
    # Those that differ in what was searched and in nothing else.
    alike = [trial for trial in search.trials if not trial.exempt]
    compared = importance.at_rung(alike, [rung] if rung else rungs_of(search), needed, search.objective)
    published = sum(trial.published for trial in search.trials)
    counts = (len(search.space), search.metric, compared, len(search.trials.searched), needed, published)
    if len(compared.trials) < importance.FEWEST:
        return Hyperparameters(*counts)
    points = [trial.point for trial in compared.trials]
    shares = importance.ranked(search.space, points, compared.values, seed=search.header.seed)
    return Hyperparameters(
        *counts,
        parallel=_parallel(search, compared),
        importances=shares,
        mixed=_mixed(search, alike, shares),
        conditional=[(name, _condition(range_)) for name, range_ in search.space.items() if range_.when],
        slices=_slices(search, compared, [each.name for each in shares]),
    )


def _mixed(search: Snapshot, alike: Sequence[Trial], shares: Sequence[importance.Share]) -> str:
    """The hyperparameter that leads if values count whenever a trial ended; empty if it leads `shares` too."""
    valued = [trial for trial in alike if trial.has_value(search.objective)]
    if not shares or len({len(trial.epochs) for trial in valued}) < 2:
        return ""
    points, values = [trial.point for trial in valued], [trial.best_value(search.objective) for trial in valued]
    first = next(iter(importance.importances(search.space, points, values, seed=search.header.seed)), "")
    return first if first != shares[0].name else ""


def rungs_of(search: Snapshot) -> list[int]:
    """The epochs at which trials can be compared: every rung, and the full budget."""
    return sorted({*(search.header.rungs or [1]), search.header.epochs})


def axis_of(name: str, range_: Range) -> figures.Axis:
    """The axis of a hyperparameter, on its own scale."""
    if isinstance(range_, Choice):
        return figures.Axis(name, choices=tuple(str(value) for value in range_.values))
    return figures.Axis(name, float(range_.low), float(range_.high), range_.log)


def _position(range_: Range, name: str, point: Mapping[str, Value]) -> Any:
    """`point[name]` as `Axis.place` takes it: the index of a choice; None where it does not exist or lies outside."""
    if name not in point or (value := point[name]) not in range_:
        return None
    return range_.index(value) if isinstance(range_, Choice) else value


def _parallel(search: Snapshot, compared: importance.Slice) -> str:
    space, values, mode = search.space, compared.values, search.objective.mode
    low, high = window(values, mode)
    names = without_section(space)
    axes = [axis_of(names[name], range_) for name, range_ in space.items()]
    axes.append(figures.Axis(f"value, epoch {compared.epoch}", low, high))
    rows = [
        [*(_position(space[name], name, trial.point) for name in space), min(max(value, low), high)]
        for trial, value in zip(compared.trials, values, strict=True)
    ]
    strength = [0.0] * len(values)
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i], reverse=mode == "min")):
        strength[index] = rank / max(1, len(values) - 1)
    return figures.parallel(axes, rows, strength, f"hyperparameters and {search.metric} of trials at one rung")


def _slices(search: Snapshot, compared: importance.Slice, order: Sequence[str]) -> list[tuple[str, figures.Slice]]:
    """Each hyperparameter with its figure, those of `order` first."""
    made, bounds = [], window(compared.values, search.objective.mode)
    for name in sorted(search.space, key=lambda name: order.index(name) if name in order else len(order)):
        range_ = search.space[name]
        pairs, winner, numbers = [], None, []
        for trial, value in zip(compared.trials, compared.values, strict=True):
            position = _position(range_, name, trial.point)
            if position is not None:
                pairs.append((position, value))
                numbers.append(trial.number)
                winner = (position, value) if trial is search.proposal else winner
        if pairs:
            made.append((name, figures.Slice(name, axis_of(name, range_), pairs, winner, bounds, numbers)))
    return made


def _condition(range_: Range) -> str:
    return " and ".join(f"{parent} is {_alternatives(wanted)}" for parent, wanted in (range_.when or {}).items())


def _alternatives(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, (tuple, list)) else str(wanted)
