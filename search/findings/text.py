"""Numbers, curves and configurations as short text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.record.trial import Trial
from spaces.space import Value

BLOCKS = "▁▂▃▄▅▆▇█"


def configuration(trial: Trial) -> str:
    """The searched values, short: `lr=0.03 optimizer=sgd`."""
    names = without_section(trial.point)
    return " ".join(
        f"{names[name]}={value:.3g}" if isinstance(value, float) else f"{names[name]}={value}"
        for name, value in trial.point.items()
    )


def setting(point: Mapping[str, Value]) -> str:
    """The values of `point` in a line, names without their section."""
    names = without_section(point)
    return " ".join(f"{names[name]}={value}" for name, value in point.items())


def without_section(names: Iterable[str]) -> dict[str, str]:
    """A short form of each of `names`: without its section, if it has one and no other is the same without."""
    short = {name: name.partition("/")[2] or name for name in names}
    often = Counter(short.values())
    return {name: own if often[own] == 1 else name for name, own in short.items()}


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One block per value, `low` and below lowest, `high` and above highest; `×` where it is not finite."""
    span, top = (high - low) or 1.0, len(BLOCKS) - 1
    return "".join(
        BLOCKS[min(top, max(0, int((value - low) / span * len(BLOCKS))))] if math.isfinite(value) else "×"
        for value in values
    )


def clock(seconds: float) -> str:
    """`75` as `1:15`, `3675` as `1:01:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
