"""The page's server: a free port, the link with its token, and uvicorn until a signal comes."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search import provenance
from search.errors import BadInput, EnvironmentFault
from search.page.guard import LOOPBACK, Guard
from search.page.live import House

PORT = 8780
"""Where the page is, if nobody says otherwise and nobody else is there."""


def serve(
    runs: Path,
    say: Callable[[str], None],
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    read_only: bool = False,
    beside: int | None = None,
) -> None:
    """Serve the page on the searches in `runs` until interrupted; `say` hears the link to the search `name`, once.

    It ends with the process `beside`, its parent. Without a `port` the usual one is taken, or a free one if that is in
    use. Raises BadInput if there is no such search or `host` is no address of this machine, EnvironmentFault if the
    port is in use.
    """
    import uvicorn

    from search.page.app import app

    house = House(runs)
    if name is not None:
        house.get(name)
    listening = _listening(host, port)
    who = f"{provenance.user()}@{socket.gethostname()}, by the page"
    guard = Guard(host, listening.getsockname()[1], read_only=read_only, who=who[:200])
    place = f"&to=/search/{name}" if name is not None else ""
    reach = "" if host in LOOPBACK else f"; it listens on {host}, unencrypted: whoever has the link may steer"
    ends = "Ctrl-C ends it" if beside is None else "it ends with the search"
    say(f"{guard.link}{place}\n{'read-only; ' if read_only else ''}{ends}{reach}")
    config = uvicorn.Config(
        app(house, guard),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    if beside is not None:
        threading.Thread(target=_end_with, args=(beside, server), daemon=True).start()
    with listening:
        server.run(sockets=[listening])


def _end_with(parent: int, server: Any) -> None:
    """End the server when its parent has ended, however that did: then it has another one."""
    while os.getppid() == parent:
        time.sleep(1.0)
    server.should_exit = True


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens at `host`, on `port` or, if that is None, on the usual one or a free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise BadInput(
            f"--host must be an address or a name of this machine, but got {host!r} ({error.strerror})"
        ) from None
    for wanted in (port,) if port is not None else (PORT, 0):
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((address[0], wanted))
            made.listen(128)
            return made
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRINUSE and port is None and wanted == PORT:
                continue
            if error.errno == errno.EADDRNOTAVAIL:
                raise BadInput(f"--host must be an address of this machine, but got {host!r}") from None
            why = "in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise EnvironmentFault(
                f"port {wanted} of {host} is {why}; choose another --port, or leave it out"
            ) from None
    raise AssertionError("a free port is always found")
