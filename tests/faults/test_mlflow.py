"""MLflow is refused, slow, answers nonsense or nothing while trials run; and the password in its address stays ours."""

import itertools
import os
import re
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from tests.chaos import checker, command
from tests.chaos.proxy import Proxy
from tests.faults.stage import count, events, look, of

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

CANARY = "hunter2"
MODES = ("refuse", "stall", "error500", "lose_reply", "cut", "slow")
NAP = 0.05
EPOCHS = 8


@pytest.fixture(scope="module")
def searches(mlflow_server, tmp_path_factory):
    """One search that MLflow troubles in every way, and one that it leaves alone at the end; side by side."""
    port = urlsplit(mlflow_server).port
    troubled, left = tmp_path_factory.mktemp("troubled"), tmp_path_factory.mktemp("left")
    try:
        with Proxy(port, slow_seconds=1) as first, Proxy(port) as second:
            yield SimpleNamespace(
                **played(troubled, first, left, second, mlflow_server), troubled=troubled, left=left, uri=mlflow_server
            )
    finally:
        for folder in (troubled, left):
            checker.sweep(folder)


def played(troubled, proxy, left, other_proxy, uri):
    home = troubled / "home"
    home.mkdir()
    env = {
        "MLFLOW_TRACKING_URI": proxy.uri.replace("//", f"//user:{CANARY}@"),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": 1,
        "HOME": home,
        "CHAOS_EPOCHS": EPOCHS,
    }
    trial = f"repeat {EPOCHS} sleep {NAP}, report x"
    scripts = [trial, *(f"await {mode}; {trial}" for mode in MODES)]
    running = command.start(scripts, "--concurrent", "1", "--scheduler", "none", folder=troubled, env=env)
    ending = command.launch(
        "digits_mlp", "--name", command.NAME, "--trials", "2", "--concurrent", "1", folder=left,
        env={"MLFLOW_TRACKING_URI": other_proxy.uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": 1},
    )  # fmt: skip
    record = command.record_of(troubled)
    command.wait_for(command.record_of(left), count("epoch"), process=ending)
    other_proxy.switch("refuse")
    command.wait_for(record, count("ended", 0), process=running)
    wait(lambda: proxy.seen, running)
    stranger = let_in(troubled, troubled / "stranger")
    token = stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode)
    for number, mode in enumerate(MODES, 1):
        proxy.switch(mode)
        command.let_go(troubled, mode)
        command.wait_for(record, count("ended", number), process=running)
        if mode != "refuse":
            wait(lambda mode=mode: any(seen[0] == mode for seen in proxy.seen), running)
        known = len(proxy.seen)
        proxy.switch("pass")
        if number < len(MODES):
            wait(lambda known=known: any(seen[0] == "pass" for seen in proxy.seen[known:]), running)
    sessions = {session for line in checker.processes_of(troubled).values() for session in sessions_in(line)}
    ended = command.finish(running, 90)
    with_faults = look(troubled, ended, 0, uri=uri)
    last = max(event.at for event in events(left) if event.kind == "ended")
    alone = look(left, command.finish(ending, 90), 0, uri=None)
    alone.seconds = alone.events[-1].at - last
    other_proxy.switch("pass")
    sync = command.finish(command.launch("sync", command.NAME, folder=left, env={"MLFLOW_TRACKING_URI": uri}), 90)
    again = look(left, sync, 0, uri=uri)
    return {"faulty": with_faults, "alone": alone, "sync": sync, "again": again} | {
        "stranger": stranger, "token": token, "sessions": sessions,
    }  # fmt: skip


def wait(condition, running, seconds=45):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, running.err.read_text()[-2000:]
        assert running.poll() is None, running.err.read_text()[-2000:]
        time.sleep(0.02)


def sessions_in(line):
    """The folders of Ray's logs that a command line names."""
    return {Path(*Path(word).parts[:4]) for part in line.split() for word in part.split("=") if "/ray/session_" in word}


STRANGER = """
import sys
from ray._raylet import GcsClient
print("let in with", len(GcsClient(address=sys.argv[1]).get_all_job_info(timeout=10)), "job")
"""


def let_in(folder, home):
    """What somebody with another token than ours is told who asks the Ray of `folder` for its jobs."""
    home.mkdir()
    lines = " ".join(checker.processes_of(folder).values())
    address = re.search(r"--gcs-address=(\S+)", lines)[1]
    environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    try:
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, address], env=environment, capture_output=True, text=True, timeout=40
        )
    except subprocess.TimeoutExpired as error:  # Ray tries again and again
        return (error.stdout or b"").decode() + (error.stderr or b"").decode()
    return done.stdout + done.stderr


def test_nothing_is_lost_or_doubled_by_an_mlflow_that_refuses_stalls_fails_and_forgets(searches):
    assert searches.faulty.faults == []


def test_all_of_it_costs_one_warning(searches):
    assert searches.faulty.stderr.count("MLflow does not take the runs") == 1


def test_trials_are_as_fast_as_with_a_healthy_mlflow(searches):
    paces = []
    for trial in range(len(MODES) + 1):
        at = [event.at for event in searches.faulty.events if event.kind == "epoch" and event.trial == trial]
        paces.append(statistics.median(b - a for a, b in itertools.pairwise(at)))
    assert max(paces) < 3 * paces[0] + NAP, paces


def test_an_mlflow_that_is_gone_at_the_end_is_waited_for_half_a_minute_and_costs_a_warning(searches):
    assert searches.alone.faults == []
    assert searches.alone.seconds < 40
    assert "python -m search sync chaos" in searches.alone.stderr


def test_sync_writes_the_rest_and_registers_the_winner(searches):
    assert searches.sync.code == 0, searches.sync.stderr
    assert searches.again.faults == []
    assert of(searches.again.events, "published")[-1]["model_version"] == 1
    assert count("tested")(searches.again.events) == 1
    from mlflow import MlflowClient

    assert len(MlflowClient(tracking_uri=searches.uri).search_model_versions("name = 'digits_mlp'")) == 1


# --- what must not be seen or reached by others -----------------------------------------------------------------------


def test_a_password_in_the_tracking_uri_is_written_nowhere(searches):
    canary = CANARY.encode()
    assert searches.sessions, "Ray's logs were not found"
    places = [searches.troubled / "runs", *searches.troubled.glob("err-*"), *searches.troubled.glob("out-*")]
    places += [*(searches.troubled / "home").iterdir(), *searches.sessions]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    assert len(files) > 10
    told = [str(file) for file in files if canary in file.read_bytes()]
    assert told == []
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=searches.uri)
    for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
        assert CANARY not in repr(run.to_dictionary())


def test_rays_token_is_for_its_owners_eyes_only(searches):
    assert searches.token == 0o600


def test_who_has_another_token_gives_rays_workers_no_orders(searches):
    """Ray listens on this machine's loopback, where other users are too; the token keeps them out."""
    assert "let in" not in searches.stranger
    assert "uthenti" in searches.stranger, searches.stranger[-500:]
