"""The job server of a Ray cluster: searches are submitted to it, listed, followed and stopped."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.errors import BadInput, EnvironmentFault, NameInUse
from search.jobs.order import FILE, Order
from search.jobs.packing import packed
from search.settings import masked

SCRIPT = "search/jobs/job.sh"
"""What a job begins with, in the folder that travels."""
NAME_KEY = "search"
"""Under this key the metadata of our jobs hold the name of the search."""
STOP_SECONDS = 120
"""How long a search that is told to stop may take before Ray kills it; by default three seconds."""
POLL_SECONDS = 1.0
HEAD_PATIENCE_SECONDS = 60.0
"""How long the head may be away while a job is followed."""
LOST_EXIT_CODE = EnvironmentFault.exit_code
STOPPED_EXIT_CODE = 143


def tracking_uri() -> str:
    """Where a job is to report to: MLFLOW_TRACKING_URI, if that can be said on a cluster; "" if it is not set.

    Raises BadInput for a file, which is on this machine, and for a password, which everybody on the cluster could read.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("sqlite:", "file:", "/")):
        raise BadInput(
            f"MLFLOW_TRACKING_URI is {uri}, which is on this machine; name a server that the cluster reaches, or unset "
            "it: then the search keeps an mlflow.db beside its runs folder"
        )
    if masked(uri) != uri:
        raise BadInput(
            f"MLFLOW_TRACKING_URI is {masked(uri)}, and everybody on the cluster could read the password; leave it out "
            "here, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment of the cluster"
        )
    return uri


class JobServer:
    """The job server of a cluster, at `address`. Raises EnvironmentFault if it does not answer, or not to us."""

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"http://{address}"
        parts = urllib.parse.urlsplit(self.address)
        try:
            ours = parts.scheme in ("http", "https") and parts.hostname and (parts.port or parts.scheme == "https")
        except ValueError:
            ours = False
        if not ours:
            raise BadInput(
                f"--address must be the cluster's job server, such as http://HEAD:8265, but got {masked(address)}"
            )
        try:
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5).close()
        except OSError as error:
            raise EnvironmentFault(
                f"no Ray cluster answers at {masked(self.address)} ({error}); is its head running, with a dashboard?"
            ) from None
        self._client = self._connected()

    def _connected(self) -> Any:
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # the client would take them for the address, always
            os.environ.pop(name, None)
        _prefer_token()  # before Ray is imported, which then reads it
        import ray
        from ray.job_submission import JobSubmissionClient

        for name in ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
            logging.getLogger(f"ray.{name}").setLevel(logging.ERROR)
        with _one_line_faults(self.address):
            client = JobSubmissionClient(self.address)
        theirs = client._server_ray_version
        if theirs != ray.__version__:
            raise EnvironmentFault(
                f"the cluster at {masked(self.address)} runs Ray {theirs}, here is {ray.__version__}; install the same"
            )
        return client

    def submit(self, order: Order) -> str:
        """Send the search there, and return the id of its job. Raises NameInUse if it runs there already."""
        running = self.find(order.name)
        if running and not running["over"]:
            raise NameInUse(f"the search {order.name} runs there as {running['job']}; follow it with `search logs`")
        job = f"{order.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        # The search tells its MLflow server by this variable; all others are the cluster's own.
        uri = tracking_uri()
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **({"MLFLOW_TRACKING_URI": uri} if uri else {})}
        with packed(order) as folder, _one_line_faults(self.address):
            self._client.submit_job(
                entrypoint=f"exec {shlex.join(['sh', SCRIPT, FILE, '--job', job])}",
                submission_id=job,
                runtime_env={"working_dir": str(folder), "env_vars": variables},
                metadata={NAME_KEY: order.name, "command": order.command},
            )
        return job

    def list(self) -> list[dict[str, Any]]:
        """Our jobs on the cluster, the newest first."""
        with _one_line_faults(self.address):
            jobs = [job for job in self._client.list_jobs() if NAME_KEY in (job.metadata or {}) and job.submission_id]
        return sorted(map(_row, jobs), key=lambda row: -(row["began"] or 0))

    def find(self, name: str) -> dict[str, Any] | None:
        """The newest job that is called `name`, or searches under it."""
        return next((row for row in self.list() if name in (row["name"], row["job"])), None)

    def get(self, name: str) -> dict[str, Any]:
        """The newest job of the search `name`. Raises BadInput if there is none."""
        row = self.find(name)
        if row is None:
            known = ", ".join(dict.fromkeys(each["name"] for each in self.list())) or "none"
            raise BadInput(f"no search {name!r} was submitted to {masked(self.address)}; there are {known}")
        return row

    def follow(self, job: str, write: Callable[[str], None]) -> int:
        """Give `write` what the job logs, as it comes, until the job is over; return its exit code.

        Raises EnvironmentFault if the head stays away.
        """
        shown, last = 0, time.monotonic()
        while True:
            try:
                with _one_line_faults(self.address):
                    row = _row(self._client.get_job_info(job))
                    log = self._client.get_job_logs(job) if row["state"] != "PENDING" else ""
                last = time.monotonic()
            except EnvironmentFault as fault:
                if time.monotonic() - last > HEAD_PATIENCE_SECONDS:
                    raise EnvironmentFault(
                        f"{fault}; the record is whole, and the same command goes on once the cluster is back"
                    ) from None
                time.sleep(POLL_SECONDS)
                continue
            if len(log) > shown:
                write(log[shown:])
                shown = len(log)
            if row["over"]:
                if row["exit_code"] == LOST_EXIT_CODE and not log:
                    write(f"{row['message']}\n")
                return int(row["exit_code"])
            time.sleep(max(POLL_SECONDS, len(log) / 1e6))

    def log(self, job: str) -> str:
        """What the job has logged so far."""
        with _one_line_faults(self.address):
            text: str = self._client.get_job_logs(job)
        return text

    def stop(self, job: str) -> bool:
        """Tell the search to end, so that it can be resumed, and wait until it has; False if it was over already."""
        with _one_line_faults(self.address):
            running: bool = self._client.stop_job(job)
            deadline = time.monotonic() + STOP_SECONDS + 10
            while running and time.monotonic() < deadline and not _row(self._client.get_job_info(job))["over"]:
                time.sleep(POLL_SECONDS)
        return running


def _row(job: Any) -> dict[str, Any]:
    state = str(job.status)
    over = job.status.is_terminal()
    code = {"SUCCEEDED": 0, "STOPPED": STOPPED_EXIT_CODE}.get(state, job.driver_exit_code or LOST_EXIT_CODE)
    return {
        "name": (job.metadata or {}).get(NAME_KEY, ""),
        "job": job.submission_id,
        "state": state,
        "over": over,
        "exit_code": code if over else None,
        "began": job.start_time / 1000 if job.start_time else None,
        "ended": job.end_time / 1000 if job.end_time else None,
        "message": " ".join((job.message or "").split())[-500:],
    }


def _prefer_token() -> None:
    """Show the cluster this user's token, if there is one; Ray's client would only if told to."""
    known = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if known or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def _one_line_faults(address: str) -> Iterator[None]:
    """Inside, what Ray's client raises becomes an EnvironmentFault of one line."""
    import requests
    from ray.exceptions import AuthenticationError

    shown = masked(address)
    try:
        yield
    except AuthenticationError:
        raise EnvironmentFault(
            f"Ray at {shown} does not accept this user's token; put the cluster's into ~/.ray/auth_token, or name its "
            "file in RAY_AUTH_TOKEN_PATH"
        ) from None
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise EnvironmentFault(f"Ray at {shown} does not answer ({' '.join(str(error).split())[:200]})") from None
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFault(f"Ray at {shown} says: {' '.join(masked(str(error)).split())[:300]}") from None
