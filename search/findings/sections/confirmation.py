"""The confirmation: what fresh seeds made of the best settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.findings.figures import seeds as figures
from search.findings.snapshot import Snapshot


@dataclass(frozen=True)
class Confirmation:
    """`rows` are entries of `confirmed.document`, the best first, each marked as `winner` or `control` if it is that.

    `seeds` were wanted of each. `control` is the first start point's entry, `winner` the trial whose setting won; None
    where there is none.
    """

    seeds: int
    rows: Sequence[Mapping[str, Any]]
    control: Mapping[str, Any] | None
    winner: int | None
    figure: str


def build(search: Snapshot) -> Confirmation | None:
    """The confirmation of `search`; None if there was none."""
    document = search.confirmation
    if document is None:
        return None
    control, entries = document["control"], list(document["candidates"])
    if control is not None and not any(entry["trial"] == control["trial"] for entry in entries):
        entries.append(control)
    rows = [
        {
            **entry,
            "control": control is not None and entry["trial"] == control["trial"],
            "winner": entry["trial"] == document["winner"],
        }
        for entry in entries
    ]
    return Confirmation(document["seeds"], rows, control, document["winner"], _figure(rows, search.metric))


def _figure(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    drawn = [
        figures.Confirmed(
            f"trial {row['trial']}", row["values"], row["mean"], row["interval"], row["search_value"], row["winner"]
        )
        for row in rows
        if row["values"]
    ]
    return figures.confirmation(drawn, metric) if drawn else ""
