"""What every sampler promises: points of the space, the same for the same record, and the truth told to Optuna."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

import spaces
from search.samplers import SAMPLERS, Sampler, grid
from search.trials import State
from spaces.space import Config, Range, Space, SpaceError, Value
from spaces.study import Choice, Float, Int, Objective, Published, Study, config_of
from tests.simulated import Memory, begun

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
drawing = pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
"""Those that draw at random: a grid has no real numbers and comes to an end."""
ENDS = [state for state in State if state is not State.RUNNING]
every_end = pytest.mark.parametrize("state", ENDS)
every_mode = pytest.mark.parametrize("mode", ["max", "min"])

Told = tuple[int, State, list[float]]


def run_alone(sampler: Sampler, study: Study, count: int) -> list[Config]:
    """The points of `count` trials, one after the other, that end in all ways there are; fewer if there are no more."""
    points: list[Config] = []
    for number in range(count):
        point = sampler.propose(number)
        if point is None:
            break
        points.append(config_of(point))
        sampler.started(number, points[-1])
        sampler.ended(number, *outcome(number))
    return points


def proposed(sampler: Sampler, number: int) -> Config:
    point = sampler.propose(number)
    assert point is not None
    return point


def outcome(number: int) -> tuple[State, list[float]]:
    """How trial `number` ends, the same whenever it is asked."""
    chance = random.Random(f"outcome {number}")
    curve = sorted(chance.random() for _ in range(9))
    return chance.choice(
        [
            (State.COMPLETE, curve),
            (State.COMPLETE, curve),
            (State.STOPPED, curve[:1]),
            (State.STOPPED, curve[:3]),
            (State.PREEMPTED, curve[:2]),
            (State.TIMED_OUT, []),
            (State.DIVERGED, curve[:2]),
            (State.OUT_OF_MEMORY, []),
            (State.FAILED, []),
        ]
    )


def after(name: str, study: Study, state: State, values: Sequence[float]) -> FrozenTrial:
    """What Optuna knows of the one trial that ended so."""
    sampler = SAMPLERS[name](study, 0)
    sampler.started(0, study.start[0])
    sampler.ended(0, state, values)
    (trial,) = sampler.optuna_study.get_trials()  # type: ignore[attr-defined]
    return trial


@drawing
def test_points_lie_in_the_space_and_respect_conditions(name: str, tiny_study: Study) -> None:
    points = run_alone(SAMPLERS[name](tiny_study, 0), tiny_study, 30)
    for point in points:
        tiny_study.ranges.check_point(point)
    assert {point["train/optimizer"] for point in points} == {"sgd", "adam"}
    assert all(("train/momentum" in point) == (point["train/optimizer"] == "sgd") for point in points)


@drawing
def test_points_are_of_the_types_that_the_space_holds(name: str, tiny_study: Study) -> None:
    for point in run_alone(SAMPLERS[name](tiny_study, 0), tiny_study, 12):
        assert type(point["model/width"]) is int
        assert type(point["train/lr"]) is float
        assert type(point["model/batch_norm"]) is bool
        assert json.loads(json.dumps(point)) == point


@every_sampler
def test_conditions_on_conditions_are_respected(name: str, tiny_study: Study) -> None:
    space = {
        "train/optimizer": Choice("sgd", "adam", "rmsprop"),
        "train/momentum": Choice(0.0, 0.9, when={"train/optimizer": ("sgd", "rmsprop")}),
        "train/nesterov": Choice(False, True, when={"train/optimizer": "sgd", "train/momentum": 0.9}),
    }
    study = replace(tiny_study, space=space, start=())
    points = run_alone(SAMPLERS[name](study, 1), study, 30)
    for point in points:
        study.ranges.check_point(point)
    assert any("train/nesterov" in point for point in points)


@drawing
def test_the_ends_of_a_range_and_a_range_of_one_value_can_be_proposed(name: str, tiny_study: Study) -> None:
    study = replace(tiny_study, space={"model/depth": Int(0, 1), "train/lr": Float(0.1, 0.1)}, start=())
    points = run_alone(SAMPLERS[name](study, 0), study, 20)
    assert {point["model/depth"] for point in points} == {0, 1}
    assert {point["train/lr"] for point in points} == {0.1}


@drawing
def test_a_space_without_anything_to_search_gives_empty_points(name: str, tiny_study: Study) -> None:
    study = replace(tiny_study, space={}, start=())
    assert run_alone(SAMPLERS[name](study, 0), study, 8) == [{}] * 8


@drawing
def test_the_same_seed_gives_the_same_points_and_another_seed_others(name: str, tiny_study: Study) -> None:
    first, again, other = (run_alone(SAMPLERS[name](tiny_study, seed), tiny_study, 15) for seed in (3, 3, 4))
    assert first == again
    assert all(ours != theirs for ours, theirs in zip(first, other, strict=True))


ELSEWHERE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import spaces
from search.samplers import SAMPLERS
from test_samplers import run_alone
study = spaces.load("digits_mlp")
print(json.dumps({name: run_alone(SAMPLERS[name](study, 5), study, 15) for name in ("tpe", "random")}))
"""


def test_the_same_seed_gives_the_same_points_in_another_process() -> None:
    study = spaces.load("digits_mlp")
    here = {name: run_alone(SAMPLERS[name](study, 5), study, 15) for name in ("tpe", "random")}
    finished = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, os.path.dirname(__file__)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout) == here


@drawing
def test_points_differ_from_trial_to_trial(name: str, tiny_study: Study) -> None:
    points = run_alone(SAMPLERS[name](tiny_study, 0), tiny_study, 20)
    assert len({json.dumps(point) for point in points}) == 20


@drawing
def test_trials_running_side_by_side_try_different_points(name: str, tiny_study: Study) -> None:
    sampler = SAMPLERS[name](tiny_study, 0)
    run_alone(sampler, tiny_study, 8)
    points = []
    for number in range(8, 16):
        points.append(proposed(sampler, number))
        sampler.started(number, points[-1])
    assert len({json.dumps(point) for point in points}) == 8


@drawing
@every_end
def test_no_trial_stays_running_once_it_has_ended(name: str, state: State, tiny_study: Study) -> None:
    values = [] if state in (State.FAILED, State.OUT_OF_MEMORY) else [0.5, 0.6]
    assert after(name, tiny_study, state, values).state.is_finished()


@drawing
@every_end
def test_a_trial_that_ended_before_its_first_epoch_is_no_obstacle(name: str, state: State, tiny_study: Study) -> None:
    trial = after(name, tiny_study, state, [])
    assert trial.state.is_finished()
    assert trial.intermediate_values == {}


@drawing
def test_a_complete_trial_is_worth_its_value(name: str, tiny_study: Study) -> None:
    trial = after(name, tiny_study, State.COMPLETE, [0.1, 0.4, 0.7])
    assert trial.state is TrialState.COMPLETE
    assert trial.value == 0.7


@drawing
@pytest.mark.parametrize("state", [State.STOPPED, State.PREEMPTED, State.TIMED_OUT])
def test_a_stopped_trial_is_pruned_and_keeps_the_value_after_every_epoch(
    name: str, state: State, tiny_study: Study
) -> None:
    trial = after(name, tiny_study, state, [0.1, 0.4, 0.7])
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.1, 2: 0.4, 3: 0.7}


@drawing
@pytest.mark.parametrize("state", [State.DIVERGED, State.OUT_OF_MEMORY])
def test_a_diverged_trial_is_pruned_without_values_however_good_it_was(
    name: str, state: State, tiny_study: Study
) -> None:
    trial = after(name, tiny_study, state, [0.99])
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {}
    assert trial.value is None


@drawing
def test_a_failed_trial_is_a_failure(name: str, tiny_study: Study) -> None:
    trial = after(name, tiny_study, State.FAILED, [0.5])
    assert trial.state is TrialState.FAIL
    assert trial.value is None


@drawing
def test_optuna_hears_the_point_that_was_tried(name: str, tiny_study: Study) -> None:
    assert after(name, tiny_study, State.COMPLETE, [0.5]).params == tiny_study.start[0]


@drawing
@every_mode
def test_the_direction_is_that_of_the_objective(name: str, mode: str, tiny_study: Study) -> None:
    study = replace(tiny_study, objective=Objective("val_loss", mode))
    sampler = SAMPLERS[name](study, 0)
    for number, value in enumerate([0.3, 0.1, 0.2]):
        sampler.started(number, study.start[0])
        sampler.ended(number, State.COMPLETE, [value])
    best = sampler.optuna_study.best_trial.number  # type: ignore[attr-defined]
    assert best == (0 if mode == "max" else 1)


@every_mode
def test_tpe_learns_where_the_good_values_are(mode: str, tiny_study: Study) -> None:
    study = replace(tiny_study, space={"train/lr": Float(0.0, 1.0)}, start=(), objective=Objective("val_loss", mode))
    sampler, sign = SAMPLERS["tpe"](study, 0), 1 if mode == "max" else -1
    late = []
    for number in range(30):
        point = proposed(sampler, number)
        sampler.started(number, point)
        rate = point["train/lr"]
        assert isinstance(rate, float)
        sampler.ended(number, State.COMPLETE, [sign * -((rate - 0.3) ** 2)])
        late.append(abs(rate - 0.3))
    assert sum(late[-10:]) / 10 < 0.15


def test_tpe_keeps_away_from_where_trials_diverge(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"train/lr": Float(0.0, 1.0)}, start=())
    sampler, rates = SAMPLERS["tpe"](study, 0), []
    for number in range(40):
        point = proposed(sampler, number)
        sampler.started(number, point)
        rate = point["train/lr"]
        assert isinstance(rate, float)
        rates.append(rate)
        # Right of the middle everything diverges; left of it all is equally good.
        sampler.ended(number, *((State.DIVERGED, []) if rate > 0.5 else (State.COMPLETE, [0.5])))
    assert sum(rate > 0.5 for rate in rates[20:]) <= 4


def test_a_trial_stopped_early_teaches_tpe_less_than_it_would_as_complete(tiny_study: Study) -> None:
    # Told as complete, as Ray does, an early value would be taken for a final one.
    stopped = after("tpe", tiny_study, State.STOPPED, [0.9])
    assert stopped.state is not TrialState.COMPLETE


@drawing
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("cut", [0, 1, 5, 17])
def test_a_sampler_rebuilt_from_the_record_proposes_what_the_live_one_does(
    name: str, workers: int, cut: int, tiny_study: Study
) -> None:
    live = SAMPLERS[name](tiny_study, 0)
    history: list[tuple[int, Config | Told]] = []
    running: list[int] = []
    for number in range(cut):
        point = config_of(tiny_study.start[number] if number < len(tiny_study.start) else proposed(live, number))
        live.started(number, point)
        # As in the record: through JSON, with sorted names.
        history.append((number, json.loads(json.dumps(point))))
        running.append(number)
        if len(running) == workers:
            done = running.pop(random.Random(number).randrange(workers))
            state, values = outcome(done)
            live.ended(done, state, values)
            history.append((done, (done, state, values)))
    rebuilt = SAMPLERS[name](tiny_study, 0)
    for number, what in history:
        if isinstance(what, dict):
            rebuilt.started(number, what)
        else:
            rebuilt.ended(*what)
    for number in range(cut, cut + 3):
        point = proposed(live, number)
        assert rebuilt.propose(number) == point
        live.started(number, point)
        rebuilt.started(number, point)


@drawing
def test_a_sampler_rebuilt_from_the_record_tells_true_from_one(name: str, tiny_study: Study) -> None:
    space = {"model/width": Choice(1, True, 1.0, 2), "train/lr": Float(0.0, 1.0)}
    study = replace(tiny_study, space=space, start=())
    live, rebuilt = SAMPLERS[name](study, 0), SAMPLERS[name](study, 0)
    for number in range(12):
        point = proposed(live, number)
        for sampler in (live, rebuilt):
            sampler.started(number, point)
            sampler.ended(number, State.COMPLETE, [0.9 if point["model/width"] is True else 0.1])
    ours, theirs = proposed(live, 12), rebuilt.propose(12)
    assert repr(ours) == repr(theirs)


@drawing
def test_unknown_outcomes_do_not_change_the_random_numbers_of_later_trials(name: str, tiny_study: Study) -> None:
    # Before a model is fitted, a proposal depends on the seed and the number of the trial alone.
    first, second = SAMPLERS[name](tiny_study, 0), SAMPLERS[name](tiny_study, 0)
    for number, sampler in ((0, first), (0, second)):
        sampler.started(number, proposed(sampler, number))
    first.ended(0, State.FAILED, [])
    second.ended(0, State.COMPLETE, [0.5])
    assert first.propose(1) == second.propose(1)


# Grids


def all_of(sampler: Sampler, first: int = 0) -> list[Config]:
    """All that a sampler proposes to trials from number `first` on, each of which is started."""
    points: list[Config] = []
    while (point := sampler.propose(first + len(points))) is not None:
        assert len(points) < 1000, "it goes on for ever"
        sampler.started(first + len(points), point)
        points.append(point)
    return points


@st.composite
def countable(draw: st.DrawFn) -> Space:
    """A space without real numbers, with conditions on one value or several."""
    space: dict[str, Range] = {}
    for number in range(draw(st.integers(0, 4))):
        when: dict[str, Any] = {}
        for parent, range_ in space.items():
            if isinstance(range_, Choice) and draw(st.integers(0, 2)) == 0:
                wanted = draw(st.lists(st.sampled_from(range_.values), min_size=1, max_size=2))
                when[parent] = draw(st.sampled_from([wanted[0], tuple(wanted)]))
        if draw(st.booleans()):
            low = draw(st.integers(-2, 2))
            space[f"model/{number}"] = Int(low, low + draw(st.integers(0, 2)), when=when)
        else:
            values = draw(st.lists(st.sampled_from(["a", "b", "c", 4, 0.5]), min_size=1, max_size=3, unique=True))
            space[f"model/{number}"] = Choice(*values, when=when)
    return Space(space)


def values_of(range_: Range) -> list[Value]:
    assert not isinstance(range_, Float)
    return list(range_.values) if isinstance(range_, Choice) else list(range(range_.low, range_.high + 1))


def product_of(space: Space) -> list[Config]:
    """What a grid has to hold: all combinations of all values, less what does not exist in them."""
    found = []
    for values in itertools.product(*map(values_of, space.values())):
        point: Config = {}
        for name, value in zip(space, values, strict=True):
            if space.active(name, point):
                point[name] = value
        if point not in found:
            found.append(point)
    return found


@given(space=countable())
def test_a_grid_holds_every_point_of_a_space_once_whatever_its_conditions(space: Space) -> None:
    points = grid(space)
    for point in points:
        space.check_point(point)
    as_text = sorted(repr(sorted(point.items())) for point in points)
    assert as_text == sorted(repr(sorted(point.items())) for point in product_of(space))
    assert len(set(as_text)) == len(as_text)


def test_the_first_names_of_a_grid_change_fastest(tiny_study: Study) -> None:
    space = {"model/activation": Choice("relu", "tanh"), "model/depth": Int(1, 3), "train/seed": Choice(0, 1)}
    points = all_of(SAMPLERS["grid"](replace(tiny_study, space=space, start=()), 0))
    assert [tuple(point.values()) for point in points] == [
        (activation, depth, seed) for seed in (0, 1) for depth in (1, 2, 3) for activation in ("relu", "tanh")
    ]


def test_a_grid_tries_what_a_condition_takes_away_once(tiny_study: Study) -> None:
    space = {
        "train/optimizer": Choice("sgd", "adam"),
        "train/momentum": Choice(0.0, 0.9, when={"train/optimizer": "sgd"}),
        "train/nesterov": Choice(False, True, when={"train/momentum": 0.9}),
    }
    points = all_of(SAMPLERS["grid"](replace(tiny_study, space=space, start=()), 0))
    assert sorted(tuple(point.values()) for point in points) == [
        ("adam",), ("sgd", 0.0), ("sgd", 0.9, False), ("sgd", 0.9, True),
    ]  # fmt: skip


def test_a_grid_of_nothing_is_one_empty_point(tiny_study: Study) -> None:
    assert all_of(SAMPLERS["grid"](replace(tiny_study, space={}, start=()), 0)) == [{}]


@given(space=countable(), start=st.lists(st.booleans(), max_size=2), seeds=st.tuples(st.integers(), st.integers()))
def test_a_grid_is_the_same_for_every_seed_and_counts_start_points_as_tried(
    space: Space, start: list[bool], seeds: tuple[int, int], tiny_study: Study
) -> None:
    study = replace(tiny_study, space=space, start=[space.corner(high=high) for high in start])
    results = []
    for seed in seeds:
        sampler = SAMPLERS["grid"](study, seed)
        for number, point in enumerate(study.start):
            sampler.started(number, json.loads(json.dumps(config_of(point))))
        results.append(all_of(sampler, len(study.start)))
    assert results[0] == results[1] == [point for point in grid(space) if point not in study.start]


def test_a_grid_tells_true_from_one(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"model/width": Choice(1, True, 1.0, 2)}, start=())
    assert repr([point["model/width"] for point in all_of(SAMPLERS["grid"](study, 0))]) == "[1, True, 1.0, 2]"


def test_a_grid_does_not_take_a_published_setting_for_one_of_its_points(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"model/width": Choice(1, 2)}, start=())
    sampler = SAMPLERS["grid"](study, 0)
    sampler.skipped(0)
    assert all_of(sampler, 1) == [{"model/width": 1}, {"model/width": 2}]


def test_the_proposals_of_a_grid_do_not_depend_on_how_trials_end(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"model/width": Int(1, 9)}, start=())
    assert run_alone(SAMPLERS["grid"](study, 0), study, 99) == all_of(SAMPLERS["grid"](study, 0))


@pytest.mark.parametrize("cut", [0, 1, 4, 6])
def test_a_grid_rebuilt_from_the_record_goes_on_where_the_live_one_was(cut: int, tiny_study: Study) -> None:
    space = {"train/optimizer": Choice("sgd", "adam"), "model/depth": Int(1, 3)}
    study = replace(tiny_study, space=space, start=())
    whole, rebuilt = all_of(SAMPLERS["grid"](study, 0)), SAMPLERS["grid"](study, 0)
    for number, point in enumerate(whole[:cut]):
        rebuilt.started(number, json.loads(json.dumps(config_of(point))))
        rebuilt.ended(number, *outcome(number))
    assert all_of(rebuilt, cut) == whole[cut:]


def test_a_grid_refuses_a_space_with_real_numbers_by_name(tiny_study: Study) -> None:
    match = r"a grid needs values to try, but train/lr is 0.0001 … 1 \(log\); give it a Choice, or another sampler"
    with pytest.raises(SpaceError, match=match):
        SAMPLERS["grid"](tiny_study, 0)


# Trials that teach nothing


@drawing
def test_optuna_hears_nothing_of_a_trial_that_is_skipped(name: str, tiny_study: Study) -> None:
    sampler = SAMPLERS[name](tiny_study, 0)
    sampler.skipped(0)
    (trial,) = sampler.optuna_study.get_trials()  # type: ignore[attr-defined]
    assert (trial.state, trial.params, trial.value, trial.intermediate_values) == (TrialState.FAIL, {}, None, {})


@drawing
@given(first=st.sampled_from(ENDS), second=st.sampled_from(ENDS), values=st.lists(st.floats(-1, 1), max_size=4))
def test_proposals_are_the_same_whatever_a_published_setting_shows_and_however_it_ends(
    name: str, first: State, second: State, values: list[float], tiny_study: Study
) -> None:
    study = replace(tiny_study, published=[Published({**tiny_study.start[0], "train/epochs": 5})], start=())
    proposals = []
    for state, shown in ((first, values), (second, []), (None, [])):
        search = begun(study, Memory(), sampler=name, scheduler="none", trials=8)
        assert search.ask() is search.trials[0]
        for epoch, value in enumerate(shown, start=1):
            search.report(0, epoch, {"val_accuracy": value}, seconds=1.0)
        if state is not None:
            search.end(0, state, "made up")
        while (trial := search.ask()) is not None:
            for epoch in range(1, 10):
                search.report(trial.number, epoch, {"val_accuracy": trial.number / 10}, seconds=1.0)
        proposals.append([trial.point for trial in search.trials])
    assert proposals[0] == proposals[1] == proposals[2]
