"""What start points from earlier searches on other data were worth in this one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from search.printable import one_line
from search.record.header import Header
from search.record.state import State
from search.record.trial import START, Trial
from search.record.trials import Trials

FEWEST = 4
"""With fewer other trials at the first rung nothing is said of how the start points did there."""


def learned(header: Header, trial: Trial) -> Mapping[str, Any] | None:
    """Of which earlier trial the point of `trial` is, as the header says; None if it is from no experience."""
    return next((each for each in header.experience if trial.origin == f"{START} {each['start']}"), None)


def source(told: Mapping[str, Any]) -> str:
    """`trial 7 of fashion_cnn-3 (mnist)`, of what `learned` gave."""
    return one_line(f"trial {told['trial']} of {told['search']} ({told['dataset']})")


def origin(header: Header, trial: Trial) -> str:
    """Where the point of `trial` comes from: as it was recorded, and of a start point from experience that too."""
    return f"{trial.origin}, from experience" if learned(header, trial) else trial.origin


def document(header: Header, trials: Trials, winner: Trial | None) -> dict[str, Any] | None:
    """What the start points from experience came to; None if there are none.

    `points` has each as the header tells it, with the number of the trial that `tried` it, None if none did. `won` is
    the one whose setting the `winner` (of the search proper) has, by its place among them. `below` is the first rung
    (an epoch) if all that got there, or ended before it, were worse there than the median of the `others`, of which
    there must be FEWEST; else it is None.
    """
    if not header.experience:
        return None
    tried = {told["start"]: trial for trial in trials.searched if (told := learned(header, trial)) is not None}
    points = [
        {**told, "tried": tried[told["start"]].number if told["start"] in tried else None} for told in header.experience
    ]
    rung = header.rungs[0] if header.rungs else header.epochs
    mine = [*tried.values()]
    numbers = {trial.number for trial in mine}
    rivals = [trial for trial in trials.searched if not trial.exempt and trial.number not in numbers]
    others = [value for trial in rivals if (value := _at(trial, trials, rung)) is not None]
    won = next((place for place, each in enumerate(points) if winner and each["tried"] == winner.number), None)
    below = rung if _below(mine, others, trials, rung) else None
    return {"points": points, "won": won, "others": len(others), "below": below}


def line(told: Mapping[str, Any], metric: str) -> str:
    """What `document` says, for people: who won, and whether experience helped."""
    count, won = sum(each["tried"] is not None for each in told["points"]), told["won"]
    points = f"{count} start point{'' if count == 1 else 's'}"
    if won is not None:
        return f"the winner has the setting of {source(told['points'][won])}"
    if told["below"] is not None:
        return (
            f"did not help: after epoch {told['below']} {points} from it had a worse {metric} than the median of "
            f"{told['others']} other trials"
        )
    return f"{points} from it; the winner is none of them"


def _at(trial: Trial, trials: Trials, rung: int) -> float | None:
    """The best value of `trial` up to the rung; None if it has none there, and was not complete before."""
    curve = trial.best_so_far(trials.objective)
    if len(curve) >= rung >= 1:
        return curve[rung - 1]
    return curve[-1] if curve and trial.state is State.COMPLETE else None


def _below(mine: list[Trial], others: list[float], trials: Trials, rung: int) -> bool:
    """Whether all of `mine` that are so far, or never got there, are worse than the median of `others`."""
    values = [_at(trial, trials, rung) for trial in mine]
    ended = [value for value, trial in zip(values, mine, strict=True) if value is not None or trial.ended is not None]
    if not ended or len(others) < FEWEST:
        return False
    middle = statistics.median(others)
    return all(value is None or trials.objective.better(middle, value) for value in ended)
