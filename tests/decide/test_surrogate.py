"""What freeze-thaw is made of: points as rows of numbers, and a process that learns from curves."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decide import surrogate
from search.decide.coordinates import Coordinates
from search.decide.samplers import SAMPLERS
from search.decide.samplers.freeze_thaw import FreezeThaw
from search.decide.surrogate import Cost, Observed, Posterior, expected_improvement
from search.record.state import State
from spaces.space import Space
from spaces.study import Choice, Float, Int, Study

MIXED = Space(
    {
        "train/optimizer": Choice("sgd", "adam", "rmsprop"),
        "train/momentum": Float(0.5, 0.99, when={"train/optimizer": ("sgd", "rmsprop")}),
        "train/nesterov": Choice(False, True, when={"train/optimizer": "sgd"}),
        "model/depth": Int(1, 6),
        "model/width": Int(8, 256, log=True),
        "model/narrow": Int(8, "model/width"),
        "train/lr": Float(1e-4, 1.0, log=True),
        "train/dropout": Float(0.0, 0.5, step=0.1),
        "train/batch_size": Choice(128, 32, 64),
    }
)


@given(seed=st.integers(0, 10**6))
def test_every_point_that_is_drawn_or_near_one_lies_in_the_space(seed: int) -> None:
    space, chance = Coordinates(MIXED), np.random.default_rng(seed)
    drawn = space.draw(chance, 20)
    for points in (drawn, space.near(chance, drawn, 2)):
        assert space.rows(points).shape == (len(points), len(space.owner))
        assert np.isfinite(space.rows(points)).all()
        for row in range(len(points)):
            MIXED.check_point(space.config(points, row))


@given(seed=st.integers(0, 10**6))
def test_a_point_has_the_same_row_drawn_or_told(seed: int) -> None:
    """Where no bound is another hyperparameter: there a place is not moved to where a value is."""
    plain = Space({name: range_ for name, range_ in MIXED.items() if name != "model/narrow"})
    space = Coordinates(plain)
    drawn = space.draw(np.random.default_rng(seed), 10)
    told = space.of([space.config(drawn, row) for row in range(len(drawn))])
    assert told.exists.tolist() == drawn.exists.tolist()
    assert space.rows(told) == pytest.approx(space.rows(drawn), abs=1e-6)


def test_two_values_of_a_choice_are_as_far_apart_as_any_other_two() -> None:
    space = Coordinates(Space({"train/optimizer": Choice("sgd", "adam", "rmsprop")}))
    rows = space.rows(space.of([{"train/optimizer": value} for value in ("sgd", "adam", "rmsprop")]))
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    assert apart == pytest.approx(1 - np.eye(3))


def curves(count: int, seed: int = 0) -> Observed:
    """Values of `count` settings of one hyperparameter, best at 0.3, at two times."""
    chance = np.random.default_rng(seed)
    rows = np.repeat(chance.random((count, 1)), 2, axis=0)
    time_, trial = np.tile([0.0, 1.0], count), np.repeat(np.arange(count), 2)
    worth = -4 * np.abs(rows[:, 0] - 0.3) + time_ + 0.02 * chance.normal(size=2 * count)
    return Observed(rows, time_, trial, (worth - worth.mean()) / worth.std())


NONE_FLYING = Observed(np.zeros((0, 1)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0))
OWNER = np.zeros(1, np.int64)


def test_the_process_learns_where_the_good_settings_are_and_is_unsure_where_none_was() -> None:
    seen = curves(20)
    kernel = surrogate.fitted(seen, OWNER, surrogate.untrained(1), np.random.default_rng(0))
    posterior = Posterior(kernel, OWNER, seen, NONE_FLYING)
    grid = np.linspace(0, 1, 41)[:, None]
    mean, deviation = posterior.at(grid, np.ones(41), np.full(41, -1))
    assert abs(float(grid[mean.argmax(), 0]) - 0.3) < 0.1
    outside = posterior.at(np.array([[5.0]]), np.ones(1), np.array([-1]))[1]
    assert outside[0] > deviation.mean()


def test_the_fit_tells_what_matters_from_what_does_not() -> None:
    chance = np.random.default_rng(0)
    rows = chance.random((40, 2))
    worth = np.sin(9 * rows[:, 0])
    seen = Observed(rows, np.ones(40), np.arange(40), (worth - worth.mean()) / worth.std())
    kernel = surrogate.fitted(seen, np.arange(2), surrogate.untrained(2), chance)
    assert np.exp(kernel.lengths[0]) < 0.5
    assert np.exp(kernel.lengths[1]) > 1.0


@given(seed=st.integers(0, 10**6))
def test_the_gradient_is_that_of_small_steps(seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows, trial = chance.random((12, 3)), chance.integers(0, 5, 12)
    seen = Observed(rows, chance.random(12), trial, chance.normal(size=12))
    prior = surrogate.untrained(2).vector
    misfit = surrogate._Misfit(seen, np.array([0, 1, 1]), prior)
    at = prior + 0.5 * chance.normal(size=len(prior))
    steps = 1e-5 * np.eye(len(at))
    expected = [(misfit(at + step)[0] - misfit(at - step)[0]) / 2e-5 for step in steps]
    assert misfit(at)[1] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_kernel_is_fitted_on_trials_that_went_on_also_where_they_are_few() -> None:
    trial = np.concatenate([np.arange(300), [7, 7, 290]])
    seen = Observed(np.zeros((303, 1)), np.zeros(303), trial, np.zeros(303))
    chosen = surrogate._fit_on(seen, np.random.default_rng(0))
    assert len(chosen) == surrogate.FIT_POINTS
    assert {7, 290, 300, 301, 302} <= {*chosen.tolist()}


def test_a_trial_in_flight_makes_the_process_surer_and_changes_no_mean_there() -> None:
    seen, kernel = curves(8), surrogate.untrained(1)
    flying = Observed(np.array([[0.9]]), np.ones(1), np.array([99]), np.zeros(1))
    where = (np.array([[0.9]]), np.ones(1), np.array([-1]))
    mean, deviation = Posterior(kernel, OWNER, seen, NONE_FLYING).at(*where)
    believed, surer = Posterior(kernel, OWNER, seen, flying).at(*where)
    assert believed == pytest.approx(mean, abs=0.02)
    assert surer[0] < deviation[0]


def test_expected_improvement_is_that_of_many_draws() -> None:
    draws = np.random.default_rng(0).normal(0.2, 0.5, 400_000)
    found = expected_improvement(np.array([0.2]), np.array([0.5]), 0.6)
    assert found[0] == pytest.approx(np.maximum(draws - 0.6, 0).mean(), abs=2e-3)


def test_seconds_follow_the_setting_and_are_one_until_something_is_known() -> None:
    rows = np.linspace(0, 1, 12)[:, None]
    cost = Cost(rows, 2.0 * np.exp(3 * rows[:, 0]))
    assert cost.of(np.array([[0.5]]))[0] == pytest.approx(2 * np.exp(1.5), rel=0.1)
    assert not Cost(rows[:2], np.ones(2)).known
    assert Cost(rows, np.zeros(12)).of(rows).tolist() == [1.0] * 12


def told(study: Study, count: int, seed: int = 0) -> FreezeThaw:
    sampler, chance = FreezeThaw(study, seed), random.Random(0)
    drawn = SAMPLERS["random"](study, 5)
    for number in range(count):
        point = drawn.propose(number)
        assert point is not None
        sampler.started(number, point)
        values = sorted(chance.random() for _ in range(chance.choice([1, 1, 2, 4])))
        for epoch in range(1, len(values) + 1):
            sampler.heard(number, values[:epoch], 1.0)
        sampler.put_aside(number, aside=True)
    return sampler


def test_a_proposal_is_the_same_whether_prospects_were_asked_for_before_or_not(tiny_study: Study) -> None:
    asked, silent = told(tiny_study, 30), told(tiny_study, 30)
    asked.prospects(30)
    assert asked.propose(30) == silent.propose(30)
    assert asked.prospects(30) == silent.prospects(30)


@pytest.mark.parametrize("state", [State.DIVERGED, State.OUT_OF_MEMORY, State.INFEASIBLE])
def test_what_ends_worthless_makes_its_neighbourhood_worth_less(state: State, tiny_study: Study) -> None:
    study = replace(tiny_study, space={"train/lr": Float(0.0, 1.0)}, start=())
    sampler = FreezeThaw(study, 0)
    for number in range(24):
        rate = (number + 0.5) / 24
        sampler.started(number, {"train/lr": rate})
        values = [rate * epoch / 9 for epoch in range(1, 10)]
        bad = rate > 0.5  # the better it looks, the surer it ends badly
        for epoch in range(1, 3 if bad else 10):
            sampler.heard(number, values[:epoch], 1.0)
        sampler.ended(number, state if bad else State.COMPLETE, values[: 2 if bad else 9])
    rates = []
    for number in range(24, 32):
        point = sampler.propose(number)
        sampler.started(number, point)
        rates.append(point["train/lr"])
    assert sum(rate < 0.6 for rate in rates) >= 6


def test_nothing_is_modelled_before_enough_trials_began(tiny_study: Study) -> None:
    first = FreezeThaw(tiny_study, 0).first
    assert told(tiny_study, first - 1).prospects(first - 1).new == math.inf
    assert told(tiny_study, first).prospects(first).new < math.inf


@pytest.mark.parametrize(("epochs", "begins"), [(1, False), (4, True)])
def test_no_new_trial_begins_while_most_of_the_time_went_to_first_rungs(
    epochs: int, begins: bool, tiny_study: Study
) -> None:
    sampler, drawn = FreezeThaw(tiny_study, 0), SAMPLERS["random"](tiny_study, 5)
    for number in range(12):
        point = drawn.propose(number)
        assert point is not None
        sampler.started(number, point)
        for epoch in range(1, epochs + 1):
            sampler.heard(number, [0.01 * number] * epoch, 1.0)
        sampler.put_aside(number, aside=True)
    assert (sampler.prospects(12).new > 0) is begins


@pytest.mark.parametrize(("trials", "seconds"), [(100, 0.15), (1000, 0.5)])
def test_thinking_is_bounded(trials: int, seconds: float, tiny_study: Study) -> None:
    """Measured are 36 and 58 ms (docs/benchmarks.md); here a multiple, for busy machines."""
    sampler = told(replace(tiny_study, start=()), trials)
    sampler.kernel()
    began = time.process_time()
    sampler.prospects(trials)
    sampler.propose(trials)
    assert time.process_time() - began < seconds
