"""Places: how many trials of this search the nodes of the cluster hold, and which share of them is fair.

A place is room for one trial on one node. The nodes' resources are asked of Ray, as is what the other searches on the
cluster demand; the counting itself is arithmetic.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from search.errors import EnvironmentFault
from search.settings import Settings

DEMAND = "search-wish"
"""Under this name Ray's table of jobs holds what a search asks for; by it searches know of each other."""

WAIT_SECONDS = 1.0
"""How often one looks again for resources that are waited for."""

TOUCH_SECONDS = 2.0
"""A node that is there lets itself be reached within this."""


class Places(NamedTuple):
    """How many trials may run at a time: with all that each asks for, and, with `--also-cpus`, without a GPU."""

    asked: int
    cpu_only: int = 0


# What this search may have


def places(settings: Settings) -> Places:
    """The places of this search, at least one in all: its share of what the cluster has now.

    All searches of a cluster get the same, but none more than its `--concurrent`; what one leaves others take. Places
    without a GPU are shared by their CPUs, among the searches that may use them: of its share of these a search has
    already what stands beside its GPUs.
    """
    import ray

    nodes = _resources()
    if not settings.ray_address:
        return _bounded(settings, _capacity(settings, nodes))
    me = ray.get_runtime_context().get_job_id()
    return _bounded(settings, _shared(settings, nodes, {**_demands(), me: demand(settings)}, me))


def slots(settings: Settings) -> int:
    """How many trials this search may have at a time, at least 1, of whatever kind."""
    return sum(places(settings))


def slots_here(settings: Settings) -> int:
    """How many trials this machine alone has room for at once, as `slots` says of a cluster; without Ray."""
    import torch

    here = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
    return sum(_bounded(settings, _capacity(settings, [here])))


def _bounded(settings: Settings, room: Places) -> Places:
    """`room`, of which no more than `--concurrent` is taken: first what has all that is asked for."""
    most = settings.concurrent or sum(room)
    asked = min(room.asked, most)
    return Places(asked, min(room.cpu_only, most - asked))


# What fits into nodes


def _capacity(settings: Settings, nodes: Iterable[Mapping[str, float]]) -> Places:
    """The places on these nodes, at least one: without a GPU as many as fit beside all those that have one."""
    nodes = list(nodes)
    cpu_only = sum(_fit_cpu_only(settings, node) for node in nodes)
    return Places(max(sum(_fit(settings, node) for node in nodes), 0 if cpu_only else 1), cpu_only)


def _fit(settings: Settings, node: Mapping[str, float]) -> int:
    """How many trials fit into a node with these resources."""
    asked = {"CPU": settings.cpus, "GPU": settings.gpus}
    # 1e-9, because ten times 0.1 of one device do fit.
    return min(int(node.get(kind, 0.0) / per_trial + 1e-9) for kind, per_trial in asked.items() if per_trial)


def _fit_cpu_only(settings: Settings, node: Mapping[str, float]) -> int:
    """How many more fit without a GPU when all places with one are taken; none unless they were asked for."""
    if not settings.also_cpus:
        return 0
    left = node.get("CPU", 0.0) - settings.cpus * _fit(settings, node)
    return int(left / settings.cpus + 1e-9)


# What of it is fair, beside other searches


def demand(settings: Settings) -> dict[str, Any]:
    """What a search asks for, as other searches see it."""
    asked = {"cpus": settings.cpus, "gpus": settings.gpus, "concurrent": settings.concurrent}
    return {**asked, "also_cpus": settings.also_cpus}


def fair_share(room: int, demands: Mapping[str, Mapping[str, Any]], me: str) -> int:
    """How many of `room` trials like those of `me` are for it, if all searches in `demands` share the room fairly.

    In turns, the oldest first, each takes one until all are taken or nobody wants more (max-min fairness). A trial of
    another search counts as many of ours as it takes of what ours are short of: GPUs, if they ask for any. At least 1.
    """
    kind = "gpus" if demands[me]["gpus"] else "cpus"
    sizes = {key: each[kind] / demands[me][kind] for key, each in sorted(demands.items()) if each[kind]}
    taken, left, hungry = dict.fromkeys(sizes, 0), float(room), list(sizes)
    while hungry:
        for key in [*hungry]:
            if taken[key] >= (demands[key]["concurrent"] or room) or left < sizes[key]:
                hungry.remove(key)
            else:
                taken[key], left = taken[key] + 1, left - sizes[key]
    return max(1, taken[me])


def other_searches() -> int:
    """How many other searches run on this cluster."""
    return len(_demands()) - 1


def _shared(
    settings: Settings, nodes: Sequence[Mapping[str, float]], demands: Mapping[str, Mapping[str, Any]], me: str
) -> Places:
    """The part of the room on these nodes that is for `me`."""
    room = _capacity(settings, nodes)
    asked = min(room.asked, fair_share(room.asked, demands, me))
    if not settings.also_cpus:
        return Places(asked)
    on_cpus = {**demands[me], "gpus": 0.0}
    takers = {key: each for key, each in demands.items() if not each["gpus"] or each.get("also_cpus")}
    on_processors = _capacity(replace(settings, also_cpus=False, gpus=0.0), nodes).asked
    processors = fair_share(on_processors, {**takers, me: on_cpus}, me)
    return Places(asked, min(room.cpu_only, max(0, processors - asked)))


def _demands() -> dict[str, dict[str, Any]]:
    """What each search that runs on this cluster asks for, by the number of its job; the youngest has the highest."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    # Ray's other ways to read this table leave out what a job says of itself, or need a dashboard.
    table = GcsClient(address=ray.get_runtime_context().gcs_address).get_all_job_info(
        skip_submission_job_info_field=True, skip_is_running_tasks_field=True
    )
    return {
        key.hex(): json.loads(job.config.metadata[DEMAND])
        for key, job in table.items()
        if not job.is_dead and DEMAND in job.config.metadata
    }


# The nodes


def cores() -> float:
    """CPUs in the whole cluster."""
    return float(sum(node.get("CPU", 0.0) for node in _resources()))


def wait_for_room(settings: Settings, say: Callable[[str], None]) -> None:
    """Return once some node can hold a trial. Raises EnvironmentFault if none can within `--wait-for-resources`."""
    patience = settings.wait_for_resources or 0.0
    deadline, told = time.monotonic() + patience, False
    while True:
        nodes = _resources()
        if any(_fit(settings, node) for node in nodes):
            return
        lacking = _lacking(settings, nodes)
        if time.monotonic() >= deadline:
            waited = f" after {patience:g} s of waiting" if patience else ", or wait with --wait-for-resources 10m"
            raise EnvironmentFault(f"{lacking}; ask for fewer{waited if settings.ray_address else ''}")
        if not told:
            say(f"{lacking}; waiting for one that has, at most {patience:g} s")
            told = True
        time.sleep(WAIT_SECONDS)


def _lacking(settings: Settings, nodes: Sequence[Mapping[str, float]]) -> str:
    """What no node has enough of; of all of it together, if each alone is there."""
    asked = {"cpus": settings.cpus, "gpus": settings.gpus}
    most = {kind: max((node.get(kind.upper()[:-1], 0.0) for node in nodes), default=0.0) for kind in asked}
    for kind in ("gpus", "cpus"):
        if asked[kind] > most[kind]:
            return f"--{kind} {asked[kind]:g} per trial, but no node has more than {most[kind]:g}"
    return f"--cpus {settings.cpus:g} and --gpus {settings.gpus:g} per trial, but no node has both"


def worker_nodes() -> dict[str, str]:
    """The nodes on which trials can be placed: their addresses by their ids."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in _alive()
        if any(node["Resources"].get(kind) for kind in ("CPU", "GPU"))
    }


def some_gone() -> bool:
    """Whether a node cannot be reached that Ray still counts, which takes half a minute to be sure of its end."""

    def gone(node: Mapping[str, Any]) -> bool:
        try:
            socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), TOUCH_SECONDS).close()
        except OSError:
            return True
        return False

    with ThreadPoolExecutor(16) as pool:
        return any(pool.map(gone, _alive()))


def _resources() -> list[dict[str, float]]:
    """What each node has, by Ray's names of it."""
    return [dict(node["Resources"]) for node in _alive()]


def _alive() -> list[dict[str, Any]]:
    """What Ray says of the nodes that it counts."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]
