"""Start points from other data sets: which are chosen, and what they are taken to lose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.decide.portfolio import FIRST, LEAST_GAIN, WORST, Trained, greedy, losses
from spaces.space import Space
from spaces.study import Choice, Float
from spaces.values import Config

LOSSES = st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0.0, WORST))
)


@given(table=LOSSES, size=st.integers(0, 9), chance=st.randoms(use_true_random=False))
def test_the_order_of_the_data_sets_changes_nothing(table: Any, size: int, chance: Any) -> None:
    order = [*range(len(table))]
    chance.shuffle(order)
    assert greedy(table[order], size) == greedy(table, size)


def test_not_even_by_the_last_digit_of_a_sum() -> None:
    table = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
    assert greedy(table, 1) == greedy(table[::-1], 1) == [0]


@given(table=LOSSES, size=st.integers(0, 9))
def test_no_candidate_is_chosen_twice_and_no_more_than_were_asked_for(table: Any, size: int) -> None:
    chosen = greedy(table, size)
    assert len(chosen) == len(set(chosen)) <= min(size, table.shape[1])


@given(table=LOSSES)
def test_a_larger_portfolio_begins_with_the_smaller_and_is_no_worse_on_any_data_set(table: Any) -> None:
    before = np.full(len(table), WORST)
    for size in range(1, table.shape[1] + 1):
        smaller, chosen = greedy(table, size - 1, gain=0.0), greedy(table, size, gain=0.0)
        assert chosen[: size - 1] == smaller
        now = table[:, chosen].min(axis=1)
        assert (now <= before).all()
        before = now


@given(table=LOSSES)
def test_the_first_choice_is_the_best_on_average(table: Any) -> None:
    (first,) = greedy(table, 1)
    assert table[:, first].mean() <= table.mean(axis=0).min() + 1e-5


def test_the_next_choice_is_what_helps_where_the_first_does_not_and_then_it_ends() -> None:
    table = np.array([[0.0, 0.1, 2.0, 0.0], [1.5, 1.6, 0.0, 1.5]])
    assert greedy(table, 4) == [0, 2]
    assert greedy(table, 4, first=3) == [0, 2, 3]


def test_the_choice_ends_where_another_would_gain_too_little() -> None:
    table = np.array([[0.5, 0.5, 0.5 - 0.9 * LEAST_GAIN, 0.2]])
    assert greedy(table, 4) == [3, 2]
    assert len(greedy(table, 4)) == FIRST


@given(table=LOSSES)
def test_what_is_given_is_not_chosen_and_what_it_does_well_needs_no_other(table: Any) -> None:
    assert 0 not in greedy(table, 9, given=[0])
    assert greedy(table, 9, given=[*range(table.shape[1])]) == []
    assert greedy(np.array([[0.0, 0.1, 2.0], [1.5, 1.4, 0.2]]), 1, given=[0]) == [2]


# What is lost

SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "kind": Choice("a", "b", "c")})


def tried(lr: float, kind: str = "a", *, best: float = 1e-2, complete: bool = True, shift: float = 0.0) -> Trained:
    """A trial that is the better the nearer lr is to `best`, with half of that after its first epoch."""
    worth = 1 - 0.1 * abs(np.log10(lr / best)) ** 2 + shift
    return Trained({"lr": lr, "kind": kind}, [(1, worth / 2), *([(9, worth)] if complete else [])], 9, complete)


RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0]


def test_the_best_trial_loses_nothing_the_median_one_1_and_no_one_more_than_the_worst() -> None:
    trials = [tried(rate) for rate in RATES]
    lost = losses(SPACE, [trials], [trial.point for trial in trials])[0]
    assert lost.min() == lost[RATES.index(1e-2)] == 0.0
    assert np.median(lost) == pytest.approx(1.0)
    assert lost.max() <= WORST


def test_what_was_not_trained_on_a_data_set_is_predicted_from_what_was() -> None:
    trials = [tried(rate) for rate in RATES]
    near, far = losses(SPACE, [trials], [{"lr": 1.1e-2, "kind": "a"}, {"lr": 0.9, "kind": "a"}])[0]
    assert near < 0.5 < 1.5 < far


def test_a_trial_that_was_stopped_is_judged_by_what_it_would_have_come_to() -> None:
    trials = [tried(rate, complete=rate in (1e-3, 1e-2, 0.1)) for rate in RATES]
    candidates: list[Config] = [{"lr": 3e-3, "kind": "a"}, {"lr": 1.0, "kind": "a"}]
    near, far = losses(SPACE, [trials], candidates)[0]
    assert near < 1.0 < far


def test_a_setting_that_diverged_is_no_good_one() -> None:
    gone = [Trained({"lr": rate, "kind": "a"}, [], 9, complete=False, hopeless=True) for rate in (0.5, 1.0)]
    trials = [*(tried(rate, best=0.1) for rate in RATES[:-2]), *gone]
    good, bad = losses(SPACE, [trials], [{"lr": 0.1, "kind": "a"}, {"lr": 0.9, "kind": "a"}])[0]
    assert good == 0.0
    assert bad > 1.0


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [Trained({"lr": 0.1, "kind": "a"}, [], 9, complete=False, hopeless=True)] * 5,
        [Trained({"lr": rate, "kind": "a"}, [(9, 0.5)], 9, complete=True) for rate in RATES],
        [Trained({"lr": 0.1, "kind": "a"}, [(1, 0.5)], 1, complete=True)],
    ],
    ids=["no trial", "all diverged", "all equal", "one of one epoch"],
)
def test_a_data_set_that_tells_nothing_apart_loses_nothing_by_any(trials: list[Trained]) -> None:
    assert losses(SPACE, [trials], [{"lr": 0.1, "kind": "b"}]).tolist() == [[0.0]]


def test_the_scale_of_values_does_not_matter() -> None:
    trials = [tried(rate) for rate in RATES]
    large = [
        Trained(each.point, [(epoch, 1e6 * worth - 7e5) for epoch, worth in each.curve], 9, complete=True)
        for each in trials
    ]
    candidates: list[Config] = [{"lr": 2e-2, "kind": "b"}, {"lr": 0.5, "kind": "a"}]
    one, other = losses(SPACE, [trials, large], candidates)
    assert one == pytest.approx(other, abs=1e-6)
