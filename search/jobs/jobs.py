"""Searches as jobs of a Ray cluster: what travels there, and what becomes of them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import socket
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.errors import BadInput, EnvironmentFault, NameInUse
from search.provenance import ROOT
from search.settings import masked
from spaces import OURS

MARK = "search"
"""Under this name the metadata of our jobs hold the name of the search."""
LARGEST = 100 * 10**6
"""So many bytes may travel; Ray's head keeps them in memory and sends them to every node."""
STAYS = ("runs", "mlflow.db*", "mlruns", "*.egg-info", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
"""What never travels, besides what .gitignore and .rayignore name and what Ray leaves out (.git, .venv)."""
STOP_SECONDS = 120
"""How long a search that is told to stop may take before Ray kills it; by default three seconds."""
POLL_SECONDS = 1.0
AWAY_SECONDS = 60.0
"""How long the head may be away while a job is followed."""
LOST_EXIT_CODE = EnvironmentFault.exit_code
STOPPED_EXIT_CODE = 143


@dataclass(frozen=True)
class Order:
    """A search to be run as a job: the `arguments` of `python -m search` there, and the `folder` that goes along.

    `folder` is None for a study of ours on data that the cluster has; then our packages alone travel.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path | None = None

    @property
    def command(self) -> str:
        """The command line of the job."""
        return shlex.join(["python", "-m", "search", *self.arguments])

    def gives(self, option: str) -> bool:
        """Whether `option` is among the arguments."""
        return any(word == option or word.startswith(f"{option}=") for word in self.arguments)

    def and_also(self, *words: str) -> Order:
        """The same with `words` at the end."""
        return replace(self, arguments=(*self.arguments, *words))


def order(arguments: Sequence[str], study: str, data: Path | None, name: str, *, as_json: bool) -> Order:
    """What becomes of a command line that searches `study` here: the same search there, under a name, to be resumed.

    The folder of a study file goes along (the working folder, if the file is below it), and so do data below that
    folder; data at another absolute path are taken for the cluster's. Raises BadInput for a relative path that leads
    out of what travels.
    """
    words, folder = list(arguments), None
    here = Path.cwd()
    for what, path in (("study", study if study.endswith(".py") or "/" in study else None), ("data", data)):
        if path is None or not Path(path).exists():
            continue
        full = Path(path).resolve()
        if what == "data" and Path(path).is_absolute() and not full.is_relative_to(folder or here):
            continue
        if folder is None:
            folder = here if full.is_relative_to(here) else full.parent
        if not full.is_relative_to(folder):
            raise BadInput(
                f"{path} lies outside of {folder}, which travels with the study; put it below, or give its absolute "
                "path on the cluster"
            )
        there = str(full.relative_to(folder))
        words = [there if word == str(path) else word for word in words]
        words = [f"--{what}={there}" if word == f"--{what}={path}" else word for word in words]
    made = Order(name, tuple(words), folder)
    for word, value in (("--name", [name]), ("--resume", ["auto"]), ("--no-stand-in", [])):
        if not made.gives(word):
            made = made.and_also(word, *value)
    return made.and_also("--json") if as_json else made


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


@contextmanager
def packed(order: Order) -> Iterator[Path]:
    """A folder of all that travels: our three packages, and the user's folder without what .gitignore names.

    Raises BadInput if that is more than LARGEST.
    """
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    with tempfile.TemporaryDirectory(prefix="search-submit-") as scratch:
        whole = Path(scratch, "whole")
        whole.mkdir()
        if order.folder is not None:
            size = _size(order.folder)
            if size > 20 * LARGEST:  # a home folder; to pack it first would take minutes
                raise _too_large(order.folder, size)
            archive = Path(scratch, "folder.zip")
            stays = [*get_runtime_env_default_excludes(), *STAYS]
            create_package(str(order.folder), archive, True, excludes=stays, logger=_quiet())
            with zipfile.ZipFile(archive) as file:
                file.extractall(whole)
            for ignore in (".gitignore", ".rayignore"):  # they have had their say; ours is not to be left out
                whole.joinpath(ignore).unlink(missing_ok=True)
        for package in OURS:
            shutil.rmtree(whole / package, ignore_errors=True)
            shutil.copytree(ROOT / package, whole / package, ignore=shutil.ignore_patterns("__pycache__"))
        size = _size(whole)
        if size > LARGEST:
            raise _too_large(order.folder or ROOT, size)
        yield whole


def _too_large(folder: Path, size: int) -> BadInput:
    return BadInput(
        f"{folder} would travel with {size / 1e6:,.0f} MB, and at most {LARGEST / 1e6:,.0f} MB do; name in .gitignore "
        "what can stay, and put large data where the cluster finds them (SEARCH_DATA_DIR there)"
    )


def _size(folder: Path) -> int:
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".venv", "venv", "__pycache__")]
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
        if total > 50 * LARGEST:
            break
    return total


class Jobs:
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
        with _told(self.address):
            client = JobSubmissionClient(self.address)
        theirs = client._server_ray_version
        if theirs != ray.__version__:
            raise EnvironmentFault(
                f"the cluster at {masked(self.address)} runs Ray {theirs}, here is {ray.__version__}; install the same"
            )
        return client

    def submit(self, order: Order) -> str:
        """Send the search there, and return the name of its job. Raises NameInUse if it runs there already."""
        running = self.find(order.name)
        if running and not running["over"]:
            raise NameInUse(f"the search {order.name} runs there as {running['job']}; follow it with `search logs`")
        # The search tells its MLflow server by this variable; all others are the cluster's own.
        uri = tracking_uri()
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **({"MLFLOW_TRACKING_URI": uri} if uri else {})}
        with packed(order) as folder, _told(self.address):
            job: str = self._client.submit_job(
                entrypoint=f"exec {order.command}",
                submission_id=f"{order.name}-{time.strftime('%Y%m%d-%H%M%S')}",
                runtime_env={"working_dir": str(folder), "env_vars": variables},
                metadata={MARK: order.name},
            )
        return job

    def all(self) -> list[dict[str, Any]]:
        """Our jobs on the cluster, the newest first."""
        with _told(self.address):
            jobs = [job for job in self._client.list_jobs() if MARK in (job.metadata or {}) and job.submission_id]
        return sorted(map(_row, jobs), key=lambda row: -(row["began"] or 0))

    def find(self, name: str) -> dict[str, Any] | None:
        """The newest job that is called `name`, or searches under it."""
        return next((row for row in self.all() if name in (row["name"], row["job"])), None)

    def one(self, name: str) -> dict[str, Any]:
        """The newest job of the search `name`. Raises BadInput if there is none."""
        row = self.find(name)
        if row is None:
            known = ", ".join(dict.fromkeys(each["name"] for each in self.all())) or "none"
            raise BadInput(f"no search {name!r} was submitted to {masked(self.address)}; there are {known}")
        return row

    def follow(self, job: str, hear: Callable[[str], None]) -> int:
        """Give `hear` what the job writes until it is over, and return its exit code.

        Raises EnvironmentFault if the head stays away.
        """
        said, last = 0, time.monotonic()
        while True:
            try:
                with _told(self.address):
                    row = _row(self._client.get_job_info(job))
                    log = self._client.get_job_logs(job) if row["state"] != "PENDING" else ""
                last = time.monotonic()
            except EnvironmentFault as fault:
                if time.monotonic() - last > AWAY_SECONDS:
                    raise EnvironmentFault(
                        f"{fault}; the record is whole, and the same command goes on once the cluster is back"
                    ) from None
                time.sleep(POLL_SECONDS)
                continue
            if len(log) > said:
                hear(log[said:])
                said = len(log)
            if row["over"]:
                if row["exit_code"] == LOST_EXIT_CODE and not log:
                    hear(f"{row['message']}\n")
                return int(row["exit_code"])
            time.sleep(max(POLL_SECONDS, len(log) / 1e6))

    def log(self, job: str) -> str:
        """What the job has written so far."""
        with _told(self.address):
            text: str = self._client.get_job_logs(job)
        return text

    def stop(self, job: str) -> bool:
        """Tell the search to end, so that it can be resumed, and wait until it has; False if it was over already."""
        with _told(self.address):
            told: bool = self._client.stop_job(job)
            deadline = time.monotonic() + STOP_SECONDS + 10
            while told and time.monotonic() < deadline and not _row(self._client.get_job_info(job))["over"]:
                time.sleep(POLL_SECONDS)
        return told


def _row(job: Any) -> dict[str, Any]:
    state = str(job.status)
    over = job.status.is_terminal()
    code = {"SUCCEEDED": 0, "STOPPED": STOPPED_EXIT_CODE}.get(state, job.driver_exit_code or LOST_EXIT_CODE)
    return {
        "name": (job.metadata or {}).get(MARK, ""),
        "job": job.submission_id,
        "state": state,
        "over": over,
        "exit_code": code if over else None,
        "began": job.start_time / 1000 if job.start_time else None,
        "ended": job.end_time / 1000 if job.end_time else None,
        "message": " ".join((job.message or "").split())[-500:],
    }


def document(log: str) -> dict[str, Any] | None:
    """The JSON document that a search printed among what a job wrote, or None if it came to none."""
    text = f"\n{log}"
    start = text.rfind("\n{\n")
    if start < 0:
        return None
    try:
        found: dict[str, Any] = json.JSONDecoder().raw_decode(text, start + 1)[0]
    except json.JSONDecodeError:  # it was cut off
        return None
    return found


def _prefer_token() -> None:
    """Show the cluster this user's token, if there is one; Ray's client would only if told to."""
    known = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if known or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def _told(address: str) -> Iterator[None]:
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


def _quiet() -> logging.Logger:
    logger = logging.getLogger("search.packing")
    logger.setLevel(logging.CRITICAL)
    return logger
