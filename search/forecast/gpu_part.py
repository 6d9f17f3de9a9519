"""Whether trials fit into a part of a GPU, tried before the first of them begins.

A trial with `--gpus 0.25` may take a quarter of a device's memory (`trainables/device.py`). What needs more would be
found trial by trial, each out of memory after its start; so the points that a plan is made of are tried first, on one
node, where a trial would be and with what a trial gets.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import spaces
from search.engine.shared_data import get_data, put_data
from search.engine.worker import send_along
from search.errors import EnvironmentFault
from search.findings.text import setting
from search.forecast.points import Points, points_of
from search.forecast.probe import Measured, measure
from search.prepared import Prepared

TRIED_SECONDS = 25.0
"""So long configurations are tried, with the start of the process in which they are."""
PLACE_SECONDS = 12.0
"""So much longer the answer is waited for: a place has to be free, and a worker to start."""
BUDGET_SHARE = 0.25
"""At most this part of a time budget is spent here."""
NAMED = 3
"""So many configurations are named; more would fill the screen."""


def fits(prepared: Prepared, *, within: float) -> str:
    """Try the points of a plan in the part of a GPU that a trial gets, and say what to warn of: "" if all is well.

    Takes 37 seconds at most, and at most a quarter of `within` seconds. Ray must be running. Only a device of
    one node is tried. Raises EnvironmentFault if the part is too small (see `verdict`), BadInput if the trainable
    cannot be sent there.
    """
    import ray
    from ray import cloudpickle

    settings, study = prepared.settings, prepared.study
    points = points_of(study, settings.seed)
    scale = min(1.0, BUDGET_SHARE * within / (TRIED_SECONDS + PLACE_SECONDS))
    send_along(study.trainable)
    task = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus, max_retries=0)(_tried)
    answer = task.remote(
        cloudpickle.dumps(study.trainable),
        put_data(prepared.data),
        [study.full_config(point, seed=0) for _, point in points],
        settings.cpus,
        settings.gpus,
        scale * TRIED_SECONDS,
        tuple(spaces.users_folders()),
    )
    patience = scale * (TRIED_SECONDS + PLACE_SECONDS)
    try:
        results = ray.get(answer, timeout=patience)
    except ray.exceptions.GetTimeoutError:
        # It would take a trial's place. Never where it may just have ended: that ends this process in Ray (2.60).
        ray.cancel(answer)
        return _unknown(settings.gpus, f"no node had an answer in {patience:.0f} s")
    except ray.exceptions.RayError as error:
        return _unknown(settings.gpus, " ".join(str(error).split())[-200:])
    return verdict(points, results, settings.gpus)


def verdict(points: Points, results: Sequence[Measured], part: float) -> str:
    """What to warn of where `results` came of `points` in this part of a GPU: "" if all of which it is known fit.

    Raises EnvironmentFault if a published setting or a start point ran out of memory, or at least half of all of which
    it is known: what diverged did fit, of what failed otherwise or came to no end nothing is known.
    """
    tried = list(zip(points, results, strict=True))
    short = [(what, point) for (what, point), result in tried if result.out_of_memory]
    known = len(short) + sum(result.memory is not None for _, result in tried)
    if not known:
        (what, _), result = tried[0]
        return _unknown(part, f"{what}: {result.fault}")
    wanted = [(what, point) for what, point in short if what.startswith(("published", "start"))]
    if wanted or 2 * len(short) >= known:
        raise EnvironmentFault(
            f"{part:g} of a GPU is too small: of {known} configurations tried in it {len(short)} ran out of memory, "
            f"{_named(wanted + [each for each in short if each not in wanted])}; give trials a larger --gpus"
        )
    if not short:
        return ""
    return (
        f"of {known} configurations tried in {part:g} of a GPU {len(short)} ran out of memory, {_named(short)}; "
        "trials like these will end as out of memory, or fit with a larger --gpus"
    )


def _named(points: Points) -> str:
    more = f" and {len(points) - NAMED} more" if len(points) > NAMED else ""
    return ", ".join(f"{what} ({setting(point)})" for what, point in points[:NAMED]) + more


def _unknown(part: float, why: str) -> str:
    return f"whether trials fit into {part:g} of a GPU could not be tried ({why}); what does not ends as out of memory"


def _tried(
    trainable: bytes,
    data: tuple[Any, ...],
    configs: Sequence[Mapping[str, Any]],
    cpus: float,
    gpus: float,
    seconds: float,
    folders: Sequence[str],
) -> Sequence[Measured]:
    """Runs on a node, with what a trial gets there: try `configs` one after the other."""
    sys.path += [folder for folder in folders if folder not in sys.path]
    return measure(trainable, get_data(data), configs, cpus=cpus, gpus=gpus, lanes=1, seconds=seconds).results
