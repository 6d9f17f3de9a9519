"""What every sampler promises: points of the space, the same for the same record, and the truth told to Optuna."""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

import spaces
from search.decide.samplers import SAMPLERS
from search.decide.samplers.grid import grid
from search.decide.samplers.optuna_sampler import MODEL_TRIALS, MOST_SHOWN, OptunaSampler, tpe
from search.decide.samplers.sampler import Sampler
from search.record.events import EpochReport
from search.record.state import State
from spaces.space import Config, Range, Space, SpaceError, Value
from spaces.study import Choice, Float, Int, Objective, Published, Study, config_of
from spaces.values import from_plain, identity, same, to_plain
from tests.simulated import Memory, begun
from tests.strategies import spaces as any_spaces

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
drawing = pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
"""Those that draw at random: a grid has no real numbers and comes to an end."""
ENDS = [state for state in State if state is not State.RUNNING]
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


def shown(study: Study, *trials: tuple[State, Sequence[float]], number: int = 0) -> list[FrozenTrial]:
    """What Optuna is shown for trial `number` after these trials; one that is RUNNING has so many values so far."""
    sampler = OptunaSampler(study, 0, tpe)
    for earlier, (state, values) in enumerate(trials):
        sampler.started(earlier, study.start[0])
        for epoch in range(1, len(values) + 1):
            sampler.heard(earlier, values[:epoch])
        if state is not State.RUNNING:
            sampler.ended(earlier, state, values)
    return sampler.seen(number)


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


AS_PEOPLE_WRITE_IT: dict[str, Range] = {
    "lr": Choice(1e-4, 1e-2),
    "model.widths": Choice((64, 128), [64, 128], (64, (128, None))),
    "augment": Choice(None, "flip", True, 1),
    "train/BATCH": Int(32, 128, step=32),
    "dropout": Float(0, 0.3, step=0.1),
    "optim/adam/hidden": Int(30, "train/BATCH"),
    "optim/warmup": Int(1, 2, when={"augment": {None, "flip"}}),
    "after": Float("dropout", 0.4, step=0.1, when={"model.widths": (64, 128)}),
}


@every_sampler
def test_a_space_as_people_write_it_is_sampled_within_its_ranges_and_types(name: str, tiny_study: Study) -> None:
    study = replace(tiny_study, space=AS_PEOPLE_WRITE_IT, start=(), fixed={})
    points = run_alone(SAMPLERS[name](study, 3), study, 40)
    for point in points:
        study.ranges.check_point(point)
        assert same(from_plain(json.loads(json.dumps(to_plain([*point.values()])))), [*point.values()])
    if name != "grid":
        seen = {identity(point["model.widths"]) for point in points}
        assert seen >= {identity(value) for value in ((64, 128), [64, 128])}
    assert points == run_alone(SAMPLERS[name](study, 3), study, 40)


@pytest.mark.parametrize("name", ["tpe", "random"])
@given(space=any_spaces(), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_any_space_is_sampled_within_its_ranges(name: str, space: Space, seed: int, tiny_study: Study) -> None:
    study = replace(tiny_study, space=space, start=(), fixed={"lr": 1})
    for point in run_alone(SAMPLERS[name](study, seed), study, 9):
        study.ranges.check_point(point)


def test_a_grid_goes_over_steps_and_over_ranges_that_depend_on_others() -> None:
    steps = Space({"a": Int(2, 6, step=2), "b": Float(0, 0.2, step=0.1)})
    assert grid(steps) == [{"a": a, "b": b} for b in (0.0, 0.1, 0.2) for a in (2, 4, 6)]
    depending = Space({"a": Int(1, 3), "b": Int(1, "a")})
    found = [tuple(point.values()) for point in grid(depending)]
    assert found == [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (3, 3)]


def test_a_range_that_depends_on_another_is_drawn_evenly_within_it(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"a": Int(10, 100), "b": Int(1, "a")}, start=(), fixed={})
    points = run_alone(SAMPLERS["random"](study, 0), study, 300)
    shares = [point["b"] / point["a"] for point in points]  # type: ignore[operator]
    assert 0.45 < statistics.fmean(shares) < 0.57
    assert sum(share > 0.5 for share in shares) in range(120, 180)


def test_tpe_learns_where_good_values_are_in_a_range_that_depends_on_another(tiny_study: Study) -> None:
    study = replace(tiny_study, space={"a": Float(0.5, 1.0), "b": Float(0.0, "a")}, start=(), fixed={})
    sampler, late = SAMPLERS["tpe"](study, 0), []
    for number in range(40):
        point = proposed(sampler, number)
        sampler.started(number, point)
        assert isinstance(point["b"], float)
        sampler.ended(number, State.COMPLETE, [-((point["b"] - 0.2) ** 2)])
        late.append(abs(point["b"] - 0.2))
    assert sum(late[-10:]) / 10 < 0.15


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
from search.decide.samplers import SAMPLERS
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


ODD = 1
"""A trial whose proposal sees all others; an even one sees those at one rung."""

ENOUGH = [(State.COMPLETE, [0.1 * epoch for epoch in range(1, 10)])] * MODEL_TRIALS
"""So many complete trials that the sampler learns from the last epoch."""


def test_below_enough_trials_the_first_rung_is_shown(tiny_study: Study) -> None:
    values = [[0.1, 0.2, 0.9], [0.3], [0.5, 0.6]]
    found = shown(tiny_study, *((State.STOPPED, each) for each in values))
    assert [trial.value for trial in found] == [0.1, 0.3, 0.5]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_very_many_trials_the_best_and_the_latest_are_shown(mode: str, tiny_study: Study) -> None:
    study = replace(tiny_study, objective=Objective("val_accuracy", mode))
    values = [random.Random(number).random() for number in range(MOST_SHOWN + 300)]
    found = [trial.value for trial in shown(study, *((State.STOPPED, [value]) for value in values))]
    assert len(found) == MOST_SHOWN
    best = sorted(values, reverse=mode == "max")[: MOST_SHOWN // 2]
    assert set(best) <= set(found)
    others = [value for value in values if value not in best]
    assert [value for value in found if value not in best] == others[-MOST_SHOWN // 2 :]


@given(lengths=st.lists(st.integers(0, 9), max_size=20))
def test_the_highest_rung_that_enough_have_reached_is_shown_and_no_other(lengths: list[int], tiny_study: Study) -> None:
    curves = [[(100 * number + epoch) / 1e4 for epoch in range(1, n + 1)] for number, n in enumerate(lengths)]
    ends = [(State.COMPLETE if len(curve) == 9 else State.STOPPED, curve) for curve in curves]
    reached = {rung: sum(n >= rung for n in lengths) for rung in (1, 3, 9)}
    rung = max((rung for rung, count in reached.items() if count >= MODEL_TRIALS), default=1)
    found = shown(tiny_study, *ends)
    assert [trial.value for trial in found] == [curve[rung - 1] for curve in curves if len(curve) >= rung]
    assert {trial.state for trial in found} <= {TrialState.COMPLETE}


def test_a_stopped_trial_is_shown_with_its_value_at_the_rung_and_not_its_last(tiny_study: Study) -> None:
    found = shown(tiny_study, *[(State.STOPPED, [0.1, 0.2])] * MODEL_TRIALS)
    assert {trial.value for trial in found} == {0.1}


def test_a_trial_that_runs_is_shown_at_the_rungs_that_it_has_reached(tiny_study: Study) -> None:
    found = shown(tiny_study, (State.RUNNING, [0.4, 0.5]), (State.RUNNING, []))
    assert [trial.value for trial in found] == [0.4]


@pytest.mark.parametrize("state", [State.PREEMPTED, State.TIMED_OUT, State.STOPPED])
def test_a_trial_that_did_not_come_to_the_rung_is_not_shown(state: State, tiny_study: Study) -> None:
    assert len(shown(tiny_study, *ENOUGH, (state, [0.9, 0.95]))) == MODEL_TRIALS


def test_an_odd_trial_sees_all_others_raised_by_what_the_median_gained_from_rung_to_rung(tiny_study: Study) -> None:
    whole = [
        (State.COMPLETE, [0.1, 0.1, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5]),
        (State.COMPLETE, [0.2, 0.2, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]),
    ]
    found = shown(tiny_study, *whole, (State.STOPPED, [0.1, 0.2, 0.5, 0.55]), (State.STOPPED, [0.15]), number=ODD)
    # From epoch 1 to 3 they gained 0.2, 0.4 and 0.4, from 3 to 9 0.2 and 0.1.
    assert [trial.value for trial in found] == pytest.approx([0.5, 0.7, 0.5 + 0.15, 0.15 + 0.4 + 0.15])


@given(curves=st.lists(st.lists(st.floats(0, 1), max_size=9).map(sorted), max_size=12))
def test_an_odd_trial_sees_each_that_has_reached_a_rung_once_and_complete_ones_as_they_are(
    curves: list[list[float]], tiny_study: Study
) -> None:
    ends = [(State.COMPLETE if len(curve) == 9 else State.STOPPED, curve) for curve in curves]
    found = shown(tiny_study, *ends, number=ODD)
    reached = [curve for curve in curves if curve]
    assert len(found) == len(reached)
    for trial, curve in zip(found, reached, strict=True):
        assert trial.value is not None
        assert trial.value >= curve[0] - 1e-9
        if len(curve) == 9:
            assert trial.value == curve[-1]


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (State.DIVERGED, [0.99]),
        (State.DIVERGED, []),
        (State.INFEASIBLE, [0.99]),
        (State.INFEASIBLE, []),
        (State.OUT_OF_MEMORY, []),
        (State.TIMED_OUT, []),
    ],
)
def test_what_diverged_or_never_spoke_is_shown_as_pruned_without_values_however_good_it_was(
    state: State, values: list[float], tiny_study: Study
) -> None:
    for others, number in (([], 0), (ENOUGH, 0), (ENOUGH, ODD)):
        last = shown(tiny_study, *others, (state, values), number=number)[-1]
        assert (last.state, last.value, last.intermediate_values) == (TrialState.PRUNED, None, {})
        assert last.params == tiny_study.start[0]


@pytest.mark.parametrize(("state", "values"), [(State.FAILED, [0.5] * 9), (State.PREEMPTED, [])])
def test_a_failure_is_not_shown(state: State, values: list[float], tiny_study: Study) -> None:
    assert shown(tiny_study, (state, values)) == []


def test_optuna_is_shown_the_point_that_was_tried(tiny_study: Study) -> None:
    (trial,) = shown(tiny_study, (State.COMPLETE, [0.5] * 9))
    assert trial.params == tiny_study.start[0]


@drawing
def test_a_point_that_was_tried_is_not_tried_again_while_there_are_others(name: str, tiny_study: Study) -> None:
    study = replace(tiny_study, space={"model/depth": Choice(1, 2), "model/width": Choice(4, 8)}, start=())
    for seed in range(10):
        points = run_alone(SAMPLERS[name](study, seed), study, 5)
        # The rare case in which every redraw is a repetition would be no fault, but these seeds have none.
        assert len({json.dumps(point) for point in points[:4]}) == 4
        assert points[4] in points[:4]


def test_tpe_with_early_stopping_finds_better_points_than_random_draws(tiny_study: Study) -> None:
    space = {f"train/{name}": Float(0.0, 1.0) for name in "abcd"}
    study = replace(tiny_study, space=space, start=(), epochs=9)

    def best(name: str, seed: int) -> float:
        search = begun(study, Memory(), sampler=name, scheduler="asha", trials=60, seed=seed)
        while (trial := search.ask()) is not None:
            far = sum((float(value) - 0.7) ** 2 for value in trial.point.values())
            for epoch in range(1, 10):
                noise = random.Random(f"{trial.number} {epoch}").gauss(0, 0.02)
                if not search.report(
                    trial.number, EpochReport(epoch, {"val_accuracy": (1 - far) * (1 - 0.5**epoch) + noise}, 1.0)
                ):
                    break
        return min(sum((float(v) - 0.7) ** 2 for v in trial.point.values()) for trial in search.trials.ranking()[:3])

    found = {name: statistics.median(best(name, seed) for seed in range(5)) for name in ("tpe", "random")}
    assert found["tpe"] < 0.6 * found["random"]


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
    late = []
    for seed in range(8):
        sampler, rates = SAMPLERS["tpe"](study, seed), []
        for number in range(40):
            point = proposed(sampler, number)
            sampler.started(number, point)
            rates.append(float(point["train/lr"]))
            # Right of the middle everything diverges; left of it all is equally good.
            sampler.ended(number, *((State.DIVERGED, []) if rates[-1] > 0.5 else (State.COMPLETE, [0.5])))
        late += rates[20:]
    assert sum(rate > 0.5 for rate in late) < 0.33 * len(late)


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
    published = [Published({"model/width": 1, "train/epochs": 5})]
    study = replace(tiny_study, space={"model/width": Choice(1, 2)}, start=(), published=published)
    search = begun(study, Memory(), sampler="grid", scheduler="none", trials=9)
    points = []
    while (trial := search.ask()) is not None:
        points.append(trial.point)
    assert points == [published[0].config, {"model/width": 1}, {"model/width": 2}]


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
    match = (
        r"a grid needs values to try, but train/lr is 0.0001 … 1 \(log\); give it a step, a Choice, or another sampler"
    )
    with pytest.raises(SpaceError, match=match):
        SAMPLERS["grid"](tiny_study, 0)


# Trials that teach nothing


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
            search.report(0, EpochReport(epoch, {"val_accuracy": value}, 1.0))
        if state is not None:
            search.end(0, state, "made up")
        while (trial := search.ask()) is not None:
            for epoch in range(1, 10):
                search.report(trial.number, EpochReport(epoch, {"val_accuracy": trial.number / 10}, 1.0))
        proposals.append([trial.point for trial in search.trials])
    assert proposals[0] == proposals[1] == proposals[2]
