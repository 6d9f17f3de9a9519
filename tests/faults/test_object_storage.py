"""Runs in a bucket, and no folder that machines share: heads are lost, drivers stand still, the storage is away."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.chaos import checker, command, s3
from tests.chaos.mlflow_server import serving
from tests.chaos.nodes import cluster
from tests.chaos.proxy import Proxy
from tests.faults.stage import count, ends, of, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SLOW = ("--scheduler", "none", "--epochs", "25", "--set", "train/batch_size=8", "--time-budget", "2h")
RUNS = ("--runs", s3.RUNS)


def images(folder: Path) -> dict[str, str]:
    """The environment of nodes that find a small Fashion-MNIST: 1,200 images, on which each class has bright rows."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    parts = {}
    for part, size in (("train", 1200), ("test", 200)):
        labels = np.arange(size) % 10
        pictures = draw.integers(0, 120, (size, 28, 28), dtype=np.uint8)
        for row in range(28):
            pictures[labels == row // 2 % 10, row] += 100
        parts |= {f"x_{part}": pictures, f"y_{part}": labels.astype(np.uint8)}
    np.savez(folder / "fashion_mnist.npz", **parts)
    return {"SEARCH_DATA_DIR": str(folder)}


def seen(folder: Path, env: dict[str, str], code: int, uri: str = "", **how: Any) -> SimpleNamespace:
    """What another machine sees of the search in the bucket: what `doctor` says, and the checker of its mirror."""
    there = {**env, "XDG_CACHE_HOME": str(folder / "reader"), **({"MLFLOW_TRACKING_URI": uri} if uri else {})}
    doctor = command.finish(command.launch("doctor", command.NAME, *RUNS, folder=folder, env=there), 120)
    mirror = s3.mirror(folder / "reader", env)
    uri = uri or of(command.events_of(mirror / "record.db"), "published")[-1]["tracking_uri"]
    told = checker.faults(mirror, uri, exit_code=code, folder=folder, patience=0, **how)
    return SimpleNamespace(
        code=code,
        doctor=doctor,
        faults=[fault for fault in told if not fault.startswith("process ")],
        events=command.events_of(mirror / "record.db"),
        mirror=mirror,
    )


@staged
def in_bucket(folder: Path) -> SimpleNamespace:
    """Submitted to two nodes that share no folder; a node is lost, then the whole cluster, and another one goes on."""
    with (
        serving(folder / "mlflow") as uri,
        s3.serving(folder) as storage,
        cluster(folder, env={**s3.of(storage.uri), **images(folder / "data")}, apart=True) as nodes,
    ):
        env = {**nodes.client, **storage.env(folder / "laptop"), "MLFLOW_TRACKING_URI": uri}
        line = ["submit", "fashion_mlp", "--name", "chaos", "--trials", "3", *SLOW, *RUNS, "--address", nodes.jobs]
        running = command.launch(*line, "--json", folder=folder, env=env)
        storage.wait_for("chaos", 6, process=running)
        nodes.add()
        nodes.kill(1)
        storage.wait_for("chaos", storage.appends("chaos") + 12, process=running)
        for number in (0, 2, 3):
            nodes.kill(number)
        command.kill(running)
        nodes.begin_head()
        del nodes.nodes[1:]
        nodes.add()
        nodes.add()
        end = command.finish(command.launch(*line, "--json", folder=folder, env=env), 250)
        result = seen(folder, storage.env(folder / "laptop"), end.code, uri)
        homes = list(folder.glob("*-*/runs/*"))
        return SimpleNamespace(**vars(result), stderr=end.stderr, document=end.document, homes=homes)


@staged
def stood_still(folder: Path) -> SimpleNamespace:
    """A driver stands still for so long that another machine takes its search over; then it goes on."""
    with s3.serving(folder) as storage:
        first, second = (storage.env(folder / name) for name in ("first", "second"))
        script = "report x; report x; await all; report x"
        env = {**first, "CHAOS_EPOCHS": 3}
        options = ("--concurrent", "1", "--scheduler", "none")
        running = command.start([script] * 2, *options, *RUNS, folder=folder, env=env)
        storage.wait_for("chaos", 4, process=running)
        again = (str(command.STUDY), "--name", "chaos", *options, "--resume", "auto", *RUNS)
        refused = command.finish(command.launch(*again, folder=folder, env=second), 60)
        os.kill(running.pid, signal.SIGSTOP)
        taking = command.launch(*again, folder=folder, env=second)
        storage.wait_for("chaos", storage.appends("chaos") + 1, process=taking)
        os.kill(running.pid, signal.SIGCONT)
        command.let_go(folder, "all")
        zombie, end = command.finish(running, 120), command.finish(taking, 120)
        result = seen(folder, second, end.code)
        return SimpleNamespace(**vars(result), refused=refused, zombie=zombie, stderr=end.stderr)


@staged
def away(folder: Path) -> SimpleNamespace:
    """The storage loses answers, is away for a moment, then for good; the search is resumed on another machine."""
    with s3.serving(folder) as storage, Proxy(storage.port) as proxy:
        env = {**storage.env(folder / "first", proxy.uri), "CHAOS_EPOCHS": 120}
        script = "; ".join(["sleep 0.2; report x"] * 120)
        running = command.start([script], "--scheduler", "none", *RUNS, folder=folder, env=env)
        storage.wait_for("chaos", 4, process=running)
        proxy.switch("lose_reply", path="/record/", times=3)
        storage.wait_for("chaos", storage.appends("chaos") + 4, process=running)
        proxy.switch("refuse")
        time.sleep(2)
        proxy.switch("pass")
        storage.wait_for("chaos", storage.appends("chaos") + 4, process=running)
        proxy.switch("refuse")
        since = time.monotonic()
        lost = command.finish(running, 200)
        took = time.monotonic() - since
        before = storage.appends("chaos")
        shutil.rmtree(folder / "first")  # with its MLflow store, as if the machine were gone
        second = storage.env(folder / "second")
        end = command.finish(command.launch("resume", "chaos", *RUNS, folder=folder, env=second), 200)
        result = seen(folder, second, end.code)
        return SimpleNamespace(**vars(result), lost=lost, took=took, before=before, stderr=end.stderr)


# Submitted


def test_a_search_in_a_bucket_outlives_a_node_and_then_the_whole_cluster_without_a_shared_folder(in_bucket):
    assert in_bucket.code == 0, in_bucket.stderr
    assert in_bucket.doctor.code == 0, in_bucket.doctor.stdout
    assert in_bucket.faults == []
    assert {state for state, _ in ends(in_bucket.events).values()} == {"complete"}
    assert count("resumed")(in_bucket.events) == 1
    assert count("lost")(in_bucket.events) >= 1
    told = [[body["epoch"] for body in of(in_bucket.events, "epoch", trial)] for trial in range(3)]
    assert told == [[*range(1, 26)]] * 3, ends(in_bucket.events)


def test_its_document_names_the_bucket_and_no_folder_of_a_node_holds_runs(in_bucket):
    assert in_bucket.document["run_dir"] == f"{s3.RUNS}/chaos"
    assert in_bucket.document["resume"] == f"python -m search resume chaos --runs {s3.RUNS}"
    assert in_bucket.homes == []


def test_trials_go_on_from_checkpoints_that_another_machine_wrote(in_bucket):
    assert any(body["epoch"] >= 1 for body in of(in_bucket.events, "restarted"))


# Stood still


def test_a_search_that_lives_elsewhere_is_refused_with_exit_4(stood_still):
    assert stood_still.refused.code == 4
    assert "the search chaos is running (process " in stood_still.refused.stderr


def test_who_wakes_up_after_another_has_taken_over_ends_and_has_changed_nothing(stood_still):
    assert stood_still.code == 0, stood_still.stderr
    assert stood_still.zombie.code == 4, stood_still.zombie.stderr
    assert "another process has taken over s3://" in stood_still.zombie.stderr
    assert stood_still.faults == []
    assert {state for state, _ in ends(stood_still.events).values()} == {"complete"}
    assert count("resumed")(stood_still.events) == 1


# Away


def test_a_storage_that_is_away_for_a_moment_and_loses_answers_costs_nothing(away):
    assert away.faults == []
    epochs = [body["epoch"] for body in of(away.events, "epoch")]
    assert epochs == sorted(set(epochs))
    assert away.before >= 12


def test_a_storage_that_is_away_for_good_ends_the_search_with_exit_3_to_be_resumed_anywhere(away):
    assert away.lost.code == 3
    assert "the storage of s3://lab" in away.lost.stderr.splitlines()[-1]
    assert away.took < 100
    assert away.code == 0, away.stderr
    assert of(away.events, "epoch")[-1]["epoch"] == 120
