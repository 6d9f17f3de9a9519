"""What a trial that was stopped would have come to, by what the others gained that went on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def extrapolate(curves: Mapping[int, Sequence[float]], rungs: Sequence[int]) -> dict[int, float]:
    """The value at the last of `rungs` (epochs, ascending) of every trial that has reached the first, by its number.

    `curves` hold the best value up to each epoch. A trial's value at the highest rung that it has reached is raised by
    the median gain, from there to the next rung and so on, of the trials that got there; by nothing where none did.
    """
    found: dict[int, float] = {}
    gain, above = 0.0, None
    for rung in reversed(rungs):
        if above is not None:
            gains = [curve[above - 1] - curve[rung - 1] for curve in curves.values() if len(curve) >= above]
            gain += statistics.median(gains) if gains else 0.0
        for number, curve in curves.items():
            if len(curve) >= rung:
                found.setdefault(number, curve[rung - 1] + gain)
        above = rung
    return found
