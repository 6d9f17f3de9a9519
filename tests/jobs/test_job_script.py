"""What a job on a cluster begins with: a Python that has what search needs, or one line. Without Ray.

With Ray, and a head whose path has another Python: `tests/faults/test_cluster.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from search.jobs.client import SCRIPT

ROOT = Path(__file__).parents[2]
IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml", "tensorboardx": "tensorboardX"}


def carried_out(*words: str, path: str, beneath: str = "") -> subprocess.CompletedProcess[str]:
    """`job.sh` as the child of a shell, which is that of a process with `beneath` in its command line, as in Ray."""
    line = ["sh", "-c", 'sh "$@"; exit $?', "supervisor", str(ROOT / SCRIPT), *words]
    raylet = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[2:]))"
    return subprocess.run(
        [sys.executable, "-c", raylet, beneath, *line], cwd=ROOT, env={**os.environ, "PATH": path}, text=True,
        capture_output=True, timeout=100,
    )  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A Python without any package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return tmp_path / "bare" / "bin"


def test_a_python_that_lacks_packages_is_named_with_them_and_the_job_ends_with_3(bare: Path) -> None:
    said = carried_out("none.json", "--job", "x", path=f"{bare}:/usr/bin:/bin")
    assert said.returncode == 3
    warning, error = said.stderr.splitlines()
    assert warning.startswith("warning: the Python of Ray's workers was not found")
    assert error.startswith(f"error: on the cluster {bare / 'python'} lacks ")
    assert "torch, " in error
    assert error.endswith("; install there what search needs")


def test_the_python_of_rays_workers_is_taken_before_that_of_the_path(bare: Path) -> None:
    worker = f"--python_worker_command={sys.executable} setup_worker.py default_worker.py"
    said = carried_out("none.json", "--job", "x", path=f"{bare}:/usr/bin:/bin", beneath=worker)
    assert said.returncode == 2
    assert said.stderr.startswith("error: none.json is no order of a search")


def test_a_head_without_any_python_is_one_line(tmp_path: Path) -> None:
    for tool in ("sh", "sed", "tr"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    said = carried_out("none.json", "--job", "x", path=str(tmp_path))
    assert said.returncode == 3
    assert said.stderr.splitlines()[-1].startswith("error: the head of the cluster has no Python on its path; start it")


def test_every_package_that_we_depend_on_is_looked_for() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    named = [each.replace("[", ">").partition(">")[0].lower() for each in told]
    looked_for = (ROOT / SCRIPT).read_text().partition("NEEDED = (")[2].partition(").split()")[0]
    assert sorted(looked_for.replace('"', "").split()) == sorted(IMPORTED_AS.get(name, name) for name in named)
