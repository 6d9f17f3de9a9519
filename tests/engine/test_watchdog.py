"""Who has been silent for too long, by a clock that the tests turn."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.engine.watchdog import LEAST_SECONDS, TIMES_MEDIAN, Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_wait_for_the_first_report_counts_from_the_start(clock: Clock) -> None:
    watchdog = Watchdog(30.0, clock)
    watchdog.began("a")
    clock.now += 30.0
    assert watchdog.overdue() == {}
    clock.now += 0.5
    assert watchdog.overdue() == {"a": 30.5}


def test_a_report_starts_the_wait_anew(clock: Clock) -> None:
    watchdog = Watchdog(30.0, clock)
    watchdog.began("a")
    for _ in range(5):
        clock.now += 29.0
        watchdog.heard("a")
    assert watchdog.overdue() == {}
    clock.now += 31.0
    assert watchdog.overdue() == {"a": 31.0}


def test_only_the_silent_are_overdue_and_none_that_ended(clock: Clock) -> None:
    watchdog = Watchdog(30.0, clock)
    for who in ("silent", "talking", "ended"):
        watchdog.began(who)
    clock.now += 20.0
    watchdog.heard("talking")
    watchdog.ended("ended")
    clock.now += 20.0
    assert watchdog.overdue() == {"silent": 40.0}
    watchdog.ended("silent")
    watchdog.ended("never began")
    assert watchdog.overdue() == {}


def test_who_begins_again_has_its_time_again(clock: Clock) -> None:
    watchdog = Watchdog(30.0, clock)
    watchdog.began("a")
    clock.now += 40.0
    watchdog.ended("a")
    watchdog.began("a")
    assert watchdog.overdue() == {}


def test_without_a_limit_ten_minutes_are_allowed_at_least(clock: Clock) -> None:
    watchdog = Watchdog(None, clock)
    assert watchdog.limit == LEAST_SECONDS == 600.0
    watchdog.began("a")
    clock.now += 1.0
    watchdog.heard("a")
    assert watchdog.limit == LEAST_SECONDS
    clock.now += 600.5
    assert watchdog.overdue() == {"a": 600.5}


def test_without_a_limit_slow_epochs_are_allowed_ten_times_what_they_take(clock: Clock) -> None:
    watchdog = Watchdog(None, clock)
    watchdog.began("a")
    for _ in range(3):
        clock.now += 200.0
        watchdog.heard("a")
    assert watchdog.limit == TIMES_MEDIAN * 200.0 == 2000.0


@given(waits=st.lists(st.floats(0.1, 1e5), min_size=1, max_size=40))
def test_the_median_is_that_of_the_waits_of_all(waits: list[float]) -> None:
    clock = Clock()
    watchdog = Watchdog(None, clock)
    watchdog.began(0)
    watchdog.began(1)
    told, seen = [clock.now, clock.now], []
    for number, wait in enumerate(waits):
        clock.now += wait
        watchdog.heard(number % 2)
        seen.append(clock.now - told[number % 2])
        told[number % 2] = clock.now
    assert watchdog.limit == pytest.approx(max(600.0, 10 * statistics.median(seen)))


def test_the_last_hundred_waits_count(clock: Clock) -> None:
    watchdog = Watchdog(None, clock)
    watchdog.began("a")
    for wait in [9000.0] * 20 + [1000.0] * 50 + [100.0] * 50:
        clock.now += wait
        watchdog.heard("a")
    assert watchdog.limit == 10 * (1000.0 + 100.0) / 2


def test_a_limit_that_was_given_stays_whatever_is_heard(clock: Clock) -> None:
    watchdog = Watchdog(5.0, clock)
    watchdog.began("a")
    clock.now += 4000.0
    watchdog.heard("a")
    assert watchdog.limit == 5.0
