"""A cluster of several nodes on this machine: searches are submitted to it, share it, and outlive its nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.chaos import checker, command
from tests.chaos.mlflow_server import serving
from tests.chaos.nodes import PATIENT, cluster
from tests.faults.stage import count, ends, events, of, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
EPOCHS = 15
SLOW = ("--scheduler", "none", "--epochs", str(EPOCHS), "--set", "train/batch_size=4")
"""Epochs of half a second: a node that is killed has a trial in hand."""

STUDY = """
from spaces.study import Float, Study
from beside import WIDTH
from trainables.mlp import train_mlp

STUDY = Study(trainable=train_mlp, dataset="digits", epochs=40, space={"train/lr": Float(1e-3, 1e-1, log=True)},
              fixed={"model/depth": 1, "model/width": WIDTH, "train/batch_size": 4}, trials=2, scheduler="none")
"""

WAITING = "--gpus 0.5 per trial, but no node has more than 0; waiting for one that has"

WIDE = """
from pathlib import Path
import torch
from spaces.study import Int, Study
from trainables.epoch import Epoch
from beside import HOLDS

with Path({log!r}).open("a") as log:
    log.write(f"{{__file__}}\\n")

def train(config, data, *, resume=None):
    from late import ACCURACY
    if config["model/width"] > HOLDS:
        raise torch.OutOfMemoryError("made up")
    for number in range(1, config["train/epochs"] + 1):
        yield Epoch(number, {{"val_accuracy": ACCURACY}}, lambda folder: (folder / "weights").write_text("none"))

STUDY = Study(trainable=train, dataset="digits", epochs=1, space={{"model/width": Int(1, 100)}},
              start=[{{"model/width": 50}}], trials=2, sampler="random", scheduler="none")
"""
"""A study of networks that need memory by their width, which says who imports it."""


def ended(folder: Path, running: command.Command, name: str = command.NAME, uri: str | None = "") -> SimpleNamespace:
    """How a search ended on a cluster that is still there, as it must be."""
    end = command.finish(running, 200)
    uri = f"sqlite:///{folder / 'mlflow.db'}" if uri == "" else uri
    told = checker.faults(folder / "runs" / name, uri, exit_code=end.code, folder=folder, patience=0)
    return SimpleNamespace(
        code=end.code,
        out=end.stdout,
        stderr=end.stderr,
        faults=[fault for fault in told if not fault.startswith("process ")],
        events=command.events_of(command.record_of(folder, name)),
    )


@staged
def submitted(folder: Path) -> SimpleNamespace:
    """A submitted search on two nodes, of which one dies, while a third one joins; then what became of the job.

    Ray is as patient with its nodes as it is by default.
    """
    with serving(folder / "mlflow") as uri, cluster(folder, env=PATIENT) as nodes:
        running = command.launch(
            "submit", "digits_cnn", "--name", "chaos", "--trials", "6", *SLOW, "--address", nodes.jobs, "--json",
            folder=folder, env={**nodes.client, "MLFLOW_TRACKING_URI": uri},
        )  # fmt: skip
        record = command.record_of(folder)
        command.wait_for(record, lambda now: count("epoch")(now) >= 4, process=running)
        nodes.kill(1)
        command.wait_for(record, count("lost"), process=running)
        nodes.add()
        seen = ended(folder, running, uri=uri)
        seen.document = json.loads(seen.out)
        again = {
            word: command.finish(
                command.launch(*line, "--address", nodes.jobs, folder=folder, env=nodes.client), 60
            )
            for word, line in {
                "status": ("status", "chaos", "--json"),
                "all": ("status", "--json"),
                "logs": ("logs", "chaos"),
                "nobody": ("status", "nobody"),
            }.items()
        }  # fmt: skip
        wrong = folder / "wrong-token"
        wrong.write_text("0" * 64)
        refused = command.finish(
            command.launch("status", "--address", nodes.jobs, folder=folder, env={"RAY_AUTH_TOKEN_PATH": wrong}), 60
        )
        greedy = command.finish(
            command.launch(
                "submit", "digits_cnn", "--gpus", "3", "--name", "greedy", "--address", nodes.jobs,
                folder=folder, env=nodes.client,
            ), 90
        )  # fmt: skip
        return SimpleNamespace(**vars(seen), again=again, refused=refused, greedy=greedy, folder=folder)


@staged
def resubmitted(folder: Path) -> SimpleNamespace:
    """A study of one's own with a module beside it: stopped, submitted again, all nodes lost, submitted once more.

    The head is a service: no environment is active where it was started.
    """
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "mine.py").write_text(STUDY)
    (project / "beside.py").write_text("WIDTH = 16\n")
    (project / ".gitignore").write_text("secret.txt\n")
    (project / "secret.txt").write_text("not for the cluster")
    with cluster(folder, workers=1, activated=False) as nodes:
        line = ["submit", str(project / "mine.py"), "--name", "chaos", "--address", nodes.jobs]

        def command_(*words: str) -> command.Ended:
            return command.finish(command.launch(*words, "--address", nodes.jobs, folder=folder, env=nodes.client), 120)

        detached = command.finish(command.launch(*line, "--detach", folder=folder, env=nodes.client), 60)
        record = command.record_of(folder)
        command.wait_for(record, lambda now: count("epoch")(now) >= 3)
        twice = command.finish(command.launch(*line, folder=folder, env=nodes.client), 60)
        stopped = command_("stop", "chaos")
        after_stop = of(events(folder), "finished")[-1]
        gone = command_("logs", "chaos")
        copies = [path.name for copy in nodes.copies() for path in copy.rglob("*")]
        command.finish(command.launch(*line, "--detach", folder=folder, env=nodes.client), 60)
        known = len(of(events(folder), "epoch"))
        command.wait_for(record, lambda now: count("epoch")(now) >= known + 3)
        nodes.kill(0)
        nodes.kill(1)
        nodes.begin_head()
        nodes.nodes.pop()
        nodes.add()
        seen = ended(folder, command.launch(*line, folder=folder, env=nodes.client))
        return SimpleNamespace(
            **vars(seen), detached=detached, twice=twice, stopped=stopped, after_stop=after_stop, gone=gone,
            copies=copies,
        )  # fmt: skip


@staged
def shared(folder: Path) -> SimpleNamespace:
    """Two searches of two people on two nodes: one has both, until the other one comes."""
    with cluster(folder) as nodes:
        both = {name: folder / name for name in ("first", "second")}
        for place in both.values():
            place.mkdir()

        def begin(name: str, epochs: int) -> command.Command:
            script = f"repeat {epochs} await beside 0.4, report x"
            env = {**nodes.driver, "CHAOS_EPOCHS": epochs}
            return command.start([script] * 2, "--scheduler", "none", folder=both[name], env=env)

        first = begin("first", 400)  # trials that last until the other search is there
        record = command.record_of(both["first"])
        command.wait_for(record, lambda now: count("epoch")(now) >= 4, process=first)
        second = begin("second", 3)
        command.wait_for(command.record_of(both["second"]), count("epoch"), process=second)
        began_beside = first.poll() is None
        command.let_go(folder, "beside")  # where the nodes were started
        seen = {name: ended(both[name], running) for name, running in (("second", second), ("first", first))}
        return SimpleNamespace(**seen, began_beside=began_beside)


@staged
def devices(folder: Path) -> SimpleNamespace:
    """Halves of declared GPUs, waited for: two on one node, beside a node without any. Then Ray's own way to submit."""
    with cluster(folder, workers=0) as nodes:
        env = {**nodes.driver, "CHAOS_EPOCHS": 2}
        script = "report x; await all; report x"
        options = ("--gpus", "0.5", "--wait-for-resources", "2m", "--scheduler", "none")
        running = command.start([script] * 4, *options, folder=folder, env=env)
        command.wait_to_be_told(running, WAITING)
        nodes.add(cpus=4)
        nodes.add(cpus=4, gpus=2)
        command.wait_for(command.record_of(folder), lambda now: count("epoch")(now) == 4, process=running, seconds=150)
        command.let_go(folder, "all")
        seen = ended(folder, running)
        search = ["python", "-m", "search", "moons_mlp", "--trials", "2", "--epochs", "2", "--resume", "auto"]
        plain = subprocess.run(
            [
                sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", nodes.jobs,
                "--working-dir", str(ROOT), "--", *search,
            ],
            env={**os.environ, **nodes.client}, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        (folder / "wrong").write_text("0" * 64)
        wrong = command.finish(
            command.launch("digits_cnn", folder=folder, env={**env, "RAY_AUTH_TOKEN_PATH": folder / "wrong"}), 100
        )
        server = command.finish(command.launch("digits_cnn", folder=folder, env={**env, "RAY_ADDRESS": nodes.jobs}), 60)
        project = folder / "project"
        project.mkdir()
        (project / "wide.py").write_text(WIDE.format(log=str(folder / "imported")))
        (project / "late.py").write_text("ACCURACY = 0.5\n")
        tried = {}
        for name, holds in (("narrow", 40), ("roomy", 99)):
            (project / "beside.py").write_text(f"HOLDS = {holds}\n")
            line = [str(project / "wide.py"), "--gpus", "0.5", "--name", name]
            tried[name] = command.finish(command.launch(*line, folder=folder, env=env), 240)
        more = ("resume", "roomy", "--trials", "1")
        tried["resumed"] = command.finish(command.launch(*more, folder=folder, env=env), 120)
        return SimpleNamespace(
            **vars(seen), plain=plain, wrong=wrong, server=server, mine=events(folder, "moons_mlp-1"), folder=folder,
            tried=tried,
        )  # fmt: skip


@staged
def mixed(folder: Path) -> SimpleNamespace:
    """Halves of a declared GPU and CPUs beside them, twice over, on two nodes; then the node with the GPU is gone."""
    with cluster(folder, workers=0) as nodes:
        nodes.add(cpus=3, gpus=1)
        nodes.add(cpus=1)
        record, env = command.record_of(folder), {**nodes.driver, "CHAOS_EPOCHS": 2}
        scripts = ["report x; await second; report x"] * 4 + ["report x; await gone; report x"] * 4
        running = command.start(scripts, "--gpus", "0.5", "--also-cpus", "--scheduler", "none", folder=folder, env=env)
        command.wait_for(record, lambda now: count("epoch")(now) == 4, process=running, seconds=150)
        command.let_go(folder, "second")
        command.wait_for(record, lambda now: count("epoch")(now) == 12, process=running)
        nodes.kill(1)
        command.wait_for(record, lambda now: count("lost")(now) == 3, process=running)
        command.let_go(folder, "gone")
        seen = ended(folder, running)
        return SimpleNamespace(**vars(seen), started=command.log_of(folder, "start"))


@staged
def drained(folder: Path) -> SimpleNamespace:
    """A trial on a node that is drained and taken away, beside another node; then the new one is cut off."""
    with cluster(folder, workers=1) as nodes:
        env = {**nodes.driver, "CHAOS_EPOCHS": 3}
        refused = command.finish(command.start(["report x"], "--cpus", "2", folder=folder, env=env), 60)
        running = command.start(["report x; await drained; report x; await cut; report x"], folder=folder, env=env)
        record = command.record_of(folder)
        command.wait_for(record, count("epoch"), process=running)
        nodes.add()
        nodes.drain(1, 3)
        time.sleep(2)
        nodes.kill(1)
        command.wait_for(record, count("lost"), process=running)
        command.let_go(folder, "drained")
        command.wait_for(record, lambda now: count("epoch")(now) == 2, process=running)
        nodes.add()
        nodes.hold(2, on=True)
        since = time.monotonic()
        command.wait_for(record, lambda now: count("lost")(now) == 2, process=running)
        noticed = time.monotonic() - since
        command.let_go(folder, "cut")
        command.wait_for(record, lambda now: count("epoch")(now) == 3, process=running)
        nodes.hold(2, on=False)
        seen = ended(folder, running)
        return SimpleNamespace(
            **vars(seen), refused=refused, noticed=noticed, executed=command.executed(folder, seen.events)
        )


# Submitted


def test_a_submitted_search_outlives_the_loss_of_a_node_and_everything_agrees(submitted):
    assert submitted.code == 0, submitted.stderr
    assert submitted.faults == []
    assert {state for state, _ in ends(submitted.events).values()} == {"complete"}


def test_loss_of_a_node_is_no_fault_of_the_trial_and_it_goes_on_elsewhere_from_its_checkpoint(submitted):
    assert {body["state"] for body in of(submitted.events, "lost")} == {"preempted"}
    assert [body["why"] for body in of(submitted.events, "lost") if not body["why"].startswith("The actor")] == []
    assert all(body["epoch"] >= 1 for body in of(submitted.events, "restarted"))


def test_a_node_that_joins_late_gets_trials(submitted):
    lost = next(event.id for event in submitted.events if event.kind == "lost")
    later = [event for event in submitted.events if event.kind == "epoch" and event.id > lost]
    running, most = set(), 0
    for event in later:
        running.add(event.trial)
        most = max(most, len(running))
        if event.body["epoch"] == EPOCHS:
            running.discard(event.trial)
    assert most == 2


def test_standard_output_of_submit_is_the_document_of_the_search(submitted):
    assert submitted.document["state"] == "done"
    assert submitted.document["best"]["test_accuracy"] > 0.8
    assert submitted.document["run_dir"] == str(submitted.folder / "runs" / "chaos")
    assert submitted.document["mlflow"]["tracking_uri"].startswith("http://127.0.0.1:")


def test_status_and_logs_tell_of_a_job_that_is_over(submitted):
    told = json.loads(submitted.again["status"].stdout)
    assert (told["name"], told["state"], told["exit_code"]) == ("chaos", "SUCCEEDED", 0)
    assert [row["name"] for row in json.loads(submitted.again["all"].stdout)] == ["chaos"]
    assert submitted.again["logs"].code == 0
    assert '"state": "done"' in submitted.again["logs"].stdout


def test_a_search_that_was_never_submitted_is_named_with_those_that_were(submitted):
    nobody = submitted.again["nobody"]
    assert nobody.code == 2
    assert "no search 'nobody' was submitted" in nobody.stderr
    assert "there are chaos" in nobody.stderr


def test_a_wrong_token_is_one_clear_line(submitted):
    assert submitted.refused.code == 3
    assert "does not accept this user's token" in submitted.refused.stderr.splitlines()[-1]


def test_more_gpus_than_any_node_has_end_the_job_before_a_trial_and_submit_with_its_exit_code(submitted):
    assert submitted.greedy.code == 3
    assert "--gpus 3 per trial, but no node has more than 0" in submitted.greedy.stderr + submitted.greedy.stdout
    assert not (submitted.folder / "runs" / "greedy").exists()


# Stopped, and submitted again


def test_a_detached_job_says_how_to_follow_it(resubmitted):
    assert resubmitted.detached.code == 0
    assert "python -m search logs chaos --address" in resubmitted.detached.stderr


def test_the_same_search_twice_at_a_time_is_refused(resubmitted):
    assert resubmitted.twice.code == 4
    assert "the search chaos runs there" in resubmitted.twice.stderr


def test_stop_ends_a_search_gracefully_and_its_log_tells_the_exit_code(resubmitted):
    assert resubmitted.stopped.code == 0, resubmitted.stopped.stderr
    assert resubmitted.after_stop["state"] == "interrupted"
    assert resubmitted.gone.code == 143


def test_after_the_loss_of_the_whole_cluster_the_same_command_goes_on_to_the_end(resubmitted):
    assert resubmitted.code == 0, resubmitted.stderr + resubmitted.out
    assert resubmitted.faults == []
    assert count("resumed")(resubmitted.events) == 2
    assert sum(count("epoch", trial)(resubmitted.events) for trial in (0, 1)) == 80


def test_what_gitignore_names_stays_here(resubmitted):
    assert "beside.py" in resubmitted.copies
    assert "secret.txt" not in resubmitted.copies


# Shared


def test_a_second_search_gets_its_share_of_the_nodes_while_the_first_one_runs(shared):
    assert shared.began_beside
    assert {body["why"] for body in of(shared.first.events, "lost")} == {"gave its place to another search"}


def test_two_searches_at_a_time_mix_nothing(shared):
    assert (shared.first.code, shared.second.code) == (0, 0)
    assert (shared.first.faults, shared.second.faults) == ([], [])


# Devices


def test_trials_land_on_the_devices_that_are_there_two_to_each_where_each_asks_for_half(devices):
    assert devices.code == 0
    assert devices.faults == []
    places = [event.body for event in devices.events if event.kind == "epoch" and event.body["epoch"] == 1]
    assert sorted(place["gpus"] for place in places) == ["0", "0", "1", "1"]


def test_a_search_waits_for_the_resources_it_needs_if_it_is_told_to(devices):
    assert f"{WAITING}, at most 120 s" in devices.stderr


def test_rays_own_command_submits_a_search_too_and_its_runs_are_kept_where_ray_deletes_nothing(devices):
    assert devices.plain.returncode == 0, devices.plain.stdout + devices.plain.stderr
    assert of(devices.mine, "finished")[-1]["state"] == "done"


def test_a_search_with_a_wrong_token_or_the_wrong_address_is_refused_before_it_begins(devices):
    assert (devices.wrong.code, devices.server.code) == (3, 3)
    assert "is the token the cluster's" in devices.wrong.stderr.splitlines()[-1]
    assert "send the search there with `search submit`" in devices.server.stderr.splitlines()[-1]
    searches = [path.name for path in (devices.folder / "runs").iterdir() if path.is_dir()]
    # On a machine that is so busy that nothing can be tried, "narrow" is not refused either.
    assert sorted({*searches} - {"narrow"}) == ["chaos", "moons_mlp-1", "roomy"]


def tried(devices: SimpleNamespace, name: str) -> command.Ended:
    """How the search `name` ended whose part of a GPU was tried; the test is skipped where that took too long."""
    seen: command.Ended = devices.tried[name]
    if "could not be tried (no node had an answer" in seen.stderr:
        pytest.skip("this machine is so busy that the search went on without the try, as it says")
    return seen


def test_a_part_of_a_gpu_in_which_a_start_point_has_no_room_is_refused_before_the_search_has_a_name(devices):
    refused = tried(devices, "narrow")
    assert refused.code == 3, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert "0.5 of a GPU is too small" in last
    assert "start 0 (width=50)" in last
    assert "larger --gpus" in last
    assert not (devices.folder / "runs" / "narrow").exists()


def test_what_has_no_room_at_the_edge_of_the_space_is_one_warning_and_the_search_goes_on(devices):
    warned = tried(devices, "roomy")
    assert warned.code == 0, warned.stderr
    [line] = [line for line in warned.stderr.splitlines() if "of a GPU" in line]
    assert "1 ran out of memory, high (width=100)" in line
    assert [body["epoch"] for body in of(events(devices.folder, "roomy"), "epoch")] == [1, 1, 1]


def test_a_search_that_goes_on_does_not_try_its_part_of_a_gpu_again(devices):
    again = devices.tried["resumed"]
    assert again.code == 0, again.stderr
    assert "of a GPU" not in again.stderr


def test_a_part_of_a_gpu_in_which_all_fit_is_not_spoken_of(devices):
    assert "of a GPU" not in devices.stderr


def test_a_trainable_is_tried_by_nodes_that_import_it_from_where_it_lies(devices):
    """What becomes of nodes that lack the file, see `test_a_trainable_runs_where_none_of_its_files_is`."""
    imported = [Path(line).parent for line in (devices.folder / "imported").read_text().split()]
    assert set(imported) == {devices.folder / "project"}
    assert len(imported) > len(devices.tried), "nodes import it besides the commands"


# GPUs and CPUs


def test_trials_without_a_gpu_run_beside_those_with_one_and_never_more_on_a_device_than_fit(mixed):
    first = [event for event in mixed.events if event.kind == "epoch" and event.body["epoch"] == 1]
    waves = [[event.body.get("gpus") for event in first if event.trial in wave] for wave in (range(4), range(4, 8))]
    assert [(wave.count("0"), wave.count(None)) for wave in waves] == [(2, 2), (2, 2)]


def test_a_trial_without_a_gpu_sees_no_device_also_on_a_node_that_has_one(mixed):
    assert {row["devices"] for row in mixed.started} == {"0", ""}
    assert [row["devices"] for row in mixed.started if not row["resumed"]].count("") == 4


def test_trials_that_lost_their_gpu_go_on_without_one_from_their_checkpoints(mixed):
    assert mixed.code == 0, mixed.stderr
    assert mixed.faults == []
    assert [body["epoch"] for body in of(mixed.events, "restarted")] == [1, 1, 1]
    assert {row["devices"] for row in mixed.started if row["resumed"]} == {""}


# Drained, cut off


def test_more_cpus_than_any_node_has_are_refused_before_a_trial_begins(drained):
    assert drained.refused.code == 3
    assert "no node has more than 1" in drained.refused.stderr.splitlines()[-1]


def test_a_node_that_is_taken_back_after_a_notice_costs_at_most_the_epoch_in_hand(drained):
    assert drained.faults == []
    assert ends(drained.events)[0][0] == "complete"
    assert [body["epoch"] for body in of(drained.events, "restarted")] == [1, 2]


def test_a_node_that_is_cut_off_is_noticed_within_seconds_and_does_no_harm_when_it_is_back(drained):
    assert drained.noticed < 30
    assert max(drained.executed.values()) <= 2
