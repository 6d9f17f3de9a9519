"""Studies: what is refused at birth, what follows a change, and every file of spaces/."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import spaces
from search.decide.samplers import SAMPLERS
from search.decide.samplers.grid import grid
from search.decide.schedulers import SCHEDULERS
from spaces.space import SpaceError, Value
from spaces.study import Choice, Float, Int, Objective, Published, Study, from_plain, to_plain

floats = st.floats()
finite = st.floats(allow_nan=False, allow_infinity=False)
modes = st.sampled_from(["max", "min"])
every_study = pytest.mark.parametrize("name", spaces.names())


# Objectives


@given(value=floats, than=floats, mode=modes)
def test_only_a_finite_value_is_better_and_it_is_better_than_none(value: float, than: float, mode: str) -> None:
    objective = Objective(mode=mode)
    if not math.isfinite(value):
        assert not objective.better(value, than)
    elif not math.isfinite(than):
        assert objective.better(value, than)
    else:
        assert objective.better(value, than) == (value > than if mode == "max" else value < than)


@given(value=finite, mode=modes)
def test_a_value_is_not_better_than_itself_and_better_than_the_worst(value: float, mode: str) -> None:
    objective = Objective(mode=mode)
    assert not objective.better(value, value)
    assert objective.better(value, objective.worst)


@given(values=st.lists(floats), mode=modes)
def test_the_best_is_the_extreme_of_the_finite_values(values: list[float], mode: str) -> None:
    objective, usable = Objective(mode=mode), [value for value in values if math.isfinite(value)]
    expected = (max if mode == "max" else min)(usable, default=objective.worst)
    assert objective.best(values) == expected


def test_a_mode_is_max_or_min() -> None:
    with pytest.raises(SpaceError, match="mode must be max or min, but got 'maximum'"):
        Objective(mode="maximum")


@pytest.mark.parametrize("given", ["val_loss min", "min val_loss", ("val_loss", "min"), ["val_loss", "min"]], ids=repr)
def test_an_objective_may_be_given_as_text(given: Any, tiny_study: Study) -> None:
    assert replace(tiny_study, objective=given).objective == Objective("val_loss", "min")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("val_loss", "objective 'val_loss' does not say whether more or less is better; give Objective"),
        ([Objective(), Objective("val_loss", "min")], "a study has one objective, but got 2; make the others a constr"),
        (["val_accuracy", "val_loss"], "an objective is one metric and its mode, but got"),
        ("", "an objective is one metric and its mode"),
        (None, "an objective is one metric and its mode, but got None"),
        (3, "an objective is one metric and its mode, but got 3"),
        ("epoch max", "a metric may not be called epoch"),
        ("seconds min", "a metric may not be called seconds"),
    ],
    ids=str,
)
def test_an_objective_that_is_none_is_refused_in_one_line(given: Any, match: str, tiny_study: Study) -> None:
    with pytest.raises(SpaceError, match=match) as caught:
        replace(tiny_study, objective=given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Objective(3), "an objective is one metric by its name, but got 3"),
        (lambda: Objective("s", "max", {"a": math.nan}), "the weight of a must be a finite number, but is nan"),
        (lambda: Objective("s", "max", {"a": "1"}), "the weight of a must be a finite number"),
        (lambda: Objective("a", "max", {"a": 1}), "the weighted sum needs a name of its own, and a is one of"),
        (lambda: Objective("a", "max", ["b"]), "weights are numbers by the names of metrics"),
    ],
)
def test_weights_that_cannot_be_are_refused(build: Any, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        build()


@pytest.mark.parametrize("text", ["<= 1e6", "<1e6", " >= -2 ", "> 0"])
def test_a_constraint_is_a_comparison_with_a_number(text: str, tiny_study: Study) -> None:
    (constraint,) = replace(tiny_study, constraint={"parameters": text}).constraints
    assert constraint.broken({"parameters": -3.0 if ">" in text else 2e6})
    assert not constraint.broken({"parameters": 1.0})
    assert not constraint.broken({})


@pytest.mark.parametrize(
    "given", [{"p": "1e6"}, {"p": "== 3"}, {"p": "<= x"}, {"p": "< nan"}, {"p": 3}, {3: "< 3"}], ids=repr
)
def test_a_constraint_that_is_none_is_refused(given: Any, tiny_study: Study) -> None:
    with pytest.raises(SpaceError, match="a constraint is a metric with <=, <, >= or > and a number"):
        replace(tiny_study, constraint=given)
    with pytest.raises(SpaceError, match="constraint maps metrics to bounds"):
        replace(tiny_study, constraint="parameters <= 3")


# What is refused


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"fixed": {"train/lr": 0.1}}, "train/lr cannot be searched and fixed at once; keep one"),
        ({"fixed": {"train lr": 0.1}}, "'train lr' must be named with letters"),
        ({"fixed": {"train/warmup": math.nan}}, "train/warmup is fixed at nan, which is no finite number"),
        ({"fixed": {"train/warmup": math.inf}}, "train/warmup is fixed at inf, which is no finite number"),
        ({"fixed": {"train/epochs": 3}}, "train/epochs is given by the study"),
        (
            {"fixed": {"train/seed": 3}},
            "train/seed is given by the trial; leave it out, or search it as a Choice of seeds",
        ),
        ({"space": {"train/epochs": Int(1, 9)}, "start": ()}, "train/epochs is given by the study"),
        (
            {"published": [Published({"train/lr": 0.1})]},
            "published setting 0 needs train/epochs, 1 or more, but says None",
        ),
        (
            {"published": [Published({"train/epochs": 1}), Published({"train/epochs": 0})]},
            "published setting 1 needs train/epochs, 1 or more, but says 0",
        ),
        (
            {"published": [Published({"train/epochs": 2.0})]},
            r"published setting 0 needs train/epochs, 1 or more, but says 2\.0",
        ),
        (
            {"published": [Published({"train/epochs": True})]},
            "published setting 0 needs train/epochs, 1 or more, but says True",
        ),
        ({"published": [Published({"train/epochs": 1, "train lr": 0.1})]}, "'train lr' must be named with letters"),
        ({"space": {"train/lr": 0.1}, "start": ()}, "train/lr must be a Float, Int or Choice"),
        ({"start": [{}]}, "start point 0 lacks model/depth; give it a value in"),
        ({"epochs": 0}, "epochs must be at least 1, but got 0"),
        ({"epochs": "9"}, "epochs must be a whole number, but got '9'"),
        ({"trials": 2.0}, r"trials must be a whole number, but got 2\.0"),
        ({"time_budget": "10m"}, "time_budget is a number of seconds, 600 for ten minutes, or None, but got '10m'"),
        ({"fixed": {"model/act": dict}}, "model/act is fixed at <class 'dict'>, but a value is a word.*give it a name"),
        ({"fixed": {"a": [1, {}]}}, r"a is fixed at \{\}, but a value is a word"),
        ({"fixed": ["a"]}, "fixed maps names to values"),
        ({"space": [("lr", 1)]}, "space maps names to values"),
        ({"space": {}, "fixed": {}, "start": ()}, "space is empty, so there is nothing to search; give it a range"),
        ({"start": ["x"]}, "start point 0 must map names to values, but is a str"),
        ({"trials": 0}, "trials must be at least 1, but got 0"),
        ({"time_budget": 0}, "time_budget must be more than 0 seconds, but got 0"),
        ({"time_budget": math.nan}, "time_budget must be more than 0 seconds, but got nan"),
        ({"first_rung": 0}, "first_rung must be at least 1 epoch, but got 0"),
        ({"reduction_factor": 1}, "reduction_factor must be at least 2, but got 1"),
        ({"val_fraction": 0.0}, "val_fraction must lie between 0 and 1, but got 0"),
        ({"val_fraction": 1.0}, "val_fraction must lie between 0 and 1, but got 1"),
        ({"val_fraction": math.nan}, "val_fraction must lie between 0 and 1, but got nan"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], match: str, tiny_study: Study) -> None:
    with pytest.raises(SpaceError, match=match):
        replace(tiny_study, **changes)


WRITTEN: dict[str, Any] = {
    "space": {
        "lr": Choice(None, 1e-3),
        "widths": Choice((64, 128), [64, 128]),
        "batch": Int(32, 128, step=32),
        "hidden": Int(8, "batch"),
        "top": Int(1, "cap"),
        "warm": Float(0, 1, step=0.25, when={"widths": (64, 128)}),
    },
    "fixed": {"cap": 7, "shape": (3, [4, None]), "list": [1, (2,)]},
    "start": [{"lr": None, "widths": [64, 128], "batch": 64, "hidden": 64, "top": 7}],
    "published": [Published({"train/epochs": 1, "widths": (1, 2)}, 0.5)],
    "objective": Objective("score", "min", {"val_loss": 1, "latency": 0.1}),
    "constraint": {"parameters": "<= 1e6"},
}


def test_a_study_as_people_write_it_reads_back_from_json_with_its_types(tiny_study: Study) -> None:
    study = replace(tiny_study, **WRITTEN)
    again = from_plain(json.loads(json.dumps(to_plain(study))), study.trainable)
    assert again == study
    assert repr(again.fixed) == repr(study.fixed)
    assert repr(again.start) == repr(study.start)
    assert repr(again.published) == repr(study.published)
    assert to_plain(again) == to_plain(study)


def test_a_trial_may_change_the_lists_that_it_is_given(tiny_study: Study) -> None:
    study = replace(tiny_study, **WRITTEN)
    config = study.full_config(study.start[0], seed=1)
    config["widths"].append(1)
    config["list"].clear()
    assert study.start[0]["widths"] == [64, 128]
    assert study.fixed["list"] == [1, (2,)]


def test_what_a_bound_depends_on_may_be_fixed_or_searched_anew(tiny_study: Study) -> None:
    study = replace(tiny_study, **{**WRITTEN, "start": ()})
    fixed = study.changed({"batch": 16})
    assert fixed.ranges.at("hidden", {}) == Int(8, 16)
    wider = study.changed({"cap": Int(3, 9)})
    assert wider.ranges.at("top", {"cap": 4}) == Int(1, 4)
    with pytest.raises(SpaceError, match="hidden goes from 8 to batch, but that can be from 8 to 4"):
        study.changed({"batch": 4})
    with pytest.raises(SpaceError, match="hidden has batch as its high, which must be a whole number, but is None"):
        study.changed({"batch": None})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train/lr": 2.0}, r"start point 1 has train/lr=2\.0, which lies outside"),
        ({"train/lr": math.nan}, "start point 1 has train/lr=nan, which lies outside"),
        ({"train/momentum": 0.9}, "start point 1 sets train/momentum, which exists only when"),
        ({"train/batch_size": 16}, "start point 1 sets train/batch_size, which is not searched"),
    ],
    ids=str,
)
def test_a_start_point_outside_the_space_is_refused(change: dict[str, Any], match: str, tiny_study: Study) -> None:
    first, second = tiny_study.start
    with pytest.raises(SpaceError, match=match):
        replace(tiny_study, start=[first, {**second, **change}])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sampler": object()}, "sampler must be a word, as 'tpe', but is <object object>"),
        ({"scheduler": None}, "scheduler must be a word, as 'asha', or 'none', but is None"),
        ({"dataset": ["digits"]}, "dataset must be a word, as 'digits', but is"),
        ({"start": None}, r"start must be a list, \[\] for none, but is None"),
        ({"start": {"train/lr": 0.1}}, r"start must be a list, \[\] for none, but is {'train/lr'"),
        ({"published": None}, r"published must be a list, \[\] for none, but is None"),
        ({"published": [{"train/lr": 0.1}]}, r"published setting 0 must be a Published\({…}, 0\.93\), but is"),
        ({"time_budget": math.inf}, "time_budget must be a finite number of seconds; None is for no limit"),
        ({"trainable": torch.nn.Linear(1, 1)}, "a network is network=build, a function that builds it"),
    ],
    ids=["sampler", "scheduler", "dataset", "start", "dict", "published", "setting", "time", "network"],
)
def test_a_field_of_another_kind_is_refused_in_one_line(change: dict[str, Any], match: str, tiny_study: Study) -> None:
    with pytest.raises(SpaceError, match=match):
        replace(tiny_study, **change)


def test_start_points_may_hold_numpys_numbers_and_come_from_a_generator() -> None:
    points = ({"width": each, "lr": np.float32(0.5)} for each in np.arange(2, 4))
    space = {"width": Int(1, 8), "lr": Float(0, 1)}
    study = Study(trainable=lambda config, data: iter(()), dataset="digits", epochs=1, space=space, start=points)  # type: ignore[arg-type]
    assert study.start == ({"width": 2, "lr": 0.5}, {"width": 3, "lr": 0.5})
    assert json.loads(json.dumps(to_plain(study)))["start"] == [{"width": 2, "lr": 0.5}, {"width": 3, "lr": 0.5}]


def test_a_config_holds_what_is_fixed_the_point_the_epochs_and_the_seed(tiny_study: Study) -> None:
    assert tiny_study.full_config({"train/lr": 0.1}, seed=7) == {
        "train/batch_size": 16,
        "train/lr": 0.1,
        "train/epochs": 9,
        "train/seed": 7,
    }


def test_a_seed_that_is_searched_goes_before_that_of_the_trial(tiny_study: Study) -> None:
    for study in (
        replace(tiny_study, space={"train/seed": Choice(0, 1)}, start=()),
        replace(tiny_study, start=()).changed({"train/seed": Int(0, 1)}),
    ):
        assert study.full_config({"train/seed": 1}, seed=7)["train/seed"] == 1
        assert study.full_config({}, seed=7)["train/seed"] == 7


# Published settings


OLD: dict[str, Value] = {"train/lr": 3.0, "train/batch_size": 64, "model/channels": "4-4", "train/epochs": 5}


def test_a_published_setting_need_not_lie_in_the_space_and_goes_before_what_is_fixed(tiny_study: Study) -> None:
    study = replace(tiny_study, fixed={"train/batch_size": 16, "train/warmup": 0.1}, published=[Published(OLD, 0.9)])
    assert study.full_config(study.published[0].config, seed=7) == {**OLD, "train/warmup": 0.1, "train/seed": 7}


@given(own=st.integers(1, 200), budget=st.integers(1, 200))
def test_a_published_setting_has_its_own_budget_but_no_more_than_the_study_gives(
    own: int, budget: int, tiny_study: Study
) -> None:
    study = replace(tiny_study, epochs=budget, published=[Published({**OLD, "train/epochs": own})])
    config = study.published[0].config
    assert study.epochs_of(config) == min(own, budget)
    assert study.full_config(config, seed=0)["train/epochs"] == min(own, budget)
    assert study.epochs_of(tiny_study.start[0]) == budget
    assert study.full_config(tiny_study.start[0], seed=0)["train/epochs"] == budget


@pytest.mark.parametrize(
    "change",
    [
        {"train/lr": 0.05},
        {"train/lr": Float(1e-3, 1e-2)},
        {"train/optimizer": "adam"},
        {"train/batch_size": Choice(8, 16)},
        {"train/seed": Choice(0, 1)},
    ],
    ids=str,
)
def test_a_change_of_the_study_changes_no_published_setting(change: dict[str, Any], tiny_study: Study) -> None:
    study = replace(tiny_study, published=[Published(OLD, 0.9)], sampler="random", scheduler="none")
    changed = study.changed(change)
    assert list(changed.published) == [Published(OLD, 0.9)]
    assert (changed.sampler, changed.scheduler) == ("random", "none")
    config = changed.full_config(changed.published[0].config, seed=0)
    assert {name: config[name] for name in OLD} == OLD


@pytest.mark.parametrize("accuracy", [0.9, None])
def test_a_study_with_published_settings_reads_back_from_json_as_it_was(
    accuracy: float | None, tiny_study: Study
) -> None:
    study = replace(tiny_study, published=[Published(OLD, accuracy)], sampler="random", scheduler="none")
    plain = json.loads(json.dumps(to_plain(study)))
    again = from_plain(plain, study.trainable)
    assert again.published == study.published
    assert (again.sampler, again.scheduler) == ("random", "none")
    assert [type(value) for value in again.published[0].config.values()] == [type(value) for value in OLD.values()]
    assert to_plain(again) == plain
    assert again == study


def test_a_study_from_before_there_were_published_settings_reads_as_having_none(tiny_study: Study) -> None:
    plain = {k: v for k, v in to_plain(tiny_study).items() if k not in ("published", "sampler", "scheduler")}
    again = from_plain(plain, tiny_study.trainable)
    assert list(again.published) == []
    assert (again.sampler, again.scheduler) == ("tpe", "asha")


# Changes


def test_no_change_changes_nothing(tiny_study: Study) -> None:
    same = tiny_study.changed({})
    assert list(same.space.items()) == list(tiny_study.space.items())
    assert list(same.start) == list(tiny_study.start)
    assert same.fixed == tiny_study.fixed


def test_a_value_that_is_now_fixed_leaves_space_and_start_points(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/lr": 0.05})
    assert "train/lr" not in changed.space
    assert changed.fixed["train/lr"] == 0.05
    assert [len(point) for point in changed.start] == [5, 4]
    assert not any("train/lr" in point for point in changed.start)


def test_a_fixed_value_can_be_fixed_anew(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/batch_size": 32})
    assert changed.fixed == {"train/batch_size": 32}
    assert list(changed.start) == list(tiny_study.start)


def test_a_fixed_value_can_be_searched_and_points_that_lack_it_are_dropped(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/batch_size": Choice(16, 32)})
    assert changed.space["train/batch_size"] == Choice(16, 32)
    assert changed.fixed == {}
    assert changed.start == ()


def test_start_points_outside_a_new_range_are_dropped(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/lr": Float(0.05, 1.0, log=True)})
    assert changed.space["train/lr"] == Float(0.05, 1.0, log=True)
    assert list(changed.start) == [tiny_study.start[0]]


def test_start_points_that_have_become_equal_are_tried_once(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/optimizer": "adam", "train/lr": 0.01})
    assert list(changed.start) == [{"model/depth": 1, "model/width": 16, "model/batch_norm": True}]


def test_fixing_the_optimizer_removes_what_only_another_has(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/optimizer": "adam"})
    assert "train/momentum" not in changed.space
    assert not any("train/momentum" in point for point in changed.start)
    assert "train/momentum" not in changed.full_config(changed.start[0], seed=0)
    assert not changed.ranges.conditional


def test_fixing_the_optimizer_keeps_what_it_has(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/optimizer": "sgd"})
    assert changed.space["train/momentum"] == Float(0.5, 0.99)
    assert list(changed.start) == [{k: v for k, v in tiny_study.start[0].items() if k != "train/optimizer"}]


def test_a_new_range_exists_under_the_condition_of_the_old(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/momentum": Float(0.8, 0.95)})
    assert changed.space["train/momentum"] == Float(0.8, 0.95, when={"train/optimizer": "sgd"})
    assert list(changed.start) == list(tiny_study.start)


def test_a_value_fixed_is_given_only_to_trials_in_which_it_exists(tiny_study: Study) -> None:
    # adam has no momentum: its trials would all fail.
    changed = tiny_study.changed({"train/momentum": 0.8})
    configs = [changed.full_config(point, seed=0) for point in changed.start]
    assert {config["train/optimizer"]: config.get("train/momentum") for config in configs} == {"sgd": 0.8, "adam": None}


def test_narrowing_a_choice_removes_what_can_no_longer_exist(tiny_study: Study) -> None:
    changed = tiny_study.changed({"train/optimizer": Choice("adam", "adamw")})
    assert "train/momentum" not in changed.space
    assert list(changed.start) == [tiny_study.start[1]]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"train lr": 0.1}, "'train lr' must be named with letters"),
        ({"train/epochs": 3}, "train/epochs is given by the study"),
        ({"train/seed": 1}, "train/seed is given by the trial; leave it out, or search it as a Choice of seeds"),
        ({"train/warmup": math.inf}, "train/warmup is fixed at inf"),
    ],
    ids=str,
)
def test_a_change_that_cannot_be_is_refused(settings: Mapping[str, Any], match: str, tiny_study: Study) -> None:
    with pytest.raises(SpaceError, match=match):
        tiny_study.changed(settings)


# The files of spaces/


def test_there_are_studies_and_their_names_are_sorted() -> None:
    ours = {
        "digits_mlp",
        "digits_cnn",
        "fashion_softmax",
        "fashion_mlp",
        "fashion_cnn",
        "mnist_mlp",
        "mnist_activation",
    }
    assert ours | {"moons_mlp", "cifar2_cnn"} <= set(spaces.names())
    assert spaces.names() == sorted(spaces.names())


@every_study
def test_every_study_says_in_one_line_what_it_is(name: str) -> None:
    study = spaces.load(name)
    assert study.name == name
    assert study.about == spaces.describe(name)
    assert 20 <= len(study.about) <= 120
    assert ast.get_docstring(ast.parse(Path(sys.modules[f"spaces.{name}"].__file__ or "").read_text())) == study.about


@every_study
def test_every_studys_start_points_and_corners_are_in_its_space(name: str) -> None:
    study = spaces.load(name)
    assert study.start or study.published or study.sampler == "grid"
    for point in [*study.start, study.ranges.corner(high=False), study.ranges.corner(high=True)]:
        study.ranges.check_point(point)


@every_study
def test_every_name_in_every_study_is_in_a_section_that_trainables_know(name: str) -> None:
    study = spaces.load(name)
    published = [key for each in study.published for key in each.config]
    assert {key.split("/")[0] for key in [*study.space, *study.fixed, *published]} <= {"model", "train"}


SAID_BY = {"model/depth": "model/channels", "model/width": "model/channels", "model/growth": "model/channels"}
"""What says nothing where something else is given."""


@every_study
def test_every_published_setting_is_whole(name: str) -> None:
    # What a setting leaves out would be as the study fixes it, or as --set does, and the claim would be another.
    study = spaces.load(name)
    for published in study.published:
        searched = [key for key in study.space if study.ranges.active(key, published.config)]
        matter = [key for key in [*study.fixed, *searched] if SAID_BY.get(key) not in published.config]
        assert [key for key in matter if key not in published.config] == []
        assert published.test_accuracy is None or 0 < published.test_accuracy < 1


@every_study
def test_no_value_that_a_user_fixes_changes_a_published_setting(name: str) -> None:
    study = spaces.load(name)
    before = [study.full_config(each.config, seed=0) for each in study.published]
    for key, range_ in study.ranges.items() if before else ():
        changed = study.changed({key: range_.values[-1] if isinstance(range_, Choice) else range_.high})
        after = [changed.full_config(each.config, seed=0) for each in changed.published]
        for was, is_ in zip(before, after, strict=True):
            differs = {each for each in {*was, *is_} if was.get(each) != is_.get(each)}
            assert {each for each in differs if SAID_BY.get(each) not in was} == set()


@every_study
def test_every_study_names_a_sampler_and_a_scheduler_that_exist(name: str) -> None:
    study = spaces.load(name)
    assert study.scheduler in SCHEDULERS
    if study.sampler == "grid":
        assert len(grid(study.ranges)) == study.trials, "a comparison is cut short, or never full"
    else:
        SAMPLERS[study.sampler](study, 0)


def test_studies_are_listed_without_importing_torch() -> None:
    # Listing must not take the seconds that torch takes.
    code = "import sys, spaces; [spaces.describe(name) for name in spaces.names()]; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_unknown_study_offers_the_nearest() -> None:
    with pytest.raises(spaces.UnknownStudy, match=r"no study named 'digit_mlp'; .* did you mean digits_mlp\?"):
        spaces.load("digit_mlp")


def test_a_study_far_from_all_offers_all() -> None:
    with pytest.raises(
        spaces.UnknownStudy, match=r"no study named 'qqq'; there are cifar2_cnn, digits_cnn, .*, photos$"
    ):
        spaces.load("qqq")


@pytest.mark.parametrize("name", ["space", "study", "__init__"])
def test_what_is_in_the_folder_but_no_study_is_unknown(name: str) -> None:
    with pytest.raises(spaces.UnknownStudy, match=f"no study named '{name}'"):
        spaces.load(name)


MINE = '''"""My own search.

More of it.
"""

from spaces.study import Float, Study
from trainables.mlp import train_mlp

STUDY = Study(trainable=train_mlp, dataset="digits", epochs=3, space={"train/lr": Float(0.01, 0.1, log=True)})
'''


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_study_in_a_file_loads_by_its_path(relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_study.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_own_study", raising=False)
    study = spaces.load("my_own_study.py" if relative else str(tmp_path / "my_own_study.py"))
    assert (study.name, study.about, study.epochs) == ("my_own_study", "My own search.", 3)
    monkeypatch.delitem(sys.modules, "my_own_study", raising=False)


def test_an_edited_study_in_a_file_loads_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edited_study.py"
    for epochs in (3, 12):
        file.write_text(MINE.replace("epochs=3", f"epochs={epochs}"))
        assert spaces.load(str(file)).epochs == epochs
    monkeypatch.delitem(sys.modules, "edited_study", raising=False)


def test_a_study_file_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(spaces.UnknownStudy, match=r"no study file .*absent\.py.*; give a name \(.*digits_mlp"):
        spaces.load(str(tmp_path / "absent.py"))


def test_a_file_without_a_study_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_study.py").write_text("STUDY = 3\n")
    with pytest.raises(spaces.UnknownStudy, match=r"no_study\.py defines no STUDY = Study"):
        spaces.load(str(tmp_path / "no_study.py"))
    monkeypatch.delitem(sys.modules, "no_study", raising=False)
