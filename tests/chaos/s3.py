"""A local server that speaks S3, and a bucket in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import command
from tests.chaos.nodes import free_port

BUCKET = "lab"
RUNS = f"s3://{BUCKET}/runs"


@dataclass
class Storage:
    """The server on `port` of this machine, which keeps everything in its memory."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def env(self, cache: Path, uri: str = "") -> dict[str, str]:
        """The environment of a machine whose cache folder is `cache`."""
        return {**of(uri or self.uri), "XDG_CACHE_HOME": str(cache)}

    def appends(self, name: str) -> int:
        """How many objects the record of the search `name` has."""
        with urllib.request.urlopen(f"{self.uri}/{BUCKET}?list-type=2&prefix=runs/{name}/record/") as answer:
            return sum(element.tag.endswith("Contents") for element in ET.parse(answer).getroot())

    def wait_for(self, name: str, appends: int, *, process: command.Command, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while self.appends(name) < appends:
            assert process.poll() is None, process.err.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{self.appends(name)} of {appends} appends"
            time.sleep(0.2)


def of(uri: str) -> dict[str, str]:
    """What boto3 has to know of a server at `uri`."""
    return {
        "AWS_ENDPOINT_URL": uri,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def mirror(cache: Path, storage: Mapping[str, str], name: str = command.NAME) -> Path:
    """Where a machine with that cache folder has its copy of the search `name`."""
    server = storage["AWS_ENDPOINT_URL"].removeprefix("http://").replace(":", "-")
    return cache / "search" / "s3" / server / BUCKET / "runs" / name


@contextmanager
def serving(folder: Path) -> Iterator[Storage]:
    """A server with the bucket BUCKET; it has ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (folder / "s3.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        storage = Storage(port, server)
        made = urllib.request.Request(f"{storage.uri}/{BUCKET}", method="PUT")
        for _ in range(240):
            try:
                urllib.request.urlopen(made, timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        yield storage
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
