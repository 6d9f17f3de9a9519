"""Precision and memory layout are measured once per machine, whatever else runs on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trainables import mode as modes
from trainables.mode import Mode, choose, kept_at, probe

CPU = torch.device("cpu")


@pytest.fixture
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probe.cache_clear()
    yield
    probe.cache_clear()


def asked_anew(convolutional: bool = False) -> Mode:
    """What the next process would be told."""
    probe.cache_clear()
    return probe(CPU, convolutional=convolutional)


def answers(monkeypatch: pytest.MonkeyPatch, *told: Mode) -> None:
    left = list(told)
    monkeypatch.setattr(modes, "_measured", lambda device, convolutional: left.pop(0))


def test_the_first_answer_holds_for_every_later_process(nothing_kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, Mode("bfloat16"), Mode())
    assert [asked_anew(), asked_anew()] == [Mode("bfloat16"), Mode("bfloat16")]


def test_kinds_of_networks_have_answers_of_their_own(nothing_kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, Mode(), Mode("bfloat16", channels_last=True))
    assert asked_anew(False) == Mode()
    assert asked_anew(True) == asked_anew(True) == Mode("bfloat16", channels_last=True)


def test_of_two_that_measure_at_the_same_time_the_first_decides(
    nothing_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, about = kept_at(CPU, convolutional=False)

    def slow(device: torch.device, convolutional: bool) -> Mode:
        modes._keep(path, about, Mode("bfloat16"))  # the other one, meanwhile
        return Mode()

    monkeypatch.setattr(modes, "_measured", slow)
    assert asked_anew() == Mode("bfloat16")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"precision": "float8", "channels_last": false}', '{"precision": 1}'])
def test_a_damaged_answer_is_measured_again(text: str, nothing_kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = kept_at(CPU, convolutional=False)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    answers(monkeypatch, Mode("bfloat16"))
    assert asked_anew() == asked_anew() == Mode("bfloat16")
    assert "fully connected" in json.loads(path.read_text())["for"]


def test_without_a_place_to_keep_it_the_answer_holds_for_the_process(
    nothing_kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search").write_text("in the way")
    answers(monkeypatch, Mode("bfloat16"), Mode())
    assert asked_anew() == probe(CPU, convolutional=False) == Mode("bfloat16")


class Clock:
    """Steps that take made-up seconds; each as its mode says, but for what comes in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def step(self, *seconds: float) -> Callable[[], None]:
        turns = [0]

        def step() -> None:
            self.now += seconds[min(turns[0], len(seconds) - 1)]
            turns[0] += 1

        return step


TWO = (Mode(), Mode("bfloat16"))


@pytest.mark.parametrize(("plain", "other", "chosen"), [(0.002, 0.001, 1), (0.001, 0.002, 0), (0.00112, 0.001, 0)])
def test_another_mode_is_taken_only_where_it_gains_clearly(
    plain: float, other: float, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    assert choose(TWO, [clock.step(plain), clock.step(other)]) == TWO[chosen]


def test_other_work_in_most_turns_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    disturbed = clock.step(*[0.01] * 12, 0.001)  # twice as fast as the other, once it is left alone
    assert choose(TWO, [clock.step(0.0012), disturbed]) == TWO[1]


BUSY = "while True: sum(range(10**5))"
ASK = "import torch; torch.set_num_threads(1); from trainables.mode import probe; " + (
    "print([probe(torch.device('cpu'), convolutional=kind) for kind in (False, True)])"
)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_processes_beside_four_busy_ones_are_told_the_same(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(4)]
    try:
        asking = [
            subprocess.Popen([sys.executable, "-c", ASK], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(10)
        ]
        told = {process.communicate(timeout=500)[0] for process in asking}
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert len(told) == 1
    assert "Mode(precision=" in told.pop()
