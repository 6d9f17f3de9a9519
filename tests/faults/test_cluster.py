"""Nodes of a Ray cluster die, or are taken back after a notice; what no node has room for is refused."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import checker, command
from tests.faults.stage import count, ends, look, of, staged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


class Nodes:
    """The cluster of `nodes.py`."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "CHAOS_FOLDER": str(folder), "SPT_NOENV": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        environment.pop("RAY_ADDRESS", None)
        # Nodes that give no sign for two seconds are dead; by default it takes half a minute.
        environment |= {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}
        self._log = (folder / "nodes.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nodes.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment, text=True, cwd=folder,
        )  # fmt: skip
        self.address = self._answer()

    def tell(self, *words: object) -> None:
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        while self._answer() != str(words[0]):
            continue

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        assert line, Path(self._log.name).read_text()[-2000:]
        return line.strip()

    def end(self, folder: Path) -> None:
        self._process.stdin.close()
        checker.sweep(folder)
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


@staged
def shrinking(folder: Path) -> SimpleNamespace:
    """Two trials on two nodes; one node dies, another one comes."""
    nodes = Nodes(folder)
    try:
        env = {"RAY_ADDRESS": nodes.address, "CHAOS_EPOCHS": 3}
        nodes.tell("add")
        nodes.tell("add")
        refused = command.finish(command.start(["report x"], "--cpus", "2", folder=folder, env=env), 60)
        script = "report x; await died; report x"
        running = command.start([script, script], "--scheduler", "none", folder=folder, env=env)
        record = command.record_of(folder)
        command.wait_for(record, lambda now: min(count("epoch", trial)(now) for trial in (0, 1)) == 1, process=running)
        since = time.monotonic()
        nodes.tell("remove", 0)
        command.wait_for(record, count("lost"), process=running, seconds=60)
        noticed = time.monotonic() - since
        nodes.tell("add")
        command.let_go(folder, "died")
        return SimpleNamespace(**ended(folder, running), noticed=noticed, refused=refused)
    finally:
        nodes.end(folder)


@staged
def drained(folder: Path) -> SimpleNamespace:
    """A trial on a node that is drained and taken away, beside another node."""
    nodes = Nodes(folder)
    try:
        nodes.tell("add")
        env = {"RAY_ADDRESS": nodes.address, "CHAOS_EPOCHS": 3}
        running = command.start(["report x; await drained; report x"], folder=folder, env=env)
        command.wait_for(command.record_of(folder), count("epoch"), process=running)
        nodes.tell("add")
        nodes.tell("drain", 0, 3)
        time.sleep(2)
        nodes.tell("remove", 0)
        time.sleep(5)  # until everybody must have noticed
        command.let_go(folder, "drained")
        return SimpleNamespace(**ended(folder, running))
    finally:
        nodes.end(folder)


def ended(folder: Path, running: command.Command) -> dict[str, Any]:
    """How the search ended; its cluster is still there, as it must be."""
    end = command.finish(running, 120)
    seen = look(folder, end, 0, patience=0)
    left = [line for line in checker.processes_of(folder).values() if "-m search" in line]
    faults = [fault for fault in seen.faults if not fault.startswith("process ")]
    told = {"faults": faults, "events": seen.events, "left": left, "stderr": end.stderr}
    return {**told, "executed": command.executed(folder, seen.events)}


def test_more_cpus_than_any_node_has_are_refused_before_a_trial_begins(shrinking):
    assert shrinking.refused.code == 3
    assert "no node has more than 1" in shrinking.refused.stderr.splitlines()[-1]


def test_a_search_outlives_its_nodes(shrinking):
    assert shrinking.faults == []
    assert {state for state, _ in ends(shrinking.events).values()} == {"complete"}


def test_a_dead_node_is_noticed_within_seconds_and_its_trial_goes_on_elsewhere_from_its_checkpoint(shrinking):
    assert shrinking.noticed < 30
    first = next(event for event in shrinking.events if event.kind == "restarted")
    assert (first.body["attempt"], first.body["epoch"]) == (2, 1)
    assert shrinking.executed[first.trial, 1] == 1


def test_loss_of_a_node_is_no_fault_of_the_trial(shrinking):
    assert {body["state"] for body in of(shrinking.events, "lost")} == {"preempted"}


def test_a_node_that_is_taken_back_after_a_notice_costs_at_most_the_epoch_in_hand(drained):
    assert drained.faults == []
    assert ends(drained.events)[0][0] == "complete"
    [restart] = of(drained.events, "restarted")
    assert restart["epoch"] == 1
    assert max(drained.executed.values()) == 1


def test_the_search_left_the_cluster_of_others_running(shrinking):
    assert shrinking.left == []
