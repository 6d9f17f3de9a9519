"""MLflow's store: how our processes talk to it, and whether it can be used."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import shutil
import sqlite3
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.settings import masked

PROBE_SECONDS = 8.0
SCHEMES = ("http", "sqlite", "postgresql", "mysql", "mssql", "databricks", "uc")

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The defaults block a call for four minutes where the server refuses and twenty where it stalls; and a retry of a
    # call whose answer was lost makes a second run. We try again by ourselves, and look first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def prepare_environment() -> None:
    """Settings that MLflow reads from the environment; those the user made stand."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)  # tells of every table that is made
    # Where a disk is full they write a traceback for each call, which we make again and again. What fails is raised.
    for name in ("mlflow.store.db.utils", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def probe(uri: str) -> None:
    """Raise EnvironmentFault if MLflow's store at `uri` can clearly not be used; answers within ten seconds.

    SQLite files and HTTP servers are checked without importing MLflow, which takes seconds.
    """
    if uri.startswith("sqlite:///"):
        _probe_file(Path(uri.removeprefix("sqlite:///")))
    elif uri.startswith(("http://", "https://")):
        _probe_server(uri.rstrip("/"))
    elif "://" not in uri or uri.startswith("file:"):
        raise EnvironmentFault(
            f"MLflow keeps no runs in plain folders any more, but the tracking URI is {masked(uri)}; "
            "use sqlite:////absolute/path/mlflow.db or the address of a server"
        )
    elif not uri.startswith(SCHEMES):
        raise EnvironmentFault(
            f"MLflow has no store for the tracking URI {masked(uri)}; it begins with one of {', '.join(SCHEMES)}"
        )


def _probe_file(path: Path) -> None:
    if path.is_dir():
        raise EnvironmentFault(f"MLflow's store {path} is a folder; name a file in it, such as {path}/mlflow.db")
    if path.exists():
        check_file(path)
    folder = next((parent for parent in path.parents if parent.exists()), path.parent)
    try:
        # SQLite writes its journal beside the file. Asking beats os.access, which says yes to root everywhere.
        with tempfile.TemporaryFile(dir=folder):
            pass
        writable = not path.exists() or os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise EnvironmentFault(f"MLflow's store {path} cannot be written; set MLFLOW_TRACKING_URI to another place")


def check_file(path: Path) -> None:
    """Raise EnvironmentFault if the file at `path` is no SQLite file; an empty one may become one."""
    if path.stat().st_size:
        with path.open("rb") as file:
            if file.read(15) != b"SQLite format 3":
                raise EnvironmentFault(
                    f"MLflow's store {path} is no SQLite file; move it away or set MLFLOW_TRACKING_URI"
                )


def _probe_server(uri: str) -> None:
    shown = masked(uri)
    try:
        # urllib takes user:password@host for the host, so they go into the header that they become anyway.
        parts = urllib.parse.urlsplit(uri)
        user, at, host = parts.netloc.rpartition("@")
        headers = {}
        if at:
            headers["Authorization"] = "Basic " + base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        health = urllib.request.Request(parts._replace(netloc=host).geturl() + "/health", headers=headers)
        with urllib.request.urlopen(health, timeout=PROBE_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 401:
            raise EnvironmentFault(f"the MLflow server at {shown} wants another user name or password (401)") from None
        if error.code == 403:
            raise EnvironmentFault(
                f"the MLflow server at {shown} refuses this host name (403); start it with --allowed-hosts"
            ) from None
        if error.code >= 500:
            raise EnvironmentFault(f"the MLflow server at {shown} answers {error.code}; look at its log") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EnvironmentFault(
            f"no MLflow server answers at {shown} ({masked(str(error))}); start it, "
            "or unset MLFLOW_TRACKING_URI to use a local file"
        ) from None


def connect(uri: str) -> Any:
    """MLflow's client for `uri`. A SQLite store that is not there yet is made aside and moved.

    MLflow makes its tables in some thirty steps, and what a kill leaves of them in between no MLflow can open again.
    """
    prepare_environment()
    from mlflow import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-", ignore_cleanup_errors=True) as folder:
            aside = Path(folder, path.name)
            MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
            with contextlib.suppress(FileExistsError):  # another search was faster
                os.link(aside, path)
    return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def reader(uri: str) -> Iterator[Any]:
    """MLflow's client for what is at `uri`, by which nothing there is written. Raises EnvironmentFault.

    MLflow cannot open a SQLite file without writing to it, so it gets a copy.
    """
    if not uri.startswith("sqlite:///"):
        probe(uri)
        yield connect(uri)
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.is_file():
        raise EnvironmentFault(f"there is no MLflow store at {path} yet")
    check_file(path)
    with tempfile.TemporaryDirectory(prefix="search-mlflow-") as folder:
        copy = Path(folder, path.name)
        try:
            with (
                contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error:  # a writer has died in the middle, and SQLite would have to mend the file first
            for file in (path, path.with_name(f"{path.name}-journal")):
                if file.is_file():
                    shutil.copyfile(file, copy.with_name(file.name))
        yield connect(f"sqlite:///{copy}")


def write_probe(uri: str) -> None:
    """Write a run with a value to MLflow at `uri`, read it, and delete it. Raises what MLflow raises."""
    client, name = connect(uri), "search-doctor"
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(experiment)
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "probe", 1.0)
    value = client.get_run(run).data.metrics.get("probe")
    client.delete_run(run)
    client.delete_experiment(experiment)
    if value != 1.0:
        raise RuntimeError(f"a value of 1.0 came back as {value}")
