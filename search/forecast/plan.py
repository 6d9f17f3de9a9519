"""What a search is going to cost, before it is begun: epochs, time and memory, with a range.

A short probe (probe.py) measures start points, corners and a few random points of the space here and now. Then the
search is simulated many times (simulation.py). The range is from the 10th to the 90th percentile of what comes of it,
and the expected value the median.

Trials that diverge or fail are not foreseen; with them there are fewer epochs. Nor is it when a search is settled
(`--until-settled`), which ends it sooner. Of a cluster nothing is asked: as many trials run at once as fit on this
machine, or as `--concurrent` allows.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.decide.schedulers import SCHEDULERS
from search.engine import places
from search.findings.text import clock, setting
from search.forecast.points import Points, key, points_of
from search.forecast.probe import LATE, MB, Measured, Probe, measure
from search.forecast.simulation import Course, Scenario, Seconds, simulate
from search.prepared import Prepared
from search.record.header import Header
from search.record.reading import spent
from trainables.script.script import Script

PROBE_SECONDS = 10.0
ASSUMED = 27
"""Epochs of a trial in the plan, where a script trains as long as it does."""

Range = dict[str, float]
"""`low`, `expected` and `high`."""


def plan(
    prepared: Prepared, *, elapsed: Callable[[], float] = lambda: 0.0, probe_seconds: float = PROBE_SECONDS
) -> dict[str, Any]:
    """What `prepared` will take, as the `plan` of the JSON document; nothing is started or written.

    `elapsed` tells the seconds since the command began, which a search would have spent so far too. The probe takes
    about `probe_seconds`; with 0 nothing is measured, and only trials and epochs are foretold.
    """
    checked = elapsed()
    concurrent = places.slots_here(prepared.settings)
    points = points_of(prepared.study, prepared.settings.seed)
    probed = _probe(prepared, points, concurrent, probe_seconds)
    seconds = _seconds(points, probed, checked)
    courses = simulate(_scenario(prepared, concurrent, seconds))
    header, rows = prepared.header, _rows(points, probed)
    out_of_time = sum(course.out_of_time for course in courses) * 2 > len(courses)
    return {
        "data": _data(prepared),
        "rungs": header.rungs,
        "concurrent": concurrent,
        "trials": _range([course.trials for course in courses]),
        "epochs": _range([course.epochs for course in courses]),
        **({"epochs_assumed": ASSUMED} if _endless(prepared) else {}),
        **_time(courses if seconds else None, cpus=prepared.settings.cpus, gpus=prepared.settings.gpus),
        # Without a measure nobody knows which of two limits comes first.
        "ends_by": None if header.time_budget and not seconds else "time budget" if out_of_time else "trials",
        "memory_mb": {row["what"]: row["memory_mb"] for row in rows if row["memory_mb"] is not None},
        "fits": {
            "time_budget": not out_of_time if seconds and header.time_budget is not None else None,
            "memory": _fits(probed, concurrent, gpus=prepared.settings.gpus),
            "free_mb": _rounded(probed.room / MB) if probed.room else None,
            "process_mb": _rounded(probed.base / MB) if probed.base else None,
        },
        "probe": rows,
    }


def _data(prepared: Prepared) -> str:
    if not prepared.header.dataset:
        return prepared.header.where
    if prepared.source.missing:
        return "to be downloaded"
    return "stand-in" if prepared.header.stand_in else "at hand"


def _probe(prepared: Prepared, points: Points, lanes: int, seconds: float) -> Probe:
    """What `points` came to in so many `seconds`; with 0 none was measured."""
    if not seconds:
        return Probe([Measured(fault=LATE)] * len(points), 0.0, 0, 0)
    configs = [prepared.study.full_config(point, seed=0) for _, point in points]
    cpus, gpus = prepared.settings.cpus, prepared.settings.gpus
    script = isinstance(prepared.study.trainable, Script)  # its file is no study, and to import it would be to run it
    source = pickle.dumps(prepared.study.trainable) if script else prepared.header.source
    return measure(source, prepared.data, configs, cpus=cpus, gpus=gpus, lanes=lanes, seconds=seconds)


def _scenario(prepared: Prepared, concurrent: int, seconds: Seconds | None) -> Scenario:
    """The search as it would go on from here; without `seconds` its epochs take no time."""
    header = prepared.header
    return Scenario(
        replace(prepared.study, epochs=ASSUMED) if _endless(prepared) else prepared.study,
        SCHEDULERS[header.scheduler],
        # On made-up values it would settle at random.
        replace(header, until_settled=False),
        concurrent,
        seconds=seconds or Seconds(),
        limit=_left(prepared),
        past=prepared.past,
    )


def _endless(prepared: Prepared) -> bool:
    """Whether trials train as long as their script does, so that nobody knows how long."""
    return isinstance(prepared.study.trainable, Script) and prepared.study.trainable.endless


def _rows(points: Points, probed: Probe) -> list[dict[str, Any]]:
    """What came of each point, as JSON can hold it."""
    return [
        {
            "what": name,
            "point": dict(point),
            "seconds_per_epoch": _rounded(result.seconds),
            "memory_mb": _rounded(None if result.memory is None else result.memory / MB),
            "by": result.by,
            "fault": result.fault,
        }
        for (name, point), result in zip(points, probed.results, strict=True)
    ]


def _time(courses: Sequence[Course] | None, *, cpus: float, gpus: float) -> dict[str, Any]:
    """The seconds of the search, and the hours that it keeps processors and devices busy; None if unknown."""
    if courses is None:
        return {"seconds": None, "cpu_hours": None}
    hours = {
        f"{kind}_hours": _range([course.busy * count / 3600 for course in courses])
        for kind, count in (("cpu", cpus), ("gpu", gpus))
        if kind == "cpu" or count
    }
    return {"seconds": _range([course.seconds for course in courses]), **hours}


def _seconds(points: Points, probed: Probe, begun: float) -> Seconds | None:
    """What the probe tells of the search's epochs, or None if it could measure none."""
    known = {
        name: (key(point), (result.seconds * (1 - result.waiting), result.seconds))
        for (name, point), result in zip(points, probed.results, strict=True)
        if result.seconds is not None
    }
    drawn = [each for name, (_, each) in known.items() if name.startswith("random")]
    if not known:
        return None
    return Seconds(dict(known.values()), drawn or [each for _, each in known.values()], begun, probed.start)


def _left(prepared: Prepared) -> float | None:
    limit = prepared.header.time_budget
    return limit if limit is None or not prepared.past else max(0.0, limit - spent(prepared.past))


def _fits(probed: Probe, concurrent: int, *, gpus: float) -> bool | None:
    """Whether as many trials as run at once have room, were all of them like the largest; None if unknown."""
    needed = [result.memory for result in probed.results if result.memory is not None]
    if any(result.out_of_memory for result in probed.results):
        return False
    if not needed or gpus or not probed.room:  # a GPU's memory is shared by those on it alone
        return None
    return concurrent * (probed.base + max(needed)) <= probed.room


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)

    def at(share: float) -> float:
        value = ordered[round(share * (len(ordered) - 1))]
        return value if isinstance(value, int) else float(f"{value:.4g}")

    return {"low": at(0.1), "expected": at(0.5), "high": at(0.9)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def text(document: Mapping[str, Any], header: Header) -> str:
    """What a `plan` says, for people."""
    where = {"to be downloaded": "will be downloaded first", "stand-in": "CANNOT BE HAD; A STAND-IN WILL BE USED"}
    lines = [
        "plan",
        f"  data      {f'{header.dataset}: ' if header.dataset else ''}{where.get(document['data'], document['data'])}",
        f"  trials    {_three(document['trials'], str)}",
        f"  epochs    {_three(document['epochs'], str)}",
    ]
    if "epochs_assumed" in document:
        lines.append(f"            as if a trial had {document['epochs_assumed']}; --epochs says how many it has")
    if document["seconds"]:
        budget = f", of {clock(header.time_budget)} allowed" if header.time_budget else ""
        lines.append(f"  time      {_three(document['seconds'], clock)}{budget}")
        for kind in ("cpu", "gpu"):
            hours = document.get(f"{kind}_hours")
            if hours:
                lines.append(f"  {kind.upper()}-hours {_three(hours, lambda each: f'{each:.3g}')}")
        lines.append(f"  ends by   {document['ends_by']}")
    if document["memory_mb"]:
        lines.append(_memory_line(document))
    if document["seconds"] or any(row["fault"] != LATE for row in document["probe"]):
        lines += ["", *_probe_lines(document["probe"])]
    return "\n".join(lines)


def _memory_line(document: Mapping[str, Any]) -> str:
    fits = document["fits"]
    line = f"  memory    up to {max(document['memory_mb'].values()):,.0f} MB a trial"
    if fits["memory"] is None:
        return line
    verdict = "fits" if fits["memory"] else "DOES NOT FIT"
    line += f", beside {fits['process_mb']:,.0f} MB a process: {document['concurrent']} at a time "
    return line + f"{verdict} into {fits['free_mb']:,.0f} MB"


def _probe_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    width = max(len(row["what"]) for row in rows)
    lines = [f"{'probe':<{width}}  s/epoch  memory"]
    for row in rows:
        if row["fault"]:
            point = "" if row["fault"] == LATE else f"  ({setting(row['point'])})"
            lines.append(f"{row['what']:<{width}}  {row['fault']}{point}")
        else:
            whole = "" if row["by"] == "steps" else "  (a whole epoch: it is not made of steps that we know)"
            speed = f"{row['seconds_per_epoch']:7.3g}"
            memory = "unknown" if row["memory_mb"] is None else f"{row['memory_mb']:,.0f} MB"
            lines.append(f"{row['what']:<{width}}  {speed}  {memory}  ok{whole}")
    return lines


def _three(values: Mapping[str, float], write: Callable[[float], str]) -> str:
    low, expected, high = (write(values[name]) for name in ("low", "expected", "high"))
    return expected if low == high else f"{expected}   ({low} … {high})"
