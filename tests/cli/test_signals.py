"""When a search must end: its time, and signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.record.events import Event
from search.record.reader import FILE
from search.record.record import Record
from search.signals import Interrupted, Stop, ending_seconds, uninterrupted
from spaces.study import Study
from tests.simulated import begun

CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
every_signal = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


@pytest.fixture
def stop() -> Iterator[Stop]:
    """Signals as they were before, when the test is over."""
    # The tests may run in the background or under nohup, and a signal that is not taken must not end them.
    before = {number: signal.signal(number, lambda number, frame: None) for number in CODES}
    yield Stop(time.monotonic())
    for number, handler in before.items():
        signal.signal(number, handler)


# Time


def test_without_a_budget_there_is_no_reason_to_end(stop: Stop) -> None:
    stop.allow(None)
    assert (stop.deadline, stop()) == (None, "")


def test_trials_end_so_early_that_the_end_of_the_search_fits_into_its_budget() -> None:
    began = time.monotonic() - 100.0
    stop = Stop(began)
    stop.allow(116.0)
    assert stop.deadline == pytest.approx(began + 101.0)
    assert stop() == ""
    stop.allow(111.0)
    assert stop() == "the time budget is spent"
    assert 100.0 <= stop.elapsed() < 101.0


@given(budget=st.floats(0.1, 1e6))
def test_what_is_kept_for_the_end_is_a_quarter_at_most(budget: float) -> None:
    assert 0 < ending_seconds(budget) <= min(15.0, budget / 4)


@pytest.mark.parametrize("budget", [0.0, -50.0])
def test_a_budget_that_is_spent_already_is_a_reason_to_end(budget: float, stop: Stop) -> None:
    # As that of a search that goes on with less than nothing left.
    stop.allow(budget)
    assert stop() == "the time budget is spent"


# Signals


@every_signal
def test_a_signal_interrupts_at_once(number: signal.Signals, stop: Stop) -> None:
    stop.install()
    with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as raised:
        signal.raise_signal(number)
    assert raised.value.exit_code == CODES[number]
    assert stop.signal is number
    assert stop() == f"stopped by {number.name}"


@every_signal
def test_while_trials_run_the_first_signal_only_asks_for_the_end(number: signal.Signals, stop: Stop) -> None:
    stop.install()
    with stop.gently():
        assert stop() == ""
        signal.raise_signal(number)
        assert stop() == f"stopped by {number.name}"


@pytest.mark.parametrize("second", CODES, ids=lambda number: number.name)
@every_signal
def test_the_second_signal_interrupts_whatever_goes_on(
    number: signal.Signals, second: signal.Signals, stop: Stop
) -> None:
    stop.install()
    with stop.gently():
        signal.raise_signal(number)
        with pytest.raises(Interrupted):
            signal.raise_signal(second)
    # The first is the reason, also of the exit code.
    assert stop.signal is number


def test_after_the_trials_a_signal_interrupts_at_once_again(stop: Stop) -> None:
    stop.install()
    with stop.gently():
        pass
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_an_error_while_trials_run_ends_the_gentle_part(stop: Stop) -> None:
    stop.install()
    with pytest.raises(ValueError, match="made up"), stop.gently():
        raise ValueError("made up")
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_is_no_exception_that_a_library_might_swallow() -> None:
    assert not issubclass(Interrupted, Exception)


def test_signals_that_somebody_else_took_are_taken_again(stop: Stop) -> None:
    stop.install()
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    stop.install()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_what_nohup_has_ignored_stays_ignored(stop: Stop) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop.install()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.raise_signal(signal.SIGHUP)
    assert stop() == ""


def test_a_signal_within_steps_that_belong_together_interrupts_after_them(stop: Stop) -> None:
    stop.install()
    done = []

    @uninterrupted()
    def steps() -> None:
        signal.raise_signal(signal.SIGTERM)
        done.append("the first")
        with uninterrupted():
            done.append("within")
        done.append("the last")

    with pytest.raises(Interrupted) as raised:
        steps()
    assert done == ["the first", "within", "the last"]
    assert raised.value.exit_code == 143
    # It is told once.
    with uninterrupted():
        pass


def test_steps_without_a_signal_are_not_interrupted_and_their_errors_are_their_own(stop: Stop) -> None:
    stop.install()
    with pytest.raises(ValueError, match="made up"), uninterrupted():
        raise ValueError("made up")
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_while_trials_run_the_first_signal_interrupts_no_steps_and_the_second_comes_after_them(stop: Stop) -> None:
    stop.install()
    done = []

    @uninterrupted()
    def steps() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("the last")

    with stop.gently():
        steps()
        assert stop() == "stopped by SIGINT"
        with pytest.raises(Interrupted):
            steps()
    assert done == ["the last"] * 2


def test_time_to_measure_the_winner_is_kept_of_a_budget_up_to_a_quarter_of_it() -> None:
    stop = Stop(time.monotonic())
    stop.keep(10.0)
    assert stop.deadline is None
    stop.allow(100.0)
    whole = stop.deadline
    assert whole is not None
    for asked, kept in ((10.0, 10.0), (4.0, 4.0), (1000.0, 25.0), (0.0, 0.0)):
        stop.keep(asked)
        assert stop.deadline == pytest.approx(whole - kept)


@pytest.mark.usefixtures("stop")
def test_a_signal_while_an_event_is_written_leaves_record_and_memory_alike(tiny_study: Study, tmp_path: Path) -> None:
    stop = Stop(time.monotonic())
    stop.install()
    with Record(tmp_path / FILE, create=True) as record:
        search = begun(tiny_study, record)
        append = record.append

        def interrupted(*events: Any) -> list[Event]:
            written = append(*events)
            signal.raise_signal(signal.SIGTERM)
            return written

        record.append = interrupted  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            search.ask()
        assert [event.kind for event in record.events()] == ["search", "asked"]
        assert len(search.trials) == 1


WAITING = """
import sys
import time
from search.cli import group as command
from search.cli.clock import on_signals

@command.cli.command(name="wait")
def wait():
    stop = on_signals()
    print("ready", flush=True)
    if {gentle}:
        with stop.gently():
            while not stop():
                time.sleep(0.01)
        raise SystemExit(128 + stop.signal)
    time.sleep(60)

sys.argv = ["search", "wait"]
command.main()
"""


def interrupted(number: signal.Signals, *, gentle: bool, ignored: bool = False) -> tuple[int, str]:
    """Exit code and standard error of the command line when `number` comes."""

    def prepare() -> None:
        for each in CODES:
            signal.signal(each, signal.SIG_IGN if ignored and each == number else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(gentle=gentle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if ignored:
        time.sleep(0.3)
        assert process.poll() is None, "nohup was not respected"
        process.terminate()
    _, error = process.communicate(timeout=30)
    return process.returncode, error


@pytest.mark.parametrize("gentle", [True, False], ids=["gently", "at once"])
@every_signal
def test_the_command_line_ends_with_the_code_of_the_signal(number: signal.Signals, gentle: bool) -> None:
    code, error = interrupted(number, gentle=gentle)
    assert code == CODES[number]
    assert "Traceback" not in error


def test_a_command_under_nohup_lives_on_when_the_terminal_goes() -> None:
    code, _ = interrupted(signal.SIGHUP, gentle=False, ignored=True)
    assert code == CODES[signal.SIGTERM]
