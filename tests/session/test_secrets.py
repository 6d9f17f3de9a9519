"""What is secret is written nowhere, and what a search starts listens to nobody else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.session.test_end_to_end import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-key-id",
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
    "AWS_SESSION_TOKEN": "planted-session",
    "MLFLOW_TRACKING_TOKEN": "planted-token",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
}

LOUD = '''"""Prints 30 MB, and waits to be looked at."""
import time
from spaces.study import Float, Study
from trainables.epoch import Epoch

def train(config, data, *, resume=None):
    for number in range(1, config["train/epochs"] + 1):
        for _ in range(30_000):
            print("x" * 999)
        time.sleep(WAIT)
        yield Epoch(number, {"val_accuracy": config["model/x"]}, lambda folder: None)

STUDY = Study(trainable=train, dataset="digits", epochs=1, space={"model/x": Float(0.0, 1.0)}, trials=2)
'''


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its files; its sockets allow no long path."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def holding(word: str, *folders: Path) -> list[str]:
    """The files below `folders` in which `word` stands."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return [str(file) for file in files if word.encode() in file.read_bytes()]


def test_no_planted_secret_is_in_any_file_of_a_search_or_of_its_ray(tmp_path: Path, ray_folder: Path) -> None:
    command = [sys.executable, "-m", "search", "digits_mlp", "--trials", "2", "--epochs", "1", "--json"]
    secret = environment(RAY_TMPDIR=str(ray_folder), **PLANTED)
    done = subprocess.run(command, cwd=tmp_path, env=secret, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(ray_folder.rglob("runtime_env_agent.log")), "Ray's folder is looked at"
    for value in PLANTED.values():
        assert holding(value, tmp_path, ray_folder) == []
        assert value not in done.stdout + done.stderr
    # The model may be sent to anybody, and tells nothing of the machine on which it was trained.
    assert holding("architecture", tmp_path / "mlruns")
    for place in (str(tmp_path), str(ROOT), tempfile.gettempdir()):
        assert holding(place, *(tmp_path / "mlruns").rglob("models/*/artifacts")) == []


def listening(session: str) -> set[str]:
    """The addresses, as the kernel writes them, at which processes of the Ray in the folder `session` listen."""
    inodes = {}
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                inodes[f"socket:[{words[9]}]"] = words[1].split(":")[0]
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # Ray's own processes change their title; that of their environment stays.
            if session not in (process / "environ").read_text() + (process / "cmdline").read_text():
                continue
            found |= {inodes[link] for fd in (process / "fd").iterdir() if (link := os.readlink(fd)) in inodes}
        except OSError:  # gone
            continue
    return found


@pytest.mark.nightly
def test_ray_of_our_own_listens_on_loopback_only_and_its_logs_are_bounded(tmp_path: Path, ray_folder: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD.replace("WAIT", "8"))
    command = [sys.executable, "-m", "search", "loud.py", "--concurrent", "1", "--json"]
    told = environment(RAY_TMPDIR=str(ray_folder))
    with subprocess.Popen(
        command, cwd=tmp_path, env=told, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        try:
            deadline, seen = time.monotonic() + 120, set()
            while time.monotonic() < deadline and not list((tmp_path / "runs").rglob("logs/trial-*.log*")):
                time.sleep(0.5)
            seen = listening(str(ray_folder))
            stdout, _ = running.communicate(timeout=150)
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGKILL)
    assert json.loads(stdout)["trials"] == {"complete": 2}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert seen
    assert seen <= loopback, seen - loopback
    assert sum(file.stat().st_size for file in ray_folder.rglob("*") if file.is_file()) < 30_000_000


@pytest.mark.nightly
def test_doctor_says_where_a_ray_of_our_own_listens_and_how_large_its_logs_become(
    tmp_path: Path, ray_folder: Path
) -> None:
    told = environment(RAY_TMPDIR=str(ray_folder))
    command = [sys.executable, "-m", "search", "doctor", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True)
    (ray,) = (each for each in json.loads(done.stdout) if each["what"] == "ray")
    assert ray["well"], ray
    said = r"; listens at 127\.0\.0\.1 \(\d+ ports\); each of its logs keeps at most 20 MB$"
    assert re.search(said, ray["seen"]), ray["seen"]
