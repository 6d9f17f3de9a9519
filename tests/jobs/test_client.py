"""What is refused before it is sent to a cluster, and where it can be sent."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.errors import BadInput, EnvironmentFault
from search.jobs import client

ROOT = Path(__file__).parents[2]


def submit(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd), **env}
    command = [sys.executable, "-m", "search", "submit", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:///mlflow.db", "which is on this machine; name a server that the cluster reaches"),
        ("http://me:secret@mlflow:5000", r"http://\*\*\*@mlflow:5000, and everybody on the cluster could read"),
    ],
)
def test_a_tracking_uri_that_cannot_be_said_on_a_cluster_is_refused(
    monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(BadInput, match=message):
        client.tracking_uri()


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "http://", "http://head:port", "http://head"])
def test_an_address_that_is_no_job_server_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="--address must be the cluster's job server"):
        client.JobServer(address)


def test_an_address_where_nobody_answers_is_one_clear_line() -> None:
    with pytest.raises(EnvironmentFault, match=r"no Ray cluster answers at http://127\.0\.0\.1:9 "):
        client.JobServer("http://127.0.0.1:9")


@pytest.fixture
def other_ray() -> Iterator[str]:
    """A job server of another version of Ray, which is all that it says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"version": "4", "ray_version": "2.40.0", "ray_commit": ""}).encode())

        def log_message(self, *told: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_cluster_with_another_ray_is_refused_with_both_versions(other_ray: str, tmp_path: Path) -> None:
    done = submit("digits_cnn", "--address", other_ray, cwd=tmp_path)
    assert done.returncode == 3
    assert "runs Ray 2.40.0, here is 2." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits_cnn"], "which cluster? give --address http://HEAD:8265, or set RAY_ADDRESS"),
        (["digits_cmm"], "no study named 'digits_cmm'"),
        (["digits_cnn", "--trials", "0"], "--trials must be at least 1"),
        pytest.param(["digits_cnn", "--trails", "5"], "No such option", marks=pytest.mark.nightly),
        pytest.param(
            ["digits_cnn", "--dry-run"], "--dry-run plans on this machine; leave submit out", marks=pytest.mark.nightly
        ),
        pytest.param(["digits_cnn", "--probe", "3s"], "--probe is for --dry-run", marks=pytest.mark.nightly),
        pytest.param(["digits_cnn", "--kuberay"], "--kuberay needs --image", marks=pytest.mark.nightly),
        (["digits_cnn", "--set", "train/lr=log(0, 1)"], "log needs low above 0"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_here(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = submit(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]
