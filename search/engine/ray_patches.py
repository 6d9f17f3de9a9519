"""All that we change of Ray's insides: private names, looked up in Ray 2.60, each for a reason that is given here.

A Ray that lacks one of them does as it always did, which costs seconds, words or, without `one_worker_out_of_memory`,
a search that has to be resumed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside, `owner.name` is `value`, if there is such a name."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Ray tells of nodes and workers on standard output, which is for the result; what of it matters, we say."""
    from ray._private import worker

    with swapped(worker, "print_to_stdstream", lambda *told, **how: None):
        yield


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """A Ray that is started inside, for one search on one machine, has no more processes than run trials.

    Left out are the server of the dashboard, which Ray starts also without a dashboard, the monitor of an autoscaler
    that is not there, and the one that sends logs nobody reads: three processes that import Ray, a second and a half
    of waiting. And each node's agent listens at a port of its own choice: at the usual one, taken by a second Ray on
    the same machine, it would wait three seconds for it to become free.

    All of them listen on this machine's loopback address only: `ray.init` itself turns that into the machine's own.
    """
    from ray._private import node, parameter

    class Parameters(parameter.RayParams):  # type: ignore[misc]
        def __init__(self, *positional: Any, **named: Any) -> None:
            ours = {"no_monitor": True, "include_log_monitor": False, "dashboard_agent_listen_port": 0}
            super().__init__(*positional, **{**ours, **named, "node_ip_address": "127.0.0.1"})

    def no_server(self: Any, **how: Any) -> None:
        self._webui_url = ""

    with swapped(parameter, "RayParams", Parameters), swapped(node.Node, "start_api_server", no_server):
        yield


@contextlib.contextmanager
def no_secrets() -> Iterator[None]:
    """Tune sends AWS's keys to its workers as settings, which Ray writes into logs that all can read.

    Workers of a Ray of our own inherit the environment; on a cluster the nodes have credentials of their own.
    """
    from ray.tune.execution import class_cache

    sent = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
    with swapped(class_cache, "ENV_VARS_TO_PROPAGATE", sent):
        yield


@contextlib.contextmanager
def untold() -> Iterator[None]:
    """Tune counts callbacks for statistics of use, which are off, and imports MLflow for it while workers start."""
    from ray.air._internal import usage

    with swapped(usage, "tag_callbacks", lambda callbacks: False):
        yield


@contextlib.contextmanager
def one_worker_out_of_memory() -> Iterator[None]:
    """Tune takes the word of Ray's memory monitor for the end of one worker, and not of the whole run.

    Where a call of a worker fails, and where the first answer of one is awaited, Tune expects the error of an actor
    that has died; the monitor's is of another kind.
    """
    import ray
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.tune.experiment import Trial

    called, answered = RayActorManager._actor_task_failed, Trial._get_default_result_or_future

    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.OutOfMemoryError):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        called(manager, tracked_actor_task, exception)

    def answer(trial: Any) -> Any:
        try:
            return answered(trial)
        except ray.exceptions.OutOfMemoryError:
            trial._default_result_or_future = None
            return None

    with (
        swapped(RayActorManager, "_actor_task_failed", failed),
        swapped(Trial, "_get_default_result_or_future", answer),
    ):
        yield
