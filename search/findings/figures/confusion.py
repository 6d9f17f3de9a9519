"""Which of many classes are taken for which, as a square of cells without numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STEPS = (0.02, 0.05, 0.1, 0.25)
"""Shares of a class above which a cell is one step darker: five steps."""
NAMED = 200
"""With more classes than these their names would be larger than the cells."""
LONGEST = 18
ROOM = 9.0
"""Cells that the names take at the left and at the top."""


def order(counts: Mapping[tuple[int, int], int], classes: int) -> list[int]:
    """The classes so that those stand together that are confused most (average linkage, Sokal & Michener 1958).

    `counts` says how often each (true, taken for) came.
    """
    import numpy as np
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = np.zeros((classes, classes))
    for (true, taken), count in counts.items():
        shares[true, taken] = count
    shares /= np.maximum(1, shares.sum(1, keepdims=True))
    apart = 2.0 - shares - shares.T
    np.fill_diagonal(apart, 0.0)
    return [int(each) for each in leaves_list(linkage(squareform(apart, checks=False), "average"))]


def cells(counts: Mapping[tuple[int, int], int], classes: Sequence[str]) -> str:
    """An SVG element: a row per true class, a column per class that it was taken for, in the order of `order`."""
    count = len(classes)
    ordered = order(counts, count)
    place = {of: at for at, of in enumerate(ordered)}
    totals = [0] * count
    for (true, _), times in counts.items():
        totals[true] += times
    paths: list[list[str]] = [[] for _ in range(len(STEPS) + 1)]
    for (true, taken), times in sorted(counts.items()):
        if times and true != taken:
            step = sum(times / totals[true] > bound for bound in STEPS)
            paths[step].append(f"M{place[taken]} {place[true]}h1v1h-1z")
    room = ROOM if count <= NAMED else 0.0
    whole = room + count
    drawn = [
        f'<svg viewBox="{-room} {-room} {whole} {whole}" role="img" aria-label="which class is taken for which" '
        f'style="min-width: {round(8.6 * whole) if room else 4 * count}px">',
        f'<rect width="{count}" height="{count}" fill="var(--tint)"/>',
        f'<path d="M0 0L{count} {count}" stroke="var(--line)" stroke-width="0.15" fill="none"/>',
        *(f'<path d="{"".join(path)}" fill="var(--v{at})"/>' for at, path in enumerate(paths, start=1) if path),
        *([*_names([classes[each] for each in ordered])] if room else []),
        "</svg>",
    ]
    return "".join(drawn)


def _names(names: Sequence[str]) -> list[Any]:
    made = []
    for at, name in enumerate(names):
        text = escape(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…")
        made.append(f'<text x="-.3" y="{at + 0.78}" text-anchor="end">{text}</text>')
        made.append(f'<text transform="translate({at + 0.78} -.3) rotate(-90)">{text}</text>')
    return ['<g font-size=".82" fill="currentColor">', *made, "</g>"]
