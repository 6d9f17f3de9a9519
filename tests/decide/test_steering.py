"""What people ask of a running search: taken in, written down, in force; derived again from the record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide.replay import differences
from search.decide.search import Search
from search.errors import BadInput
from search.record.events import EpochReport, Finished, Steered
from search.record.reading import header_of, spent
from search.record.state import State
from search.record.steering import Request, Steering, in_words, values_in
from spaces.study import Study
from tests.simulated import Curves, Memory, begun, resumed, work

START = {
    "model/depth": 1,
    "model/width": 16,
    "model/batch_norm": True,
    "train/optimizer": "sgd",
    "train/lr": 0.1,
    "train/momentum": 0.9,
}


@pytest.fixture
def record() -> Memory:
    return Memory()


@pytest.fixture
def search(tiny_study: Study, record: Memory) -> Search:
    return begun(tiny_study, record, trials=6)


def steer(search: Search, verb: str, what: Any = None) -> Steered:
    told = search.steer(Request(verb, {} if what is None else {"what": what}, "ana@here"))
    assert told is not None
    return told


def test_a_trial_that_somebody_stops_has_ended_and_its_worker_hears_so_at_its_next_report(search: Search) -> None:
    number = search.ask().number  # type: ignore[union-attr]
    search.report(number, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
    told = steer(search, "stop-trial", number)
    assert (told.trial, told.refused) == (number, None)
    trial = search.trials[number]
    assert (trial.state, trial.why) == (State.STOPPED, "stopped by ana@here")
    assert not search.report(number, EpochReport(2, {"val_accuracy": 0.6}, 1.0))
    assert len(trial.epochs) == 1


def test_a_trial_that_waits_for_a_worker_and_is_stopped_waits_no_more(search: Search) -> None:
    number = search.ask().number  # type: ignore[union-attr]
    search.lost(number, State.PREEMPTED, "made up")
    steer(search, "stop-trial", number)
    assert search.again() is None


def test_while_a_search_is_paused_nothing_begins_and_then_all_goes_on(search: Search) -> None:
    first = search.ask()
    assert first is not None
    steer(search, "pause")
    search.lost(first.number, State.PREEMPTED, "paused")
    assert (search.ask(), search.again()) == (None, None)
    assert steer(search, "pause").refused == "it is paused already, by ana@here"
    steer(search, "go-on")
    assert search.again() is first
    assert search.ask() is not None
    assert steer(search, "go-on").refused == "it is not paused"


def test_a_configuration_that_somebody_adds_is_tried_next_and_on_top_of_the_others(search: Search) -> None:
    told = steer(search, "add", {"lr": 0.5, "train/optimizer": "adam"})
    assert told.trials == 7
    trial = search.ask()
    assert trial is not None
    assert trial.origin == "added by ana@here"
    assert trial.point == {**{k: v for k, v in START.items() if k != "train/momentum"}, "train/lr": 0.5} | {
        "train/optimizer": "adam"
    }
    assert search.ask().origin == "start point 0"  # type: ignore[union-attr]
    assert search.ask().origin == "start point 1"  # type: ignore[union-attr]
    asked = 3
    while search.ask() is not None:
        asked += 1
    assert asked == 7


def test_what_is_left_out_of_a_configuration_is_as_in_the_best_trial(search: Search) -> None:
    for value in (0.2, 0.9):
        number = search.ask().number  # type: ignore[union-attr]
        search.report(number, EpochReport(1, {"val_accuracy": value}, 1.0))
    best = search.trials.best()
    assert best is not None
    told = steer(search, "add", {"model/depth": 3})
    assert told.point == {**best.point, "model/depth": 3}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"lrr": 0.1}, "unknown hyperparameter 'lrr'"),
        ({"train/lr": 5.0}, "lies outside"),
        ({"train/lr": "fast"}, "lies outside"),
        ({"train/optimizer": "adam", "train/momentum": 0.9}, "exists only when"),
        ({"model/batch_norm": 1}, "lies outside"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_changes_nothing(
    search: Search, values: dict[str, Any], line: str
) -> None:
    told = steer(search, "add", values)
    assert line in (told.refused or "")
    assert search.ask().origin == "start point 0"  # type: ignore[union-attr]
    assert search.rules.trials == 6


def test_more_trials_and_more_time_are_what_the_search_has_from_then_on(tiny_study: Study, record: Memory) -> None:
    search = begun(tiny_study, record, trials=6, time_budget=60.0)
    steer(search, "trials", 4)
    steer(search, "time", 30.0)
    header = header_of(record.events)
    assert (header.trials, header.time_budget) == (10, 90.0)
    assert (search.rules.trials, search.rules.time_budget) == (10, 90.0)


def test_a_search_without_a_limit_of_time_gets_no_more_of_it(search: Search) -> None:
    assert "no limit of time" in (steer(search, "time", 30.0).refused or "")


@pytest.mark.parametrize(
    ("what", "line"), [(3, "there is no trial 3 yet; there are 1"), (0, "trial 0 has ended: it is failed")]
)
def test_a_trial_that_does_not_run_cannot_be_stopped(search: Search, what: int, line: str) -> None:
    search.ask()
    search.end(0, State.FAILED, "made up")
    assert line in (steer(search, "stop-trial", what).refused or "")


def test_a_request_that_comes_twice_is_taken_once(search: Search, record: Memory) -> None:
    request = Request("trials", {"what": 4}, "ana@here")
    assert search.steer(request) is not None
    before = len(record.events)
    assert search.steer(request) is None
    assert len(record.events) == before
    assert search.rules.trials == 10


def test_who_goes_on_with_a_paused_or_finished_search_wants_it_to_go_on(tiny_study: Study, record: Memory) -> None:
    search = begun(tiny_study, record, trials=6)
    steer(search, "pause")
    steer(search, "finish")
    assert Steering(record.events).finished == "ana@here"
    search.note(Finished("done", "finished by ana@here", 1.0))
    again = resumed(tiny_study, record, list(record.events), trials=6)
    assert (again.steering.paused, again.steering.finished) == ("", "")
    assert again.ask() is not None


def test_the_time_in_which_a_search_was_paused_is_not_spent(tiny_study: Study, record: Memory) -> None:
    search = begun(tiny_study, record, trials=6)
    record.now += 10
    steer(search, "pause")
    record.now += 100
    steer(search, "go-on")
    record.now += 5
    search.ask()
    assert spent(record.events) == 15
    steer(search, "pause")
    record.now += 50
    search.note(Finished("interrupted", "", 15.0))
    assert spent(record.events) == 15


@pytest.mark.parametrize(
    ("verb", "given", "line"),
    [
        ("sing", {}, "a search can be asked stop-trial, finish"),
        ("finish", {"what": 1}, "takes nothing besides"),
        ("trials", {}, "takes one thing besides"),
        ("trials", {"what": 0}, "a number from 1"),
        ("trials", {"what": True}, "a number from 1"),
        ("trials", {"what": 1.5}, "a number from 1"),
        ("time", {"what": float("nan")}, "a number from 1"),
        ("stop-trial", {"what": -1}, "a number from 0"),
        ("add", {"what": {}}, "values by name"),
        ("add", {"what": {"lr": [1]}}, "values by name"),
        ("add", {"what": {"lr": "x" * 1000}}, "values by name"),
    ],
)
def test_what_nobody_can_ask_is_refused_at_once(verb: str, given: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        Request(verb, given, "ana@here")


def test_a_configuration_is_read_as_people_write_it() -> None:
    assert values_in("train/lr=0.1 optimizer=adam depth=2 bn=true") == {
        "train/lr": 0.1,
        "optimizer": "adam",
        "depth": 2,
        "bn": True,
    }
    for wrong in ("lr", "lr='", "lr=log(1, 2)", "lr=nan"):
        with pytest.raises(BadInput):
            values_in(wrong)


def test_a_request_is_told_in_a_line() -> None:
    told = Steered("add", "0" * 32, "ana", 1.0, {"what": {"lr": 0.1}}, refused="no")
    assert in_words(told) == "ana: try next lr=0.1 – refused: no"


WISHES = st.sampled_from(
    [
        ("pause", None),
        ("go-on", None),
        ("finish", None),
        ("trials", 2),
        ("time", 30.0),
        ("stop-trial", 0),
        ("stop-trial", 2),
        ("stop-trial", 40),
        ("add", {"lr": 0.5}),
        ("add", {"depth": 9}),
    ]
)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    sampler=st.sampled_from(["random", "random", "tpe"]),
    wishes=st.lists(st.tuples(st.integers(0, 20), WISHES, st.booleans()), max_size=6),
)
def test_whatever_is_asked_whenever_the_record_is_derived_from_itself_and_goes_on_after_a_kill(
    seed: int, sampler: str, wishes: list[tuple[int, tuple[str, Any], bool]], tiny_study: Study
) -> None:
    record, curves = Memory(), Curves(seed, 0.05, 0.1)
    search = begun(tiny_study, record, sampler=sampler, trials=5, time_budget=600.0)
    for steps, (verb, what), killed in wishes:
        work(search, curves, workers=2, order=seed, steps=steps)
        steer(search, verb, what)
        if killed:
            trials = header_of(record.events).trials
            search = resumed(tiny_study, record, list(record.events), trials=trials, time_budget=600.0)
    if search.steering.paused:
        steer(search, "go-on")
    work(search, curves, workers=2, order=seed)
    assert differences(record.events, tiny_study) == []
    rebuilt = Search.of(header_of(record.events[:1]), tiny_study, Memory(), past=record.events)
    assert rebuilt.steering.next == search.steering.next
    assert rebuilt.rules == search.rules
    assert [t.state for t in rebuilt.trials] == [t.state for t in search.trials]


def test_a_forged_answer_is_found(search: Search, record: Memory, tiny_study: Study) -> None:
    steer(search, "trials", 4)
    forged = [
        *record.events[:-1],
        type(record.events[-1])(**{**vars(record.events[-1]), "body": {**record.events[-1].body, "trials": 99}}),
    ]
    assert differences(forged, tiny_study) != []
