"""`ui`: MLflow's own pages, opened at a search, on a real server."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from search.record.events import Finished
from search.record.record import Record
from search.tracking.tracker import Tracker
from tests.simulated import header

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]


@pytest.fixture
def searches(tmp_path):
    """Two searches in MLflow beside `runs`; the ids of their parent runs by name."""
    parents = {}
    for name, id_ in (("first", "a1"), ("second", "b2")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        with Record(folder / "record.db", create=True) as record:
            record.append(
                ("search", None, header(name=name, id=id_, started_at=1.0)), Finished("done", "", 1.0).entry()
            )
        tracker = Tracker(folder / "record.db", f"sqlite:///{tmp_path}/mlflow.db", print)
        assert tracker.finish(1000)
        parents[name] = tracker.place.parent_run_id
    return parents


def started(folder, *words):
    """`ui` in `folder`, with a browser that writes down what it is to open; and its log."""
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {folder}/opened\n')
    browser.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "SEARCH"))}
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "search", "ui", *words],
        cwd=folder, stdout=log, stderr=log, env={**environment, "BROWSER": str(browser)},
    )  # fmt: skip
    return process, folder / "log"


@pytest.mark.nightly
def test_ui_opens_the_newest_search_says_nothing_else_and_takes_its_server_along(searches, tmp_path):
    process, log = started(tmp_path)
    for _ in range(1000):
        if "Ctrl-C" in log.read_text() or process.poll() is not None:
            break
        time.sleep(0.2)
    lines = log.read_text().splitlines()
    link = re.fullmatch(r"http://127.0.0.1:(\d+)/#/experiments/1/runs/(\w+)\?workflowType=machine_learning", lines[0])
    assert link, lines
    assert link[2] == searches["second"]
    assert lines[1:] == ["Ctrl-C ends it"]
    address = f"http://127.0.0.1:{link[1]}"
    with urllib.request.urlopen(f"{address}/ajax-api/2.0/mlflow/runs/get?run_id={link[2]}", timeout=60) as answer:
        assert b"second" in answer.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/health", timeout=5)
    assert (tmp_path / "opened").read_text().strip() == lines[0]
    assert log.read_text().splitlines() == lines


def test_a_port_in_use_is_one_line_before_anything_starts(searches, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, log = started(tmp_path, "first", "--port", str(port))
        assert process.wait(100) == 3
    (line,) = log.read_text().splitlines()
    assert f"port {port}" in line
    assert "--port" in line


def test_a_search_that_is_not_there_is_told_with_the_nearest_name(searches, tmp_path):
    process, log = started(tmp_path, "secnd")
    assert process.wait(100) == 2
    assert "did you mean second?" in log.read_text()
