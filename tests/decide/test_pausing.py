"""A scheduler may put a trial aside: it leaves its worker, keeps its checkpoint, and goes on when it is the best to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.decide.prospects import Prospects
from search.decide.replay import differences
from search.decide.schedulers.freeze_thaw import WORTH_IT, FreezeThaw
from search.decide.search import Search
from search.errors import BadInput, EnvironmentFault
from search.findings import report
from search.findings.figures.course import MARKERS
from search.findings.figures.interactive import SYMBOLS
from search.record.events import EpochReport, Event, Finished, Kind
from search.record.state import State
from search.session.asked import adapted
from search.settings import Settings
from search.storage.checkpoints import Retention, Shelf, needed
from search.tracking.projection import Projection
from spaces.study import Study
from tests.simulated import Curves, Memory, begun, decisions, kept, resumed, work

FREEZE_THAW = {"sampler": "freeze_thaw", "scheduler": "freeze_thaw"}


@pytest.fixture
def study(tiny_study: Study) -> Study:
    """Nine epochs, judged after 1, 2, 4 and 8; no start points."""
    return replace(tiny_study, start=())


def told(search: Search, number: int, epoch: int, value: float) -> bool:
    """Report an epoch with a checkpoint; whether the trial goes on."""
    name = f"trial-{number:04d}/attempt-1/epoch-{epoch:04d}"
    report = EpochReport(epoch, {"val_accuracy": value}, 1.0, name, "00", 1)
    return search.report(number, report) or search.goes_on_at_once(number)


def first_rung(search: Search, values: Sequence[float]) -> list[int]:
    """New trials, each of which reports its first epoch and leaves its worker."""
    found = []
    for value in values:
        trial = search.ask()
        assert trial is not None
        assert not told(search, trial.number, 1, value)
        found.append(trial.number)
    return found


def asked_until_one_goes_on(search: Search) -> int:
    """Free workers take new trials, which come to little, until a paused one goes on."""
    for _ in range(40):
        waiting = search.again()
        if waiting is not None:
            return waiting.number
        first_rung(search, [0.1])
    raise AssertionError("no paused trial went on")


def test_a_paused_trial_has_not_ended_and_is_neither_running_nor_lost(study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=50)
    (number,) = first_rung(search, [0.5])
    trial = search.trials[number]
    assert (trial.state, trial.ended) == (State.PAUSED, None)
    assert search.trials.paused() == [trial]
    assert search.trials.running() == []
    assert search.trials.counts() == {"paused": 1}
    assert "may go on" in trial.why


def test_the_record_tells_pause_and_going_on(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **FREEZE_THAW, trials=50)
    best = first_rung(search, [0.2, 0.9, 0.3, 0.25, 0.1, 0.15, 0.12, 0.2, 0.1])[1]
    assert asked_until_one_goes_on(search) == best
    search.restart(search.trials[best], search.trials[best].epochs[-1])
    kinds = [event.kind for event in record.events if event.trial == best]
    assert kinds == ["asked", "epoch", "decided", "continued", "restarted"]
    decided, went_on, restarted = [event.body for event in record.events if event.trial == best][2:]
    assert (decided["go_on"], decided["pause"], went_on["at_once"]) == (False, True, False)
    assert restarted["epoch"] == 1
    assert search.trials[best].state is State.RUNNING


def test_the_best_trial_keeps_its_worker_where_none_is_better_to_go_on_with(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **FREEZE_THAW, trials=50)
    best = first_rung(search, [0.2, 0.9, 0.3, 0.25, 0.1, 0.15, 0.12, 0.2, 0.1])[1]
    asked_until_one_goes_on(search)
    search.restart(search.trials[best], search.trials[best].epochs[-1])
    assert told(search, best, 2, 0.95)
    assert record.events[-1].kind == "continued"
    assert record.events[-1].body == {"at_once": True}
    assert search.again() is None or search.trials[best].attempt == 2


def test_events_of_other_schedulers_are_stored_as_before(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, sampler="random"), Curves(3, 0.0))
    decided = [event.body for event in record.events if event.kind == Kind.DECIDED]
    assert decided
    assert all("pause" not in body for body in decided)
    assert not [event for event in record.events if event.kind == Kind.CONTINUED]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_search_with_pauses_ends_by_itself_with_complete_trials(workers: int, study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=20)
    work(search, Curves(5, 0.0), workers=workers)
    counts = search.trials.counts()
    assert counts["complete"] >= 1
    assert set(counts) <= {"complete", "paused"}
    assert sum(counts.values()) == 20
    best = search.trials.best()
    assert best is not None
    assert best.state is State.COMPLETE


@pytest.mark.parametrize(("trials", "workers"), [(1, 1), (2, 1), (2, 4), (5, 2)])
def test_however_few_trials_there_are_one_is_trained_to_the_end(trials: int, workers: int, study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=trials)
    work(search, Curves(2, 0.0), workers=workers)
    assert len(search.trials) == trials
    assert search.trials.counts()["complete"] >= 1


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_anywhere_changes_no_decision_of_a_search_with_pauses(seed: int, study: Study) -> None:
    whole, curves = Memory(), Curves(seed, 0.05)
    work(begun(study, whole, **FREEZE_THAW, trials=14), curves)
    for cut in whole.batches[1 :: max(1, len(whole.batches) // 5)]:
        record = Memory(whole.events[:cut])
        work(resumed(study, record, list(record.events)), curves)
        assert decisions(record.events) == decisions(whole.events)
        assert differences(record.events, study) == []


def test_a_forged_going_on_is_found(study: Study) -> None:
    record = Memory()
    work(begun(study, record, **FREEZE_THAW, trials=14), Curves(1, 0.0), workers=2)
    went_on = [event for event in record.events if event.kind == Kind.CONTINUED]
    assert went_on
    for event in (went_on[0], went_on[-1]):
        others = {
            other.trial for other in record.events if other.id < event.id and other.trial not in (None, event.trial)
        }
        forged: list[Event] = [replace(e, trial=min(others)) if e is event else e for e in record.events]
        assert differences(forged, study)


def test_paused_trials_stay_paused_when_a_search_is_left_and_go_on_after_a_resume(study: Study) -> None:
    grown = []
    for steps in (14, 18, 22):
        record = Memory()
        search = begun(study, record, **FREEZE_THAW, trials=12)
        work(search, Curves(2, 0.0), workers=2, steps=steps)
        paused = {trial.number: len(trial.epochs) for trial in search.trials.paused()}
        search.note(Finished("interrupted", "made up", 1.0))
        assert paused
        assert {trial.number for trial in search.trials.paused()} == set(paused)
        again = resumed(study, record, list(record.events), trials=12)
        work(again, Curves(2, 0.0), workers=2, order=1)
        grown += [number for number, had in paused.items() if len(again.trials[number].epochs) > had]
    assert grown


def test_the_last_and_the_best_checkpoint_of_a_paused_trial_are_kept(study: Study, tmp_path: Path) -> None:
    search, shelf = begun(study, Memory(), **FREEZE_THAW, trials=50), Shelf(tmp_path)
    retention = Retention(shelf)
    trial = search.ask()
    assert trial is not None
    for epoch, value in ((1, 0.5), (2, 0.4)):
        written = shelf.write(0, epoch, lambda into: (into / "weights").write_text("x"))
        retention.added(written.name)
        search.report(0, EpochReport(epoch, {"val_accuracy": value}, 1.0, written.name, written.sha256, 1))
        if epoch == 1:
            for event in search.record.append((Kind.CONTINUED, 0, {"at_once": True})):
                search.apply(event)
    retention.sweep(search.trials)
    assert search.trials[0].state is State.PAUSED
    assert shelf.names() == set(needed(search.trials))
    assert {name[-10:] for name in shelf.names()} == {"epoch-0001", "epoch-0002"}


def test_mlflow_shows_a_paused_trial_as_scheduled_and_as_left_once_the_search_is_over(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **FREEZE_THAW, trials=50)
    first_rung(search, [0.5])
    projection = Projection(record.events[0])
    projection.take(record.events)
    update = projection.children[0]
    assert update.status is not None
    assert (update.status[0], update.tags["search.state"]) == ("SCHEDULED", "paused")
    assert projection.parent(record.events[-1]).tags["trials_paused"] == "1"
    search.note(Finished("done", "", 1.0))
    projection.take(record.events)
    assert projection.children[0].status is not None
    assert projection.children[0].status[0] == "KILLED"


def test_an_audited_trial_is_not_paused(study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=6, audit=1.0)
    work(search, Curves(4, 0.0))
    assert search.trials.counts() == {"complete": 6}


def test_confirmations_are_neither_paused_nor_heard_of(study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=12, confirm=2, confirm_seeds=2)
    work(search, Curves(4, 0.0), workers=2)
    runs = Counter(str(trial.state) for trial in search.trials if trial.confirms is not None)
    assert runs == {"complete": 4}
    assert {str(t.state) for t in search.trials.searched} <= {"complete", "paused"}


def test_a_settled_search_lets_nothing_go_on(study: Study) -> None:
    search = begun(study, Memory(), **FREEZE_THAW, trials=200, until_settled=True)
    work(search, Curves(4, 0.0), workers=2)
    assert search.trials.settled is not None
    assert len(search.trials) < 200


def test_start_points_all_begin_before_a_paused_one_goes_on(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, **FREEZE_THAW, trials=20)
    for number in range(len(tiny_study.start)):
        assert search.again() is None
        trial = search.ask()
        assert trial is not None
        assert trial.given
        assert not told(search, number, 1, 0.9)


def test_a_scheduler_that_pauses_needs_a_sampler_that_judges(tiny_study: Study) -> None:
    with pytest.raises(EnvironmentFault, match="--scheduler freeze_thaw pauses trials, and --sampler tpe cannot judge"):
        begun(tiny_study, Memory(), sampler="tpe", scheduler="freeze_thaw")
    with pytest.raises(BadInput, match="take --sampler freeze_thaw"):
        adapted("digits_mlp", Settings(scheduler="freeze_thaw"))


@pytest.mark.parametrize(
    ("prospects", "may_begin", "expected"),
    [
        (Prospects(1.0, {3: 2.0, 5: 1.5}, {3: 1.0, 5: 1.0}), True, 3),
        (Prospects(3.0, {3: 2.0, 5: 1.5}, {3: 1.0, 5: 1.0}), True, None),
        (Prospects(3.0, {3: 2.0, 5: 1.5}, {3: 1.0, 5: 1.0}), False, 3),
        (Prospects(3.0, {3: 2.0}, {3: WORTH_IT / 2}), False, None),
        (Prospects(), True, None),
    ],
)
def test_a_free_worker_takes_what_promises_most(
    prospects: Prospects, may_begin: bool, expected: int | None, tiny_study: Study
) -> None:
    asking: Callable[[], Prospects] = lambda: prospects  # noqa: E731
    assert FreezeThaw(tiny_study).to_continue([3, 5], asking, may_begin=may_begin) == expected


def test_a_trial_that_promises_little_goes_on_if_else_none_had_its_full_budget(tiny_study: Study) -> None:
    little = Prospects(3.0, {3: 2.0}, {3: WORTH_IT / 2})
    assert FreezeThaw(tiny_study).to_continue([3], lambda: little, may_begin=False, must=True) == 3


def test_every_state_has_a_marker_that_both_kinds_of_figures_know() -> None:
    assert set(MARKERS) == {str(state) for state in State}
    assert {marker for marker, _ in MARKERS.values()} <= set(SYMBOLS)


def test_a_report_shows_paused_trials_and_counts_what_pausing_saved(study: Study, tmp_path: Path) -> None:
    folder, search = kept(tmp_path, study, **FREEZE_THAW, trials=12)
    assert search.trials.paused()
    page = report.write(folder).read_text()
    assert "paused" in page
