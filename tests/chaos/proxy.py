"""A bad line to an MLflow server, whose faults are switched while a search runs.

| mode | what the client sees |
|---|---|
| `pass` | the server |
| `refuse` | nobody listens, and open connections are reset |
| `stall` | the request is taken, and no answer comes |
| `error500` | an internal error; the server never hears of the request |
| `lose_reply` | the server does what was asked, the connection is reset instead of an answer |
| `slow` | every request takes two seconds longer |
| `cut` | half of the answer's body, then a reset |
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any

MODES = ("pass", "refuse", "stall", "error500", "lose_reply", "slow", "cut")
SORRY = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"error_code": "INTERNAL_ERROR", "message": "as the test says"}'
)


class Proxy:
    """Listens on `uri` and forwards to the server on `port` of this machine; `with Proxy(port) as proxy: …`.

    One request per connection: what goes to the server says `Connection: close`, so a switch holds from the next
    request on, however the client keeps its connections. `seen` lists each request as `(mode, method, path)`.
    """

    def __init__(self, port: int, *, slow_seconds: float = 2.0) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self._upstream, self._slow_seconds = port, slow_seconds
        self._mode, self._path, self._left = "pass", "", 0.0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def switch(self, mode: str, *, path: str = "", times: float = float("inf")) -> None:
        """Behave like `mode` from now on.

        Only towards requests whose path contains `path`, and only for the first `times` of them; `refuse` comes before
        any request is read and knows neither.
        """
        assert mode in MODES, f"{mode} is none of {MODES}"
        self._run(self._switch(mode, path, times))

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._socket = self._bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._run(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._deaf())
        self._socket.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        """A socket that has the port and does not listen: connections are refused, and nobody else can take it."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    async def _switch(self, mode: str, path: str, times: float) -> None:
        if mode == "refuse" and self._mode != "refuse":
            await self._deaf()
            self._socket = self._bound(self.port)
        elif mode != "refuse" and self._mode == "refuse":
            await self._listen()
        self._mode, self._path, self._left = mode, path, times

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, sock=self._socket)

    async def _deaf(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._exchange(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # A task that was cancelled on purpose ends here; asyncio's streams would report it as a mishap.
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, *_ = head.decode("latin-1").split(" ")
        mode = self._mode_for(path)
        self.seen.append((mode, method, path))
        if mode == "stall":
            while await reader.read(65536):
                pass
            raise ConnectionResetError
        if mode == "error500":
            await reader.readexactly(_length(head))
            writer.write(SORRY)
            await writer.drain()
            return
        if mode == "slow":
            await asyncio.sleep(self._slow_seconds)
        answer = await self._answer(head, reader)
        if mode == "lose_reply":
            raise ConnectionResetError
        if mode == "cut":
            start = answer.index(b"\r\n\r\n") + 4
            answer = answer[: start + (len(answer) - start) // 2]
        writer.write(answer)
        await writer.drain()
        if mode == "cut":
            # A moment for the client to read what came: a reset throws away what it has not.
            await asyncio.sleep(0.05)
            raise ConnectionResetError

    def _mode_for(self, path: str) -> str:
        if self._path not in path or self._left <= 0:
            return "pass"
        self._left -= 1
        return self._mode

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """All that the server says to the request that begins with `head`; its body, of whatever form, is passed on."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        kept = [line for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"connection:")]
        upstream_writer.write(b"\r\n".join([*kept, b"Connection: close", b"", b""]))

        async def pass_on() -> None:
            while part := await reader.read(65536):
                upstream_writer.write(part)
                await upstream_writer.drain()

        body = asyncio.create_task(pass_on())
        try:
            return await upstream_reader.read(-1)
        finally:
            body.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await body
            upstream_writer.close()
            with contextlib.suppress(OSError):
                await upstream_writer.wait_closed()


def _length(head: bytes) -> int:
    lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
    return next((int(text) for name, _, text in lines if name == b"content-length"), 0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, which no client takes for the end of an answer."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
