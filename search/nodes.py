"""The nodes of a Ray cluster: what they have, whether they can do our work, and which share of them is ours."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from search import environment, mlflow_store
from search.bucket import Bucket, of, shown
from search.errors import EnvironmentFault
from search.settings import Settings

WISH = "search-wish"
"""Under this name Ray's table of jobs holds what a search asks for; by it searches know of each other."""
ANSWER_SECONDS = 60.0
"""A node must have answered by then; a worker's start takes seconds, more on one that is busy."""
NEWCOMERS_SECONDS = 5.0
"""How often one looks for nodes that have joined."""
WAIT_SECONDS = 1.0
"""How often one looks again for resources that are waited for."""
TOUCH_SECONDS = 2.0
"""A node that is there lets itself be reached within this."""
DRIVERS_WORD = "driver"
MATTERS = ("python", "ray", "torch", "numpy")
"""What a worker must have in the driver's version: Ray's pickles and the numbers depend on it."""


class Places(NamedTuple):
    """How many trials may run at a time: with all that each asks for, and, with `--also-cpus`, without a GPU."""

    asked: int
    bare: int = 0


def places(settings: Settings) -> Places:
    """The places of this search, at least one in all: its share of what the cluster has now.

    All searches of a cluster get the same, but none more than its `--concurrent`; what one leaves others take. Places
    without a GPU are shared by their CPUs, among the searches that may use them: of its share of these a search has
    already what stands beside its GPUs.
    """
    import ray

    there = _resources()
    room = _room(settings, there)
    if settings.ray_address:
        me = ray.get_runtime_context().get_job_id()
        room = _shared(settings, there, {**_wishes(), me: wish(settings)}, me)
    return _bounded(settings, room)


def _shared(
    settings: Settings, there: Sequence[Mapping[str, float]], wishes: Mapping[str, Mapping[str, Any]], me: str
) -> Places:
    """The part of the room on the nodes `there` that is for `me`."""
    room = _room(settings, there)
    asked = min(room.asked, share(room.asked, wishes, me))
    if not settings.also_cpus:
        return Places(asked)
    on_cpus = {**wishes[me], "gpus": 0.0}
    takers = {key: each for key, each in wishes.items() if not each["gpus"] or each.get("also_cpus")}
    processors = share(_room(replace(settings, also_cpus=False, gpus=0.0), there).asked, {**takers, me: on_cpus}, me)
    return Places(asked, min(room.bare, max(0, processors - asked)))


def slots(settings: Settings) -> int:
    """How many trials this search may have at a time, at least 1, of whatever kind."""
    return sum(places(settings))


def slots_here(settings: Settings) -> int:
    """How many trials this machine alone has room for at once, as `slots` says of a cluster; without Ray."""
    import torch

    here = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
    return sum(_bounded(settings, _room(settings, [here])))


def _room(settings: Settings, nodes: Iterable[Mapping[str, float]]) -> Places:
    """The places on these nodes, at least one: without a GPU as many as fit beside all those that have one."""
    there = list(nodes)
    bare = sum(_fit_bare(settings, node) for node in there)
    return Places(max(sum(_fit(settings, node) for node in there), 0 if bare else 1), bare)


def _bounded(settings: Settings, room: Places) -> Places:
    """`room`, of which no more than `--concurrent` is taken: first what has all that is asked for."""
    most = settings.concurrent or sum(room)
    asked = min(room.asked, most)
    return Places(asked, min(room.bare, most - asked))


def _fit(settings: Settings, node: Mapping[str, float]) -> int:
    """How many trials fit into a node with these resources."""
    asked = {"CPU": settings.cpus, "GPU": settings.gpus}
    # 1e-9, because ten times 0.1 of one device do fit.
    return min(int(node.get(kind, 0.0) / per_trial + 1e-9) for kind, per_trial in asked.items() if per_trial)


def _fit_bare(settings: Settings, node: Mapping[str, float]) -> int:
    """How many more fit without a GPU when all places with one are taken; none unless they were asked for."""
    if not settings.also_cpus:
        return 0
    left = node.get("CPU", 0.0) - settings.cpus * _fit(settings, node)
    return int(left / settings.cpus + 1e-9)


def wish(settings: Settings) -> dict[str, Any]:
    """What a search asks for, as other searches see it."""
    asked = {"cpus": settings.cpus, "gpus": settings.gpus, "concurrent": settings.concurrent}
    return {**asked, "also_cpus": settings.also_cpus}


def share(room: int, wishes: Mapping[str, Mapping[str, Any]], me: str) -> int:
    """How many of `room` trials like those of `me` are for it, if all searches in `wishes` share the room fairly.

    In turns, the oldest first, each takes one until all are taken or nobody wants more (max-min fairness). A trial of
    another search counts as many of ours as it takes of what ours are short of: GPUs, if they ask for any.
    """
    kind = "gpus" if wishes[me]["gpus"] else "cpus"
    sizes = {key: each[kind] / wishes[me][kind] for key, each in sorted(wishes.items()) if each[kind]}
    taken, left, hungry = dict.fromkeys(sizes, 0), float(room), list(sizes)
    while hungry:
        for key in [*hungry]:
            if taken[key] >= (wishes[key]["concurrent"] or room) or left < sizes[key]:
                hungry.remove(key)
            else:
                taken[key], left = taken[key] + 1, left - sizes[key]
    return max(1, taken[me])


def others() -> int:
    """How many other searches run on this cluster."""
    return len(_wishes()) - 1


def _wishes() -> dict[str, dict[str, Any]]:
    """What each search that runs on this cluster asks for, by the number of its job; the youngest has the highest."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    # Ray's other ways to read this table leave out what a job says of itself, or need a dashboard.
    table = GcsClient(address=ray.get_runtime_context().gcs_address).get_all_job_info(
        skip_submission_job_info_field=True, skip_is_running_tasks_field=True
    )
    return {
        key.hex(): json.loads(job.config.metadata[WISH])
        for key, job in table.items()
        if not job.is_dead and WISH in job.config.metadata
    }


def cores() -> float:
    """CPUs in the whole cluster."""
    return float(sum(node.get("CPU", 0.0) for node in _resources()))


def wait_for_room(settings: Settings, say: Callable[[str], None]) -> None:
    """Return once some node can hold a trial. Raises EnvironmentFault if none can within `--wait-for-resources`."""
    patience = settings.wait_for_resources or 0.0
    deadline, told = time.monotonic() + patience, False
    while True:
        there = _resources()
        if any(_fit(settings, node) for node in there):
            return
        lacking = _lacking(settings, there)
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


def _resources() -> list[dict[str, float]]:
    """What each node has, by Ray's names of it."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def working() -> dict[str, str]:
    """The nodes on which trials can be placed: their addresses by their ids."""
    import ray

    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and any(node["Resources"].get(kind) for kind in ("CPU", "GPU"))
    }


def some_gone() -> bool:
    """Whether a node cannot be reached that Ray still counts, which takes half a minute to be sure of its end."""
    import ray

    def gone(node: Mapping[str, Any]) -> bool:
        try:
            socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), TOUCH_SECONDS).close()
        except OSError:
            return True
        return False

    there = [node for node in ray.nodes() if node["Alive"]]
    with ThreadPoolExecutor(16) as pool:
        return any(pool.map(gone, there))


class Roll:
    """The nodes that were looked at: each has our code in our versions, sees the runs folder, and reaches MLflow."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._asked: dict[Any, tuple[str, str]] = {}
        self._next = 0.0
        self._probe = contextlib.ExitStack()

    def check(self) -> None:
        """Look at all nodes. Raises EnvironmentFault with the first fault; leaves nothing in the runs folder."""
        import ray

        nodes = working()
        with _probe(self._settings.runs) as probe:
            asked = self._ask(nodes, probe)
            ready, late = ray.wait([*asked], num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
            for answer in ready:
                self._take(answer, *asked[answer])
        if late:
            raise EnvironmentFault(f"node {asked[late[0]][1]} ran no task for {ANSWER_SECONDS:g} s; look at Ray's logs")
        self._known |= set(nodes)

    def check_newcomers(self) -> None:
        """Look at nodes that have joined, without waiting for them. Raises EnvironmentFault, as `check` does."""
        import ray

        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NEWCOMERS_SECONDS
        if self._asked:
            ready, _ = ray.wait([*self._asked], num_returns=len(self._asked), timeout=0)
            for answer in ready:
                self._take(answer, *self._asked.pop(answer))
            if not self._asked:
                self._probe.close()
            return
        new = {node: address for node, address in working().items() if node not in self._known}
        if new:
            self._known |= set(new)
            self._asked = self._ask(new, self._probe.enter_context(_probe(self._settings.runs)))

    def close(self) -> None:
        """Wait for no answer any more, and leave nothing in the runs folder."""
        self._probe.close()

    def _ask(self, nodes: Mapping[str, str], probe: tuple[Path | Bucket, str]) -> dict[Any, tuple[str, str]]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        uri = self._settings.tracking
        return {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                *probe, uri if uri.startswith("http") else None
            ): (node, address)
            for node, address in nodes.items()
        }

    def _take(self, answer: Any, node: str, address: str) -> None:
        """Raise EnvironmentFault if what a node answered is not well; a node that is gone by now has no say."""
        import ray

        try:
            found = ray.get(answer)
            fault = _fault(found, environment.versions(), environment.code_digest(), self._settings.runs)
        except ray.exceptions.RayError as error:
            if node not in working() or isinstance(error, ray.exceptions.WorkerCrashedError):
                return
            why = " ".join(str(error).split())
            fault = f"cannot run our code ({why[-200:]}); install it there, or start with `search submit`"
        if fault:
            raise EnvironmentFault(f"node {address} {fault}")


def _look(probe: Path | Bucket, token: str, uri: str | None) -> dict[str, Any]:
    """Runs on a node: which versions it has, and whether it sees what the driver wrote and reaches MLflow."""
    found: dict[str, Any] = {"versions": environment.versions(), "code": environment.code_digest()}
    try:
        found |= _seen_in_bucket(probe, token) if isinstance(probe, Bucket) else _seen_in_folder(probe, token)
    except EnvironmentFault as fault:
        found |= {"seen": True, "bucket": str(fault)}
    if uri:
        try:
            mlflow_store.probe(uri)
        except EnvironmentFault as fault:
            found["mlflow"] = str(fault)
    return found


def _seen_in_bucket(probe: Bucket, token: str) -> dict[str, Any]:
    found = {"seen": probe.get(DRIVERS_WORD) == token.encode()}
    if found["seen"]:
        probe.check()
    return found


def _seen_in_folder(file: Path, token: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["seen"] = file.read_text() == token
        if found["seen"]:
            file.with_name(f"{file.name}-{uuid.uuid4().hex}").write_text(token)
    except FileNotFoundError:
        found["seen"] = False
    except OSError as error:
        found["runs"] = error.strerror
    return found


def _fault(found: Mapping[str, Any], versions: Mapping[str, str], code: str, runs: Path) -> str:
    """What is wrong with a node that has answered `found`, in words that follow its name; "" if nothing is."""
    for name in MATTERS:
        if found["versions"][name] != versions[name]:
            return f"has {name} {found['versions'][name]}, the driver {versions[name]}; install the same everywhere"
    if found["code"] != code:
        return "has another version of our code than the driver; install the same, or start with `search submit`"
    if "runs" in found:
        return f"cannot write into {runs} ({found['runs']}); give its user the right, or choose another --runs"
    if "bucket" in found:
        return f"cannot keep checkpoints in {shown(runs)}: {found['bucket']}"
    if not found["seen"]:
        where = shown(runs)
        return f"does not see {where}; with more than one node --runs must be a folder or bucket that all of them share"
    return f"does not reach MLflow: {found['mlflow']}" if "mlflow" in found else ""


@contextmanager
def _probe(runs: Path) -> Iterator[tuple[Path | Bucket, str]]:
    """Something in the runs folder or its bucket, and what is in it; that, and what nodes write, is gone at the end."""
    bucket = of(runs)
    if bucket is None:
        with _probe_file(runs) as file:
            yield file
        return
    token, probe = uuid.uuid4().hex, bucket / f".probe-{uuid.uuid4().hex}"
    probe.put(DRIVERS_WORD, token.encode())
    try:
        yield probe, token
    finally:
        probe.remove([each.key for each in probe.objects()])


@contextmanager
def _probe_file(runs: Path) -> Iterator[tuple[Path, str]]:
    made = [folder for folder in (runs, *runs.parents) if not folder.exists()]
    token, probe = uuid.uuid4().hex, runs.resolve() / f".probe-{uuid.uuid4().hex}"
    try:
        try:
            runs.mkdir(parents=True, exist_ok=True)
            probe.write_text(token)
        except OSError as error:
            raise EnvironmentFault(
                f"no runs can be kept in {runs} ({error.strerror}); choose another with --runs"
            ) from None
        yield probe, token
    finally:
        for file in probe.parent.glob(f"{probe.name}*"):
            file.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # a search has begun there
                folder.rmdir()
