"""Whatever was recorded is derived anew from the record; whatever was tampered with is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide.replay import differences
from search.record.events import Event, Finished
from spaces.study import Study
from tests.simulated import Curves, Memory, begun, resumed, work


def recorded(study: Study, *, ends: float, losses: float, seed: int, **changes: Any) -> list[Event]:
    """A search of two processes with two workers each; the first was killed, and the second ended it."""
    record, curves = Memory(), Curves(seed, ends, losses)
    work(begun(study, record, **changes), curves, workers=2, steps=25)
    again = resumed(study, record, list(record.events))
    work(again, curves, workers=2, order=1)
    again.note(Finished("done", "", 1.0))
    return record.events


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    order=st.integers(0, 10**6),
    workers=st.integers(1, 5),
    rules=st.sampled_from(
        [
            ("random", "asha"),
            ("random", "none"),
            ("tpe", "asha"),
            ("freeze_thaw", "asha"),
            ("freeze_thaw", "freeze_thaw"),
        ]
    ),
    ends=st.sampled_from([0.0, 0.05, 0.3]),
    losses=st.sampled_from([0.0, 0.1, 0.6]),
    sessions=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=3),
)
def test_any_record_can_be_derived_from_itself(
    seed: int,
    order: int,
    workers: int,
    rules: tuple[str, str],
    ends: float,
    losses: float,
    sessions: Sequence[tuple[int, bool]],
    tiny_study: Study,
) -> None:
    record, curves = Memory(), Curves(seed, ends, losses)
    sampler, scheduler = rules
    trials = 12 if "freeze_thaw" in rules else 6  # of which it models the last
    search = begun(tiny_study, record, sampler=sampler, scheduler=scheduler, trials=trials)
    for number, (steps, said) in enumerate(sessions):
        work(search, curves, workers=workers, order=order + number, steps=steps)
        if said:  # stopped, not killed
            search.note(Finished("interrupted", "made up", 1.0))
        search = resumed(tiny_study, record, list(record.events), trials=trials + number)
    work(search, curves, workers=workers, order=order)
    assert differences(record.events, tiny_study) == []


def test_a_record_with_everything_that_can_happen_is_derived_from_itself(tiny_study: Study) -> None:
    happened: set[str] = set()
    for seed in range(8):
        events = recorded(tiny_study, ends=0.05, losses=0.35, seed=seed, sampler="random")
        happened |= {event.kind for event in events}
        happened |= {str(event.body["state"]) for event in events if event.kind in ("ended", "lost")}
        assert differences(events, tiny_study) == []
    states = {"complete", "stopped", "diverged", "out of memory", "failed", "timed out", "preempted"}
    assert happened > states | {"lost", "restarted", "repeated", "resumed", "decided"}


def test_where_a_trial_was_trained_decides_nothing(tiny_study: Study) -> None:
    events = recorded(tiny_study, ends=0.05, losses=0.1, seed=1, sampler="random")
    on_gpus = [
        replace(event, body={**event.body, "gpus": "1", "node": "there"}) if event.kind == "epoch" else event
        for event in events
    ]
    assert differences(on_gpus, tiny_study) == []


# Tampering


@pytest.fixture(scope="module")
def events(tiny_study: Study) -> list[Event]:
    """Losses, stopped and complete trials, and proposals by a fitted model."""
    return recorded(tiny_study, ends=0.01, losses=0.05, seed=8, sampler="tpe", trials=12)


def changed(events: Sequence[Event], at: Event, **body: Any) -> list[Event]:
    return [replace(event, body={**event.body, **body}) if event is at else event for event in events]


def only(events: Sequence[Event], kind: str, **body: Any) -> list[Event]:
    found = [e for e in events if e.kind == kind and all(e.body[key] == value for key, value in body.items())]
    assert found, f"the record has no {kind} with {body}"
    return found


def found_at(events: Sequence[Event], study: Study) -> int:
    """The event at which the search would have decided otherwise."""
    (difference,) = differences(events, study) or [""]
    assert difference.startswith("event ")
    return int(difference.removeprefix("event ").partition(":")[0])


def test_a_changed_suggestion_is_found(events: list[Event], tiny_study: Study) -> None:
    for asked in only(events, "asked"):
        point = {**asked.body["point"], "train/lr": asked.body["point"]["train/lr"] * (1 + 1e-15) + 1e-18}
        assert point != asked.body["point"]
        assert found_at(changed(events, asked, point=point), tiny_study) == asked.id


def test_a_changed_value_is_found_at_the_decision_that_follows_from_it(events: list[Event], tiny_study: Study) -> None:
    decided = only(events, "decided", go_on=True, rung=1)[-1]
    epoch = next(e for e in events if e.kind == "epoch" and e.trial == decided.trial and e.body["epoch"] == 1)
    metrics = {**epoch.body["metrics"], "val_accuracy": epoch.body["metrics"]["val_accuracy"] + 0.01}
    assert found_at(changed(events, epoch, metrics=metrics), tiny_study) == decided.id


def test_a_changed_value_that_meets_no_rung_is_found_at_a_suggestion_that_learnt_from_it(
    events: list[Event], tiny_study: Study
) -> None:
    # What a trial is worth after its ninth epoch decides nothing about itself, but something about trials to come.
    found = []
    for epoch in only(events, "epoch", epoch=9):
        better = changed(events, epoch, metrics={"val_accuracy": 0.999, "val_loss": 0.0})
        if differences(better, tiny_study):
            found.append(events[found_at(better, tiny_study) - 1])
            assert found[-1].id > epoch.id
    assert {event.kind for event in found} == {"asked"}


@pytest.mark.parametrize("change", [{"go_on": False}, {"cutoff": 0.123}, {"value": 0.123}, {"rung": 3}], ids=str)
def test_a_changed_decision_is_found(change: dict[str, Any], events: list[Event], tiny_study: Study) -> None:
    decided = only(events, "decided", go_on=True, rung=1)[1]
    assert found_at(changed(events, decided, **change), tiny_study) == decided.id


def test_a_stop_that_did_not_happen_is_found(events: list[Event], tiny_study: Study) -> None:
    decided = only(events, "decided", go_on=False)[0]
    ended = next(event for event in events if event.id > decided.id)
    assert (ended.kind, ended.trial, ended.body["state"]) == ("ended", decided.trial, "stopped")
    assert found_at(changed(events, decided, go_on=True), tiny_study) == decided.id
    # As a record would look in which both were left out, and the trial went on to its next end.
    without = [event for event in events if event not in (decided, ended)]
    assert found_at(without, tiny_study) == next(e.id for e in without if e.id > ended.id and e.kind != "restarted")


@pytest.mark.parametrize("state", ["stopped", "complete"])
def test_an_end_that_does_not_follow_is_found(state: str, events: list[Event], tiny_study: Study) -> None:
    """The search alone can stop a trial or call it complete; no worker says so."""
    epoch = only(events, "epoch", epoch=2)[0]
    forged = replace(epoch, kind="ended", body={"state": state, "why": "forged"})
    until = [event for event in events if event.id <= epoch.id]
    assert found_at([*until, replace(forged, id=epoch.id + 1)], tiny_study) == epoch.id + 1


def test_two_ends_that_were_swapped_are_found(events: list[Event], tiny_study: Study) -> None:
    first, second = only(events, "ended", state="stopped")[0], only(events, "ended", state="complete")[0]
    swapped = {first.id: replace(second, id=first.id), second.id: replace(first, id=second.id)}
    assert found_at([swapped.get(event.id, event) for event in events], tiny_study) == min(swapped)


@pytest.mark.parametrize("kind", ["asked", "decided", "ended"])
def test_an_event_that_is_missing_is_found(kind: str, events: list[Event], tiny_study: Study) -> None:
    gone = [event for event in events if event.kind == kind][3]
    assert found_at([event for event in events if event is not gone], tiny_study) > gone.id


def test_another_seed_or_sampler_is_found(events: list[Event], tiny_study: Study) -> None:
    first = events[0]
    third = [event for event in events if event.kind == "asked"][2]
    assert found_at(changed(events, first, seed=1), tiny_study) == third.id
    assert found_at(changed(events, first, sampler="random"), tiny_study) >= third.id


def test_more_trials_than_were_allowed_are_found(events: list[Event], tiny_study: Study) -> None:
    tenth = [event for event in events if event.kind == "asked"][9]
    fewer = [replace(e, body={**e.body, "trials": 9}) if e.kind in ("search", "resumed") else e for e in events]
    assert found_at(fewer, tiny_study) == tenth.id


def test_only_the_first_difference_is_told_with_both_sides(events: list[Event], tiny_study: Study) -> None:
    asked = [event for event in events if event.kind == "asked"][4]
    (difference,) = differences(changed(events, asked, origin="start point 4"), tiny_study)
    assert difference.startswith(f"event {asked.id}: recorded is asked ")
    assert "'origin': 'start point 4'" in difference
    assert "derived is asked " in difference
    assert "'origin': 'sampler'" in difference


def test_a_forged_restart_is_found(events: list[Event], tiny_study: Study) -> None:
    for restarted in only(events, "restarted"):
        assert found_at(changed(events, restarted, attempt=restarted.body["attempt"] + 1), tiny_study) == restarted.id
        other = [replace(event, trial=0 if event.trial else 1) if event is restarted else event for event in events]
        assert found_at(other, tiny_study) == restarted.id
