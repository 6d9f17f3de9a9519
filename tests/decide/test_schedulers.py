"""Which trials go on and which stop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decide.schedulers import SCHEDULERS
from search.decide.schedulers.asha import Asha
from search.decide.schedulers.scheduler import Decision, Scheduler
from spaces.study import Float, Objective, Study
from trainables.mlp import train_mlp

Report = tuple[int, int, float]

values = st.floats(-1e6, 1e6)
# Few different values, so that ties are common.
coarse = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])
arrivals = st.lists(st.one_of(values, coarse), min_size=1, max_size=30)
factors = st.integers(2, 5)
not_finite = st.sampled_from([math.nan, math.inf, -math.inf])
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def asha(*, mode: str = "max", epochs: int = 9, first_rung: int = 1, factor: int = 3) -> Asha:
    return Asha(
        Study(
            trainable=train_mlp,
            dataset="digits",
            space={"train/lr": Float(1e-4, 1.0)},
            objective=Objective(mode=mode),
            epochs=epochs,
            first_rung=first_rung,
            reduction_factor=factor,
        )
    )


def survivors(values: list[float], factor: int, mode: str = "max") -> list[int]:
    """Which of the trials that come to the first rung, in this order, go on."""
    scheduler = asha(mode=mode, factor=factor)
    return [trial for trial, value in enumerate(values) if scheduler.decide(trial, 1, value).go_on]


@given(epochs=st.integers(1, 200), first_rung=st.integers(1, 20), factor=factors)
def test_rungs_are_the_first_times_powers_of_the_factor_below_the_budget(
    epochs: int, first_rung: int, factor: int
) -> None:
    expected = [first_rung * factor**power for power in range(10) if first_rung * factor**power < epochs]
    assert list(asha(epochs=epochs, first_rung=first_rung, factor=factor).rungs) == expected


@given(arrivals=arrivals, factor=factors)
def test_a_trial_goes_on_if_it_is_among_the_best_share_of_those_so_far(arrivals: list[float], factor: int) -> None:
    scheduler = asha(factor=factor)
    for trial, value in enumerate(arrivals):
        so_far = arrivals[: trial + 1]
        better = sum(other > value for other in so_far)
        decision = scheduler.decide(trial, 1, value)
        assert decision.go_on == (better < math.ceil(len(so_far) / factor))
        assert decision.rung == 1


@given(arrivals=arrivals, factor=factors)
def test_the_best_so_far_is_never_stopped(arrivals: list[float], factor: int) -> None:
    passed = survivors(arrivals, factor)
    assert 0 in passed
    for trial, value in enumerate(arrivals):
        if value == max(arrivals[: trial + 1]):
            assert trial in passed


@given(arrivals=arrivals, factor=factors)
def test_when_the_best_come_first_no_more_than_the_share_and_ties_survive(arrivals: list[float], factor: int) -> None:
    ordered = sorted(arrivals, reverse=True)
    share = math.ceil(len(ordered) / factor)
    passed = survivors(ordered, factor)
    assert all(ordered[trial] >= ordered[share - 1] for trial in passed)


@given(arrivals=st.lists(values, min_size=1, max_size=30), factor=factors)
def test_when_the_worst_come_first_all_go_on(arrivals: list[float], factor: int) -> None:
    # The price of never waiting: each was the best when it came.
    assert survivors(sorted(arrivals), factor) == list(range(len(arrivals)))


@given(arrivals=arrivals, factor=factors)
def test_equal_trials_all_go_on(arrivals: list[float], factor: int) -> None:
    assert survivors([0.5] * len(arrivals), factor) == list(range(len(arrivals)))


def test_the_cutoff_is_what_had_to_be_reached() -> None:
    scheduler = asha()
    assert scheduler.decide(0, 1, 0.5) == Decision(go_on=True, rung=1, cutoff=None)
    assert scheduler.decide(1, 1, 0.4) == Decision(go_on=False, rung=1, cutoff=0.5)
    assert scheduler.decide(2, 1, 0.6) == Decision(go_on=True, rung=1, cutoff=0.6)
    # Of four, two go on.
    assert scheduler.decide(3, 1, 0.5) == Decision(go_on=True, rung=1, cutoff=0.5)


def test_rungs_do_not_know_each_other() -> None:
    scheduler = asha()
    assert scheduler.decide(0, 1, 0.9).go_on
    assert scheduler.decide(1, 3, 0.1) == Decision(go_on=True, rung=3)


@pytest.mark.parametrize("epoch", [2, 4, 8, 9, 10])
def test_between_rungs_and_after_the_last_every_trial_goes_on(epoch: int) -> None:
    scheduler = asha()
    scheduler.decide(0, epoch, 0.9)
    assert scheduler.decide(1, epoch, 0.1) == Decision(go_on=True)


@given(arrivals=st.lists(st.one_of(values, coarse, not_finite), min_size=1, max_size=30), factor=factors)
def test_a_value_that_is_not_finite_stops_and_is_no_rival(arrivals: list[float], factor: int) -> None:
    passed = survivors(arrivals, factor)
    finite = [trial for trial, value in enumerate(arrivals) if math.isfinite(value)]
    alone = survivors([arrivals[trial] for trial in finite], factor)
    assert passed == [finite[position] for position in alone]


@given(arrivals=st.lists(st.one_of(values, coarse, not_finite), min_size=1, max_size=30), factor=factors)
def test_least_is_best_mirrors_most_is_best(arrivals: list[float], factor: int) -> None:
    most, least = asha(factor=factor), asha(mode="min", factor=factor)
    for trial, value in enumerate(arrivals):
        ours, theirs = most.decide(trial, 1, value), least.decide(trial, 1, -value)
        mirrored = None if theirs.cutoff is None else -theirs.cutoff
        assert (ours.go_on, ours.rung, ours.cutoff) == (theirs.go_on, theirs.rung, mirrored)


@st.composite
def reports(draw: st.DrawFn) -> list[Report]:
    """What trials running side by side report: each counts its epochs from 1, in any order among them."""
    done: dict[int, int] = {}
    told = []
    for trial in draw(st.lists(st.integers(0, 5), max_size=40)):
        done[trial] = done.get(trial, 0) + 1
        told.append((trial, done[trial], draw(st.one_of(coarse, values, not_finite))))
    return told


def decisions(scheduler: Scheduler, told: list[Report]) -> list[Decision]:
    """The decisions over `told`; as in a search, a trial that was stopped reports no more."""
    stopped: set[int] = set()
    decided = []
    for trial, epoch, value in told:
        if trial not in stopped:
            decided.append(scheduler.decide(trial, epoch, value))
            if not decided[-1].go_on:
                stopped.add(trial)
    return decided


@every_scheduler
@given(told=reports())
def test_every_scheduler_decides_alike_when_told_alike(name: str, told: list[Report], tiny_study: Study) -> None:
    first, second = (decisions(SCHEDULERS[name](tiny_study), told) for _ in range(2))
    assert first == second


@every_scheduler
@given(told=reports(), cut=st.integers(0, 40))
def test_every_scheduler_goes_on_from_the_decisions_of_its_record(
    name: str, told: list[Report], cut: int, tiny_study: Study
) -> None:
    # Only decisions at rungs are recorded, so they must be all that a scheduler remembers.
    live, rebuilt, stopped = SCHEDULERS[name](tiny_study), SCHEDULERS[name](tiny_study), set()
    for number, (trial, epoch, value) in enumerate(told):
        if trial in stopped:
            continue
        decision = live.decide(trial, epoch, value)
        if not decision.go_on:
            stopped.add(trial)
        if number >= cut or decision.rung is not None:
            assert rebuilt.decide(trial, epoch, value) == decision


@every_scheduler
@given(told=reports())
def test_every_scheduler_compares_at_its_rungs_only(name: str, told: list[Report], tiny_study: Study) -> None:
    scheduler = SCHEDULERS[name](tiny_study)
    assert list(scheduler.rungs) == sorted(set(scheduler.rungs))
    assert all(1 <= rung < tiny_study.epochs for rung in scheduler.rungs)
    for decision in decisions(scheduler, told):
        assert decision.rung is None or decision.rung in scheduler.rungs
        assert decision.cutoff is None or decision.rung is not None


@every_scheduler
@given(curve=st.lists(values, min_size=1, max_size=9))
def test_every_scheduler_lets_a_lone_trial_go_on_or_pauses_it(name: str, curve: list[float], tiny_study: Study) -> None:
    scheduler = SCHEDULERS[name](tiny_study)
    told = [scheduler.decide(0, epoch, value) for epoch, value in enumerate(curve, start=1)]
    assert all(decision.go_on != decision.pause for decision in told)
    assert scheduler.pauses == any(decision.pause for decision in told)


@every_scheduler
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 2])
def test_every_scheduler_stops_what_is_not_finite(name: str, value: float, epoch: int, tiny_study: Study) -> None:
    assert not SCHEDULERS[name](tiny_study).decide(0, epoch, value).go_on


@every_scheduler
def test_every_scheduler_takes_a_study_of_one_epoch(name: str, tiny_study: Study) -> None:
    assert SCHEDULERS[name](replace(tiny_study, epochs=1)).rungs == ()


def test_asha_takes_its_rungs_from_the_study(tiny_study: Study) -> None:
    assert SCHEDULERS["asha"](tiny_study).rungs == (1, 3)
    assert SCHEDULERS["asha"](replace(tiny_study, first_rung=2, reduction_factor=2)).rungs == (2, 4, 8)
