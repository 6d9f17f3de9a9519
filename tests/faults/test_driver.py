"""The driver is killed, told to end, or loses Ray, again and again; the search ends as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.record.reader import FILE
from tests.chaos import checker, command
from tests.faults.stage import by_itself, count, events, look, of, processes, staged

pytestmark = [pytest.mark.nightly, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SEED = 4
SEARCH = ("digits_mlp", "--name", "chaos", "--concurrent", "1", "--trials", "18", "--epochs", "27", "--seed", "1")
SLOWER = ("--set", "train/batch_size=8")
"""Small batches: an epoch takes 0.2 s, so that a kill comes within a few epochs of the one that was drawn."""
AUTO = (*SEARCH, *SLOWER, "--resume", "auto")


@staged
def undisturbed(folder: Path) -> SimpleNamespace:
    ended = command.finish(command.launch(*SEARCH, *SLOWER, "--json", folder=folder), 240)
    seen = look(folder, ended, 0)
    seen.document, seen.folder = ended.document, folder
    return seen


@staged
def interrupted(folder: Path) -> SimpleNamespace:
    record = command.record_of(folder)
    # One drawn from each of five parts, so that every process has some epochs to train before its end.
    marks = [4 + 6 * part + random.Random(f"{SEED}/{part}").randrange(4) for part in range(5)]
    stages = {}

    def begun():
        return command.launch(*AUTO, folder=folder)

    def until(running, predicate):
        known = count("resumed")(events(folder))
        begins = bool(events(folder))

        def reached(now):
            return (not begins or count("resumed")(now) > known) and predicate(now)

        command.wait_for(record, reached, process=running)
        return time.monotonic()

    def trained(running, mark):
        """Until so many epochs are recorded and this process has trained one of them."""
        before = len(events(folder))
        return until(running, lambda now: count("epoch")(now) >= mark and count("epoch")(now[before:]) >= 1)

    running = begun()
    deadline = time.monotonic() + 60
    while not processes(folder, "gcs_server"):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.err.read_text()
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    ended = command.finish(running, 60)
    left = [path.name for path in folder.glob("runs/*")]
    stages["SIGTERM while Ray starts"] = SimpleNamespace(
        code=ended.code,
        stderr=ended.stderr,
        faults=[*checker.faults_of_the_end(ended.code, (143,), ended.stderr), *checker.faults_of_processes(folder)],
        left=left,
        events=[],
    )

    running = begun()
    trained(running, marks[0])
    stages["kill -9"] = look(folder, command.kill(running), -9, closed=False)

    running = begun()
    trained(running, marks[1])
    running.send_signal(signal.SIGHUP)
    stages["SIGHUP"] = look(folder, command.finish(running, 60), 129)

    running = begun()
    trained(running, marks[2])
    for _ in range(2):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    stages["SIGINT twice"] = look(folder, command.finish(running, 60), 130)

    for title, mark in (("gcs_server", marks[3]), ("raylet/raylet", marks[4])):
        running = begun()
        trained(running, mark)
        for pid in processes(folder, title):
            os.kill(pid, signal.SIGKILL)
        since = time.monotonic()
        ended = command.finish(running, 60)
        took = time.monotonic() - since
        stages[title] = look(folder, ended, 3, patience=30, closed=False)
        stages[title].took = took

    running = begun()
    until(running, count("tested"))
    stages["kill -9 after the test set"] = look(folder, command.kill(running), -9, closed=False)

    running = begun()
    deadline = time.monotonic() + 60
    while not list(folder.glob("mlruns/*/models/*")):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.err.read_text()
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    ended = command.finish(running, 60)
    stages["SIGTERM while the model is logged"] = look(folder, ended, 143)

    ended = command.finish(command.launch(*AUTO, "--json", folder=folder), 120)
    final = look(folder, ended, 0)
    return SimpleNamespace(folder=folder, stages=stages, final=final, document=ended.document)


STAGES = (
    "SIGTERM while Ray starts",
    "kill -9",
    "SIGHUP",
    "SIGINT twice",
    "gcs_server",
    "raylet/raylet",
    "kill -9 after the test set",
    "SIGTERM while the model is logged",
)


@pytest.mark.parametrize("stage_", STAGES)
def test_an_interruption_leaves_all_in_order_and_says_so_by_its_exit_code(interrupted, stage_):
    assert interrupted.stages[stage_].faults == []


def test_a_signal_while_ray_starts_leaves_no_search_behind(interrupted):
    assert interrupted.stages["SIGTERM while Ray starts"].left == []


@pytest.mark.parametrize("process", ["gcs_server", "raylet/raylet"])
def test_without_rays_head_or_node_the_search_ends_within_seconds_and_says_how_to_go_on(interrupted, process):
    assert interrupted.stages[process].took < 25
    assert "resume" in interrupted.stages[process].stderr.splitlines()[-1]


def test_a_search_of_one_worker_ends_bit_for_bit_as_if_nothing_had_happened(interrupted, undisturbed):
    assert undisturbed.faults == []
    assert interrupted.final.faults == []
    assert by_itself(interrupted.final.events) == by_itself(undisturbed.events)
    for key in ("trial", "epoch", "config", "val_accuracy", "test_accuracy"):
        assert interrupted.document["best"][key] == undisturbed.document["best"][key], key


def test_every_interruption_fell_where_it_was_meant_to(interrupted):
    """Else the test above would prove less than it says."""
    seen = interrupted.final.events
    assert count("resumed")(seen) == len(STAGES) - 1
    assert count("restarted")(seen) >= 4


def test_a_trial_goes_on_after_the_last_epoch_that_is_recorded(interrupted):
    """So an interruption costs the epoch in hand and no other."""
    for index, event in enumerate(interrupted.final.events):
        if event.kind == "restarted":
            assert event.body["epoch"] == count("epoch", event.trial)(interrupted.final.events[:index])
    assert count("repeated")(interrupted.final.events) == 0


def test_the_test_set_is_opened_once_and_one_version_registered_though_the_end_was_killed_twice(interrupted):
    assert count("tested")(interrupted.final.events) == 1
    assert interrupted.document["test_openings"] == 1
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{interrupted.folder}/mlflow.db")
    [version] = client.search_model_versions("name = 'digits_mlp'")
    assert set(version.aliases or client.get_registered_model("digits_mlp").aliases) == {"candidate", "champion"}
    assert len(client.search_logged_models([interrupted.document["mlflow"]["experiment_id"]])) == 1


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_checkpoint_half_written_at_the_signal_is_not_left_over(tmp_path, signals):
    running = command.start(["report x; linger 60; report x"], "--concurrent", "1", folder=tmp_path)
    try:
        command.wait_for_log(tmp_path, "lingers")
        for number in signals:
            running.send_signal(number)
            time.sleep(0.1)
        assert look(tmp_path, command.finish(running, 60), 128 + signals[0]).faults == []
    finally:
        checker.sweep(tmp_path)


# --- what a user types afterwards -------------------------------------------------------------------------------------


def typed(folder, *arguments, **environment):
    return command.finish(command.launch(*arguments, folder=folder, env=environment), 120)


def test_resume_of_a_finished_search_prints_its_result_and_changes_nothing(interrupted):
    before = (interrupted.folder / "runs" / "chaos" / FILE).read_bytes()
    ended = typed(interrupted.folder, "resume", "chaos", "--json")
    assert (ended.code, ended.document["best"]) == (0, interrupted.document["best"])
    assert (interrupted.folder / "runs" / "chaos" / FILE).read_bytes() == before


@pytest.mark.parametrize("which", ["undisturbed", "interrupted"])
def test_replay_derives_every_decision_from_the_record(request, which):
    ended = typed(request.getfixturevalue(which).folder, "replay", "chaos", "--json")
    assert (ended.code, ended.document["same"], ended.document["asked"]) == (0, True, 18)


@pytest.mark.parametrize("which", ["undisturbed", "interrupted"])
def test_doctor_finds_record_decisions_checkpoints_and_mlflow_in_agreement(request, which):
    ended = typed(request.getfixturevalue(which).folder, "doctor", "chaos", "--json")
    assert ended.code == 0, ended.stderr
    assert [finding["what"] for finding in ended.document if not finding["well"]] == []


GARBAGE = """
import gc, threading
from pathlib import Path
from search.engine import ray_session as cluster
from search.settings import Settings

gc.disable()
with cluster.ray_running(Settings(), meanwhile=lambda: None):
    import ray
    for number in range(20_000):
        cycle = [ray.put(number)]
        cycle.append(cycle)
    threading.Thread(target=gc.collect, daemon=True).start()
print("well")
"""


def test_garbage_that_another_thread_collects_does_not_end_the_process_while_it_leaves_ray(tmp_path):
    kept = {name: value for name, value in os.environ.items() if name not in command.FOREIGN}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", GARBAGE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_reproduce_trains_the_winner_again_to_the_same_curve(interrupted):
    ended = typed(interrupted.folder, "reproduce", "chaos", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.document["match"] is True
    assert all(curve["drift"] == 0 for curve in ended.document["metrics"].values())


@pytest.fixture
def tampered(undisturbed, tmp_path):
    """The undisturbed search with one recorded accuracy raised by a thousandth, checksums and all."""
    folder = tmp_path / "chaos"
    shutil.copytree(undisturbed.folder, folder)
    file = folder / "runs" / "chaos" / FILE
    database = sqlite3.connect(file)
    number, at, text = database.execute(
        "SELECT id, at, body FROM events WHERE kind = 'epoch' AND trial = 0 ORDER BY id LIMIT 1 OFFSET 1"
    ).fetchone()
    body = json.loads(text)
    body["metrics"]["val_accuracy"] -= 0.001
    text = json.dumps(body, sort_keys=True)
    checksum = zlib.crc32(f"{number} {at!r} epoch 0 {text}".encode())
    database.execute("UPDATE events SET body = ?, crc = ? WHERE id = ?", (text, checksum, number))
    database.commit()
    database.close()
    yield folder
    checker.sweep(folder)


def test_reproduce_says_where_a_recorded_value_cannot_be_had_again(tampered):
    ended = typed(tampered, "reproduce", "chaos", "--trial", "0")
    assert ended.code == 1
    assert "drifted: val_accuracy" in ended.stderr.splitlines()[-1]
    assert "first at epoch 2" in ended.stderr.splitlines()[-1]


def test_doctor_says_that_mlflow_shows_another_curve_than_the_record(tampered, undisturbed):
    ended = typed(tampered, "doctor", "chaos", MLFLOW_TRACKING_URI=f"sqlite:///{undisturbed.folder}/mlflow.db")
    assert ended.code == 3
    assert "trial 0 shows another curve of val_accuracy" in ended.stdout


def test_more_trials_for_a_finished_search_are_added_to_its_runs_in_mlflow(interrupted):
    """Last, because it changes the search."""
    ended = typed(interrupted.folder, "resume", "chaos", "--trials", "2", "--json")
    seen = look(interrupted.folder, ended, 0)
    assert seen.faults == []
    assert count("asked")(seen.events) == 20
    assert of(seen.events, "resumed")[-1]["trials"] == 20
    assert seen.events[: len(interrupted.final.events)] == interrupted.final.events
