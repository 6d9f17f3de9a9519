"""A search that ends when going on would gain less than a seed decides."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide.replay import differences
from search.decide.search import Search
from search.decide.settled import CAUTION, REPEATS, WINDOW, expected_gain
from search.record.events import EpochReport
from search.record.state import State
from spaces.study import Choice, Float, Objective, Study
from tests.simulated import Memory, begun, resumed

Worth = Callable[[Search, int], float]


def searched(study: Study, worth: Worth, *, trials: int = 80, **changes: object) -> tuple[Memory, Search]:
    """A search in which each trial is worth `worth` after every epoch."""
    record = Memory()
    search = begun(study, record, **{"trials": trials, "until_settled": True, "scheduler": "none", **changes})
    train(search, worth)
    return record, search


def train(search: Search, worth: Worth) -> None:
    while (trial := search.ask()) is not None:
        for epoch in range(1, 10):
            value = worth(search, trial.number)
            if not search.report(trial.number, EpochReport(epoch, {"val_accuracy": value}, 1.0)):
                break


def noisy(spread: float, best: float = 0.9) -> Worth:
    """Start points and repeats are worth `best`, all others less, and a seed decides about `spread`."""

    def worth(search: Search, number: int) -> float:
        trial = search.trials[number]
        chance = random.Random(f"{number}")
        return (
            best + chance.gauss(0, spread) if trial.given or trial.repeats is not None else 0.5 + chance.gauss(0, 0.01)
        )

    return worth


def rising(search: Search, number: int) -> float:
    return 0.5 + number / 200


def test_a_search_whose_proposals_are_all_worse_ends_and_says_by_how_much(tiny_study: Study) -> None:
    _, search = searched(tiny_study, noisy(0.01))
    told = search.trials.settled
    assert told is not None
    assert told.expected_gain < told.spread
    repeats = [trial for trial in search.trials if trial.repeats is not None]
    assert [trial.repeats for trial in repeats] == [0] * REPEATS
    values = [search.trials[0].best_value(tiny_study.objective), *(t.best_value(tiny_study.objective) for t in repeats)]
    assert told.spread == pytest.approx(CAUTION * statistics.stdev(values))
    assert len(search.trials) == len(tiny_study.start) + REPEATS + WINDOW


def test_a_search_whose_proposals_get_better_goes_on(tiny_study: Study) -> None:
    _, search = searched(tiny_study, rising)
    assert search.trials.settled is None
    assert len(search.trials) == 80


def test_without_noise_nothing_is_settled(tiny_study: Study) -> None:
    # A gain of nothing is not below a spread of nothing.
    _, search = searched(tiny_study, lambda search, number: 0.5)
    assert search.trials.settled is None


def test_a_search_that_is_not_asked_to_goes_on_and_repeats_nothing(tiny_study: Study) -> None:
    _, search = searched(tiny_study, noisy(0.01), until_settled=False, trials=40)
    assert len(search.trials) == 40
    assert not any(trial.repeats is not None for trial in search.trials)


def test_repeats_have_seeds_of_their_own_are_never_stopped_and_teach_nothing(tiny_study: Study) -> None:
    record, search = searched(tiny_study, noisy(0.01), scheduler="asha")
    repeats = [trial for trial in search.trials if trial.repeats is not None]
    seeds = {search.config(trial)["train/seed"] for trial in (search.trials[0], *repeats)}
    assert len(seeds) == REPEATS + 1
    assert all(trial.state is State.COMPLETE for trial in repeats)
    assert not any(event.kind == "decided" and event.trial in {t.number for t in repeats} for event in record.events)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 400), spread=st.floats(0.001, 0.1))
def test_killed_anywhere_it_ends_as_it_would_have_and_is_replayed(cut: int, spread: float, tiny_study: Study) -> None:
    record, whole = searched(tiny_study, noisy(spread), sampler="random")
    assert differences(record.events, tiny_study) == []
    batches = [count for count in record.batches if count <= cut and count >= 1]
    killed = Memory(record.events[: batches[-1]]) if batches else Memory(record.events[:1])
    search = resumed(tiny_study, killed, list(killed.events))
    while (trial := search.again()) is not None:
        row = trial.epochs[-1] if trial.epochs else None
        search.restart(trial, row)
        for epoch in range(len(trial.epochs) + 1, 10):
            if not search.report(
                trial.number, EpochReport(epoch, {"val_accuracy": noisy(spread)(search, trial.number)}, 1.0)
            ):
                break
    train(search, noisy(spread))
    assert search.trials.settled == whole.trials.settled
    assert [trial.point for trial in search.trials] == [trial.point for trial in whole.trials]


def test_a_settled_search_that_is_resumed_says_so_again(tiny_study: Study) -> None:
    record, search = searched(tiny_study, noisy(0.01))
    again = resumed(tiny_study, record, list(record.events), trials=90)
    assert again.ask() is None
    assert again.trials.settled == search.trials.settled


@pytest.mark.parametrize("mode", ["max", "min"])
def test_least_is_best_mirrors_most_is_best(mode: str, tiny_study: Study) -> None:
    sign = 1 if mode == "max" else -1
    study = replace(tiny_study, objective=Objective("val_accuracy", mode))
    _, search = searched(study, lambda search, number: sign * noisy(0.01)(search, number), sampler="random")
    assert search.trials.settled is not None
    assert search.trials.settled.expected_gain >= 0


def test_with_a_confirmation_that_begins_where_the_search_is_settled(tiny_study: Study) -> None:
    record, search = searched(tiny_study, noisy(0.01), confirm=1)
    kinds = [event.kind for event in record.events]
    assert kinds.index("settled") < kinds.index("confirming")
    assert any(trial.confirms is not None for trial in search.trials)
    assert differences(record.events, tiny_study) == []


def test_a_space_that_is_a_single_point_is_no_obstacle(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"train/lr": Float(0.1, 0.1), "model/depth": Choice(1)}, start=())
    _, search = searched(study, noisy(0.01), trials=30)
    assert search.trials.settled is not None
    assert all(dict(trial.point) == {"train/lr": 0.1, "model/depth": 1} for trial in search.trials)


@given(
    values=st.lists(st.floats(-10, 10), min_size=3, max_size=30),
    best=st.floats(-20, 20),
    scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
)
def test_the_expected_gain_scales_with_its_unit_and_shrinks_with_the_best(
    values: list[float], best: float, scale: float, shift: float
) -> None:
    gain = expected_gain(values, best)
    assert gain >= 0
    assert gain >= expected_gain(values, best + 1) - 1e-6
    moved = expected_gain([scale * value + shift for value in values], scale * best + shift)
    assert moved == pytest.approx(scale * gain, rel=1e-2, abs=1e-3 * scale)


def test_the_expected_gain_is_that_of_many_draws() -> None:
    chance = random.Random(0)
    latest = [chance.gauss(0.5, 0.1) for _ in range(20)]
    mean, deviation = statistics.fmean(latest), statistics.stdev(latest)
    for best in (0.2, 0.6, 0.75, 0.9):
        draws = [max(0.0, max(chance.gauss(mean, deviation) for _ in latest) - best) for _ in range(4000)]
        error = 4 * statistics.stdev(draws) / math.sqrt(len(draws)) + 1e-4
        assert expected_gain(latest, best) == pytest.approx(statistics.fmean(draws), abs=error)
