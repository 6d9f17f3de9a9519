"""A search that was killed goes on as if it had not been: the same suggestions, the same stops, nothing twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from search.decide import replay
from search.errors import BadInput, EnvironmentFault
from search.prepared import Prepared
from search.record.events import Event, Finished, InMLflow
from search.record.header import Process
from search.record.reader import FILE, read
from search.record.reading import header_of, spent
from search.record.record import Record, salvage
from search.record.state import State
from search.record.trials import replayed
from search.session.left import closing_event, something_left
from search.session.prepare import prepare
from search.session.resume import (
    drift,
    existing,
    more_by_command,
    recalled,
    recorded_study,
)
from search.settings import More, Settings
from search.terminal.console import Silent
from spaces.space import Space, with_when
from spaces.study import Choice, Float, Int, Objective, Study, from_plain, to_plain
from tests.simulated import HEADER, Curves, Memory, begun, decisions, first_event, header, resumed, work
from trainables.mlp import train_mlp

fractions = st.floats(0, 1)
everything = {
    "seed": st.integers(0, 10**6),
    "sampler": st.sampled_from(["random", "random", "random", "tpe"]),
    "scheduler": st.sampled_from(["asha", "asha", "none"]),
    "ends": st.sampled_from([0.0, 0.05, 0.3]),
    "losses": st.sampled_from([0.0, 0.1, 0.5]),
}


def cut(record: Memory, fraction: float) -> list[Event]:
    """The events that a kill has left of `record`: of each append all or none, the first event at least."""
    places = [count for count in record.batches if count]
    return record.events[: places[round(fraction * (len(places) - 1))]]


# As if nothing had been


@settings(max_examples=40)
@given(cuts=st.lists(fractions, min_size=1, max_size=3), mode=st.sampled_from(["max", "min"]), **everything)
def test_a_search_of_one_worker_goes_on_bit_for_bit_wherever_it_was_killed(
    cuts: list[float],
    mode: str,
    seed: int,
    sampler: str,
    scheduler: str,
    ends: float,
    losses: float,
    tiny_study: Study,
) -> None:
    study, curves = replace(tiny_study, objective=Objective(mode=mode)), Curves(seed, ends, losses)
    record = Memory()
    undisturbed = begun(study, record, sampler=sampler, scheduler=scheduler)
    work(undisturbed, curves)
    for number, fraction in enumerate(cuts):
        past = cut(record, fraction)
        again = Memory(past)
        search = resumed(study, again, past)
        work(search, curves, order=number)
        assert decisions(again.events) == decisions(record.events)
        assert [t.number for t in search.trials.ranking()] == [t.number for t in undisturbed.trials.ranking()]
        record = again


def test_a_search_goes_on_bit_for_bit_after_every_one_of_its_events(tiny_study: Study, tmp_path: Path) -> None:
    """As above, in a real record, for every place at which a kill can cut it."""
    curves = Curves(3, losses=0.1)
    record = Memory()
    work(begun(tiny_study, record, sampler="tpe"), curves)
    events = {event.kind for event in record.events} | {str(event.body.get("state")) for event in record.events}
    assert events > {"lost", "restarted", "repeated", "decided", "complete", "stopped"}
    for place in record.batches[1:]:
        with Record(tmp_path / f"{place}.db", create=True) as again:
            again.append(*((event.kind, event.trial, event.body) for event in record.events[:place]))
            work(resumed(tiny_study, again, list(again.events())), curves)
        assert decisions(read(tmp_path / f"{place}.db")) == decisions(record.events)


def test_a_search_goes_on_bit_for_bit_from_what_was_saved_of_a_damaged_record(
    tiny_study: Study, tmp_path: Path
) -> None:
    curves = Curves(3, losses=0.1)
    with Record(tmp_path / "whole.db", create=True) as whole:
        work(begun(tiny_study, whole), curves)
        events = list(whole.events())
    for damaged in range(2, len(events) + 1):
        path = shutil.copy(tmp_path / "whole.db", tmp_path / FILE)
        database = sqlite3.connect(path, isolation_level=None)
        database.execute(f"DELETE FROM events WHERE id = {damaged}")
        database.close()
        _, aside = salvage(path)
        shutil.rmtree(aside)
        with Record(path) as again:
            work(resumed(tiny_study, again, list(again.events())), curves)
            assert decisions(list(again.events())) == decisions(events)
            assert replay.differences(list(again.events()), tiny_study) == []


@settings(max_examples=40)
@given(
    cuts=st.lists(fractions, max_size=3),
    workers=st.integers(2, 5),
    order=st.integers(0, 10**6),
    **everything,
)
def test_a_search_of_several_workers_keeps_all_that_it_promises_wherever_it_is_killed(
    cuts: list[float],
    workers: int,
    order: int,
    seed: int,
    sampler: str,
    scheduler: str,
    ends: float,
    losses: float,
    tiny_study: Study,
) -> None:
    curves, record = Curves(seed, ends, losses), Memory()
    search = begun(tiny_study, record, sampler=sampler, scheduler=scheduler)
    work(search, curves, workers=workers, order=order)
    for number, fraction in enumerate(cuts):
        past = cut(record, fraction)
        record = Memory(past)
        search = resumed(tiny_study, record, past)
        assert search.trials.running() == [t for t in search.trials if t.state is State.RUNNING]
        work(search, curves, workers=workers, order=order + number)
    events = record.events
    assert replay.differences(events, tiny_study) == []
    # Nothing is asked twice, and no more than was allowed.
    asked = [event.trial for event in events if event.kind == "asked"]
    assert asked == list(range(len(asked)))
    assert len(asked) == 8 or search.hopeless()
    # Nor is a start point.
    origins = [event.body["origin"] for event in events if event.kind == "asked"]
    assert origins[:2] == ["start point 0", "start point 1"]
    assert set(origins[2:]) <= {"sampler"}
    # Every epoch counts once and in order, every trial ends once, and none is left.
    for trial in search.trials:
        assert [row.number for row in trial.epochs] == list(range(1, len(trial.epochs) + 1))
        ends_of = [event for event in events if event.kind == "ended" and event.trial == trial.number]
        assert len(ends_of) == (0 if search.hopeless() and trial.state is State.RUNNING else 1)
    # A trial is decided on once at each rung.
    decided = [(event.trial, event.body["epoch"]) for event in events if event.kind == "decided"]
    assert len(decided) == len(set(decided))
    # A reader of the record knows what the search knows.
    told = replayed(events, tiny_study.objective)
    assert repr(list(told)) == repr(list(search.trials))


def test_running_trials_come_first_and_then_new_ones(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, scheduler="none"), Curves(0, ends=0.0), workers=3, steps=12)
    running = [trial.number for trial in replayed(record.events, tiny_study.objective).running()]
    assert len(running) == 3
    search = resumed(tiny_study, record, record.events[:])
    again = [search.again() for _ in range(4)]
    assert [trial.number if trial else None for trial in again] == [*running, None]
    asked = search.ask()
    assert asked is not None
    assert asked.number == len(search.trials) - 1


def test_a_trial_that_goes_on_is_another_attempt_from_the_epoch_it_was_given(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record)
    work(search, Curves(0, ends=0.0), steps=4)
    search = resumed(tiny_study, record, record.events[:])
    trial = search.again()
    assert trial is not None
    search.restart(trial, trial.epochs[1])
    told = record.events[-1]
    assert (told.kind, told.trial) == ("restarted", 0)
    assert told.body == {"attempt": 2, "checkpoint": "trial-0000/attempt-1/epoch-0002", "epoch": 2}
    assert trial.attempt == 2
    search = resumed(tiny_study, record, record.events[:])
    trial = search.again()
    assert trial is not None
    search.restart(trial, None)
    assert record.events[-1].body == {"attempt": 3, "checkpoint": None, "epoch": 0}


def test_a_resumed_search_asks_for_as_many_trials_as_it_now_may(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, trials=3), Curves(0))
    search = resumed(tiny_study, record, record.events[:], trials=5)
    work(search, Curves(0))
    assert len(search.trials) == 5
    # The allowance of the first process holds no more, nor is it added.
    search = resumed(tiny_study, record, record.events[:], trials=5)
    assert search.again() is None
    assert search.ask() is None


def test_trials_that_ran_when_a_process_left_are_interrupted_until_another_goes_on(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record)
    work(search, Curves(0, ends=0.0), workers=2, steps=5)
    running = [trial.number for trial in search.trials.running()]
    record.now += 5
    search.note(Finished("interrupted", "stopped by SIGINT", 5.0))
    left = replayed(record.events, tiny_study.objective)
    assert left.counts() == {"interrupted": 2}
    assert [(left[n].why, left[n].ended) for n in running] == [("stopped by SIGINT", 1005.0)] * 2
    assert left.running() == []
    again = resumed(tiny_study, record, record.events[:]).trials
    assert again.counts() == {"running": 2}
    assert [(again[n].why, again[n].ended) for n in running] == [("", None)] * 2


# Time


def at(time: float, kind: str, **body: Any) -> Event:
    return Event(0, time, kind, None, body)


def test_time_between_processes_is_not_spent() -> None:
    events = [at(100.0, "search", after_s=4.0), at(130.0, "epoch")]
    assert spent(events) == 34.0
    events += [at(1000.0, "resumed", after_s=3.0), at(1010.0, "finished")]
    assert spent(events) == 34.0 + 13.0
    events += [at(5000.0, "resumed", after_s=2.0)]
    assert spent(events) == 34.0 + 13.0 + 2.0


def test_time_is_not_spent_by_a_clock_that_was_set_between_two_processes() -> None:
    events = [at(10_000.0, "search", after_s=4.0), at(10_030.0, "epoch")]
    events += [at(50.0, "resumed", after_s=3.0), at(60.0, "epoch")]
    assert spent(events) == 34.0 + 13.0


@given(
    sessions=st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.floats(0, 60), st.lists(st.floats(0, 100), max_size=4)), min_size=1
    )
)
def test_time_spent_is_that_of_the_processes_whenever_they_ran(
    sessions: list[tuple[float, float, list[float]]],
) -> None:
    events: list[Event] = []
    expected = 0.0
    for number, (begins, before, waits) in enumerate(sessions):
        events.append(at(begins + before, "resumed" if number else "search", after_s=before))
        events += [at(begins + before + sum(waits[: i + 1]), "epoch") for i in range(len(waits))]
        expected += before + sum(waits)
    assert spent(events) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["published", "tested", "finished"])
def test_what_sync_adds_days_later_spends_no_time(kind: str) -> None:
    events = [at(100.0, "search", after_s=4.0), at(130.0, "epoch")]
    if kind != "finished":
        events += [at(131.0, "finished", state="done", why="", wall_s=35.0)]
    before = spent(events)
    told = {"state": "interrupted", "why": "its process died", "wall_s": 34.0, "posthumous": True}
    assert spent([*events, at(90_000.0, kind, **told)]) == before


# What there is to go on with


def prepared(study: Study, events: Sequence[Event], *, trials: int, limit: float | None = None) -> Prepared:
    options = Settings(trials=trials, time_budget=limit)
    return Prepared(study, options, None, None, replace(header_of(events), trials=trials), tuple(events))  # type: ignore[arg-type]


PUBLISHED = InMLflow("sqlite:///mlflow.db", "1", "ab")


def finished(state: str, why: str = "") -> Finished:
    return Finished(state, why, 1.0)


def test_a_finished_search_has_nothing_left_until_it_is_given_more_trials(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3)
    work(search, Curves(0))
    assert something_left(prepared(tiny_study, record.events, trials=3)), "its end is still to come"
    search.note(PUBLISHED)
    search.note(finished("done"))
    assert not something_left(prepared(tiny_study, record.events, trials=3))
    assert something_left(prepared(tiny_study, record.events, trials=4))


def test_a_search_whose_time_was_up_has_nothing_left_until_it_is_given_more_time(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3, time_budget=60.0)
    work(search, Curves(0, ends=0.0), steps=5)
    record.now += 50
    search.note(PUBLISHED)
    search.note(finished("done", "the time budget is spent"))
    assert not something_left(prepared(tiny_study, record.events, trials=3, limit=60.0))
    assert something_left(prepared(tiny_study, record.events, trials=3, limit=120.0))
    assert something_left(prepared(tiny_study, record.events, trials=3))


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_search_that_did_not_come_to_its_end_has_that_left(state: str, tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3)
    work(search, Curves(0))
    search.note(finished(state))
    assert something_left(prepared(tiny_study, record.events, trials=3))


def test_a_search_that_was_resumed_and_killed_has_its_end_left(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3)
    work(search, Curves(0))
    search.note(PUBLISHED)
    search.note(finished("done"))
    resumed(tiny_study, record, record.events[:], trials=3)
    assert something_left(prepared(tiny_study, record.events, trials=3))


def test_a_search_whose_winner_is_not_published_has_that_left(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3)
    work(search, Curves(0))
    search.note(finished("done"))  # MLflow did not answer
    assert something_left(prepared(tiny_study, record.events, trials=3))


def test_a_search_that_was_given_more_and_kept_its_winner_has_nothing_left(tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=3)
    work(search, Curves(0))
    search.note(replace(PUBLISHED, winner="0f/0/9"))
    search.note(finished("done"))
    search = resumed(tiny_study, record, record.events[:], trials=4)
    work(search, Curves(0))
    search.note(replace(PUBLISHED, winner="0f/0/9"))  # each process says it, also where it finds it done
    search.note(finished("done"))
    assert not something_left(prepared(tiny_study, record.events, trials=4))


def test_a_search_whose_process_died_is_closed_once_and_its_time_is_not_that_of_its_closing(tiny_study: Study) -> None:
    record = Memory()
    work(begun(tiny_study, record, after_s=4.0), Curves(0, ends=0.0), steps=5)
    record.now += 5000
    closing = closing_event(record.events)
    assert closing is not None
    record.append(closing)
    assert closing_event(record.events) is None
    assert (closing[0], closing[2]["state"], closing[2]["wall_s"]) == ("finished", "interrupted", 4.0)
    assert spent(record.events) == 4.0
    assert set(replayed(record.events, tiny_study.objective).counts()) == {"interrupted"}
    resumed(tiny_study, record, record.events[:])
    assert closing_event(record.events) is not None


@pytest.mark.parametrize(("option", "value"), [("trials", 0), ("trials", -1), ("concurrent", 0)])
def test_more_is_at_least_one(option: str, value: int) -> None:
    with pytest.raises(BadInput, match=rf"--{option} must be at least 1, but got {value}"):
        More(**{option: value})


# Which search `--resume auto` goes on with


def put(runs: Path, name: str, source: str, *, at: float = 0.0, **how: Any) -> Path:
    (runs / name).mkdir(parents=True)
    with Record(runs / name / FILE, create=True) as record:
        record._epoch += at
        told = {"definition": {"space": []}, "name": name, "source": source, **how}
        record.append(("search", None, {**header(), **told}))
    return runs / name


def test_auto_goes_on_with_the_newest_search_of_the_study(tmp_path: Path) -> None:
    put(tmp_path, "old", "digits_mlp", at=-10)
    newest = put(tmp_path, "new", "digits_mlp", at=10)
    put(tmp_path, "other", "digits_cnn", at=20)
    assert existing("digits_mlp", Settings(runs=tmp_path)) == newest
    assert existing("fashion_cnn", Settings(runs=tmp_path)) is None
    assert existing("digits_mlp", Settings(runs=tmp_path / "none")) is None


def test_auto_does_not_see_a_search_whose_process_died_before_it_had_a_name(tmp_path: Path) -> None:
    named = put(tmp_path, "digits_mlp-1", "digits_mlp", at=-10)
    put(tmp_path, ".new-0123456789abcdef", "digits_mlp", at=10)
    assert existing("digits_mlp", Settings(runs=tmp_path)) == named


def test_auto_passes_over_damaged_searches_of_other_studies_only(tmp_path: Path) -> None:
    whole = put(tmp_path, "digits_mlp-1", "digits_mlp")
    (put(tmp_path, "digits_cnn-1", "digits_cnn") / FILE).write_text("no record")
    assert existing("digits_mlp", Settings(runs=tmp_path)) == whole
    # To pass over one of this study could be to start it afresh.
    (put(tmp_path, "digits_mlp-2", "digits_mlp") / FILE).write_text("no record")
    with pytest.raises(EnvironmentFault, match=r"digits_mlp-2/record\.db cannot be opened"):
        existing("digits_mlp", Settings(runs=tmp_path))


def test_auto_knows_a_study_file_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    folder = put(tmp_path / "runs", "mine-1", str(tmp_path / "studies" / "mine.py"))
    for where, path in ((tmp_path, "studies/mine.py"), (tmp_path / "studies", "mine.py")):
        monkeypatch.chdir(where)
        assert existing(path, Settings(runs=tmp_path / "runs")) == folder
    assert existing("other.py", Settings(runs=tmp_path / "runs")) is None


def in_job(folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str = "gcs://_ray_pkg_0f.zip") -> Path:
    """From here on this process is a job that began in `folder`, which came with it."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"working_dir": uri}}))
    monkeypatch.chdir(folder)
    return folder


def test_auto_knows_a_study_file_that_came_with_another_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    theirs = put(runs, "mine-1", "/one/copy/mine.py", at=0, job_folder="/one/copy")
    put(runs, "mine-2", "/another/mine.py", at=10)
    put(runs, "mine-3", "/one/copy/sub/mine.py", at=20, job_folder="/one/copy")
    assert existing("mine.py", Settings(runs=runs)) is None, "it is no job's, and has another path"
    in_job(tmp_path / "copy", monkeypatch)
    assert existing("mine.py", Settings(runs=runs)) == theirs


def test_auto_knows_a_study_file_that_came_with_a_job_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put(tmp_path / "runs", "mine-1", "/tmp/ray/_ray_pkg_0123/mine.py")
    in_job(tmp_path / "copy", monkeypatch)
    assert existing("mine.py", Settings(runs=tmp_path / "runs")) == old


def test_a_job_without_a_folder_of_its_own_knows_a_study_file_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "runs", "mine-1", "/one/copy/mine.py", job_folder="/one/copy")
    same = put(tmp_path / "runs", "mine-2", str(tmp_path / "image" / "mine.py"), at=-10)
    in_job(tmp_path / "image", monkeypatch, uri=f"local://{tmp_path}/image")
    assert existing("mine.py", Settings(runs=tmp_path / "runs")) == same
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert existing("mine.py", Settings(runs=tmp_path / "runs")) == same


def test_auto_goes_on_with_the_search_that_is_named(tmp_path: Path) -> None:
    old = put(tmp_path, "old", "digits_mlp", at=-10)
    put(tmp_path, "new", "digits_mlp", at=10)
    assert existing("digits_mlp", Settings(runs=tmp_path, name="old")) == old
    assert existing("digits_mlp", Settings(runs=tmp_path, name="another")) is None


def test_auto_takes_no_folder_without_a_record_for_a_new_search(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(EnvironmentFault, match=r"mine exists and holds no record; it is damaged"):
        existing("digits_mlp", Settings(runs=tmp_path, name="mine"))


# What its command adds


def command(study: Study | None = None, **how: Any) -> list[Event]:
    """A search of `digits_mlp`, as its own command records it."""
    study = study or spaces.load("digits_mlp")
    kind, trial, body = first_event(study, source="digits_mlp", sampler="tpe", trials=12, time_budget=60.0, **how)
    return Memory().append((kind, trial, {**body, "fixed": dict(study.fixed)}))


def added(more: More) -> tuple[int, float, int | None]:
    return more.trials or 0, more.time_budget or 0.0, more.concurrent


def test_the_same_command_again_adds_nothing() -> None:
    for again in (Settings(trials=12, time_budget=60.0), Settings()):
        assert added(more_by_command("digits_mlp", again, command())) == (0, 0.0, None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(trials=20), (8, 0.0, None)),
        (Settings(trials=5), (0, 0.0, None)),
        (Settings(time_budget=100.0), (0, 40.0, None)),
        (Settings(time_budget=10.0), (0, 0.0, None)),
        (Settings(concurrent=3), (0, 0.0, 3)),
    ],
    ids=["more trials", "fewer trials", "more time", "less time", "more at a time"],
)
def test_budgets_of_a_command_are_totals(settings: Settings, expected: tuple[int, float, int | None]) -> None:
    assert added(more_by_command("digits_mlp", settings, command())) == expected


def test_budgets_of_a_command_that_is_given_a_third_time_are_totals_still() -> None:
    after = [*command(), Event(2, 1.0, "resumed", None, {"trials": 20, "time_budget": 100.0})]
    again = more_by_command("digits_mlp", Settings(trials=20, time_budget=100.0), after)
    assert added(again) == (0, 0.0, None)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seed": 1}, "seed was 0, asked is 1"),
        ({"sampler": "random"}, "sampler was tpe, asked is random"),
        ({"scheduler": "none"}, "scheduler was asha, asked is none"),
        ({"cpus": 2.0}, "cpus was 1.0, asked is 2.0"),
        ({"gpus": 0.5}, "gpus was 0.0, asked is 0.5"),
        ({"gpus": 0.5, "also_cpus": True}, r"also_cpus was (0|False), asked is True"),
        ({"epochs": 3}, r"epochs was \d+, asked is 3"),
    ],
    ids=str,
)
def test_another_search_is_refused_by_what_differs(options: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=rf"tiny-1 is another search: .*{match}.*; choose another --name"):
        more_by_command("digits_mlp", Settings(**options), command())


@pytest.mark.parametrize("change", [("train/lr", "log(1e-9, 1e-8)"), ("model/width", "8")], ids=str)
def test_another_space_is_refused_by_the_name_that_differs(change: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match=rf"tiny-1 is another search: .*{change[0]}"):
        more_by_command("digits_mlp", Settings(changes=dict([change])), command())


def test_a_search_of_another_study_is_refused() -> None:
    with pytest.raises(BadInput, match="tiny-1 is another search: it is of digits_mlp; choose another --name"):
        more_by_command("digits_cnn", Settings(), command())


def test_what_auto_came_to_does_not_make_another_search() -> None:
    study = spaces.load("digits_mlp")
    resolved = replace(study, fixed={**study.fixed, "train/precision": "float32"})
    assert added(more_by_command("digits_mlp", Settings(), command(resolved))) == (0, 0.0, None)


@pytest.mark.parametrize("name", spaces.names())
def test_every_study_of_ours_is_known_again_from_its_record(name: str) -> None:
    events = command(spaces.load(name))
    events = [replace(events[0], body={**events[0].body, "source": name, "name": name})]
    assert added(more_by_command(name, Settings(), events)) == (0, 0.0, None)
    assert recorded_study(header_of(events)) == replace(spaces.load(name))


@pytest.mark.parametrize("before", ["/one/copy", "/tmp/ray/_ray_pkg_0123"], ids=["recorded", "of an earlier version"])
def test_study_and_data_that_came_with_another_job_are_the_same(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = in_job(tmp_path / "copy", monkeypatch)
    (here / "mine.py").write_text("from spaces.digits_mlp import STUDY\n")
    [event] = command(spaces.load("mine.py"))
    known = {} if "_ray_pkg_" in before else {"job_folder": before}
    paths = {"source": f"{before}/mine.py", "data": f"{before}/data.npz", **known}
    events = [replace(event, body={**event.body, **paths})]
    assert added(more_by_command("mine.py", Settings(data=Path("data.npz")), events)) == (0, 0.0, None)
    with pytest.raises(BadInput, match=r"data was .*copy/data\.npz, asked is other\.npz|data was .*0123/data\.npz"):
        more_by_command("mine.py", Settings(data=Path("other.npz")), events)


def test_a_study_with_a_condition_on_several_values_is_known_again_from_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "several.py").write_text(SEVERAL)
    path = str(tmp_path / "several.py")
    events = command(spaces.load(path))
    events = [replace(events[0], body={**events[0].body, "source": path})]
    assert added(more_by_command(path, Settings(), events)) == (0, 0.0, None)


SEVERAL = """
from spaces.study import Choice, Float, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="digits",
    epochs=3,
    space={
        "train/optimizer": Choice("sgd", "adam", "adamw"),
        "train/weight_decay": Float(0.0, 0.1, when={"train/optimizer": ("adam", "adamw")}),
    },
)
"""


# A search recalled


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of `digits_mlp`, 60 seconds long, as its command has recorded it."""
    runs = tmp_path_factory.mktemp("recalled") / "runs"
    settings = Settings(runs=runs, trials=12, time_budget=60.0, command="python -m search digits_mlp")
    own = prepare("digits_mlp", settings, Silent()).header
    (runs / "mine-1").mkdir(parents=True)
    with Record(runs / "mine-1" / FILE, create=True) as record:
        begun = replace(own, name="mine-1", id="0f", process=Process(2, 2.0, 1, "here", after_s=4.0))
        record.append(("search", None, begun.to_plain()))
    return runs / "mine-1"


def recall(home: Path, more: More | None = None, **changes: Any) -> Prepared:
    events = read(home / FILE)
    events = [replace(events[0], body={**events[0].body, **changes}), *events[1:]]
    return recalled(home, events, more or More(), "python -m search resume mine-1", Silent())


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SEARCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_search_is_recalled_as_it_was(home: Path) -> None:
    prepared, first = recall(home), read(home / FILE)[0].body
    assert json.loads(json.dumps(to_plain(prepared.study))) == first["definition"]
    assert json.loads(json.dumps(prepared.header.to_plain())) == {
        **first,
        "resume_command": "python -m search resume mine-1",
    }
    settings = prepared.settings
    assert (settings.name, settings.runs) == ("mine-1", home.parent)
    for option in ("trials", "epochs", "time_budget", "cpus", "gpus", "seed", "sampler", "scheduler"):
        assert getattr(settings, option) == first[option]
    assert settings.tracking == f"sqlite:///{home.parent.parent / 'mlflow.db'}"
    assert len(prepared.data.train) == first["train_images"]


def test_a_search_that_was_to_use_cpus_too_does_so_when_it_goes_on(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # else it is this machine that has to have a GPU
    settings = recall(home, gpus=0.5, also_cpus=True).settings
    assert (settings.gpus, settings.also_cpus) == (0.5, True)


@pytest.mark.parametrize(
    ("more", "trials", "limit"),
    [
        (More(), 12, 60.0),
        (More(time_budget=30.0), 12, 90.0),
        (More(trials=8), 20, None),
        (More(trials=8, time_budget=30.0), 20, 90.0),
        (More(concurrent=3), 12, 60.0),
    ],
    ids=str,
)
def test_more_trials_and_more_time_are_added(more: More, trials: int, limit: float | None, home: Path) -> None:
    prepared = recall(home, more)
    assert (prepared.header.trials, prepared.settings.trials) == (trials, trials)
    assert (prepared.header.time_budget, prepared.settings.time_budget) == (limit, limit)
    assert prepared.settings.concurrent == more.concurrent


def test_time_is_added_to_what_is_spent_where_there_was_no_limit(home: Path) -> None:
    assert recall(home, More(time_budget=30.0), time_budget=None).header.time_budget == pytest.approx(34.0)


@pytest.mark.parametrize("trials", [12, 20])
def test_a_time_budget_in_the_command_of_auto_holds_however_many_trials_it_asks_for(trials: int, home: Path) -> None:
    settings = Settings(runs=home.parent, name="mine-1", trials=trials, time_budget=60.0)
    prepared = recall(home, more_by_command("digits_mlp", settings, read(home / FILE)))
    assert (prepared.header.trials, prepared.header.time_budget) == (trials, 60.0)


def test_a_time_budget_in_the_command_of_auto_holds_where_there_was_none(home: Path) -> None:
    settings = Settings(runs=home.parent, name="mine-1", time_budget=60.0)
    first = read(home / FILE)[0]
    events = [replace(first, body={**first.body, "time_budget": None})]
    prepared = recall(home, more_by_command("digits_mlp", settings, events), time_budget=None)
    assert prepared.header.time_budget == 60.0


def test_other_data_are_refused(home: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"mine-1 was searched on other data \(.*, SHA-256 000000000000…\) than"):
        recall(home, digest="0" * 64)


def test_a_password_that_was_not_recorded_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match="passwords are not recorded; set MLFLOW_TRACKING_URI"):
        recall(home, tracking_uri="http://***@localhost:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.parent}/other.db")
    prepared = recall(home, tracking_uri="http://***@localhost:5000")
    assert prepared.settings.tracking == prepared.header.tracking_uri == f"sqlite:///{home.parent}/other.db"


def test_code_that_has_changed_since_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recall(home, code="00")
    assert capsys.readouterr().err == (
        "warning: the code of this service has changed since the search began; "
        "trials that go on may come out otherwise\n"
    )


CHANGED = (
    "the study file mine.py has changed since the search began: its code is today's, its space, values and objective "
    "stay as recorded"
)

# A study in the record


NAMES = ["model/depth", "model/width", "train/lr", "train/optimizer", "train/momentum", "data/crop"]
values = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)


@st.composite
def studies(draw: st.DrawFn, trainable: Any = train_mlp) -> Study:
    """Any study, with conditions on one value or several, and start points."""
    space: dict[str, Float | Int | Choice] = {}
    for name in draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]:
        when = {}
        for parent, range_ in space.items():
            if isinstance(range_, Choice) and draw(st.booleans()):
                wanted = draw(st.lists(st.sampled_from(range_.values), min_size=1, max_size=3))
                when[parent] = draw(st.sampled_from([wanted[0], tuple(wanted)]))
        kind, log = draw(st.sampled_from(["choice", "int", "float"])), draw(st.booleans())
        if kind == "choice":
            unique = st.lists(values, min_size=1, max_size=4, unique_by=lambda value: (type(value), value))
            space[name] = Choice(*draw(unique), when=when)
        elif kind == "int":
            low, high = sorted(draw(st.tuples(*[st.integers(1 if log else -(2**70), 2**70)] * 2)))
            space[name] = Int(low, high, log, when)
        else:
            number = st.one_of(st.floats(1e-300 if log else -1e300, 1e300), st.integers(1, 9))
            low, high = sorted(draw(st.tuples(number, number)))
            space[name] = Float(low, high, log, when)
    made = Space(space)
    fixed = {name: draw(values) for name in NAMES if name not in space and draw(st.booleans())}
    start = []
    for choose in draw(st.lists(st.sampled_from([True, False]), max_size=2)):
        start.append(made.corner(high=choose))
    return Study(
        trainable=trainable,
        dataset=draw(st.text(max_size=8)),
        space=space,
        epochs=draw(st.integers(1, 99)),
        fixed=fixed,
        start=start,
        objective=Objective(
            draw(st.sampled_from(["val_loss", "x", "mAP50-95(B)"])), draw(st.sampled_from(["max", "min"]))
        ),
        trials=draw(st.integers(1, 99)),
        time_budget=draw(st.one_of(st.none(), st.floats(1e-3, 1e9))),
        first_rung=draw(st.integers(1, 9)),
        reduction_factor=draw(st.integers(2, 9)),
        val_fraction=draw(st.floats(0.01, 0.99)),
        split_seed=draw(st.integers(0, 2**31)),
        name=draw(st.text(max_size=8)),
        about=draw(st.text(max_size=8)),
    )


@given(study=studies())
def test_a_study_reads_back_from_json_as_it_was(study: Study) -> None:
    stored = json.dumps(to_plain(study), sort_keys=True)
    again = from_plain(json.loads(stored), study.trainable)
    # As text, in which 1 and True and 1.0 differ; and the order of the space, in which a sampler draws.
    assert list(again.space) == list(study.space)
    for name in study.space:
        assert repr(with_when(again.space[name], {})) == repr(with_when(study.space[name], {}))
        assert repr(sorted(again.space[name].when.items())) == repr(sorted(study.space[name].when.items()))
    assert sorted(again.fixed.items(), key=str) == sorted(study.fixed.items(), key=str)
    assert [repr(sorted(point.items())) for point in again.start] == [
        repr(sorted(point.items())) for point in study.start
    ]
    # What is stored of it is what was.
    assert json.dumps(to_plain(again), sort_keys=True) == stored
    changed: dict[str, Any] = {"space": {"train/lr": Float(0.1, 0.2)}, "fixed": {}, "start": ()}
    assert replace(again, **changed) == replace(study, **changed)


def test_a_recorded_study_trains_with_the_trainable_of_today(tiny_study: Study) -> None:
    then = header_of(command(replace(spaces.load("digits_mlp"), epochs=3, name="then")))
    study = recorded_study(then)
    assert study.trainable is spaces.load("digits_mlp").trainable
    assert (study.epochs, study.name) == (3, "then")


def test_a_study_that_is_only_looked_at_runs_no_code_of_its_author(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('run')")
    own = replace(header_of(command()), source=str(tmp_path / "mine.py"))
    study = recorded_study(own, to_train=False)
    assert list(study.space) == list(spaces.load("digits_mlp").space)
    with pytest.raises(AssertionError, match="only looked at"):
        study.trainable({}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["no_such_study", "/nowhere/mine.py"])
def test_a_study_whose_trainable_is_gone_is_named(source: str) -> None:
    gone = replace(header_of(command()), source=source)
    with pytest.raises(BadInput, match=rf"tiny-1 was a search of {source}: no study"):
        recorded_study(gone)


# What has changed since


NOW = {"versions": {"python": "3.11.7", "torch": "2.15.0"}, "code": "aa", "study_code": "bb"}


@pytest.mark.parametrize(
    ("then", "lines"),
    [
        ({}, []),
        ({"versions": {"python": "3.11.7", "torch": "2.14.0"}}, ["torch was 2.14.0, and is 2.15.0"]),
        ({"code": "00"}, ["the code of this service has changed since the search began"]),
        (
            {"study_code": "00"},
            [CHANGED],
        ),
        (
            {"study_code": None},
            [CHANGED],
        ),
        (
            {"versions": {"python": "3.12.1", "torch": "2.14.0"}, "code": "00", "study_code": "00"},
            [
                "python was 3.12.1, and is 3.11.7",
                "torch was 2.14.0, and is 2.15.0",
                "the code of this service has changed since the search began",
                CHANGED,
            ],
        ),
    ],
    ids=lambda value: "-".join(value) or "nothing",
)
def test_what_has_changed_is_told_a_line_each(then: dict[str, Any], lines: list[str]) -> None:
    assert drift(HEADER.changed({**NOW, "source": "mine.py", **then}), NOW) == lines


def test_a_package_that_is_gone_is_told() -> None:
    now = {**NOW, "versions": {**NOW["versions"], "torch": "none"}}  # type: ignore[dict-item]
    assert drift(HEADER.changed({**NOW, "source": "mine.py"}), now) == ["torch was 2.15.0, and is none"]
