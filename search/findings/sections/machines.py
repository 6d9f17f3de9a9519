"""How busy the machines were, from what each epoch's report says of the machine on which it was trained."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.findings.figures.machines import Usage
from search.findings.snapshot import Snapshot
from search.record.events import EpochReport, Event, Kind

MOST_LINES = 6
"""Of more nodes than these, their mean is drawn: nobody tells more lines apart."""

MOST_WORKERS = 50
"""So many workers are listed: with `--fresh-workers` each trial has its own."""

MOST_POINTS = 120
"""A line has so many points at most: means over equal stretches of time."""

PERCENT = re.compile(r"(cpu_utilization|system_memory_usage|gpu_(\d+)_(utilization|memory_usage))_percentage")
"""What is drawn, by MLflow's names of system metrics."""


@dataclass(frozen=True)
class Worker:
    """A process that trained: on which node, how many trials and epochs, and the share of its time in epochs, 0…1.

    Its time runs from when it began with its first trial to its last report.
    """

    node: str
    pid: int
    gpus: str
    trials: int
    epochs: int
    busy: float


@dataclass(frozen=True)
class Machines:
    """`figures` of what was used over time, and `workers`, the first to report first.

    So many `more` workers are not among them; `nodes` counts machines.
    """

    figures: Sequence[Usage]
    workers: Sequence[Worker]
    more: int
    nodes: int


def build(search: Snapshot) -> Machines | None:
    """How busy the machines of `search` were; None where no report says on which machine it was trained."""
    reports = [(event, EpochReport.of(event)) for event in search.events if event.kind == Kind.EPOCH]
    reports = [(event, report) for event, report in reports if report.node and report.pid and report.began]
    if not reports:
        return None
    began = search.events[0].at
    seen: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for event, report in reports:
        for name, value in (report.system or {}).items():
            if match := PERCENT.fullmatch(name):
                what, device = _words(match)
                seen[what][f"{report.node}{device}"].append((max(0.0, event.at - began), value))
    nodes = {report.node for _, report in reports}
    figures, workers = [Usage(_thinned(seen[what]), what) for what in sorted(seen)], _workers(reports)
    return Machines(figures, workers[:MOST_WORKERS], max(0, len(workers) - MOST_WORKERS), len(nodes))


def _words(match: re.Match[str]) -> tuple[str, str]:
    """What of a machine a metric is about, and of which of its devices."""
    if match[2] is None:
        return ("processor" if match[1].startswith("cpu") else "memory"), ""
    return ("GPU" if match[3] == "utilization" else "GPU memory"), f", GPU {match[2]}"


def _thinned(lines: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    """Lines that can be drawn: not too many, and none with too many points."""
    if len(lines) > MOST_LINES:
        lines = {f"mean of {len(lines)}": sorted(point for points in lines.values() for point in points)}
    longest = max(seconds for points in lines.values() for seconds, _ in points)
    stretch = max(longest / MOST_POINTS, 1e-9)
    made = {}
    for name, points in lines.items():
        parts: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for seconds, value in points:
            parts[int(seconds / stretch)].append((seconds, value))
        made[name] = [
            (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part))
            for _, part in sorted(parts.items())
        ]
    return made


def _workers(reports: Sequence[tuple[Event, EpochReport]]) -> list[Worker]:
    of: dict[tuple[str, int], list[tuple[float, int | None, EpochReport]]] = defaultdict(list)
    for event, report in reports:
        of[report.node or "", report.pid or 0].append((event.at, event.trial, report))
    workers = []
    for (node, pid), told in of.items():
        began, over = min(report.began or 0.0 for _, _, report in told), max(at for at, _, _ in told)
        trained = sum(report.seconds for _, _, report in told)
        workers.append(
            Worker(
                node=node,
                pid=pid,
                gpus=told[0][2].gpus or "",
                trials=len({trial for _, trial, _ in told}),
                epochs=len(told),
                busy=min(1.0, trained / max(over - began, 1e-9)),
            )
        )
    return workers
