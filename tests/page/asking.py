"""A browser without a browser: what the page's server answers to a request, without a port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search.page.app import app
from search.page.guard import Guard
from search.page.live import House


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def plain(self) -> Any:
        return json.loads(self.text)


class Browser:
    """Who has come by the link of a server on `runs`."""

    def __init__(self, runs: Path, *, host: str = "127.0.0.1", read_only: bool = False) -> None:
        self.guard = Guard(host, 8780, read_only=read_only)
        self._app = app(House(runs), self.guard)
        self.cookies = {self.guard.cookie: self.guard.token}

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        own = {"origin": self.guard.origin, "x-search-token": self.guard.token}
        return self.ask("POST", path, body, {**own, **headers})

    def ask(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        told = {"host": "127.0.0.1:8780", "cookie": cookies, **{n.replace("_", "-"): v for n, v in headers.items()}}
        parts = urlsplit(path)
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        }
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        there = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        whole = b"".join(message.get("body", b"") for message in sent[1:])
        text = "" if there.get("content-encoding") else whole.decode()
        return Answer(sent[0]["status"], there, text)
