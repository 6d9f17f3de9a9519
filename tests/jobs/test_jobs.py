"""What travels to a cluster, what is refused before it does, and what becomes of a command there."""

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
from search.jobs import jobs

ROOT = Path(__file__).parents[2]
STUDY = "from spaces.digits_mlp import STUDY\n"


def submit(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd), **env}
    command = [sys.executable, "-m", "search", "submit", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text(STUDY)
    (folder / "data.npz").write_bytes(bytes(1000))
    monkeypatch.chdir(folder)
    return folder


# The command there


def test_a_study_of_ours_travels_without_the_working_folder() -> None:
    made = jobs.order(["digits_cnn", "--trials", "3"], "digits_cnn", None, "mine", as_json=False)
    assert made.folder is None
    line = "python -m search digits_cnn --trials 3 --name mine --resume auto --no-stand-in"
    assert made.command == line


def test_what_is_given_already_is_not_said_twice() -> None:
    words = ["digits_cnn", "--name=mine", "--resume", "auto", "--no-stand-in"]
    assert jobs.order(words, "digits_cnn", None, "mine", as_json=True).arguments == (*words, "--json")


def test_the_working_folder_travels_with_a_study_below_it(project: Path) -> None:
    full = str(project / "mine.py")
    made = jobs.order([full, "--data", "data.npz"], full, Path("data.npz"), "x", as_json=False)
    assert made.folder == project
    assert made.arguments[:3] == ("mine.py", "--data", "data.npz")


def test_a_study_elsewhere_travels_with_its_own_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parents[1])
    other = project.parents[1] / "elsewhere"
    other.mkdir(exist_ok=True)
    monkeypatch.chdir(other)
    made = jobs.order(["../" + f"{project.relative_to(other.parent)}/mine.py"], str(project / "mine.py"), None, "x",
                      as_json=False)  # fmt: skip
    assert made.folder == project


def test_data_of_the_cluster_are_left_as_they_are_named() -> None:
    words = ["digits_cnn", "--data", "/nowhere/data.npz"]
    assert jobs.order(words, "digits_cnn", Path("/nowhere/data.npz"), "x", as_json=False).arguments[:3] == (*words,)


def test_study_and_data_that_lie_apart_are_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(b"1")
    with pytest.raises(BadInput, match=r"other\.npz lies outside of"):
        jobs.order(["mine.py"], "mine.py", Path("../other.npz"), "x", as_json=False)


def test_data_at_an_absolute_path_elsewhere_are_the_clusters_also_if_they_can_be_seen_from_here(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.npz").write_bytes(b"1")
    full = str(tmp_path / "other.npz")
    made = jobs.order(["mine.py", "--data", full], "mine.py", Path(full), "x", as_json=False)
    assert made.arguments[:3] == ("mine.py", "--data", full)
    alone = jobs.order(["digits_cnn", "--data", full], "digits_cnn", Path(full), "x", as_json=False)
    assert alone.folder is None


# What travels


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_our_packages_travel_with_every_search() -> None:
    with jobs.packed(jobs.Order("x", ("digits_cnn",))) as folder:
        assert {path.name for path in folder.iterdir()} == {"search", "spaces", "trainables"}
        assert {"search/report.html", "search/samplers/grid.py", "spaces/digits_cnn.py"} <= names(folder)
        assert not any("__pycache__" in name for name in names(folder))


def test_what_gitignore_names_and_what_is_made_by_searches_stays_here(project: Path) -> None:
    (project / ".gitignore").write_text("*.secret\nsearch/\n")
    (project / "key.secret").write_text("1")
    (project / "runs" / "one").mkdir(parents=True)
    (project / "runs" / "one" / "record.db").write_text("1")
    (project / "mlflow.db").write_text("1")
    (project / ".venv").mkdir()
    (project / ".venv" / "python").write_text("1")
    with jobs.packed(jobs.Order("x", ("mine.py",), project)) as folder:
        travelling = {name for name in names(folder) if not name.startswith(("search/", "spaces/", "trainables/"))}
        assert travelling == {"mine.py", "data.npz"}
        assert "search/__main__.py" in names(folder), "the user's .gitignore must not keep our packages back"


def test_too_much_is_refused_with_its_size(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LARGEST", 2 * 10**6)
    (project / "large.bin").write_bytes(os.urandom(3 * 10**6))
    with (
        pytest.raises(BadInput, match=r"would travel with \d MB, and at most 2 MB do"),
        jobs.packed(jobs.Order("x", ("mine.py",), project)),
    ):
        pass


# Where to


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
        jobs.tracking_uri()


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "http://", "http://head:port", "http://head"])
def test_an_address_that_is_no_job_server_is_refused(address: str) -> None:
    with pytest.raises(BadInput, match="--address must be the cluster's job server"):
        jobs.Jobs(address)


def test_an_address_where_nobody_answers_is_one_clear_line() -> None:
    with pytest.raises(EnvironmentFault, match=r"no Ray cluster answers at http://127\.0\.0\.1:9 "):
        jobs.Jobs("http://127.0.0.1:9")


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
        (["digits_cnn", "--trails", "5"], "No such option"),
        (["digits_cnn", "--dry-run"], "--dry-run plans on this machine; leave submit out"),
        (["digits_cnn", "--kuberay"], "--kuberay needs --image"),
        (["digits_cnn", "--set", "train/lr=log(0, 1)"], "log needs low above 0"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_here(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = submit(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]


# The document among what a job writes


def test_the_document_is_found_among_warnings() -> None:
    log = 'plan\n{not json}\n{\n "state": "done",\n "best": {\n  "trial": 1\n }\n}\nwarning: afterwards\n'
    assert jobs.document(log) == {"state": "done", "best": {"trial": 1}}


@pytest.mark.parametrize("log", ["", "error: no\n", "{\n broken", 'a line {\n "state": 1}\n'])
def test_without_a_document_there_is_none(log: str) -> None:
    assert jobs.document(log) is None
