"""Numbers, curves and configurations as short text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search.record.trial import Trial
from spaces.space import Value

BLOCKS = "▁▂▃▄▅▆▇█"


def configuration(trial: Trial) -> str:
    """The searched values, short: `lr=0.03 optimizer=sgd`."""
    short = {name.split("/", 1)[1]: value for name, value in trial.point.items()}
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in short.items()
    )


def setting(point: Mapping[str, Value]) -> str:
    """The values of `point` in a line, names without their section."""
    return " ".join(f"{name.split('/', 1)[1]}={value}" for name, value in point.items())


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
