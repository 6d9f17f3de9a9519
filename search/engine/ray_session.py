"""Ray: started for this process, or joined, and left again."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from search.engine import places, ray_patches
from search.errors import ClusterLost, EnvironmentFault
from search.settings import Settings
from search.signals import Interrupted, uninterrupted

LEAVE_SECONDS = 5.0
WORKER_ENVIRONMENT = {
    # A user's working folder is that of trials, or what they read by a relative path would not be there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A stopped trial's thread ends at its next report; a slow checkpoint must not make Tune take the worker for dead.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # PyTorch's allocator gives freed blocks back more readily, which matters where trials share a GPU.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # Trials without a GPU see none. Ray looks for this in the worker, whose node somebody else may have started.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}

LOG_BYTES = 10**7
"""A log of Ray's is begun anew when it has so many bytes, and one older is kept."""

DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record holds what they would write
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours, see search/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own snapshots are never read
    "TUNE_WARN_THRESHOLD_S": "10",
    # What trials print stays in Ray's folder, which is kept: at most twice so much of each process.
    "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_enable_metrics_collection": "0",  # served to whoever asks, without a token
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the engine counts places; Tune would start one worker after the other
    # Tune would begin such a trial again by itself, from nothing and beside our back.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
}


def available_locally(settings: Settings) -> None:
    """Raise EnvironmentFault if this machine alone is to run the search and cannot hold one trial."""
    if settings.ray_address:
        return
    cpus = os.cpu_count() or 1
    if settings.cpus > cpus:
        raise EnvironmentFault(
            f"--cpus {settings.cpus:g} per trial, but this machine has {cpus}; ask for {cpus} or fewer"
        )
    if settings.gpus:
        import torch

        gpus = torch.cuda.device_count()
        if settings.gpus > gpus:
            raise EnvironmentFault(
                f"--gpus {settings.gpus:g} per trial, but this machine has {gpus}; "
                + ("leave --gpus out to train on CPUs" if gpus == 0 else f"ask for {gpus} or fewer")
            )


def idle_gpus(settings: Settings) -> int:
    """How many GPUs this machine has of which a search on it alone makes no use."""
    if settings.ray_address or settings.gpus:
        return 0
    import torch

    return torch.cuda.device_count()


@contextmanager
def ray_running(
    settings: Settings,
    meanwhile: Callable[[], object],
    lost: Callable[[str], None] = lambda why: None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Ray, started for this process alone or joined at `settings.ray_address`; left or ended on the way out.

    Ray's start is mostly waiting, so `meanwhile` is called beside it, on another thread. `lost` is told, on another
    thread too, if head or node of Ray are gone; who does not leave within seconds then, is ended with exit code 3.
    `say` hears what is waited for.
    Raises EnvironmentFault if Ray cannot be reached or started, or has not the resources for one trial.
    """
    # Processes that this one starts inherit its environment; a runtime_env would cost each worker a second or more.
    for name, value in {**DRIVER_ENVIRONMENT, **WORKER_ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
    import ray

    if (settings.ray_address or "").startswith(("http://", "https://")):
        raise EnvironmentFault(
            f"RAY_ADDRESS is {settings.ray_address}, a job server; send the search there with `search submit`, or give "
            "the address of the head itself, such as HEAD:6379"
        )
    if ray.is_initialized():  # it knows one cluster per process, and to share this one is to end it for its owner
        raise EnvironmentFault(
            "this process uses Ray already, perhaps for another search; wait for its end, or call ray.shutdown() first"
        )
    threading.Thread(target=meanwhile, daemon=True).start()
    with ray_patches.silent():
        yield from _running(settings, lost, say)


def _somebody_there(address: str) -> None:
    """Raise EnvironmentFault if nobody listens at `address`; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        return  # one of Ray's other kinds of address
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise EnvironmentFault(
            f"no Ray cluster answers at {address} ({error}); unset RAY_ADDRESS to search on this machine"
        ) from None


def _running(settings: Settings, lost: Callable[[str], None], say: Callable[[str], None]) -> Iterator[None]:
    import ray

    if settings.ray_address:
        _somebody_there(settings.ray_address)
    else:  # a cluster's token is its owner's affair, and one of ours would not be it
        _guard_token()
    try:
        with contextlib.nullcontext() if settings.ray_address else ray_patches.bare():
            ray.init(
                # "local": never join what somebody's `ray start` left on this machine, unless asked to.
                address=settings.ray_address or "local",
                include_dashboard=None if settings.ray_address else False,
                job_config=_job(settings),
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": WORKER_ENVIRONMENT} if settings.ray_address else None,
            )
    except Exception as error:  # of many kinds; that a node does not start in time is a bare Exception (Ray 2.60)
        why = " ".join(str(error).split())[:300]
        if not settings.ray_address:
            raise EnvironmentFault(f"Ray cannot be started: {why}") from None
        raise EnvironmentFault(
            f"Ray at {settings.ray_address} cannot be joined: {why}; is the token the cluster's (~/.ray/auth_token, or "
            "the file that RAY_AUTH_TOKEN_PATH names)?"
        ) from None
    except SystemExit:  # Ray answers SIGTERM so while it starts
        raise Interrupted(signal.SIGTERM) from None
    done = threading.Event()
    try:
        places.wait_for_room(settings, say)
        threading.Thread(target=_watch, args=(_addresses(settings), done, lost), daemon=True).start()
        yield
    except ClusterLost:
        done.set()
        raise
    except BaseException:
        done.set()
        _leave()
        raise
    done.set()
    _leave()


def listening() -> Counter[str]:
    """The addresses at which processes of a Ray of our own listen, each with how many ports."""
    psutil = import_module("psutil")  # which Ray brings
    found: Counter[str] = Counter()
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # gone since
            sockets = getattr(process, "net_connections", None) or process.connections
            found.update(
                each.laddr.ip.removeprefix("::ffff:")
                for each in sockets(kind="inet")
                if each.status == psutil.CONN_LISTEN
            )
    return found


def _leave() -> None:
    """End or leave Ray, without garbage of its objects: who collects that on another thread now, ends the process.

    A reference to an object tells Ray's core of its end, and a core that is just being taken down answers with an exit
    of the whole process, code 1 (core_worker_process.cc, Ray 2.60). Tune leaves many in cycles.
    """
    import ray

    enabled = gc.isenabled()
    gc.disable()
    try:
        with uninterrupted():  # raised in the callback of a weak reference, an exception is printed and lost
            _collect()
        ray.shutdown()
    finally:
        if enabled:
            gc.enable()


def _collect() -> None:
    """Collect all garbage there is; `gc.collect` alone does nothing while another thread is at it."""

    class Cycle:
        def __init__(self) -> None:
            self.me = self

    probe = weakref.ref(Cycle())
    while probe() is not None:
        gc.collect()
        time.sleep(0.001)


def _job(settings: Settings) -> Any:
    """What Ray tells others of this process: that it is a search, and what it asks for, so that all get their share.

    To its workers nothing of the working folder, unless that comes first here too: Ray would have them look there
    before all others, and take a study called torch.py for torch.
    """
    from ray.job_config import JobConfig

    class Job(JobConfig):  # type: ignore[misc]
        _py_driver_sys_path: list[str]

        def _serialize(self) -> Any:
            here = os.path.abspath(os.curdir)
            if sys.path[0] not in ("", here):
                self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder != here]
                self._cached_pb = None
            return super()._serialize()

    job = Job()
    job.set_metadata(places.DEMAND, json.dumps(places.demand(settings)))
    return job


def _addresses(settings: Settings) -> dict[str, float]:
    """Where Ray's head and this machine's node listen, and for how many seconds each may be away."""
    import ray

    context = ray.get_runtime_context()
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    # A head of others may be started again; ours, and a node, will not.
    return {
        context.gcs_address: 45.0 if settings.ray_address else 3.0,
        f"{here['NodeManagerAddress']}:{here['NodeManagerPort']}": 3.0,
    }


def _watch(addresses: Mapping[str, float], done: threading.Event, lost: Callable[[str], None]) -> None:
    """Tell `lost` of the first address that was away for too long, and end the process if it does not end itself.

    Ray would end it too, up to a minute later, with exit code 1 and without a word; its calls may hang until then.
    """
    seen = dict.fromkeys(addresses, time.monotonic())
    while not done.wait(1.0):
        for address, patience in addresses.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
                seen[address] = time.monotonic()
            except OSError:
                if time.monotonic() - seen[address] > patience:
                    why = f"Ray at {address} no longer answers"
                    lost(why)
                    if not done.wait(LEAVE_SECONDS):
                        sys.stderr.write(f"error: {why}; the record is whole, and the search can be resumed\n")
                        sys.stderr.flush()
                        os._exit(EnvironmentFault.exit_code)
                    return


def _guard_token() -> None:
    """See that the token which lets one give Ray commands is for its owner's eyes only; Ray would let all read it."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return  # the user's own arrangement
    token = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # no home, or not ours: Ray says what it needs
        token.parent.mkdir(mode=0o700, exist_ok=True)
        if not token.exists():
            with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        token.chmod(0o600)


def run_a_task() -> None:
    """Run something on the cluster. Raises EnvironmentFault if it does not come back within a minute."""
    import ray

    answer = ray.remote(num_cpus=0)(lambda: "well").remote()
    try:
        ray.get(answer, timeout=60)
    except ray.exceptions.GetTimeoutError:
        raise EnvironmentFault("Ray runs no task; look at its logs") from None
