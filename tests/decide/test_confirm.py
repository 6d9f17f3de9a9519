"""A winner that can be believed: trained again from fresh seeds, chosen by their mean, and told how much was luck."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide import confirmation
from search.decide.replay import differences
from search.decide.search import Search
from search.errors import BadInput
from search.findings import confirmed, intervals, report
from search.findings.optuna_export import write_study
from search.findings.sections import course, hyperparameters, stopping
from search.findings.snapshot import Snapshot
from search.findings.summary import summarize
from search.record.events import Confirming, EpochReport, Finished, InMLflow
from search.record.header import Process
from search.record.reader import FILE, read
from search.record.reading import header_of
from search.record.record import Record
from search.record.state import State
from search.record.trial import CONFIRMATION, Trial
from search.session.left import something_left
from search.session.prepare import prepare
from search.session.resume import recalled
from search.settings import More, Settings
from search.storage import checkpoints
from search.terminal.console import Silent
from search.terminal.drawing import confirming, rung_counts
from search.terminal.messages import result
from search.tracking.agreement import disagreements
from search.tracking.runs import Runs
from search.tracking.store import connect
from spaces.study import Choice, Objective, Study
from tests.simulated import Curves, Memory, begun, decisions, kept, resumed, work

ROOT = Path(__file__).parents[2]
PLAIN = {"confirm": 2, "confirm_seeds": 3}


@pytest.fixture(scope="module")
def simple(tiny_study: Study) -> Study:
    """A study of one hyperparameter and 2 epochs, whose first start point is a."""
    space = {"model/depth": Choice(1, 2, 3, 4)}
    start = [{"model/depth": 1}]
    return replace(tiny_study, space=space, start=start, epochs=2, scheduler="none", sampler="grid", trials=4)


def play(search: Search, value: Callable[[Trial], float], *, seconds: float = 1.0) -> None:
    """Train every trial to its end, one after the other, at the value that it is given."""
    while (trial := search.ask()) is not None:
        end(search, trial, value(trial), seconds=seconds)


def end(search: Search, trial: Trial, value: float, *, seconds: float = 1.0) -> None:
    for epoch in range(len(trial.epochs) + 1, search.study.epochs_of(trial.point) + 1):
        metrics = {search.study.objective.metric: value}
        search.report(
            trial.number, EpochReport(epoch, metrics, seconds, checkpoint=f"{trial.number}/{epoch}", sha256="0")
        )


def asked(search: Search) -> Trial:
    trial = search.ask()
    assert trial is not None
    return trial


LUCK = {1: 0.50, 2: 0.90, 3: 0.80, 4: 0.70}
"""What the search sees of each depth: 2 is lucky."""
WORTH = {1: (0.50, 0.52, 0.51), 2: (0.60, 0.62, 0.61), 3: (0.78, 0.80, 0.79), 4: (0.9, 0.9, 0.9)}
"""What three fresh seeds make of it; 4 would be the best, but is not among the first two."""


def lucky() -> Callable[[Trial], float]:
    told: dict[Any, int] = {}

    def value(trial: Trial) -> float:
        depth = int(trial.point["model/depth"])
        if trial.confirms is None:
            return LUCK[depth]
        told[depth] = told.get(depth, -1) + 1
        return WORTH[depth][told[depth]]

    return value


def numbers(search: Search) -> list[int | None]:
    return [trial.confirms for trial in search.trials if trial.confirms is not None]


# What is asked for


def test_the_best_trials_and_the_first_start_point_are_trained_again_seed_by_seed(simple: Study) -> None:
    record = Memory()
    search = begun(simple, record, **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lucky())
    (plan,) = [event.body for event in record.events if event.kind == "confirming"]
    assert plan == {"trials": [1, 2], "control": 0, "seeds": 3}
    assert numbers(search) == [1, 2, 0] * 3
    assert [t.origin for t in search.trials][4] == "confirmation of trial 1"
    assert all(t.point == search.trials[t.confirms].point for t in search.trials if t.confirms is not None)


def test_a_start_point_that_is_among_the_best_is_not_doubled(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lambda trial: 1.0 - trial.point["model/depth"] / 10)
    assert search.trials.confirming == Confirming([0, 1], 0, 3)
    assert numbers(search) == [0, 1] * 3


def test_every_seed_is_fresh(tiny_study: Study) -> None:
    search = begun(tiny_study, Memory(), confirm=3)
    work(search, Curves(1, ends=0.0), workers=2)
    seeds = [search.config(trial)["train/seed"] for trial in search.trials]
    assert len(set(seeds)) == len(seeds)
    for trial in search.trials:
        if trial.confirms is not None:
            here, there = search.config(trial), search.config(search.trials[trial.confirms])
            assert {**here, "train/seed": 0} == {**there, "train/seed": 0}
            assert (trial.state, len(trial.epochs)) == (State.COMPLETE, 9)


def test_where_the_seed_itself_is_searched_repetitions_are_one_setting_and_the_seed_is_fresh(simple: Study) -> None:
    study = replace(simple, space={**simple.space, "train/seed": Choice(0, 1)}, start=[])
    search = begun(study, Memory(), confirm=2, confirm_seeds=2, sampler="grid", scheduler="none", trials=8)
    play(search, lambda trial: LUCK[int(trial.point["model/depth"])])
    again = [trial for trial in search.trials if trial.confirms is not None]
    assert [trial.point["model/depth"] for trial in again] == [2, 3, 2, 3]
    seeds = [search.config(trial)["train/seed"] for trial in again]
    assert len(set(seeds) - {0, 1}) == 4
    assert seeds == [trial.point["train/seed"] for trial in again]


def test_without_confirm_nothing_is_confirmed(tiny_study: Study) -> None:
    search = begun(tiny_study, Memory())
    work(search, Curves(1))
    assert (numbers(search), search.trials.confirming) == ([], None)
    assert confirmed.document({}, search.trials) is None


@pytest.mark.parametrize("asked", [{"confirm": 0}, {"confirm": -1}, {"confirm": True}, {"confirm": 1.5}])
def test_what_is_no_number_of_trials_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="--confirm must be"):
        Settings(**asked)
    with pytest.raises(BadInput, match="--confirm-seeds must be at least 1, but got 0"):
        Settings(confirm=1, confirm_seeds=0)
    with pytest.raises(BadInput, match="give --confirm too"):
        Settings(confirm_seeds=2)


def test_more_confirmations_than_trials_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search", "digits_mlp", "--trials", "3", "--confirm", "4"]
    kept = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: --confirm must be at most the number of trials, which is 3, but got 4; "
        "confirm fewer, or search more with --trials"
    ]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="which is 16, but got 17"):  # the study's number counts too
        prepare("digits_mlp", Settings(runs=tmp_path / "runs", confirm=17, trials=16), Silent())


# Who wins


def test_the_winner_is_chosen_by_the_mean_of_fresh_seeds_and_not_by_luck(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lucky())
    best = search.trials.best()
    assert best is not None
    assert best.confirms == 2  # depth 3, not the lucky depth 2
    assert best.best_value(simple.objective) == 0.80  # of its runs the best on validation is served
    told = confirmed.document({"a/b": 1}, search.trials)
    assert told is not None
    assert told["winner"] == 2
    assert [each["trial"] for each in told["candidates"]] == [2, 1]
    first = told["candidates"][0]
    assert first["config"] == {"a/b": 1, "model/depth": 3}
    assert (first["search_value"], first["values"]) == (0.80, [0.78, 0.80, 0.79])
    assert first["mean"] == pytest.approx(0.79)
    assert first["shrinkage"] == pytest.approx(0.01)
    assert told["candidates"][1]["shrinkage"] == pytest.approx(0.29)
    assert told["control"]["trial"] == 0
    assert told["control"]["difference"] == pytest.approx(0.79 - 0.51)


def test_less_is_more_where_the_metric_is_a_loss(simple: Study) -> None:
    study = replace(simple, objective=Objective("val_loss", "min"))
    search = begun(study, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    losses = lucky()
    play(search, lambda trial: 1 - losses(trial))
    best = search.trials.best()
    assert best is not None
    assert (best.confirms, best.best_value(study.objective)) == (2, pytest.approx(0.2))
    told = confirmed.document({}, search.trials)
    assert told is not None
    assert told["candidates"][0]["shrinkage"] == pytest.approx(-0.01)
    lines = confirmed.lines(told)
    assert lines[0].endswith("the search had said 0.2000: 0.0100 more")
    assert "the winner is 0.2800 better" in lines[1]


def test_the_start_point_wins_if_fresh_seeds_show_that_nothing_is_better(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lambda t: LUCK[int(t.point["model/depth"])] if t.confirms is None else 0.6 - t.confirms / 100)
    told = confirmed.document({}, search.trials)
    assert told is not None
    assert (told["winner"], told["control"]["trial"]) == (0, 0)
    assert [each["trial"] for each in told["candidates"]] == [1, 2]
    assert told["control"]["difference"] is None
    assert confirmed.lines(told)[1].endswith("nothing was found to be better")
    assert search.trials.best().confirms == 0  # type: ignore[union-attr]


def test_a_setting_that_mostly_diverges_does_not_win_by_the_run_that_is_left(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    runs = iter([0.99, 0.7, 0.5, math.nan, 0.7, 0.5, math.nan, 0.7, 0.5])
    play(search, lambda trial: LUCK[int(trial.point["model/depth"])] if trial.confirms is None else next(runs))
    assert [(each.trial.number, each.values) for each in search.trials.confirmed()] == [
        (2, [0.7] * 3), (0, [0.5] * 3), (1, [0.99]),
    ]  # fmt: skip


def test_equal_means_are_decided_by_what_the_search_saw(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lambda trial: LUCK[int(trial.point["model/depth"])] if trial.confirms is None else 0.5)
    assert [each.trial.number for each in search.trials.confirmed()] == [1, 2, 0]


def test_a_confirmation_without_an_end_does_not_count(simple: Study) -> None:
    search = begun(simple, Memory(), confirm=1, sampler="grid", scheduler="none", trials=4)
    while not numbers(search):
        end(search, asked(search), 0.5 + len(search.trials) / 100)
    first = search.trials.best()
    search.ask()
    again = asked(search)
    search.report(again.number, EpochReport(1, {"val_accuracy": 0.99}, 1.0))
    assert search.trials.best() is first
    search.end(again.number, State.DIVERGED, "made up")
    told = confirmed.document({}, search.trials)
    assert told is not None
    assert [len(each["values"]) for each in told["candidates"]] == [1]
    assert "(1 of 3 fresh seeds)" in confirmed.lines(told)[0]


@given(
    values=st.lists(st.floats(0, 1), min_size=2, max_size=8), other=st.lists(st.floats(0, 1), min_size=2, max_size=8)
)
def test_intervals_are_those_of_scipy(values: Sequence[float], other: Sequence[float]) -> None:
    import numpy as np
    from scipy import stats

    if min(np.std(values), np.std(other)) < 1e-6:
        return
    mean, error = np.mean(values), stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, mean, error)
    assert intervals.mean_interval(values) == pytest.approx(expected)
    expected = stats.ttest_ind(values, other, equal_var=False).confidence_interval(0.95)
    assert intervals.difference_interval(values, other) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_value_has_no_interval_and_equal_values_have_one_without_width() -> None:
    assert intervals.difference_interval([0.5], [0.4, 0.3]) is None
    assert intervals.difference_interval([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)


# The record


def test_a_confirmed_search_goes_on_bit_for_bit_after_every_one_of_its_events(tiny_study: Study) -> None:
    curves = Curves(3, losses=0.1)
    record = Memory()
    undisturbed = begun(tiny_study, record, sampler="tpe", trials=6, confirm=2)
    work(undisturbed, curves)
    assert sum(event.kind == "confirming" for event in record.events) == 1
    for place in record.batches[1:]:
        again = Memory(record.events[:place])
        search = resumed(tiny_study, again, again.events[:place], trials=6)
        work(search, curves)
        assert decisions(again.events) == decisions(record.events)
        assert search.trials.best().number == undisturbed.trials.best().number  # type: ignore[union-attr]
        assert differences(again.events, tiny_study) == []


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 4),
    sampler=st.sampled_from(["random", "tpe"]),
    ends=st.sampled_from([0.0, 0.05, 0.3]),
    losses=st.sampled_from([0.0, 0.3]),
    sessions=st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.booleans(), st.integers(0, 2)), max_size=4),
)
def test_any_confirmed_record_can_be_derived_from_itself(
    seed: int,
    workers: int,
    sampler: str,
    ends: float,
    losses: float,
    sessions: Sequence[tuple[int, bool, bool, int]],
    tiny_study: Study,
) -> None:
    """Killed or stopped at any place, confirmed early by the clock, given more or not."""
    record, curves, trials = Memory(), Curves(seed, ends, losses), 5
    search = begun(tiny_study, record, sampler=sampler, trials=trials, confirm=2)
    for number, (steps, said, by_clock, more) in enumerate(sessions):
        work(search, curves, workers=workers, order=number, steps=steps)
        if by_clock:
            search.confirm()
            work(search, curves, workers=workers, order=number, steps=3)
        if said:
            search.note(Finished("interrupted", "made up", 1.0))
        trials += more
        told = {"reopened": True} if more else {}
        search = resumed(tiny_study, record, list(record.events), trials=trials, **told)
    work(search, curves, workers=workers, order=9)
    assert differences(record.events, tiny_study) == []
    assert search.trials.running() == []
    if search.hopeless():
        return
    if search.trials.confirming is not None:
        assert search.trials.due(search.trials.confirming) == []
    if search.trials.best() is not None:
        assert len(search.trials.searched) == trials or search.trials.confirming is not None


def test_a_confirmation_that_was_tampered_with_is_found(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, confirm=2), Curves(3, ends=0.0))
    plan = next(event for event in record.events if event.kind == "confirming")
    for changed in ({"trials": plan.body["trials"][::-1]}, {"seeds": 2}, {"control": None}):
        events = [replace(e, body={**e.body, **changed}) if e is plan else e for e in record.events]
        assert f"event {plan.id}: recorded is confirming" in differences(events, tiny_study)[0]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_no_sampler_and_no_scheduler_hears_of_a_confirmation(sampler: str, tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, sampler=sampler, trials=6, confirm=2)
    work(search, Curves(3, ends=0.0))
    again = {trial.number for trial in search.trials if trial.confirms is not None}
    assert len(again) in (6, 9)
    heard: Any = search.sampler
    for number in (98, 99):
        assert len(heard.seen(number)) <= 6
    assert not any(event.kind == "decided" and event.trial in again for event in record.events)


def test_the_next_suggestion_is_what_it_would_have_been_without_a_confirmation_in_between(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, sampler="tpe", trials=6, confirm=2), Curves(3, ends=0.0))
    search = resumed(tiny_study, record, list(record.events), trials=7, reopened=True)
    number = len(search.trials)
    plain = begun(tiny_study, Memory(), sampler="tpe", trials=6)
    work(plain, Curves(3, ends=0.0))
    assert asked(search).point == plain.sampler.propose(number)


# The clock


def timed(simple: Study, **changes: Any) -> tuple[Memory, Search]:
    """A search whose fourth trial still runs after three epochs of 10 s each and a half."""
    record = Memory()
    search = begun(simple, record, **{**PLAIN, "sampler": "grid", "scheduler": "none", "trials": 4, **changes})
    for value in (0.5, 0.9, 0.8):
        end(search, asked(search), value, seconds=10.0)
    search.report(asked(search).number, EpochReport(1, {"val_accuracy": 0.1}, 10.0))
    return record, search


def test_the_search_ends_so_early_that_its_confirmation_fits_into_the_time(simple: Study) -> None:
    _, search = timed(simple)
    # 9 runs of 2 epochs of 10 s, on 2 workers: 5 after one another; before that the epoch in hand.
    needed = confirmation.seconds_needed(search, 2)
    assert needed == pytest.approx(10 + 5 * (confirmation.START_SECONDS + 20 * confirmation.SLACK))
    assert confirmation.seconds_needed(search, 9) == pytest.approx(
        10 + confirmation.START_SECONDS + 20 * confirmation.SLACK
    )

    def begins(now: float, deadline: float) -> bool:
        return confirmation.time_to_begin(search, 2, began=0.0, deadline=deadline, now=now)

    assert not begins(1000 - needed - 1, 1000.0)
    assert begins(1000 - needed + 1, 1000.0)
    # Half of the time is the search's, even if the confirmation needs more than there is.
    assert not begins(49.0, 100.0)
    assert begins(51.0, 100.0)
    search.confirm()
    assert not begins(999.0, 1000.0)  # it has begun


def test_the_clock_begins_no_confirmation_before_a_trial_is_complete(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    first = asked(search)
    search.report(first.number, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
    clock = {"began": 0.0, "deadline": 100.0, "now": 99.0}
    assert not confirmation.time_to_begin(search, 1, **clock)
    end(search, first, 0.5)
    assert confirmation.time_to_begin(search, 1, **clock)


def test_no_time_is_kept_where_nothing_is_to_be_confirmed(simple: Study) -> None:
    _, search = timed(simple, confirm=None)
    assert confirmation.seconds_needed(search, 2) == 0.0
    assert confirmation.seconds_needed(begun(simple, Memory(), **PLAIN), 2) == 0.0


def test_what_the_search_left_behind_is_not_run_again_by_a_confirmation_that_goes_on(simple: Study) -> None:
    record, search = timed(simple)
    search.confirm()
    assert (search.trials[3].state, search.trials[3].why) == (State.INTERRUPTED, "the confirmation began")
    assert search.report(3, EpochReport(2, {"val_accuracy": 1.0}, 1.0)) is False  # its worker hears that it has ended
    first = asked(search)
    assert first.confirms == 1
    search.report(first.number, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
    search = resumed(simple, record, list(record.events), trials=4)
    assert search.again() is search.trials[first.number]
    assert search.again() is None
    search.restart(search.trials[first.number], None)
    end(search, search.trials[first.number], 0.7)
    play(search, lambda trial: 0.6)
    assert numbers(search) == [1, 2, 0] * 3
    assert search.trials[3].state is State.INTERRUPTED
    assert len(search.trials[3].epochs) == 1
    assert differences(record.events, simple) == []


def test_a_trial_that_waits_for_a_worker_when_the_confirmation_begins_gets_none(simple: Study) -> None:
    _, search = timed(simple)
    assert search.lost(3, State.FAILED, "made up")
    search.confirm()
    assert search.again() is None


def test_without_a_clock_the_confirmation_waits_for_what_still_runs(simple: Study) -> None:
    _, search = timed(simple)
    assert search.ask() is None
    assert search.trials.confirming is None
    end(search, search.trials[3], 0.95)
    assert asked(search).confirms == 3


def test_what_did_not_come_about_is_said(simple: Study) -> None:
    _, search = timed(simple)
    assert "no time to confirm" in confirmation.shortfalls(search.trials, 2, control=True)[0]
    search.confirm()
    for _ in range(2):
        end(search, asked(search), 0.7)
    search.ask()
    (line,) = confirmation.shortfalls(search.trials, 2, control=True)
    assert line == "2 of 9 confirmations fitted into the time; what they say counts"
    record = Memory()
    search = begun(simple, record, **{**PLAIN, "confirm": 3}, sampler="grid", scheduler="none", trials=4)
    play(search, lambda trial: math.nan if trial.number in (0, 1, 2) else 0.5)
    lines = confirmation.shortfalls(search.trials, 3, control=True)
    assert lines[0] == "3 were to be confirmed, but only 1 settings came out with a finite value"
    assert lines[1] == "the first start point came out with no finite value, so the confirmation has no control"
    assert len(lines) == 2


# Going on


def test_with_more_trials_the_search_goes_on_and_only_what_is_new_among_the_best_is_confirmed(simple: Study) -> None:
    record = Memory()
    search = begun(simple, record, **PLAIN, sampler="grid", scheduler="none", trials=3)
    value = lucky()
    play(search, value)
    assert numbers(search) == [1, 2, 0] * 3
    search = resumed(simple, record, list(record.events), trials=4, reopened=True)
    new = asked(search)
    assert (new.origin, new.point) == ("sampler", {"model/depth": 4})
    end(search, new, 0.95)
    play(search, value)
    assert numbers(search) == [1, 2, 0] * 3 + [new.number] * 3
    assert search.trials.best().confirms == new.number  # type: ignore[union-attr]
    told = confirmed.document({}, search.trials)
    assert told is not None
    assert [each["trial"] for each in told["candidates"]] == [new.number, 2, 1]
    assert differences(record.events, simple) == []


def prepared(search: Search, record: Memory, study: Study, **changes: Any) -> Any:
    header = header_of(record.events[:1]).changed({"trials": 4, **PLAIN, **changes})
    limit = SimpleNamespace(time_budget=None)
    return SimpleNamespace(past=tuple(record.events), settings=limit, header=header, changes=changes)


def test_a_finished_confirmation_has_nothing_left_but_an_interrupted_one_has(simple: Study) -> None:
    record, search = timed(simple)
    search.confirm()
    for left in (True, False):
        if not left:
            search = resumed(simple, record, list(record.events), trials=4)
            play(search, lambda trial: 0.6)
        search.note(InMLflow("sqlite:///mlflow.db", "1", "ab", winner="0f/4/1"))
        search.note(Finished("done", "", 1.0))
        assert something_left(prepared(search, record, simple)) is left
    assert something_left(prepared(search, record, simple, trials=5, reopened=True))
    assert something_left(prepared(search, record, simple, confirm=3, reopened=True))


def test_a_finished_search_can_be_confirmed_later_and_with_more_seeds(simple: Study) -> None:
    record, value = Memory(), lucky()
    plain = begun(simple, record, sampler="grid", scheduler="none", trials=4)
    play(plain, value)
    assert plain.trials.best().number == 1  # type: ignore[union-attr]
    search = resumed(simple, record, list(record.events), trials=4, confirm=2, confirm_seeds=1, reopened=True)
    play(search, value)
    assert numbers(search) == [1, 2, 0]
    search = resumed(simple, record, list(record.events), trials=4, confirm=2, confirm_seeds=3, reopened=True)
    play(search, value)
    assert numbers(search) == [1, 2, 0] * 3
    assert search.trials.best().confirms == 2  # type: ignore[union-attr]
    assert differences(record.events, simple) == []


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a search that was begun with `--confirm 2`."""
    own = prepare("digits_mlp", Settings(runs=tmp_path / "runs", trials=4, confirm=2), Silent())
    folder = tmp_path / "runs" / "mine-1"
    folder.mkdir(parents=True)
    with Record(folder / FILE, create=True) as record:
        begun = replace(own.header, name="mine-1", id="0f", process=Process(2, 2.0, 1, "here", after_s=4.0))
        record.append(("search", None, begun.to_plain()))
    return folder


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        (More(), {"confirm": 2, "confirm_seeds": 3}),
        (More(confirm=2), {"confirm": 2, "confirm_seeds": 3}),
        (More(trials=2), {"confirm": 2, "confirm_seeds": 3, "reopened": True}),
        (More(confirm=3), {"confirm": 3, "confirm_seeds": 3, "reopened": True}),
        (More(confirm_seeds=5), {"confirm": 2, "confirm_seeds": 5, "reopened": True}),
    ],
)
def test_a_search_that_goes_on_is_reopened_only_by_what_is_new(
    more: More, changed: dict[str, Any], recorded: Path
) -> None:
    found = recalled(recorded, read(recorded / FILE), more, "", Silent()).changes
    assert {key: found[key] for key in ("confirm", "confirm_seeds", "reopened") if key in found} == changed


def test_more_confirmations_than_trials_are_refused_when_a_search_goes_on(recorded: Path) -> None:
    with pytest.raises(BadInput, match="which is 4, but got 5"):
        recalled(recorded, read(recorded / FILE), More(confirm=5), "", Silent())
    with pytest.raises(BadInput, match="--confirm must be at least 1"):
        More(confirm=0)


# What one sees of it


def test_the_best_run_of_each_confirmed_setting_keeps_its_checkpoint(simple: Study) -> None:
    search = begun(simple, Memory(), **PLAIN, sampler="grid", scheduler="none", trials=4)
    play(search, lucky())
    best = {each.best.number for each in search.trials.confirmed()}
    assert {int(name.split("/")[0]) for name in checkpoints.needed(search.trials)} == best
    assert [search.trials[number].confirms for number in sorted(best)] == [1, 2, 0]


def test_confirmations_are_no_rivals_at_a_rung_nor_in_what_mattered(tiny_study: Study, tmp_path: Path) -> None:
    told = {}
    for name, changes in (("with", {"confirm": 2}), ("without", {})):
        folder, search = kept(tmp_path / name, tiny_study, **changes)
        made = Snapshot.read(folder)
        compared, drawn = hyperparameters.build(made), course.build(made)
        assert compared is not None
        assert drawn is not None
        told[name] = [rung_counts(search), stopping.build(made), drawn.history, compared.importances]
        told[name] += [[trial.number for trial in compared.compared.trials], compared.published]
    assert told["with"] == told["without"]


def test_the_document_the_result_and_the_report_tell_of_it(tiny_study: Study, tmp_path: Path) -> None:
    folder, search = kept(tmp_path, tiny_study, seed=12, confirm=2)
    summary = summarize(folder)
    best, told = summary["best"], summary["confirmation"]
    assert json.loads(json.dumps(summary)) == summary
    assert best["confirmed_from"] == told["winner"]
    assert search.trials[best["trial"]].confirms == told["winner"]
    lines = result(summary)
    assert f"trial {best['trial']}, epoch {best['epoch']}, which confirms trial {told['winner']}" in lines
    entry = confirmed.of_winner(told)
    assert entry is not None
    low, high = entry["interval"]
    assert (
        f"confirmed           {entry['mean']:.4f} ± {(high - low) / 2:.4f} (3 fresh seeds, 95 %); the search" in lines
    )
    page = report.page(Snapshot.read(folder))
    assert '<section id="confirmation">' in page
    for each in told["candidates"]:
        assert f"trial {each['trial']}" in page
    assert page.count('aria-label="val') >= 1
    plain, _ = kept(tmp_path / "plain", tiny_study)
    assert '<section id="confirmation">' not in report.page(Snapshot.read(plain))


def test_what_is_about_to_be_confirmed_is_said_in_a_line() -> None:
    assert confirming(Confirming([5, 2], 0, 3)) == (
        "confirming the settings of trials 5, 2, and the first start point (trial 0) as control: 3 fresh seeds each"
    )
    assert confirming(Confirming([5], None, 1)) == ("confirming the settings of trial 5: 1 fresh seed each")


def test_optunas_file_has_a_confirmation_as_a_trial_that_taught_nothing(tiny_study: Study, tmp_path: Path) -> None:
    import optuna

    folder, search = kept(tmp_path, tiny_study, confirm=2)
    write_study(tmp_path / "optuna.db", read(folder / FILE), running=False)
    study = optuna.load_study(study_name="tiny-1", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    again = [trial.number for trial in search.trials if trial.confirms is not None]
    assert again
    assert {study.trials[number].state.name for number in again} == {"FAIL"}
    assert study.trials[again[0]].user_attrs["origin"].startswith(CONFIRMATION)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_mlflow_shows_what_the_clock_left_behind_as_killed_through_every_batch(simple: Study, tmp_path: Path) -> None:
    more = {"experiment": "tiny", "where": "", "digest": "ab" * 32, "user": "me", "commit": "", "versions": {}}
    record, search = timed(simple, **more)
    search.confirm()
    first = asked(search)
    search.note(Finished("interrupted", "made up", 1.0))
    search = resumed(simple, record, list(record.events), trials=4)
    assert search.again() is not None
    search.restart(search.trials[first.number], None)
    end(search, search.trials[first.number], 0.7)
    play(search, lambda trial: 0.6 + trial.number / 1000)
    search.note(Finished("done", "", 1.0))
    for size in (1, 7, len(record.events)):
        uri = f"sqlite:///{tmp_path / f'{size}.db'}"
        runs = Runs(uri, record.events[:1])
        for start in range(0, len(record.events), size):
            runs.write(record.events[start : start + size])
        assert disagreements(connect(uri), record.events) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_a_whole_search_confirms_its_best_and_opens_the_test_set_once_for_the_winner(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    here = {**kept, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}

    def search(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "search", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=240)

    done = search("digits_mlp", "--trials", "3", "--epochs", "2", "--confirm", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert "confirming the settings of trials" in done.stderr
    document = json.loads(done.stdout)
    best, told = document["best"], document["confirmation"]
    assert len(told["candidates"]) == 2
    assert all(len(each["values"]) == 3 for each in [*told["candidates"], told["control"]])
    assert {told["winner"], best["confirmed_from"]} == {best["confirmed_from"]}
    entry = confirmed.of_winner(told)
    assert entry is not None
    assert best["val_accuracy"] == max(entry["values"])
    assert document["test_openings"] == 1
    events = read(tmp_path / "runs" / document["name"] / FILE)
    tested = next(event for event in events if event.kind == "tested")
    assert tested.trial == best["trial"]
    assert tested.id > max(event.id for event in events if event.kind == "ended")

    client = MlflowClient(tracking_uri=document["mlflow"]["tracking_uri"])
    parent = client.get_run(document["mlflow"]["parent_run_id"])
    shown = {name: parent.data.metrics[name] for name in ("confirmed_mean", "confirmed_low", "confirmed_high")}
    assert list(shown.values()) == pytest.approx([entry["mean"], *entry["interval"]])
    assert parent.data.tags["best_trial"] == str(best["trial"])
    shrinkage = parent.data.metrics["shrinkage"]
    assert shrinkage == pytest.approx(entry["shrinkage"]) if entry["shrinkage"] is not None else math.isnan(shrinkage)
    runs = client.search_runs([document["mlflow"]["experiment_id"]])
    origins = [run.data.tags.get("search.origin", "") for run in runs]
    assert sum(origin.startswith(CONFIRMATION) for origin in origins) == sum(document["trials"].values()) - 3
    assert document["mlflow"]["model_uri"]
    for verb in ("doctor", "replay"):
        assert search(verb, document["name"]).returncode == 0
    assert "is finished" in search("resume", document["name"]).stderr
