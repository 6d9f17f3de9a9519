"""Which places trials get, where some have a GPU and others go without one, and what the loss of a worker was.

What Ray Tune would ask and tell is asked and told here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.engine import engine, occupancy
from search.engine.engine import Engine
from search.engine.occupancy import GPU_WAIT_SECONDS
from search.engine.places import Places
from search.engine.worker import Task
from search.record.events import Closing, Steered
from search.record.state import State
from search.record.steering import Request
from search.storage import checkpoints
from spaces.study import Study
from tests.simulated import Memory, begun


class Clock(SimpleNamespace):
    def monotonic(self) -> float:
        now: float = self.now
        return now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(now=1000.0)
    monkeypatch.setattr(occupancy, "time", clock)
    return clock


@pytest.fixture
def record() -> Memory:
    return Memory()


@pytest.fixture
def gone() -> list[str]:
    """The nodes that cannot be reached."""
    return []


class Around:
    """A cluster with one place on a GPU and two without, for one search alone."""

    def __init__(self, gone: list[str]) -> None:
        self._gone = gone
        self.room = Places(1, 2)
        self.others = 0

    def places(self) -> Places:
        return self.room

    def alone(self) -> bool:
        return not self.others

    def some_gone(self) -> bool:
        return bool(self._gone)

    def unreachable(self) -> bool:
        return False

    def check_newcomers(self) -> None:
        pass


class Endless:
    """A driver that lets the search go on."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.told: list[Steered] = []

    def requests(self) -> Iterator[Request]:
        while self.asked:
            yield self.asked.pop(0)

    def steered(self, told: Steered) -> None:
        self.told.append(told)

    def should_stop(self) -> str:
        return ""

    def should_confirm(self) -> bool:
        return False

    def seconds_left(self) -> float | None:
        return None

    def closing(self, told: Closing) -> None:
        pass

    def tick(self) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


@pytest.fixture
def around(gone: list[str]) -> Around:
    return Around(gone)


@pytest.fixture
def mixed(tiny_study: Study, tmp_path: Path, clock: Clock, record: Memory, around: Around) -> Engine:
    """An engine with one place on a GPU and two without; a trial may be silent for 0.01 s."""
    shelf = checkpoints.shelf(tmp_path)
    return Engine(
        begun(tiny_study, record, trials=12),
        Task(tiny_study.trainable, (), shelf, tmp_path / "stacks", cpus=1, gpus=1, timeout=0.01),
        checkpoints.Retention(shelf),
        around,
        Endless(),
    )


def begin(mixed: Engine, *names: str) -> list[float]:
    """The GPUs of trials that are suggested and begin."""
    told = []
    for name in names:
        told.append(suggested(mixed, name))
        mixed.began(name)
    return told


def suggested(mixed: Engine, name: str) -> float:
    told = mixed.suggest(name)
    assert told is not None
    gpus: float = told["gpus"]
    return gpus


def test_the_place_with_a_gpu_is_taken_first_and_then_those_without(mixed: Engine) -> None:
    assert begin(mixed, "a", "b", "c") == [1, 0, 0]
    assert mixed.full
    mixed.left("a")
    assert begin(mixed, "d") == [1]
    mixed.left("b")
    assert begin(mixed, "e") == [0]


def test_while_a_trial_waits_long_for_its_gpu_no_more_begin_without_one_and_then_they_do_again(
    mixed: Engine, clock: Clock
) -> None:
    """The CPU beside the GPU may be what it lacks, and trials without a GPU would hand it on from one to the next."""
    assert suggested(mixed, "waits") == 1
    assert begin(mixed, "b", "c") == [0, 0]
    mixed.left("c")
    clock.now += GPU_WAIT_SECONDS - 1
    assert not mixed.full
    clock.now += 2
    assert mixed.full
    mixed.began("waits")
    assert not mixed.full
    assert begin(mixed, "d") == [0]


def test_a_trial_that_waits_for_its_gpu_beside_none_of_ours_waits_for_another_reason(
    mixed: Engine, clock: Clock
) -> None:
    assert suggested(mixed, "waits") == 1
    clock.now += GPU_WAIT_SECONDS + 1
    assert not mixed.full
    assert begin(mixed, "b") == [0]


UNAVAILABLE = "The actor 7da4 is unavailable: The actor is temporarily unavailable: RPC error: Socket closed"


@pytest.mark.parametrize(
    ("nodes", "why", "state"),
    [
        (["far away"], UNAVAILABLE, "preempted"),
        ([], UNAVAILABLE, "failed"),
        ([], "The actor is dead because its node has died.", "preempted"),
        (["far away"], "The actor is dead because its worker process has died.", "failed"),
    ],
    ids=["out of reach with its node", "out of reach by itself", "dead with its node", "dead by itself"],
)
def test_a_worker_that_is_lost_with_its_node_is_no_failure_of_its_trial(
    mixed: Engine, record: Memory, gone: list[str], nodes: list[str], why: str, state: str
) -> None:
    gone += nodes
    begin(mixed, "a")
    mixed.lost("a", why)
    [told] = [event.body for event in record.events if event.kind == "lost"]
    assert (told["state"], told["why"]) == (state, why)


def report(mixed: Engine, name: str) -> bool:
    """Whether the trial goes on after the report of its first epoch."""
    written = {"checkpoint": f"{name}/1", "sha256": "", "bytes": 1}
    told = {"epoch": 1, "metrics": {"val_accuracy": 0.5, "val_loss": 1.0}, "seconds": 1.0, "place": {}}
    return mixed.heard(name, {**told, **written})


def test_a_trial_gives_its_place_to_another_search_that_has_begun_and_keeps_it_if_a_node_is_just_gone(
    mixed: Engine, record: Memory, around: Around, clock: Clock
) -> None:
    begin(mixed, "a", "b", "c")
    around.room = Places(1, 1)
    clock.now += 2
    assert report(mixed, "b")
    around.others = 1
    assert not report(mixed, "c")
    mixed.left("c")
    [told] = [event.body for event in record.events if event.kind == "lost"]
    assert (told["state"], told["why"]) == ("preempted", "gave its place to another search")
    assert mixed.full


def test_a_silent_trial_is_ended_once_its_stacks_are_dumped_and_counts_as_timed_out(
    mixed: Engine, record: Memory, tmp_path: Path
) -> None:
    mixed.task.stacks.mkdir()
    begin(mixed, "a", "b")
    time.sleep(0.02)
    assert mixed.overdue() == []  # they may still be about to say where they are
    (tmp_path / "stacks" / "trial-0001-attempt-1.txt").write_text("Thread 1 …")
    assert mixed.overdue() == ["b"]
    assert mixed.overdue() == []  # not twice
    mixed.lost("b", "The actor is dead because it was killed")
    [told] = [event.body for event in record.events if event.kind == "lost"]
    assert told["state"] == "timed out"
    assert told["why"] == "no report for 0 s; its stacks are in stacks/trial-0001-attempt-1.txt"


def test_a_silent_trial_that_cannot_dump_its_stacks_is_ended_after_a_while(
    mixed: Engine, record: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STACK_GRACE_SECONDS", 0.01)
    begin(mixed, "a")
    time.sleep(0.03)
    assert mixed.overdue() == ["a"]
    mixed.lost("a", "The actor is dead because it was killed")
    [told] = [event.body for event in record.events if event.kind == "lost"]
    assert told["why"].endswith("it could not dump its stacks")


def ask(mixed: Engine, verb: str, **given: object) -> None:
    assert isinstance(mixed.driver, Endless)
    mixed.driver.asked.append(Request(verb, given, "ana"))
    mixed.tick()


def test_a_paused_search_gives_no_work_its_trials_wait_at_their_next_epoch_and_tune_is_to_ask_again(
    mixed: Engine,
) -> None:
    begin(mixed, "a", "b")
    ask(mixed, "pause")
    assert mixed.suggest("c") is None
    assert [report(mixed, name) for name in ("a", "b")] == [False, False]
    for name in ("a", "b"):
        mixed.left(name)
    assert mixed.suggest("d") is None
    assert mixed.more
    assert [trial.state for trial in mixed.search.trials] == [State.RUNNING, State.RUNNING]
    ask(mixed, "go-on")
    again = mixed.suggest("e")
    assert again is not None
    assert (again["trial"], again["attempt"]) == (0, 2)


def test_a_worker_whose_trial_was_stopped_is_ended_if_its_epoch_takes_long(
    mixed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(mixed, "a", "b")
    monkeypatch.setattr(engine, "UNWANTED_SECONDS", 0.0)
    ask(mixed, "stop-trial", what=0)
    time.sleep(0.001)
    assert mixed.overdue() == ["a"]
    mixed.lost("a", "The actor is dead because it was killed")
    assert mixed.search.trials[0].why == "stopped by ana"
    assert mixed.search.again() is None
