"""What several figures share of their axes: the range that is drawn, ticks, labels and the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from search.findings.figures.style import INK, SOFT


def window(values: Sequence[float], mode: str) -> tuple[float, float]:
    """The range of `values` to draw: all, but for what is so bad that the rest would be a line at the edge."""
    finite = sorted(value if mode == "max" else -value for value in values if math.isfinite(value))
    if not finite:
        return 0.0, 1.0
    best, middle = finite[-1], finite[len(finite) // 2]
    low = max(finite[0], middle - 3 * (best - finite[len(finite) // 4]) - 1e-9)
    room = 0.06 * (best - low) or 0.02 * (abs(best) or 1.0)
    low, high = low - room, best + room
    return (low, high) if mode == "max" else (-high, -low)


def name_axes(axes: Any, x: str, y: str) -> None:
    """Write `x` under the axes and `y` above their left end."""
    axes.set_xlabel(x, labelpad=3)
    # Above the axis and upright, where it needs no room beside it and can be read.
    axes.annotate(y, (0, 1), (-36, 6), xycoords="axes fraction", textcoords="offset points", va="bottom", color=SOFT)


def legend(axes: Any, handles: Any = None) -> None:
    """Add a legend above the axes, of `handles` or of all that has a label."""
    options = {} if handles is None else {"handles": handles}
    axes.legend(
        **options, loc="lower left", bbox_to_anchor=(-0.12, 1.14, 1.1, 0.1), ncols=4, frameon=False, fontsize=8,
        borderaxespad=0, handlelength=1.4, columnspacing=1.2, handletextpad=0.5, labelcolor=INK, borderpad=0,
    )  # fmt: skip


def locator(count: int, *, whole: bool = False) -> Any:
    """A matplotlib locator of at most `count` intervals, at `whole` numbers only if asked."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, integer=whole, min_n_ticks=1)


def whole_numbers(axes: Any, low: int, high: int) -> None:
    """Let the horizontal axis count from `low` to `high`, with room at both ends."""
    axes.xaxis.set_major_locator(locator(9, whole=True))
    room = 0.02 * (high - low) + 0.15
    axes.set_xlim(low - room, high + room)


def fix_ticks(axis: Any, places: Any, texts: Sequence[str]) -> None:
    """Put a tick with its text at each of `places`, and none elsewhere."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(texts)))
    axis.set_minor_locator(NullLocator())


def clipped(text: str, most: int) -> str:
    """`text`, cut to `most` characters with `…` as the last of them."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
