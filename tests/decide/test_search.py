"""A whole search without Ray: made-up curves in place of training, everything else as it is."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide.replay import differences
from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.search import RETRIES, Search
from search.decide.streak import FAILURES_IN_A_ROW
from search.findings.snapshot import Snapshot
from search.findings.summary import summarize
from search.findings.tables import leaderboard
from search.record.events import EpochReport, Event, Finished, WinnerTested
from search.record.reader import FILE
from search.record.reader import stored as read
from search.record.reading import header_of
from search.record.record import Record
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import Trials, replayed
from search.settings import Settings
from search.storage import lock
from spaces.study import Choice, Objective, Study
from tests import simulated
from tests.simulated import Curves, Memory, begun, first_event, note

Outcome = float | None | State
"""What an epoch gives: a value, no value at all, or the end of the trial."""

Curve = Callable[[dict[str, Any], int], Outcome]

ENDS = [state for state in State if state not in (State.RUNNING, State.INTERRUPTED)]

PLACE = {"pid": 1, "node": "here", "began": 2.5}


def searching(study: Study, record: Record, past: Sequence[Event] = (), **changes: Any) -> Search:
    setting = {"sampler": "tpe", "scheduler": "asha", "seed": 0, "trials": 12, **changes}
    return Search(
        study,
        record,
        SAMPLERS[setting["sampler"]](study, setting["seed"]),
        SCHEDULERS[setting["scheduler"]](study),
        Settings(seed=setting["seed"], trials=setting["trials"]),
        past=past,
    )


@pytest.fixture
def search(tiny_study: Study, tmp_path: Path) -> Search:
    """A search of `tiny_study` whose record is `record.db` in `tmp_path`."""
    return searching(tiny_study, Record(tmp_path / FILE, create=True))


def ask(search: Search) -> Trial:
    trial = search.ask()
    assert trial is not None
    return trial


def report(search: Search, trial: int, epoch: int, value: float) -> bool:
    return search.report(trial, EpochReport(epoch, {"val_accuracy": value, "val_loss": 1.0}, 1.0, **PLACE))


def work(search: Search, trial: Trial, curve: Curve) -> None:
    """Train `trial` from where it stands to its end."""
    config = search.config(trial)
    for epoch in range(len(trial.epochs) + 1, search.study.epochs + 1):
        outcome = curve(config, epoch)
        if isinstance(outcome, State):
            return search.end(trial.number, outcome, "made up")
        metrics = {"val_loss": 1.0} | ({} if outcome is None else {"val_accuracy": outcome})
        if not search.report(trial.number, EpochReport(epoch, metrics, 1.0, **PLACE)):
            return None
    return None


def drive(search: Search, curve: Curve) -> list[int]:
    """Work on one trial after the other until there is none; the number of events after each step of the search.

    A step is written in one transaction, so these are the places where a kill can cut the record.
    """
    steps = [search.record.last_id()]
    append = search.record.append

    def noting(*events: Any) -> list[Event]:
        written = append(*events)
        steps.append(search.record.last_id())
        return written

    search.record.append = noting  # type: ignore[method-assign]
    for trial in search.trials.running():
        work(search, trial, curve)
    while (trial := search.ask()) is not None:
        work(search, trial, curve)
    return steps


def told(events: Sequence[Event]) -> list[tuple[str, int | None, str]]:
    """The events without their times; as text, in which NaN equals itself."""
    return [(event.kind, event.trial, repr(sorted(event.body.items()))) for event in events]


def made_up(config: dict[str, Any], epoch: int) -> Outcome:
    """A curve that rises with the epochs, best where lr is near 0.03; now and then a trial ends otherwise."""
    chance = random.Random(f"{config['train/seed']} {epoch}").random()
    if chance < 0.1:
        return random.Random(config["train/seed"]).choice([State.FAILED, State.DIVERGED, State.OUT_OF_MEMORY, math.nan])
    near = 1 / (1 + abs(math.log10(config["train/lr"] / 0.03)))
    return near * (1 - 0.7**epoch) + 0.02 * chance


# What is asked


def test_start_points_are_tried_first_and_in_order(search: Search) -> None:
    trials = [ask(search) for _ in range(4)]
    assert [trial.origin for trial in trials] == ["start point 0", "start point 1", "sampler", "sampler"]
    assert [dict(trial.point) for trial in trials[:2]] == list(search.study.start)
    for trial in trials:
        search.study.ranges.check_point(trial.point)


def test_no_more_trials_are_asked_than_were_wanted(tiny_study: Study, tmp_path: Path) -> None:
    with Record(tmp_path / FILE, create=True) as record:
        search = searching(tiny_study, record, trials=3)
        assert [ask(search).number for _ in range(3)] == [0, 1, 2]
        assert search.ask() is None
        assert search.ask() is None


def test_the_seeds_of_trials_differ_and_are_those_of_the_search(tiny_study: Study, tmp_path: Path) -> None:
    def seeds(name: str, seed: int) -> list[int]:
        with Record(tmp_path / name, create=True) as record:
            search = searching(tiny_study, record, seed=seed)
            return [search.config(ask(search))["train/seed"] for _ in range(12)]

    first = seeds("first", 0)
    assert len(set(first)) == 12
    assert seeds("again", 0) == first
    assert not set(seeds("other", 1)) & set(first)


def test_a_config_holds_all_that_the_trainable_needs(search: Search) -> None:
    trial = ask(search)
    config = search.config(trial)
    assert config == {**search.study.fixed, **trial.point, "train/epochs": 9, "train/seed": config["train/seed"]}


# What is reported


def test_a_trial_that_reaches_the_budget_is_complete(search: Search) -> None:
    ask(search)
    assert [report(search, 0, epoch, epoch / 10) for epoch in range(1, 10)] == [True] * 8 + [False]
    trial = search.trials[0]
    assert (trial.state, trial.why) == (State.COMPLETE, "reached the full budget")
    assert trial.values(search.study.objective) == [epoch / 10 for epoch in range(1, 10)]


def test_a_trial_without_promise_is_stopped_and_says_what_was_needed(search: Search) -> None:
    for _ in range(3):
        ask(search)
    assert report(search, 0, 1, 0.9)
    assert not report(search, 2, 1, 0.3)
    assert search.trials[2].state is State.STOPPED
    assert search.trials[2].why == "0.3000 after 1 epochs, 0.9000 was needed"
    assert not report(search, 2, 2, 0.99)
    assert len(search.trials[2].epochs) == 1


def test_a_start_point_goes_on_where_another_trial_would_be_stopped_and_is_a_rival_all_the_same(
    tiny_study: Study,
) -> None:
    record = Memory()
    search = begun(tiny_study, record)
    for _ in range(3):
        ask(search)
    assert report(search, 0, 1, 0.9)
    assert report(search, 1, 1, 0.3)
    decided = record.events[-1]
    assert (decided.kind, decided.body["go_on"], decided.body["spared"]) == ("decided", True, "start point")
    assert decided.body["cutoff"] == 0.9
    assert not report(search, 2, 1, 0.29)
    assert search.trials[2].why == "0.2900 after 1 epochs, 0.9000 was needed"


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_an_audit_spares_a_share_of_those_that_would_be_stopped_drawn_by_seed_and_number(
    share: float, tiny_study: Study
) -> None:
    study = replace(tiny_study, start=())

    def searched(seed: int) -> tuple[Memory, set[int], int]:
        record = Memory()
        search = begun(study, record, trials=60, audit=share, seed=seed)
        simulated.work(search, Curves(3, ends=0.0))
        spared = {e.trial for e in record.events if e.kind == "decided" and e.body.get("spared") == "audit"}
        assert all(search.trials[number].state is State.COMPLETE for number in spared)
        assert differences(record.events, study) == []
        return record, {number for number in spared if number is not None}, search.trials.counts().get("stopped", 0)

    _, spared, stopped = searched(0)
    assert spared == searched(0)[1]
    if share == 0.0:
        assert (len(spared), stopped > 20) == (0, True)
    elif share == 1.0:
        assert (len(spared) > 20, stopped) == (True, 0)
    else:
        assert 0.1 < len(spared) / (len(spared) + stopped) < 0.5
        assert spared != searched(1)[1]


def test_a_trial_is_judged_by_its_best_epoch(search: Search) -> None:
    ask(search)
    ask(search)
    for epoch, value in enumerate([0.1, 0.5, 0.5], start=1):
        assert report(search, 0, epoch, value)
    assert report(search, 1, 1, 0.2)
    assert report(search, 1, 2, 0.6)
    assert report(search, 1, 3, 0.4)
    decided = [event.body["value"] for event in search.record.events() if event.kind == "decided" and event.trial == 1]
    assert decided == [0.2, 0.6]


def test_a_trial_that_was_stopped_is_never_best_over_a_complete_one(search: Search) -> None:
    for _ in range(2):
        ask(search)
    for epoch in range(1, 10):
        report(search, 0, epoch, 0.5 if epoch < 3 else 0.6)
    report(search, 1, 1, 0.55)
    report(search, 1, 2, 0.99)
    search.end(1, State.STOPPED, "made up")
    best = search.trials.best()
    assert best is not None
    assert best.number == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 2, 9])
def test_a_value_that_is_not_finite_ends_the_trial_as_diverged(value: float, epoch: int, search: Search) -> None:
    ask(search)
    for earlier in range(1, epoch):
        assert report(search, 0, earlier, 0.5)
    assert not report(search, 0, epoch, value)
    assert search.trials[0].state is State.DIVERGED
    assert search.trials[0].why == f"val_accuracy is {value} after epoch {epoch}; reported were: val_accuracy, val_loss"
    assert search.trials.best() is None
    assert ask(search).number == 1


def without(search: Search, trial: int, epoch: int) -> bool:
    """Report an epoch that lacks the metric."""
    return search.report(trial, EpochReport(epoch, {"val_loss": 0.3, "accuracy": 0.9}, 1.0, **PLACE))


def test_a_trial_whose_metric_never_comes_fails_at_its_end_and_those_there_are_are_named(search: Search) -> None:
    ask(search)
    *before, last = [without(search, 0, epoch) for epoch in range(1, search.study.epochs + 1)]
    assert all(before)
    assert not last
    assert search.trials[0].state is State.FAILED
    assert search.trials[0].why == (
        "no epoch has the metric val_accuracy; reported were: accuracy, val_loss; yield it, or set the objective"
    )
    assert search.trials.best() is None
    assert ask(search).number == 1


def test_an_epoch_without_the_metric_is_no_rung_and_the_next_one_that_has_it_counts_for_it(search: Search) -> None:
    decided: list[tuple[int, int, float]] = []
    decide = search.scheduler.decide
    search.scheduler.decide = lambda *told: decided.append(told) or decide(*told)  # type: ignore
    ask(search)
    first, *_ = search.study.rungs
    for epoch in range(1, first + 2):
        assert without(search, 0, epoch)
    assert not decided
    assert report(search, 0, first + 2, 0.7)
    [(trial, rung, value)] = decided
    assert (trial, value) == (0, 0.7)
    assert rung == max(rung for rung in search.study.rungs if rung <= first + 2)
    assert search.trials[0].best_so_far(search.study.objective) == [0.7] * (first + 2)


def test_a_trial_whose_metric_comes_now_and_then_is_worth_its_best_and_complete_at_the_end(search: Search) -> None:
    ask(search)
    report(search, 0, 1, 0.5)
    for epoch in range(2, search.study.epochs + 1):
        without(search, 0, epoch)
    assert search.trials[0].state is State.COMPLETE
    assert search.trials.best() is search.trials[0]
    assert search.trials[0].best_epoch(search.study.objective).number == 1


def test_a_trial_that_returns_early_is_complete_and_ranked_by_its_best(search: Search) -> None:
    for trial, value in enumerate((0.6, 0.9)):
        ask(search)
        report(search, trial, 1, value)
        search.finish_early(trial)
    budget = search.study.epochs
    assert [trial.state for trial in search.trials] == [State.COMPLETE, State.COMPLETE]
    assert search.trials[1].why == f"finished early, after 1 of {budget} epochs"
    assert [trial.number for trial in search.trials.ranking()] == [1, 0]


def test_at_later_rungs_a_trial_that_finished_early_is_a_rival_with_its_best(search: Search) -> None:
    heard: list[Sequence[float]] = []
    search.sampler.ended = lambda number, state, values: heard.append(values)  # type: ignore[method-assign]
    ask(search)
    report(search, 0, 1, 0.9)
    search.finish_early(0)
    assert heard == [[0.9] * search.study.epochs]
    for rung in search.study.rungs[1:]:
        assert not search.scheduler.decide(1, rung, 0.5).go_on


def test_a_trial_that_returns_early_without_the_metric_fails(search: Search) -> None:
    ask(search)
    without(search, 0, 1)
    search.finish_early(0)
    assert search.trials[0].state is State.FAILED
    assert search.trials[0].why.startswith("no epoch has the metric val_accuracy")


def test_early_ends_and_rare_metrics_are_replayed_and_resumed_as_they_were(tiny_study: Study, tmp_path: Path) -> None:
    """Cut after each step, and gone on with, the record comes out the same; and replay finds nothing amiss."""
    study = replace(tiny_study, trials=8)

    def go_on(search: Search, record: Memory) -> Memory:
        while (trial := next(iter(search.trials.running()), None) or search.ask()) is not None:
            epoch = len(trial.epochs) + 1
            chance = random.Random(f"{trial.number}/{epoch}").random()
            if epoch > 1 and chance < 0.15:
                search.finish_early(trial.number)
            elif epoch % 2 == 0:
                without(search, trial.number, epoch)
            else:
                report(search, trial.number, epoch, chance)
        return record

    record = Memory()
    whole = go_on(begun(study, record, trials=8), record).events
    assert any(event.body.get("why", "").startswith("finished early") for event in whole)
    assert any(event.kind == "decided" for event in whole)
    assert differences(whole, study) == []
    for cut in range(2, len(whole), 5):
        again = Memory()
        again.append(*((event.kind, event.trial, event.body) for event in whole[:cut]))
        assert told(go_on(simulated.searching(study, again, again.events), again).events) == told(whole)


def test_a_record_with_a_missing_metric_can_be_read_and_summarized(search: Search, tmp_path: Path) -> None:
    note(search, "search", first_event(search.study)[2])
    ask(search)
    without(search, 0, 1)
    search.finish_early(0)
    assert summarize(tmp_path)["trials"] == {"failed": 1}
    (row,) = leaderboard(Snapshot.read(tmp_path))
    assert row["value"] is None


def test_an_epoch_that_is_known_changes_no_value_and_no_decision(search: Search) -> None:
    ask(search)
    assert report(search, 0, 1, 0.5)
    assert report(search, 0, 2, 0.6)
    before = list(search.record.events())
    assert report(search, 0, 1, 0.5)
    assert report(search, 0, 2, math.nan)
    repeated = list(search.record.events())[len(before) :]
    assert [(event.kind, event.body["epoch"], event.body["same"]) for event in repeated] == [
        ("repeated", 1, True),
        ("repeated", 2, False),
    ]
    assert search.trials[0].values(search.study.objective) == [0.5, 0.6]


def test_an_epoch_that_comes_again_tells_where_its_checkpoint_is_now(search: Search) -> None:
    ask(search)
    for name in ("first", "second"):
        search.report(
            0, EpochReport(1, {"val_accuracy": 0.5}, 1.0, checkpoint=name, sha256=f"of {name}", bytes=len(name))
        )
    row = search.trials[0].epochs[0]
    assert (row.checkpoint, row.sha256, row.bytes, row.seconds) == ("second", "of second", 6, 1.0)


@pytest.mark.parametrize("state", ENDS)
def test_a_trial_ends_once(state: State, search: Search) -> None:
    ask(search)
    report(search, 0, 1, 0.5)
    search.end(0, state, "the first")
    search.end(0, State.FAILED, "the second")
    assert not report(search, 0, 2, 0.5)
    assert (search.trials[0].state, search.trials[0].why) == (state, "the first")
    assert [event.kind for event in search.record.events()].count("ended") == 1


@pytest.mark.parametrize("state", ENDS)
def test_a_trial_may_end_before_its_first_epoch(state: State, search: Search) -> None:
    ask(search)
    search.end(0, state, "made up")
    assert search.trials.best() is None
    assert ask(search).number == 1


def test_five_failures_in_a_row_are_hopeless(search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        assert not search.hopeless()
        search.end(ask(search).number, State.FAILED, "made up")
    assert search.hopeless()
    assert search.ask() is None


@pytest.mark.parametrize("state", [State.DIVERGED, State.OUT_OF_MEMORY, State.STOPPED])
def test_failures_with_another_end_between_them_are_not_hopeless(state: State, search: Search) -> None:
    for number in range(FAILURES_IN_A_ROW + 4):
        assert not search.hopeless()
        search.end(ask(search).number, state if number == 3 else State.FAILED, "made up")
    # As many again after the other end.
    assert search.hopeless()


def test_a_streak_of_failures_is_one_whatever_a_trial_beside_it_comes_to(search: Search) -> None:
    beside = ask(search)
    for _ in range(FAILURES_IN_A_ROW):
        search.end(ask(search).number, State.FAILED, "ValueError: made up 3")
    report(search, beside.number, 1, 0.5)
    search.end(beside.number, State.COMPLETE, "reached the full budget")
    assert search.hopeless()
    assert search.ask() is None
    assert search.streak.why == "ValueError: made up 3"
    again = searching(search.study, search.record, [*search.record.events()])  # type: ignore[attr-defined, arg-type]
    assert again.hopeless()


def test_who_went_on_after_a_streak_as_earlier_versions_did_was_not_hopeless(search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        search.end(ask(search).number, State.FAILED, "made up")
    note(search, "asked", {"point": {}, "origin": "sampler"}, len(search.trials))
    assert not search.hopeless()


def test_trials_that_are_infeasible_are_no_failures_however_many(search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW + 1):
        search.end(ask(search).number, State.INFEASIBLE, "too large")
    assert not search.hopeless()
    assert search.trials.best() is None


def test_a_trial_that_breaks_a_constraint_is_infeasible_and_cannot_win(tiny_study: Study) -> None:
    study = replace(tiny_study, constraint={"parameters": "<= 1e6", "latency": "< 0.5"})
    search = begun(study, Memory(), trials=8)
    for parameters, latency, value in ((2e6, 0.1, 0.99), (1e6, 0.5, 0.98), (1e6, 0.4, 0.5)):
        told = {"val_accuracy": value, "parameters": parameters, "latency": latency}
        search.report(ask(search).number, EpochReport(1, told, 1.0))
    states = [(trial.state, trial.why) for trial in search.trials]
    assert states[0] == (State.INFEASIBLE, "parameters is 2e+06, which is not <= 1e6 after epoch 1")
    assert states[1] == (State.INFEASIBLE, "latency is 0.5, which is not < 0.5 after epoch 1")
    assert states[2][0] is State.RUNNING
    best = search.trials.best()
    assert best is not None
    assert best.number == 2


def test_a_constraint_on_a_metric_that_is_never_told_fails_the_trial(tiny_study: Study) -> None:
    search = begun(replace(tiny_study, constraint={"parameters": "<= 1e6"}), Memory())
    search.report(ask(search).number, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
    assert search.trials[0].state is State.FAILED
    assert search.trials[0].why.startswith("epoch 1 lacks the metric parameters; reported were: val_accuracy")


def test_a_weighted_objective_is_one_more_metric_of_each_epoch(tiny_study: Study) -> None:
    objective = Objective("score", "max", {"val_accuracy": 1, "latency": -0.5})
    search = begun(replace(tiny_study, objective=objective), Memory(), trials=8)
    for accuracy, latency in ((0.9, 1.0), (0.8, 0.1)):
        search.report(ask(search).number, EpochReport(1, {"val_accuracy": accuracy, "latency": latency}, 1.0))
    best = search.trials.best()
    assert best is not None
    assert (best.number, best.best_value(objective)) == (1, 0.75)
    assert search.trials[0].epochs[0].metrics == {"val_accuracy": 0.9, "latency": 1.0, "score": 0.4}
    events = search.record.events
    again = simulated.searching(search.study, Memory(), events)
    assert [t.best_value(objective) for t in again.trials] == [t.best_value(objective) for t in search.trials]
    assert header_of(events).objective == objective


def test_a_weighted_objective_that_lacks_a_part_says_what_was_told(tiny_study: Study) -> None:
    objective = Objective("score", "max", {"val_accuracy": 1, "latency": -0.5})
    search = begun(replace(tiny_study, objective=objective, epochs=1), Memory())
    search.report(ask(search).number, EpochReport(1, {"val_accuracy": 0.9}, 1.0))
    assert search.trials[0].why.startswith("no epoch has the metric latency; reported were: val_accuracy")


def test_a_search_whose_sampler_has_nothing_left_says_why_it_ends(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"train/lr": Choice(0.1, 0.2)}, start=())
    search = begun(study, Memory(), sampler="grid", trials=5)
    for _ in range(2):
        assert search.why_no_more() != ""
        search.end(ask(search).number, State.COMPLETE, "made up")
    assert search.ask() is None
    assert search.why_no_more() == "the sampler has nothing left to try after 2 of 5 trials"


def test_failures_that_differ_in_their_numbers_alone_are_alike(search: Search) -> None:
    for number in range(FAILURES_IN_A_ROW):
        assert not search.hopeless()
        search.end(ask(search).number, State.FAILED, f"ValueError: {number} channels, {number * 7} expected")
    assert search.hopeless()


def test_failures_that_differ_are_not_hopeless(search: Search) -> None:
    for number in range(FAILURES_IN_A_ROW + 3):
        why = "OSError: 1 file" if number == 3 else "ValueError: 1 file"
        search.end(ask(search).number, State.FAILED, why)
        assert not search.hopeless()
    search.end(ask(search).number, State.FAILED, "ValueError: 1 file")
    assert search.hopeless()


def test_the_order_of_ends_counts_not_that_of_numbers(search: Search) -> None:
    trials = [ask(search) for _ in range(6)]
    for trial in trials[1:5]:
        search.end(trial.number, State.FAILED, "made up")
    search.end(5, State.DIVERGED, "made up")
    search.end(0, State.FAILED, "made up")
    assert not search.hopeless()


def test_a_note_changes_nothing_but_the_record(search: Search) -> None:
    ask(search)
    tested = WinnerTested(trial=0, epoch=1, test_accuracy=0.9, test_loss=0.4, images=100)
    search.note(tested, 0)
    event = list(search.record.events())[-1]
    assert (event.kind, event.trial, WinnerTested.of(event)) == ("tested", 0, tested)
    assert search.trials[0].state is State.RUNNING


# From the record


def test_two_searches_of_one_seed_are_the_same(tiny_study: Study, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        with Record(tmp_path / name, create=True) as record:
            drive(searching(tiny_study, record, seed=seed), made_up)
    first, again, other = (told(read(tmp_path / name)) for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_the_trials_of_a_record_are_those_of_the_search(search: Search, tmp_path: Path) -> None:
    drive(search, made_up)
    again = replayed(read(tmp_path / FILE), search.study.objective)
    first, second = (
        json.dumps([asdict(trial) for trial in trials], sort_keys=True) for trials in (again, search.trials)
    )
    assert first == second
    assert again.counts() == search.trials.counts()


def test_all_is_written_before_it_is_acted_upon(search: Search) -> None:
    # A reader of the record never knows less than the search.
    ask(search)
    with Record(search.record.path) as reader:
        assert [event.kind for event in reader.events()] == ["asked"]
        report(search, 0, 1, 0.5)
        assert [event.kind for event in reader.events()] == ["asked", "epoch", "decided"]


# Trials and summaries


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*State, State.COMPLETE, State.STOPPED, State.COMPLETE]),
            st.lists(st.sampled_from([0.1, 0.5, 0.9, math.nan, math.inf]), max_size=4),
        ),
        max_size=8,
    ),
    st.sampled_from(["max", "min"]),
)
def test_the_ranking_holds_for_any_mixture_of_trials(told: list[tuple[State, list[float]]], mode: str) -> None:
    objective = Objective(mode=mode)
    trials = Trials(objective)
    for number, (state, curve) in enumerate(told):
        trials.apply(Event(1, 0.0, "asked", number, {"point": {}, "origin": "sampler"}))
        for epoch, value in enumerate(curve, start=1):
            row = {"epoch": epoch, "metrics": {"val_accuracy": value}, "seconds": 1.0, "checkpoint": None}
            trials.apply(Event(1, 0.0, "epoch", number, {**row, "sha256": None}))
        if state is not State.RUNNING:
            trials.apply(Event(1, 0.0, "ended", number, {"state": str(state), "why": ""}))
    ranking = trials.ranking()
    spoilt = (State.DIVERGED, State.FAILED, State.OUT_OF_MEMORY, State.INFEASIBLE)
    assert {trial.number for trial in ranking} == {
        trial.number
        for trial in trials
        if trial.state not in spoilt and any(math.isfinite(value) for value in trial.values(objective))
    }
    for first, second in pairwise(ranking):
        assert first.state is State.COMPLETE or second.state is not State.COMPLETE
        values = first.best_value(objective), second.best_value(objective)
        if (first.state is State.COMPLETE) == (second.state is State.COMPLETE) and (
            first.state is State.COMPLETE or len(first.epochs) == len(second.epochs)
        ):
            assert not objective.better(values[1], values[0])
            assert values[0] != values[1] or first.number < second.number
    assert trials.best() is (ranking[0] if ranking else None)
    for trial in ranking:
        assert trial.best_epoch(objective).metrics["val_accuracy"] == trial.best_value(objective)
    assert sum(trials.counts().values()) == len(told)


def test_summaries_count_states_epochs_and_seconds(search: Search, tmp_path: Path) -> None:
    note(search, "search", first_event(search.study)[2])
    for _ in range(6):
        ask(search)
    for epoch in range(1, 10):
        report(search, 0, epoch, epoch / 10)
    report(search, 2, 1, 0.01)
    report(search, 1, 1, math.nan)
    search.end(3, State.FAILED, "RuntimeError: made up")
    search.end(4, State.OUT_OF_MEMORY, "made up")
    search.note(Finished("done", "", 30.0))
    summary = summarize(tmp_path)
    assert summary["trials"] == {
        "complete": 1,
        "stopped": 1,
        "diverged": 1,
        "out of memory": 1,
        "failed": 1,
        "interrupted": 1,
    }
    assert (summary["epochs"], summary["training_s"], summary["wall_s"], summary["state"]) == (11, 11.0, 30.0, "done")
    assert summary["first_trial_s"] == 2.5
    assert summary["best"]["trial"] == 0
    assert summary["best"]["epoch"] == 9
    assert summary["best"]["complete"] is True
    assert summary["best"]["val_accuracy"] == 0.9
    assert summary["best"]["test_accuracy"] is None
    assert summary["best"]["config"] == {"train/batch_size": 16, **search.study.start[0]}


def test_a_summary_without_any_result_has_no_best(search: Search, tmp_path: Path) -> None:
    note(search, "search", first_event(search.study)[2])
    search.end(ask(search).number, State.FAILED, "made up")
    summary = summarize(tmp_path)
    assert summary["best"] is None


def test_a_search_is_running_as_long_as_its_lock_is_held(search: Search, tmp_path: Path) -> None:
    note(search, "search", first_event(search.study)[2])
    assert summarize(tmp_path)["state"] == "interrupted"
    with lock.held(tmp_path):
        assert summarize(tmp_path)["state"] == "running"
    assert summarize(tmp_path)["state"] == "interrupted"
    search.note(Finished("done", "", 30.0))
    with lock.held(tmp_path):  # by `sync`, or by the last moments of the search itself
        assert summarize(tmp_path)["state"] == "done"


def test_the_test_metrics_are_those_of_the_best_trial_only(search: Search, tmp_path: Path) -> None:
    note(search, "search", first_event(search.study)[2])
    for number in range(2):
        work(search, ask(search), lambda config, epoch, number=number: 0.5 + number / 10)  # type: ignore[misc]
    search.note(WinnerTested(0, 1, 0.4, 1.0, 100), 0)
    assert summarize(tmp_path)["best"]["test_accuracy"] is None
    search.note(WinnerTested(1, 1, 0.6, 1.0, 100), 1)
    assert summarize(tmp_path)["best"]["test_accuracy"] == 0.6


def test_the_leaderboard_has_every_trial_the_best_first_and_failures_with_their_reason(
    search: Search, tmp_path: Path
) -> None:
    note(search, "search", first_event(search.study)[2])
    drive(search, made_up)
    rows = leaderboard(Snapshot.read(tmp_path))
    assert sorted(row["trial"] for row in rows) == list(range(12))
    best = search.trials.best()
    assert best is not None
    assert rows[0]["trial"] == best.number
    ranked = [trial.number for trial in search.trials.ranking()]
    assert [row["trial"] for row in rows][: len(ranked)] == ranked
    assert all(row["why"] for row in rows)
    assert all(row["epochs"] == len(row["curve"]) for row in rows)


# Losses


@pytest.mark.parametrize(("state", "retries"), RETRIES.items())
def test_a_lost_trial_is_tried_again_so_often_and_then_has_ended(state: State, retries: int, search: Search) -> None:
    ask(search)
    for attempt in range(1, retries + 1):
        assert search.lost(0, state, "made up")
        assert search.trials[0].state is State.RUNNING
        again = search.again()
        assert again is not None
        search.restart(again, None)
        assert again.attempt == attempt + 1
    assert not search.lost(0, state, "made up")
    trial = search.trials[0]
    assert (trial.state, trial.why) == (state, f"made up ({retries + 1} attempts)")
    assert search.again() is None
    assert ask(search).number == 1


@pytest.mark.parametrize("state", RETRIES)
def test_a_new_epoch_makes_up_for_the_losses_before_it(state: State, search: Search) -> None:
    ask(search)
    for epoch in range(1, 9):
        for _ in range(RETRIES[state]):
            assert search.lost(0, state, "made up")
        assert report(search, 0, epoch, 0.5)
    assert search.trials[0].state is State.RUNNING


def test_an_epoch_that_was_known_makes_up_for_nothing(search: Search) -> None:
    ask(search)
    report(search, 0, 1, 0.5)
    for _ in range(RETRIES[State.FAILED]):
        assert search.lost(0, State.FAILED, "made up")
        assert report(search, 0, 1, 0.5)
    assert not search.lost(0, State.FAILED, "made up")


def test_losses_of_one_kind_do_not_count_for_another(search: Search) -> None:
    ask(search)
    for state in RETRIES:
        for _ in range(RETRIES[state]):
            assert search.lost(0, state, "made up")
    for state in RETRIES:
        assert RETRIES[state] >= 1
    assert not search.lost(0, State.PREEMPTED, "made up")


def test_a_trial_that_has_ended_cannot_be_lost(search: Search) -> None:
    ask(search)
    search.end(0, State.DIVERGED, "made up")
    before = search.record.last_id()
    assert not search.lost(0, State.FAILED, "made up")
    assert search.again() is None
    assert search.record.last_id() == before


def test_lost_trials_wait_in_the_order_of_their_losses(search: Search) -> None:
    for _ in range(3):
        ask(search)
    for number in (2, 0):
        search.lost(number, State.FAILED, "made up")
    again = [search.again() for _ in range(3)]
    assert [trial.number if trial else None for trial in again] == [2, 0, None]


def test_a_trial_lost_for_good_is_told_to_the_sampler(search: Search) -> None:
    told: list[tuple[int, State, list[float]]] = []
    search.sampler.ended = lambda *arguments: told.append(arguments)  # type: ignore[method-assign, assignment]
    ask(search)
    report(search, 0, 1, 0.5)
    for _ in range(RETRIES[State.FAILED]):
        search.lost(0, State.FAILED, "made up")
    assert told == []
    search.lost(0, State.FAILED, "made up")
    assert told == [(0, State.FAILED, [0.5])]


def test_no_lost_trial_is_tried_again_where_all_fail_alike(search: Search) -> None:
    waiting = ask(search)
    search.lost(waiting.number, State.FAILED, "made up")
    for _ in range(FAILURES_IN_A_ROW):
        search.end(ask(search).number, State.FAILED, "ValueError: made up")
    assert search.hopeless()
    assert search.again() is None


def test_workers_that_die_again_and_again_are_hopeless_too(search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        assert not search.hopeless()
        number = ask(search).number
        while search.lost(number, State.FAILED, "the worker died: signal 11"):
            search.again()
    assert search.hopeless()


@pytest.mark.parametrize("state", [State.TIMED_OUT, State.OUT_OF_MEMORY, State.PREEMPTED])
def test_only_failures_are_hopeless(state: State, search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW + 1):
        search.end(ask(search).number, state, "made up")
    assert not search.hopeless()


def test_a_process_that_goes_on_hopes_again(search: Search) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        search.end(ask(search).number, State.FAILED, "made up")
    assert search.hopeless()
    note(search, "resumed", {"trials": 12})
    assert not search.hopeless()
    for _ in range(FAILURES_IN_A_ROW):
        assert not search.hopeless()
        search.end(ask(search).number, State.FAILED, "made up")
    assert search.hopeless()


# What is kept beside the trials, so that a report costs the same however many there are


@given(seed=st.integers(0, 10_000), confirm=st.sampled_from([None, 2]))
@settings(max_examples=15)
def test_leader_epochs_and_those_that_go_on_are_after_every_event_what_a_look_at_all_trials_gives(
    seed: int, confirm: int | None, tiny_study: Study
) -> None:
    study = tiny_study
    record = Memory()
    search = begun(study, record, trials=8, confirm=confirm, confirm_seeds=2)
    simulated.work(search, Curves(seed, losses=0.1), workers=3, order=seed, steps=40)
    record.append(("finished", None, {"state": "interrupted", "why": "told to", "wall_s": 1.0}))
    search = simulated.resumed(study, record, list(record.events), trials=10)
    simulated.work(search, Curves(seed, losses=0.1), workers=3, order=seed)
    trials = Trials(study.objective)
    for event in record.events:
        trials.apply(event)
        going = [trial for trial in trials if trial.state in (State.RUNNING, State.INTERRUPTED)]
        assert trials.going() == going
        assert trials.running() == [trial for trial in going if trial.state is State.RUNNING]
        assert trials.leader() == next((trial for trial in trials.ranking() if trial not in going), None)
        assert trials.epochs == sum(len(trial.epochs) for trial in trials)
        assert len(trials) - trials.confirmations == len(trials.searched)
