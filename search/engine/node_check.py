"""Whether the nodes of a cluster can do our work: versions, code, runs folder, MLflow.

A small task on each node tells what is there; the driver compares it with what it has itself.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search import provenance
from search.engine.places import worker_nodes
from search.errors import EnvironmentFault
from search.settings import Settings
from search.storage.bucket import Bucket, of, shown
from search.tracking import store

ANSWER_SECONDS = 60.0
"""A node must have answered by then; a worker's start takes seconds, more on one that is busy."""

NEWCOMERS_SECONDS = 5.0
"""How often one looks for nodes that have joined."""

DRIVERS_WORD = "driver"
"""The object that the driver writes into a bucket, for nodes to read."""

MATTERS = ("python", "ray", "torch", "numpy")
"""What a worker must have in the driver's version: Ray's pickles and the numbers depend on it."""


class NodeChecker:
    """Checks that each node has our code in our versions, sees the runs folder, and reaches MLflow.

    Each node is checked once: those of the start by `check`, and who joins later by `check_newcomers`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._asked: dict[Any, tuple[str, str]] = {}
        """Newcomers that have not answered yet: id and address of the node by the reference to its answer."""
        self._next_look = 0.0
        self._probe = contextlib.ExitStack()

    def check(self) -> None:
        """Look at all nodes. Raises EnvironmentFault with the first fault; leaves nothing in the runs folder."""
        import ray

        nodes = worker_nodes()
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

        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + NEWCOMERS_SECONDS
        if self._asked:
            ready, _ = ray.wait([*self._asked], num_returns=len(self._asked), timeout=0)
            for answer in ready:
                self._take(answer, *self._asked.pop(answer))
            if not self._asked:
                self._probe.close()
            return
        new = {node: address for node, address in worker_nodes().items() if node not in self._known}
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
        uri = self._settings.tracking if self._settings.tracking.startswith("http") else None

        def there(node: str) -> NodeAffinitySchedulingStrategy:
            return NodeAffinitySchedulingStrategy(node, soft=False)

        return {
            look.options(scheduling_strategy=there(node)).remote(*probe, uri): (node, address)
            for node, address in nodes.items()
        }

    def _take(self, answer: Any, node: str, address: str) -> None:
        """Raise EnvironmentFault if what a node answered is not well; a node that is gone by now has no say."""
        import ray

        try:
            found = ray.get(answer)
            fault = _fault(found, provenance.versions(), provenance.code_digest(), self._settings.runs)
        except ray.exceptions.RayError as error:
            if node not in worker_nodes() or isinstance(error, ray.exceptions.WorkerCrashedError):
                return
            why = " ".join(str(error).split())
            fault = f"cannot run our code ({why[-200:]}); install it there, or start with `search submit`"
        if fault:
            raise EnvironmentFault(f"node {address} {fault}")


def _look(probe: Path | Bucket, token: str, uri: str | None) -> dict[str, Any]:
    """Runs on a node: which versions it has, and whether it sees what the driver wrote and reaches MLflow."""
    found: dict[str, Any] = {"versions": provenance.versions(), "code": provenance.code_digest()}
    try:
        found |= _seen_in_bucket(probe, token) if isinstance(probe, Bucket) else _seen_in_folder(probe, token)
    except EnvironmentFault as fault:
        found |= {"seen": True, "bucket": str(fault)}
    if uri:
        try:
            store.probe(uri)
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
