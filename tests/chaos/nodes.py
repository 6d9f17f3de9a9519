"""A Ray cluster of several nodes on this machine, each a `ray start` of its own, as one would have them on several.

All nodes listen on loopback, know one token, and find this checkout's Python first on their path unless told otherwise;
commands are run in the cluster's chaos folder, by which the checker finds all processes again. Never `ray stop`: it
ends everybody's Ray.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import checker, command

HOST = "127.0.0.1"
QUICK = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
"""Nodes that give no sign for some seconds are dead."""
PATIENT = {
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
}
"""As Ray has it: for half a minute a node that has died is counted."""
START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """The nodes; the first is the head, which has the job server and runs no trials."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, *, apart: bool = False, activated: bool = True
    ) -> None:
        self.folder, self._env, self._apart, self._activated = folder, dict(env or {}), apart, activated
        self.token = folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._scratches: list[Path] = []
        self.port, self.dashboard = free_port(), free_port()
        self.address, self.jobs = f"{HOST}:{self.port}", f"http://{HOST}:{self.dashboard}"
        self.begin_head()

    @property
    def client(self) -> dict[str, str]:
        """The environment of a command that submits to this cluster."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}

    @property
    def driver(self) -> dict[str, str]:
        """The environment of a search that joins this cluster by itself."""
        return {**self.client, "RAY_ADDRESS": self.address}

    def begin_head(self) -> None:
        """Start the head, also once more after `kill(0)`: at the same address, without a memory of what was."""
        head = ["--head", "--port", self.port, "--num-cpus", 0, "--dashboard-port", self.dashboard]
        process = self._start("head", *head, "--include-dashboard", "true")
        self.nodes[:1] = [process]
        self._wait(lambda: urllib.request.urlopen(self._request("/api/version"), timeout=2).close(), process)

    def add(self, *, cpus: int = 1, gpus: int = 0) -> int:
        """Start a node, wait until it has joined, and return its number."""
        before = len(self.alive())
        process = self._start(
            f"node-{len(self.nodes)}", "--address", self.address, "--num-cpus", cpus, "--num-gpus", gpus
        )
        self.nodes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while len(self.alive()) <= before:
            assert process.poll() is None, self.log(len(self.nodes) - 1)
            assert time.monotonic() < deadline, self.log(len(self.nodes) - 1)
            time.sleep(0.2)
        return len(self.nodes) - 1

    def alive(self) -> list[str]:
        """The nodes that the head believes in, without the head, as Ray calls them, in the order in which they came."""
        with urllib.request.urlopen(self._request("/api/v0/nodes?detail=true"), timeout=20) as answer:
            nodes = json.load(answer)["data"]["result"]["result"]
        there = [node for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]]
        return [node["node_id"] for node in sorted(there, key=lambda node: node["start_time_ms"])]

    def kill(self, number: int) -> None:
        """End a node without a word: the node itself and all processes that it started."""
        os.killpg(self.nodes[number].pid, signal.SIGKILL)
        self.nodes[number].wait()

    def hold(self, number: int, *, on: bool) -> None:
        """Cut a node off, as a network does that fails: it is there, and nobody hears of it until it is let go."""
        os.killpg(self.nodes[number].pid, signal.SIGSTOP if on else signal.SIGCONT)

    def drain(self, number: int, seconds: int) -> None:
        """Give a node notice, as a cloud does before it takes a machine back."""
        options = ["--address", self.address, "--node-id", self.alive()[number - 1]]
        options += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the cloud wants it back"]
        self._ray("drain-node", *options, "--deadline-remaining-seconds", str(seconds))

    def copies(self) -> list[Path]:
        """The folders into which the nodes have unpacked what jobs brought."""
        places = "session_*/runtime_resources/working_dir_files/_ray_pkg_*"
        return [copy for scratch in self._scratches for copy in scratch.glob(places) if copy.is_dir()]

    def log(self, number: int) -> str:
        """What a node has said last."""
        name = "head" if number == 0 else f"node-{number}"
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def end(self) -> None:
        for number, node in enumerate(self.nodes):
            if node.poll() is None:
                self.kill(number)
        checker.sweep(self.folder)
        for scratch in self._scratches:
            shutil.rmtree(scratch, ignore_errors=True)

    def _scratch(self) -> Path:
        # Not in the chaos folder: the paths of Ray's sockets must be short.
        self._scratches.append(Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")))
        return self._scratches[-1]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in command.FOREIGN}
        ours = str(Path(sys.executable).parent)
        others = [place for place in kept["PATH"].split(os.pathsep) if place != ours]
        path = os.pathsep.join([ours, *others] if self._activated else others)
        told = {"CHAOS_FOLDER": str(self.folder.resolve()), "SPT_NOENV": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        return {**kept, **QUICK, **self.client, **told, "PATH": path, "HOME": str(self.folder), **self._env}

    def _ray(self, *words: object) -> None:
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", *map(str, words)], env=self._environment(), check=True,
            capture_output=True,
        )  # fmt: skip

    def _start(self, name: str, *words: object) -> subprocess.Popen[bytes]:
        # A temporary folder for each, or one node would unpack what jobs bring over what another one runs.
        own = {
            "--temp-dir": self._scratch(),
            "--dashboard-agent-listen-port": free_port(),
            "--dashboard-agent-grpc-port": free_port(),
        }
        options = [str(word) for option in own.items() for word in option]
        line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address", HOST]
        line += ["--object-store-memory", str(200 * 10**6), *options, *map(str, words)]
        home = tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder) if self._apart else str(self.folder)
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                line, cwd=self.folder, env={**self._environment(), "HOME": home}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _request(self, path: str) -> urllib.request.Request:
        return urllib.request.Request(self.jobs + path, headers={"Authorization": f"Bearer {self.token.read_text()}"})

    def _wait(self, attempt: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                attempt()
                return
            except OSError:
                assert process.poll() is None, self.log(0)
                assert time.monotonic() < deadline, self.log(0)
                time.sleep(0.2)


@contextmanager
def cluster(
    folder: Path, *, workers: int = 2, env: Mapping[str, str] | None = None, apart: bool = False, activated: bool = True
) -> Iterator[Cluster]:
    """A head and so many nodes of one CPU; all of it is gone at the end.

    `env` is added to the environment of all; if they are `apart`, each has a home of its own, and they share no folder.
    Unless `activated`, they were started by the path of our Python, as a service is, and have another one on theirs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, env, apart=apart, activated=activated)
    try:
        for _ in range(workers):
            made.add()
        yield made
    finally:
        made.end()
