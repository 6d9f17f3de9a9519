"""Several searches side by side: how they came to their best, what won in each, and in what they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.findings.snapshot import Snapshot
from search.findings.text import short
from search.options import declared
from search.record.events import BEGINNINGS, Event, Kind
from search.settings import Options

TOLD = ("study", "dataset", "sampler", "scheduler", "epochs", "trials", "commit", "digest")
"""What of a header is laid side by side, besides the options."""

Row = tuple[str, Sequence[str], bool]
"""What is compared, the text for each search, and whether they differ."""


@dataclass(frozen=True)
class SideBySide:
    """`over_time` and `over_epochs` have the best value so far of each search, by seconds spent and epochs trained.

    `winners` are the hyperparameters of what won, `settings` what the searches were given. `note` says why values
    should not be compared, "" if they may be.
    """

    metric: str
    over_time: Mapping[str, Sequence[tuple[float, float]]]
    over_epochs: Mapping[str, Sequence[tuple[float, float]]]
    winners: Sequence[Row]
    settings: Sequence[Row]
    note: str


def build(searches: Sequence[Snapshot]) -> SideBySide:
    """`searches` side by side; there must be one at least."""
    courses = {search.folder.name: _course(search) for search in searches}
    return SideBySide(
        metric=searches[0].metric,
        over_time={name: [(seconds, value) for seconds, _, value in course] for name, course in courses.items()},
        over_epochs={name: [(epochs, value) for _, epochs, value in course] for name, course in courses.items()},
        winners=_rows([_config(search) for search in searches]),
        settings=_rows([_settings(search) for search in searches]),
        note=_note(searches),
    )


def _course(search: Snapshot) -> list[tuple[float, int, float]]:
    """Seconds spent, epochs trained and the best value by then, at each new best and at the end."""
    objective, metric = search.objective, search.objective.metric
    best, epochs, made = objective.worst, 0, []
    seconds = 0.0
    for event, seconds in _clocked(search.events):
        if event.kind != Kind.EPOCH:
            continue
        epochs += 1
        value = event.body["metrics"].get(metric)
        if value is not None and objective.better(value, best):
            best = value
            made.append((round(seconds, 2), epochs, best))
    if made:
        made.append((round(seconds, 2), epochs, best))
    return made


def _clocked(events: Sequence[Event]) -> list[tuple[Event, float]]:
    """Each event with the seconds that processes had spent on the search by then."""
    told, before, start, last = [], 0.0, 0.0, 0.0
    for event in events:
        if event.kind in BEGINNINGS:
            before, start = last, event.at - event.body["after_s"]
        last = before + event.at - start
        told.append((event, last))
    return told


def _config(search: Snapshot) -> dict[str, str]:
    if search.winner is None:
        return {}
    return {name: short(value) for name, value in search.header.full_config(search.winner.point).items()}


def _settings(search: Snapshot) -> dict[str, str]:
    header = search.header
    return {name: short(getattr(header, name)) for name in (*TOLD, *(n for n in declared(Options) if n not in TOLD))}


def _rows(columns: Sequence[Mapping[str, str]]) -> list[Row]:
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, [column.get(name, "–") for column in columns]) for name in names]
    return [(name, texts, len(set(texts)) > 1) for name, texts in rows]


def _note(searches: Sequence[Snapshot]) -> str:
    metrics = {search.objective.metric for search in searches}
    if len(metrics) > 1:
        return f"They optimise different metrics ({', '.join(sorted(metrics))}), so their values do not compare."
    if len({search.header.digest for search in searches}) > 1:
        return "They are of different data, so their values do not compare."
    return ""
