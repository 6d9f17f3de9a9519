"""MLflow's own pages: served on this machine, opened where a search is shown."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.findings.mlflow_link import UI_PORT, page
from search.record.events import InMLflow
from search.record.reader import FILE, read
from search.record.reading import header_of, last
from search.settings import masked
from search.signals import SIGNALS, Interrupted
from search.tracking.runs import parent_of
from search.tracking.store import ENVIRONMENT, connect

START_SECONDS = 120.0
"""So long MLflow's server may take to answer for the first time."""
END_SECONDS = 5.0
"""So long it may take to end before it is killed."""
LAST_LINES = 3
"""So many of its last lines are shown if it ends by itself."""


def serve(uri: str, folder: Path | None, port: int | None, say: Callable[[str], None], *, browser: bool) -> int:
    """Serve MLflow's pages on the store at `uri`, to this machine alone, until a signal comes; returns the exit code.

    `say` hears the link to the search in `folder`, or to all searches, as soon as it can be opened; where there is a
    graphical `browser`, it is opened. A server that runs elsewhere is only pointed to. Without a `port` the usual one
    is taken, or a free one if that is in use. Raises EnvironmentFault if there is no such store, if `port` is in use,
    or if the server ends by itself.
    """
    if uri.startswith(("http://", "https://")):
        say(f"MLflow runs already, at {masked(uri)}\n{_opened(_recorded(uri, folder), browser)}")
        return 0
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise EnvironmentFault(f"nothing is kept at {uri} yet; run a search first, or say where with --runs")
    port = _free(port)
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log, _signals_raised():
        server = None
        try:
            server = _started(uri, port, log)
            link = _shown(uri, address, folder)  # meanwhile
            _await(server, address, log)
            say(f"{_opened(link, browser)}\nCtrl-C ends it")
            server.wait()
            raise _ended(log)
        except Interrupted as interruption:
            return 0 if interruption.exit_code == 128 + signal.SIGINT else interruption.exit_code
        finally:
            if server is not None:
                _end(server)


def _started(uri: str, port: int, log: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri]
    if uri.startswith("sqlite:///"):
        artifacts = Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlruns"
        command += ["--default-artifact-root", artifacts.as_uri()]
    # Its job runner starts seven more processes, which nothing here needs.
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In a session of its own: it starts a process that serves, and a signal is to reach both, once.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _await(server: subprocess.Popen[bytes], address: str, log: Any) -> None:
    """Wait until the `server` answers. Raises EnvironmentFault if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _ended(log)
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.1)
    raise EnvironmentFault(f"MLflow's server did not answer within {START_SECONDS:.0f} s; try again")


def _ended(log: Any) -> EnvironmentFault:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return EnvironmentFault(
        f"MLflow's server has ended by itself: {' / '.join(lines[-LAST_LINES:]) or 'it says not why'}"
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it has started."""
    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
            return


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """Inside, a signal that ends a command raises Interrupted, once; then no more are heard."""

    def interrupt(number: int, frame: Any) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free(port: int | None) -> int:
    """`port`, or a free one if that is None and the usual one is in use. Raises EnvironmentFault."""
    for wanted in (port,) if port is not None else (UI_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
                return int(probe.getsockname()[1])
            except OSError as error:
                if port is not None:
                    raise EnvironmentFault(
                        f"port {port} cannot be had ({error.strerror}); choose another --port, or leave it out"
                    ) from None
    raise EnvironmentFault("no port is free on 127.0.0.1; end another server")


def _recorded(uri: str, folder: Path | None) -> str:
    """Where a server at `uri` shows the search in `folder`, as its record says."""
    place = last(read(folder / FILE), InMLflow) if folder is not None else None
    if place is None or place.parent_run_id is None:
        return page(uri)
    return page(uri, place.experiment_id, place.parent_run_id)


def _shown(uri: str, address: str, folder: Path | None) -> str:
    """Where a server of the store at `uri` shows the search in `folder`, as the store says; else all experiments."""
    if folder is None:
        return page(address)
    header = header_of(read(folder / FILE))
    try:
        found = parent_of(header.id, connect(uri), header.experiment)
    except Exception as error:  # whatever MLflow raises, its pages can be looked at all the same
        raise EnvironmentFault(f"MLflow cannot open {masked(uri)}: {' '.join(str(error).split())[:300]}") from None
    return page(address) if found is None else page(address, *found)


def _opened(link: str, wanted: bool) -> str:
    """`link`, which is opened if that is `wanted` and there is a browser that is no program of the terminal."""
    graphical = sys.platform == "darwin" or any(os.environ.get(each) for each in ("DISPLAY", "WAYLAND_DISPLAY"))
    if wanted and (graphical or os.environ.get("BROWSER")):
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()  # it may wait for the browser's end
    return link
