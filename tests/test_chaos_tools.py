"""The tools of the fault tests are tested first: a checker that overlooks a fault would make every other test pass."""

import errno
import http.client
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import spaces
from search.record.reader import FILE
from search.record.record import Record
from spaces.space import SpaceError
from tests.chaos import checker, command, study
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[1]


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_is_a_list_of_steps():
    assert study.parse(" report 0.5 ;sleep 0.2; once sigkill;; report nan; raise no such thing ") == [
        ("report", "0.5", False),
        ("sleep", "0.2", False),
        ("sigkill", "", True),
        ("report", "nan", False),
        ("raise", "no such thing", False),
    ]
    assert study.parse("") == []


def test_steps_are_repeated_in_turn_and_each_is_a_place_of_its_own():
    assert study.parse("repeat 2 sleep 1, report x") == study.parse("sleep 1; report x; sleep 1; report x")
    assert study.parse("once repeat 2 stop") == study.parse("repeat 2 once stop") == study.parse("once stop; once stop")


@pytest.mark.parametrize(
    "script",
    ["dance", "report", "report high", "sleep", "exit", "exit now", "hang 3", "raise", "repeat report 1", "repeat 2",
     "once report 0.5", "once", "allocate lots", "enospc x"],
)  # fmt: skip
def test_what_is_no_step_is_refused(script):
    with pytest.raises(ValueError, match=r"is no step|comes only once"):
        study.parse(script)


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """`loaded(scripts, CHAOS_EPOCHS=9)`: the study, as the command line finds it."""

    def load(scripts=None, **changes):
        told = {"CHAOS_FOLDER": tmp_path, **({"CHAOS_SCRIPTS": json.dumps(scripts)} if scripts else {}), **changes}
        for name in [name for name in os.environ if name.startswith("CHAOS_")]:
            monkeypatch.delenv(name)
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))
        return spaces.load(str(command.STUDY))

    return load


def test_without_scripts_the_study_is_a_few_trials_of_a_formula(loaded):
    found = loaded(CHAOS_FOLDER="")
    assert (found.trials, found.epochs, list(found.space)) == (6, 4, ["chaos/x"])
    curves = [[epoch.metrics["val_accuracy"] for epoch in trained(found, point)] for point in found.start]
    assert all(len(curve) == 4 for curve in curves)
    assert curves[0][0] > curves[1][0] > curves[2][0], "the order at the first rung is not that of the start points"


def test_each_script_is_one_trial_also_where_two_are_equal(loaded):
    changes = {"CHAOS_EPOCHS": 9, "CHAOS_FIRST_RUNG": 2, "CHAOS_REDUCTION_FACTOR": 4, "CHAOS_MODE": "min"}
    found = loaded(["report 0.1", "hang", "report 0.1"], **changes)
    assert [point["chaos/script"] for point in found.start] == ["report 0.1", "hang", "report 0.1"]
    assert len({point["chaos/x"] for point in found.start}) == found.trials == 3
    assert (found.epochs, found.first_rung, found.reduction_factor, found.objective.mode) == (9, 2, 4, "min")


def test_a_wrong_script_is_refused_before_anything_starts(loaded):
    with pytest.raises((spaces.UnknownStudy, SpaceError), match="dance"):
        loaded(["dance"])
    with pytest.raises((spaces.UnknownStudy, SpaceError), match="CHAOS_FOLDER"):
        loaded(["once stop"], CHAOS_FOLDER="")


# --- a scripted trial, without Ray ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    return tmp_path


def trained(found, point, resume=None):
    return found.trainable({**found.full_config(point, seed=3), "train/seed": 3}, None, resume=resume)


def attempt(script, root, *, epochs=4, seed=7, resume=None):
    """Run one attempt as a worker does, each checkpoint written aside and moved; yields the epochs."""
    config = {"chaos/script": script, "chaos/x": 0.5, "train/epochs": epochs, "train/seed": seed}
    for epoch in study.scripted(config, None, resume=resume):
        aside = root / f"epoch-{epoch.number:04d}.part"
        aside.mkdir(parents=True)
        epoch.save(aside)
        aside.rename(aside.with_suffix(""))
        yield epoch


def values(epochs):
    return [epoch.metrics["val_accuracy"] for epoch in epochs]


def test_a_trial_reports_what_its_script_says_and_then_its_last_value(folder):
    assert values(attempt("report 0.25; report 0.75", folder / "c")) == [0.25, 0.75, 0.75, 0.75]
    assert [epoch.number for epoch in attempt("report x", folder / "d")] == [1, 2, 3, 4]
    assert len(list(attempt("report 0.5; return; report 0.6", folder / "e"))) == 1


def test_values_that_are_no_numbers_can_be_reported(folder):
    first, second, third = attempt("report nan; report -inf; report nothing", folder / "c", epochs=3)
    assert math.isnan(first.metrics["val_accuracy"])
    assert second.metrics["val_accuracy"] == -math.inf
    assert "val_accuracy" not in third.metrics


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_resumed_trial_goes_on_after_the_recorded_report_with_equal_checkpoints(folder, done):
    script = "report 0.1; sleep 0; report 0.2; repeat 2 sleep 0, report x"
    whole = list(attempt(script, folder / "whole"))
    rest = list(attempt(script, folder / "rest", resume=folder / "whole" / f"epoch-{done:04d}"))
    assert [(epoch.number, epoch.metrics) for epoch in rest] == [(e.number, e.metrics) for e in whole[done:]]
    for epoch in rest:
        name = f"epoch-{epoch.number:04d}"
        assert checker.digest(folder / "rest" / name) == checker.digest(folder / "whole" / name)


def test_once_is_once_for_each_trial_and_place(folder):
    script = "report 0.5; once raise first; once raise second; report 0.6"
    for said in ("first", "second"):
        with pytest.raises(RuntimeError, match=said):
            list(attempt(script, folder / said))
    assert values(attempt(script, folder / "third")) == [0.5, 0.6, 0.6, 0.6]
    with pytest.raises(RuntimeError, match="first"):
        list(attempt(script, folder / "other trial", seed=8))


def test_errors_are_raised_as_written(folder):
    with pytest.raises(MemoryError):
        list(attempt("memory_error", folder / "c"))
    with pytest.raises(RuntimeError, match="out of luck"):
        list(attempt("raise out of luck", folder / "c"))


def test_a_full_disk_leaves_half_a_checkpoint_as_often_as_it_is_told(folder):
    epochs = study.scripted(
        {"chaos/script": "enospc 2; report 0.5", "chaos/x": 0.5, "train/epochs": 1, "train/seed": 7}, None
    )
    epoch = next(epochs)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left") as caught:
            epoch.save(folder)
        assert caught.value.errno == errno.ENOSPC
        assert (folder / "weights").stat().st_size == study.WEIGHTS // 2
    epoch.save(folder)
    assert (folder / "weights").stat().st_size == study.WEIGHTS


def test_a_damaged_checkpoint_is_the_newest_and_the_trainable_would_notice(folder):
    list(attempt("report 0.1; report 0.2; damage", folder / "c", epochs=2))
    before = checker.digest(folder / "c" / "epoch-0001")
    with pytest.raises(ValueError, match="are not those of epoch 2"):
        list(attempt("", folder / "d", resume=folder / "c" / "epoch-0002"))
    assert checker.digest(folder / "c" / "epoch-0001") == before
    with pytest.raises(RuntimeError, match="no checkpoint to damage"):
        list(attempt("damage", folder / "e"))


def test_a_trial_waits_until_it_is_let_go(folder):
    epochs = attempt("await go; report 0.5", folder / "c")
    threading.Timer(0.2, command.let_go, (folder, "go")).start()
    start = time.monotonic()
    next(epochs)
    assert time.monotonic() - start > 0.15
    epochs.close()


def test_memory_is_really_taken_and_kept(folder):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    epochs = attempt("allocate 64; report 0.5", folder / "c")
    next(epochs)
    assert resident() - before > 60 * 2**20
    epochs.close()


def test_the_log_tells_what_was_really_executed(folder):
    rows = [("asked", 4, {"point": {"chaos/script": "report 0.1", "chaos/x": 0.5}, "origin": "start point 0"})]
    with Record(folder / FILE, create=True) as record:
        record.append(*rows)
    list(attempt("report 0.1", folder / "c", epochs=3))
    list(attempt("report 0.1", folder / "d", epochs=3, resume=folder / "c" / "epoch-0001"))
    assert [row["resumed"] for row in command.log_of(folder, "start")] == [False, True]
    assert {row["pid"] for row in command.log_of(folder)} == {os.getpid()}
    assert command.executed(folder, command.events_of(folder / FILE)) == {(4, 1): 1, (4, 2): 2, (4, 3): 2}


DEATHS = """
import json, os, sys, threading, time
from tests.chaos import study

def run(script):
    config = {"chaos/script": script, "chaos/x": 0.5, "train/epochs": 1, "train/seed": 7}
    next(study.scripted(config, None))

def beat():
    while True:
        (study.FOLDER / "beat").write_text("")
        time.sleep(0.02)

def wait(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)

ends = {}
for script in ("exit 7", "sigkill", "segfault"):
    pid = os.fork()
    if not pid:
        sys.stderr.close()
        run(script)
    ends[script] = os.waitpid(pid, 0)[1]
for script in ("stop", "hang", "spin"):
    pid = os.fork()
    if not pid:
        threading.Thread(target=beat, daemon=True).start()
        run(script)
    log = study.FOLDER / "log.jsonl"
    wait(lambda: log.exists() and f'"what": "{script}"' in log.read_text())
    time.sleep(0.3)
    (study.FOLDER / "beat").unlink(missing_ok=True)
    wait((study.FOLDER / "beat").exists, 20 if script == "hang" else 0.3)
    ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
    ends[script] = [bool(ended), os.WIFSTOPPED(status), (study.FOLDER / "beat").exists()]
    os.kill(pid, 9)
    os.waitpid(pid, 0)
run("fork; report 0.5")
print(json.dumps(ends))
"""


def test_a_process_dies_hangs_stands_still_or_leaves_a_child_as_its_script_says(tmp_path):
    environment = {**os.environ, "CHAOS_FOLDER": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("CHAOS_SCRIPTS", None)
    done = subprocess.run([sys.executable, "-c", DEATHS], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert os.waitstatus_to_exitcode(ends["exit 7"]) == 7
    assert os.waitstatus_to_exitcode(ends["sigkill"]) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(ends["segfault"]) == -signal.SIGSEGV
    assert ends["stop"] == [True, True, False]
    assert ends["hang"] == [False, False, True], "a sleeping trial lets other threads run"
    assert ends["spin"] == [False, False, False], "a spinning trial lets no other thread run"
    [row] = command.log_of(tmp_path, "fork")
    assert checker.faults_of_processes(tmp_path, 0) == [f"process {row['child']} is left: sleep 3600"]
    checker.sweep(tmp_path)
    assert checker.faults_of_processes(tmp_path, 5) == []


# --- the proxy --------------------------------------------------------------------------------------------------------


class Echo(BaseHTTPRequestHandler):
    """Answers a POST with what it was sent; the server lists the paths it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo.server_port, slow_seconds=0.3) as proxy:
        yield proxy


BODY = bytes(range(256)) * 1000


def post(proxy, path="/runs/create", seconds=5.0):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=seconds)
    try:
        connection.request("POST", path, BODY)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_proxy_passes_requests_on(proxy, echo):
    assert post(proxy) == (200, BODY)
    assert echo.asked == ["/runs/create"]
    assert proxy.seen == [("pass", "POST", "/runs/create")]


def test_it_refuses_and_listens_again_on_the_same_port(proxy, echo):
    proxy.switch("refuse")
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            post(proxy)
    assert echo.asked == []
    proxy.switch("pass")
    assert post(proxy) == (200, BODY)


def test_a_stalled_request_gets_no_answer(proxy, echo):
    proxy.switch("stall")
    with pytest.raises(TimeoutError):
        post(proxy, seconds=0.3)
    assert echo.asked == []
    proxy.switch("pass")
    assert post(proxy) == (200, BODY)


def test_whoever_is_stalled_when_the_line_breaks_is_reset(proxy):
    proxy.switch("stall")
    failures = []

    def client():
        try:
            post(proxy)
        except OSError as error:
            failures.append(type(error))

    thread = threading.Thread(target=client)
    thread.start()
    while not proxy.seen:
        time.sleep(0.01)
    proxy.switch("refuse")
    thread.join(5)
    assert failures == [ConnectionResetError]


def test_an_internal_error_is_the_proxys_own(proxy, echo):
    proxy.switch("error500")
    status, body = post(proxy)
    assert status == 500
    assert json.loads(body)["error_code"] == "INTERNAL_ERROR"
    assert echo.asked == []


def test_a_lost_reply_is_to_a_request_that_was_done(proxy, echo):
    proxy.switch("lose_reply")
    with pytest.raises(ConnectionError):
        post(proxy)
    assert echo.asked == ["/runs/create"]


def test_a_slow_request_is_done_late(proxy):
    proxy.switch("slow")
    start = time.monotonic()
    assert post(proxy) == (200, BODY)
    assert time.monotonic() - start > 0.3


def test_a_cut_answer_breaks_off_in_its_body(proxy, echo):
    proxy.switch("cut")
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        post(proxy)
    assert echo.asked == ["/runs/create"]


def test_a_fault_can_be_meant_for_some_requests_only(proxy, echo):
    proxy.switch("lose_reply", path="create", times=1)
    assert post(proxy, "/runs/search") == (200, BODY)
    with pytest.raises(ConnectionError):
        post(proxy, "/runs/create")
    assert post(proxy, "/runs/create") == (200, BODY)
    assert [mode for mode, _, _ in proxy.seen] == ["pass", "lose_reply", "pass"]


# --- the checker ------------------------------------------------------------------------------------------------------


ABOUT = {
    "id": "0f",
    "epochs": 3,
    "fixed": {"chaos/fixed": True},
    "objective": {"metric": "val_accuracy", "mode": "max"},
}
CURVES = {0: [0.5, 0.6, 0.7], 1: [0.2], 2: [math.nan], 3: [0.4, 0.8, 0.7], 4: [0.9, 0.95]}
STATES = {0: "complete", 1: "stopped", 2: "diverged", 3: "complete", 4: "failed"}
BEST = {"trial": 3, "epoch": 2, "val_accuracy": 0.8}
DOCUMENT = {
    "state": "done",
    "trials": {"complete": 2, "stopped": 1, "diverged": 1, "failed": 1},
    "epochs": 10,
    "best": BEST,
}


def point(trial):
    return {"chaos/x": trial / 10}


def checkpoint(trial, epoch, attempt=1):
    return f"trial-{trial:04d}/attempt-{attempt}/epoch-{epoch:04d}"


def healthy(root):
    """The events of a search in which all went well in the end, and the checkpoint it kept."""
    kept = root / checkpoint(3, 2, 2)
    kept.mkdir(parents=True)
    (kept / "weights").write_bytes(b"learned")

    def row(trial, epoch, attempt=1):
        sha256 = checker.digest(kept) if (trial, epoch) == (3, 2) else "0" * 64
        return {"epoch": epoch, "checkpoint": checkpoint(trial, epoch, attempt), "sha256": sha256}

    yield "search", None, ABOUT
    for trial, curve in CURVES.items():
        yield "asked", trial, {"point": point(trial), "origin": "sampler"}
        for epoch, value in enumerate(curve, 1):
            yield "epoch", trial, {**row(trial, epoch), "metrics": {"val_accuracy": value}, "seconds": 0.1}
            if trial == 3 and epoch == 2:
                yield "lost", 3, {"attempt": 1, "state": "failed", "why": "killed"}
                restart = {"attempt": 2, "checkpoint": checkpoint(3, 1), "epoch": 1, "why": "killed"}
                yield "restarted", 3, restart
                yield "repeated", 3, {**row(3, 2, 2), "same": True}
        if trial == 1:
            told = {"epoch": 1, "rung": 1, "value": 0.2, "cutoff": 0.5, "go_on": False}
            yield "decided", 1, told
        yield "ended", trial, {"state": STATES[trial], "why": "so"}
    yield "published", None, {"parent_run_id": None}
    yield "finished", None, {"state": "done", "why": "", "wall_s": 1.0}


@pytest.fixture
def run_dir(tmp_path):
    """The folder of a search with nothing wrong."""
    run_dir = tmp_path / "runs" / "chaos"
    run_dir.mkdir(parents=True)
    rewrite(run_dir, list(healthy(run_dir / "checkpoints")))
    return run_dir


def rewrite(run_dir, events):
    for file in run_dir.glob(f"{FILE}*"):
        file.unlink()
    with Record(run_dir / FILE, create=True) as record:
        record.append(*events)


def complaints(run_dir, uri=None, **changes):
    how = {"exit_code": 0, "document": DOCUMENT, "patience": 0, **changes}
    return checker.faults(run_dir, uri, **how)


def edited(run_dir, change):
    """Write the record anew, each event as `change(kind, trial, body)` has it; None drops it."""
    events = [(event.kind, event.trial, dict(event.body)) for event in command.events_of(run_dir / FILE)]
    rewrite(run_dir, [new for event in events if (new := change(*event)) is not None])


def without(kind, trial, **told):
    """Drops the events of `kind` of `trial` whose bodies have `told`."""
    return lambda k, t, b: None if (k, t) == (kind, trial) and told.items() <= b.items() else (k, t, b)


def altered(kind, trial, **told):
    return lambda k, t, b: (k, t, {**b, **told} if (k, t) == (kind, trial) else b)


def test_a_search_with_nothing_wrong_passes_and_its_story_is_told(run_dir):
    story = checker.check(run_dir, None, exit_code=0, document=DOCUMENT, patience=0)
    assert story.best() == (3, 2, 0.8)
    assert story.counts == DOCUMENT["trials"]
    assert story.needed() == {(3, 2)}
    assert (story.trials[3].attempt, story.trials[3].lost, story.trials[3].repeated) == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("epoch", 0, epoch=2), "epoch 3 in place 2"),
        (without("epoch", 0, epoch=3), "is complete after 2 of 3 epochs"),
        (without("asked", 1), "which was never asked"),
        (without("ended", 0), "trial 0 is interrupted after 3 of 3"),
        (without("finished", None), "the last event is published, not `finished`"),
        (without("search", None), "`search` is not the first event"),
        (without("decided", 1), "trial 1 is stopped, but the scheduler"),
        (altered("ended", 2, state="complete"), "trial 2 is complete"),
        (altered("ended", 1, state="interrupted"), "ended as interrupted, which is no end"),
        (altered("repeated", 3, same=False), "came to other metrics"),
        (altered("restarted", 3, attempt=1), "began attempt 1 after attempt 1"),
        (altered("restarted", 3, checkpoint="trial-0000/epoch-0001"), "which is not its own"),
        (altered("finished", None, state="interrupted"), "the record says interrupted, the exit code 0"),
        (lambda k, t, b: ("settled" if k == "lost" else k, t, b), "unknown kind settled"),
    ],
)
def test_a_record_that_contradicts_itself_is_noticed(run_dir, change, complaint):
    edited(run_dir, change)
    assert any(complaint in fault for fault in complaints(run_dir))


def test_an_event_that_comes_twice_is_noticed(run_dir):
    events = [(event.kind, event.trial, event.body) for event in command.events_of(run_dir / FILE)]
    for kind, complaint in (("epoch", "has epoch 1 in place 2"), ("asked", "was asked after"), ("ended", "had ended")):
        number = next(i for i, event in enumerate(events) if event[0] == kind)
        rewrite(run_dir, [*events[: number + 1], *events[number:]])
        assert any(complaint in fault for fault in complaints(run_dir)), kind


def test_rows_that_were_changed_or_lost_are_noticed(run_dir):
    with sqlite3.connect(run_dir / FILE) as database:
        database.execute("UPDATE events SET body = replace(body, '0.7', '0.9') WHERE kind = 'epoch'")
        database.execute("DELETE FROM events WHERE kind = 'published'")
    database.close()
    found = complaints(run_dir)
    assert any("wrong checksum" in fault for fault in found)
    assert "the ids of the events have gaps" in found
    checker.corrupted(run_dir / FILE, length=5000)
    assert any("the record cannot be read" in fault for fault in complaints(run_dir))


def test_the_summary_must_say_what_the_record_does(run_dir):
    for change, complaint in (
        ({"best": {**BEST, "trial": 4}}, "the best is"),
        ({"best": None}, "the best is"),
        ({"trials": {"complete": 5}}, "trials"),
        ({"epochs": 9}, "epochs"),
        ({"state": "failed"}, "state"),
    ):
        [fault] = complaints(run_dir, document={**DOCUMENT, **change})
        assert complaint in fault


def test_checkpoints_that_are_missing_damaged_or_left_over_are_noticed(run_dir):
    root = run_dir / "checkpoints"
    for name in (checkpoint(3, 3), checkpoint(9, 1), f"{checkpoint(3, 3, 2)}.part"):
        (root / name).mkdir(parents=True)
        assert complaints(run_dir) == [f"checkpoints/{name} is left over"]
        (root / name).rmdir()
    stray = root / "trial-0003" / "notes"
    stray.write_text("")
    assert complaints(run_dir) == ["checkpoints/trial-0003/notes is left over"]
    assert complaints(run_dir, closed=False) == [], "a driver that was killed cannot have tidied up"
    stray.unlink()
    checker.corrupted(root / checkpoint(3, 2, 2) / "weights")
    assert complaints(run_dir) == [f"checkpoint {checkpoint(3, 2, 2)} is needed and damaged"]
    shutil.rmtree(root)
    assert complaints(run_dir) == [f"checkpoint {checkpoint(3, 2)} or {checkpoint(3, 2, 2)} is needed and missing"]


def test_an_interrupted_trial_needs_its_best_and_its_last_two_checkpoints(run_dir):
    edited(run_dir, without("ended", 4))
    edited(run_dir, altered("finished", None, state="interrupted"))
    story = checker.story_of(run_dir / FILE)[0]
    assert story.trials[4].state == "interrupted"
    assert story.needed() == {(3, 2), (4, 1), (4, 2)}
    found = complaints(run_dir, exit_code=130, expected_exit_codes=(130,), stderr="interrupted")
    assert f"checkpoint {checkpoint(4, 2)} is needed and missing" in found
    wanted = [checkpoint(3, 2), checkpoint(3, 2, 2), checkpoint(4, 1), checkpoint(4, 2)]
    assert checker.needed_checkpoints(story) == wanted


@pytest.mark.parametrize(
    ("code", "stderr", "complaint"),
    [
        (0, "a warning", None),
        (0, "error: but\n", "an error was printed"),
        (3, "error: no such thing; do this\n", None),
        (3, "", "tells nobody"),
        (3, "error: one\nerror: two\n", "2 errors"),
        (3, "error: one\nbye\n", "tells nobody"),
        (3, "Traceback (most recent call last):\nerror: one", "a traceback"),
        (130, "interrupted; go on with `python -m search resume chaos`\n", None),
        (130, "trial 3 interrupted\n", "tells nobody"),
        (-9, "trial 3 complete\n", None),
        (1, "error: all failed\n", "the exit code is 1"),
    ],
)
def test_the_exit_code_and_the_last_words_count(code, stderr, complaint):
    found = checker.faults_of_the_end(code, (0, 3, 130, -9), stderr)
    assert [complaint in fault for fault in found] == ([True] if complaint else [])


@pytest.fixture(scope="module")
def healthy_mlflow(tmp_path_factory):
    """MLflow's store as that search leaves it; made by hand, not by the tracker that is under test elsewhere."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = MlflowClient(tracking_uri=f"sqlite:///{file}")
    experiment = client.create_experiment("chaos", artifact_location=str(file.parent))
    other = client.create_run(experiment, tags={"search.id": "0e", "search.kind": "search"})
    client.create_run(experiment, tags={"search.trial_id": "0e/0", "mlflow.parentRunId": other.info.run_id})
    parent = client.create_run(experiment, tags={"search.id": "0f", "search.kind": "search"}).info.run_id
    for trial, curve in CURVES.items():
        tags = {"search.trial_id": f"0f/{trial}", "search.kind": "trial", "mlflow.parentRunId": parent}
        run = client.create_run(experiment, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in {**ABOUT["fixed"], **point(trial)}.items()]
        metrics = [Metric("val_accuracy", value, 1000 + step, step) for step, value in enumerate(curve, 1)]
        client.log_batch(run, metrics, params)
        client.set_terminated(run, checker.ENDS[STATES[trial]])
    counts = {f"trials_{state}": count for state, count in DOCUMENT["trials"].items()}
    for name, count in {**counts, "best_trial": 3}.items():
        client.set_tag(parent, name, str(count))
    client.log_metric(parent, "best_val_accuracy", 0.8)
    client.set_terminated(parent, "FINISHED")
    return file


@pytest.fixture
def store(healthy_mlflow, tmp_path):
    """A copy of that store, its client, and its runs by trial number; the parent is None's."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(healthy_mlflow, tmp_path / 'mlflow.db')}"
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("chaos").experiment_id])
    names = {run.data.tags.get("search.trial_id", run.data.tags.get("search.id")): run for run in runs}
    return uri, client, {None: names["0f"], **{trial: names[f"0f/{trial}"] for trial in CURVES}}


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_with_nothing_wrong_passes_beside_another_search(run_dir, store):
    assert complaints(run_dir, store[0]) == []


def doubled(client, runs):
    client.create_run(runs[1].info.experiment_id, tags=runs[1].data.tags)


def orphaned(client, runs):
    client.set_tag(runs[1].info.run_id, "mlflow.parentRunId", "0" * 32)


def never_asked(client, runs):
    client.set_tag(runs[1].info.run_id, "search.trial_id", "0f/7")


MLFLOW_FAULTS = [
    (doubled, "MLflow has 2 runs of trial 1"),
    (orphaned, "has another parent"),
    (never_asked, "which was never asked"),
    (lambda client, runs: client.delete_run(runs[1].info.run_id), "MLflow has 0 runs of trial 1"),
    (lambda client, runs: client.delete_run(runs[None].info.run_id), "MLflow has 0 parents"),
    (lambda client, runs: client.create_run(runs[0].info.experiment_id, tags=runs[None].data.tags), "2 parents"),
    (lambda client, runs: client.set_terminated(runs[1].info.run_id, "FINISHED"), "is FINISHED, but the trial is stop"),
    (lambda client, runs: client.update_run(runs[1].info.run_id, "RUNNING"), "is RUNNING, but the trial is stopped"),
    (lambda client, runs: client.update_run(runs[None].info.run_id, "RUNNING"), "parent is RUNNING"),
    (lambda client, runs: client.log_metric(runs[0].info.run_id, "val_accuracy", 0.7, step=3), "has the val_accuracy"),
    (lambda client, runs: client.log_metric(runs[0].info.run_id, "val_accuracy", 0.1, step=4), "has the val_accuracy"),
    (lambda client, runs: client.set_tag(runs[None].info.run_id, "best_trial", "0"), "has the best"),
    (lambda client, runs: client.set_tag(runs[None].info.run_id, "trials_failed", "0"), "has trials_failed"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("doctor", "complaint"), MLFLOW_FAULTS)
def test_an_mlflow_that_differs_from_the_record_is_noticed(run_dir, store, doctor, complaint):
    uri, client, runs = store
    doctor(client, runs)
    found = complaints(run_dir, uri)
    assert any(complaint in fault for fault in found), found


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_that_is_behind_may_lack_points_but_have_none_that_is_wrong(run_dir, store):
    uri, client, runs = store
    assert complaints(run_dir, f"{uri}.none", behind=True) == []
    assert complaints(run_dir, f"{uri}.none") == ["MLflow's store mlflow.db.none is missing"]
    client.delete_run(runs[4].info.run_id)
    client.update_run(runs[None].info.run_id, "RUNNING")
    assert complaints(run_dir, uri, behind=True) == []
    assert len(complaints(run_dir, uri)) == 2
    edited(run_dir, altered("epoch", 0, metrics={"val_accuracy": 0.51}))
    assert any("has the val_accuracy" in fault for fault in complaints(run_dir, uri, behind=True))


# --- commands and records ---------------------------------------------------------------------------------------------


def test_a_record_is_read_while_it_is_written_and_left_as_it_was(tmp_path):
    path = tmp_path / FILE
    assert command.events_of(path) == []
    record = Record(path, create=True)
    assert command.events_of(path) == []
    record.append(("search", None, ABOUT))
    assert [event.kind for event in command.events_of(path)] == ["search"]
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in tmp_path.glob(f"{FILE}*"):  # as kill -9 leaves it: the rows are in the log
        shutil.copy(file, crashed)
    record.close()
    log = (crashed / f"{FILE}-wal").read_bytes()
    assert log
    assert [event.kind for event in command.events_of(crashed / FILE)] == ["search"]
    assert (crashed / f"{FILE}-wal").read_bytes() == log
    assert [event.kind for event in command.events_of(path)] == ["search"]


def test_waiting_for_a_record_ends_in_time(tmp_path):
    with Record(tmp_path / FILE, create=True) as record:
        record.append(("search", None, ABOUT))
    assert len(command.wait_for(tmp_path / FILE, lambda events: events)) == 1
    with pytest.raises(AssertionError, match=r"0\.3 s passed"):
        command.wait_for(tmp_path / FILE, lambda events: len(events) > 1, seconds=0.1)


def test_a_command_runs_in_its_folder_and_its_words_are_kept(tmp_path):
    ended = command.finish(command.launch("show", "nothing", folder=tmp_path), 60)
    assert ended.code == 2
    assert ended.stderr.startswith("error: ")
    running = command.launch("show", "nothing", folder=tmp_path)
    with pytest.raises(AssertionError, match="the process ended"):
        command.wait_for(command.record_of(tmp_path), lambda events: events, process=running)
    assert checker.faults_of_processes(tmp_path, 5) == []


def test_a_command_that_does_not_end_is_killed(tmp_path):
    running = command.start(["report 0.5"], folder=tmp_path)
    with pytest.raises(AssertionError, match="no end after"):
        command.finish(running, 0.01)
    assert running.returncode == -signal.SIGKILL
