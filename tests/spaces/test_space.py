"""Ranges, spaces made of them, and how both are read from the command line."""

from __future__ import annotations

import enum
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from spaces.ranges import from_plain_range, to_plain_range
from spaces.space import Choice, Config, Float, Int, Range, Space, SpaceError, check_name
from spaces.values import Value, from_plain, identity, same, to_plain
from spaces.written import parse, written
from tests.strategies import NAMES, ranges, spaces, spaces_with_points, values_of_any_kind

numbers = st.floats(-1e9, 1e9)
not_finite = st.sampled_from([math.nan, math.inf, -math.inf])
scalars = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text())

NESTED = {
    "train/optimizer": Choice("sgd", "adam"),
    "train/momentum": Float(0.5, 0.9, when={"train/optimizer": "sgd"}),
    "train/nesterov": Choice(False, True, when={"train/optimizer": "sgd"}),
    "train/lr": Float(1e-4, 1.0, log=True),
}


# Ranges


@given(low=numbers, high=numbers)
def test_both_ends_and_all_between_are_in_a_float(low: float, high: float) -> None:
    assume(low <= high)
    range_ = Float(low, high)
    assert low in range_
    assert high in range_
    assert low + (high - low) / 2 in range_
    assert math.nextafter(low, -math.inf) not in range_
    assert math.nextafter(high, math.inf) not in range_


@given(low=st.integers(-99, 99), size=st.integers(0, 9), value=st.integers(-120, 120))
def test_a_whole_number_is_in_an_int_between_its_ends_both_included(low: int, size: int, value: int) -> None:
    assert (value in Int(low, low + size)) == (low <= value <= low + size)


@pytest.mark.parametrize("value", [True, "3", None, [3], math.nan, math.inf, -math.inf], ids=repr)
@pytest.mark.parametrize("range_", [Float(0, 9), Int(0, 9)], ids=["float", "int"])
def test_what_is_no_number_is_in_no_numeric_range(value: object, range_: Range) -> None:
    assert value not in range_


def test_a_fraction_is_in_no_int_even_where_it_is_whole() -> None:
    assert 3.0 not in Int(0, 9)
    assert 3 in Float(0, 9)


def test_a_choice_tells_numbers_from_truth_values_and_whole_numbers_from_fractions() -> None:
    assert True not in Choice(0, 1)
    assert 1 not in Choice(False, True)
    assert 1.0 not in Choice(1, 2)
    assert "1" not in Choice(1, 2)
    assert 1 in Choice(1, 2)


@given(low=numbers, high=numbers)
def test_inverted_bounds_are_refused(low: float, high: float) -> None:
    assume(low > high)
    with pytest.raises(SpaceError, match=r"Float needs low <= high, but got low=.*swap them"):
        Float(low, high)


@given(low=st.integers(), high=st.integers(), log=st.booleans())
def test_inverted_whole_bounds_are_refused(low: int, high: int, log: bool) -> None:
    assume(high < low <= 2**1000)
    with pytest.raises(SpaceError, match=r"Int needs low <= high, but got low=.*swap them"):
        Int(low, high, log)


@given(bound=not_finite, other=numbers, first=st.booleans())
def test_bounds_that_are_not_finite_are_refused(bound: float, other: float, first: bool) -> None:
    with pytest.raises(SpaceError, match=rf"Float needs finite bounds, but got (low|high)={bound}"):
        Float(*((bound, other) if first else (other, bound)))


@given(low=st.floats(-1e9, 0), log=st.just(True))
@example(low=-0.0, log=True)
def test_a_logarithm_from_0_or_below_is_refused(low: float, log: bool) -> None:
    with pytest.raises(SpaceError, match="Float with log needs low above 0, but got low="):
        Float(low, 1.0, log)
    with pytest.raises(SpaceError, match="Int with log needs low above 0, but got low="):
        Int(math.ceil(low), 1, log)


@pytest.mark.parametrize("bound", [True, None, [1], 1j], ids=repr)
def test_bounds_that_are_no_numbers_are_refused(bound: Any) -> None:
    with pytest.raises(SpaceError, match="Float needs finite bounds, but got low="):
        Float(bound, 1.0)
    with pytest.raises(SpaceError, match="Int needs whole numbers, but got high="):
        Int(0, bound)


def test_fractions_are_refused_as_bounds_of_an_int() -> None:
    with pytest.raises(SpaceError, match=r"Int needs whole numbers, but got low=1\.0"):
        Int(1.0, 2)  # type: ignore[arg-type]


def test_a_bound_too_large_for_any_float_is_refused() -> None:
    with pytest.raises(SpaceError, match="Int needs finite bounds, but got high="):
        Int(1, 10**400)


def test_an_empty_choice_is_refused() -> None:
    with pytest.raises(SpaceError, match="Choice needs at least one value"):
        Choice()


@pytest.mark.parametrize("value", [math.nan, math.inf, (1, math.nan), {}, {1}, object, b"x", 1j, [[{}]]], ids=repr)
def test_a_choice_of_what_no_record_could_hold_is_refused(value: Any) -> None:
    with pytest.raises(SpaceError, match=r"^Choice has .*(which is no finite number|but a value is a word)"):
        Choice("sgd", value)


def test_what_stands_for_a_number_or_a_word_is_taken_as_what_it_stands_for() -> None:
    class Kind(enum.StrEnum):
        SGD = "sgd"

    values = Choice(np.int64(3), np.float32(0.5), np.bool_(True), Kind.SGD).values
    assert [(type(value), value) for value in values] == [(int, 3), (float, 0.5), (bool, True), (str, "sgd")]


def test_a_choice_has_none_tuples_and_lists_and_tells_them_apart() -> None:
    choice = Choice(None, (64, 128), [64, 128], (64, (1.0, None)))
    assert None in choice
    assert (64, 128) in choice
    assert [64, 128] in choice
    assert (64, (1.0, None)) in choice
    assert (64, (1, None)) not in choice
    assert (64.0, 128) not in choice
    assert [choice.index(value) for value in choice.values] == [0, 1, 2, 3]


@pytest.mark.parametrize("given", [["sgd", "adam"], ("sgd", "adam")], ids=repr)
def test_one_list_alone_holds_the_values_as_ray_and_optuna_have_it(given: Any) -> None:
    assert Choice(given) == Choice("sgd", "adam")
    assert Choice([(64, 128)]).values == ((64, 128),)
    assert Choice.of([(64, 128)]).values == ((64, 128),)
    with pytest.raises(SpaceError, match="Choice needs at least one value"):
        Choice([])


# Steps


def test_a_range_with_steps_has_its_steps_and_nothing_between() -> None:
    range_ = Int(32, 512, step=32)
    assert [value for value in range(600) if value in range_] == [*range(32, 513, 32)]
    assert str(range_) == "32 … 512 (in steps of 32)"
    assert range_.count == 16


def test_real_steps_are_the_decimals_that_one_writes() -> None:
    range_ = Float(0, 0.5, step=0.05)
    values = [range_.at_place((i + 0.5) / range_.count) for i in range(range_.count)]
    assert values == [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    assert all(value in range_ for value in values)
    assert 0.15000000000000002 in range_
    assert 0.16 not in range_


def test_the_last_step_is_the_upper_end() -> None:
    assert Int(1, 10, step=4).high == 9
    assert Float(0, 1, step=0.3).high == 0.9
    assert 10 not in Int(1, 10, step=4)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Int(1, 9, step=0), "Int needs a step above 0, but got step=0"),
        (lambda: Int(1, 9, step=-1), "Int needs a step above 0"),
        (lambda: Int(1, 9, step=0.5), r"Int needs whole numbers, but got step=0\.5"),
        (lambda: Float(0, 1, step=math.nan), "Float needs a step above 0, but got step=nan"),
        (lambda: Float(0, 1, step="0.1"), "Float needs a step above 0"),
        (lambda: Float(0.1, 1, log=True, step=0.1), "Float takes log or a step, not both"),
        (lambda: Float(0.1, 1, log="yes"), "Float has log=True or log=False, but got log='yes'"),
    ],
)
def test_steps_that_cannot_be_are_refused(build: Any, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        build()


@given(ranges(), st.floats(0, 1))
def test_every_place_has_a_value_and_every_value_its_place(range_: Range, place: float) -> None:
    assume(not isinstance(range_, Choice))
    value = range_.at_place(place)
    assert value in range_
    assert range_.at_place(min(max(range_.place(value), 0.0), 1.0)) == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert range_.nearest(value) == value


# Ranges that depend on others

DEPENDENT = {
    "model/width": Int(16, 64, step=16),
    "model/hidden": Int(8, "model/width"),
    "lr": Float(1e-3, 1.0, log=True),
    "lr_end": Float(1e-6, "lr", log=True),
}


def test_a_bound_may_be_a_hyperparameter_that_stands_before() -> None:
    space = Space(DEPENDENT)
    assert str(space["model/hidden"]) == "8 … model/width"
    assert (space["model/hidden"].low, space["model/hidden"].high) == (8, 64)
    assert space.at("model/hidden", {"model/width": 32}) == Int(8, 32)
    space.check_point({"model/width": 32, "model/hidden": 32, "lr": 0.1, "lr_end": 0.1})
    with pytest.raises(SpaceError, match=r"has model/hidden=33, which lies outside 8 … 32 \(8 … model/width\)"):
        space.check_point({"model/width": 32, "model/hidden": 33, "lr": 0.1, "lr_end": 0.1})
    assert space.corner(high=True) == {"model/width": 64, "model/hidden": 64, "lr": 1.0, "lr_end": 1.0}


def test_a_bound_may_be_fixed_and_a_choice_of_numbers_may_be_one() -> None:
    fixed = Space({"a": Int(1, "b")}, {"b": 5})
    assert fixed["a"] == fixed["a"]
    assert fixed.at("a", {}) == Int(1, 5)
    space = Space({"b": Choice(4, 8), "a": Int(1, "b")})
    assert space.at("a", {"b": 8}) == Int(1, 8)
    left = space.without({"b": 8})
    assert left.at("a", {}) == Int(1, 8)
    assert left.corner(high=True) == {"a": 8}


def test_what_depends_on_a_bound_that_does_not_exist_does_not_exist() -> None:
    space = Space({"k": Choice("x", "y"), "b": Int(4, 8, when={"k": "x"}), "a": Int(1, "b")})
    assert space.active("a", {"k": "x", "b": 4})
    assert not space.active("a", {"k": "y"})
    space.check_point({"k": "y"})
    with pytest.raises(SpaceError, match="start point sets a, which exists only when b exists"):
        space.check_point({"k": "y", "a": 1})
    assert list(space.without({"k": "y"})) == []


@pytest.mark.parametrize(
    ("ranges", "match"),
    [
        ({"a": Int(1, "b")}, "a has b as its high, but no b stands before it"),
        ({"a": Int(1, "b"), "b": Int(1, 9)}, "no b stands before it"),
        ({"b": Float(1, 9), "a": Int(1, "b")}, "which must be a whole number, but is 1 … 9"),
        ({"b": Choice("x", 2), "a": Int(1, "b")}, r"a has b as its high, but x \| 2 is no range of numbers"),
        ({"b": Int(4, 9), "a": Int(8, "b")}, "a goes from 8 to b, but that can be from 8 to 4; narrow"),
        ({"b": Int(0, 9), "a": Int("b", 9, log=True)}, "a with log needs low above 0, but b can be 0"),
    ],
)
def test_bounds_that_cannot_be_are_refused(ranges: Any, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        Space(ranges)


@given(values=st.lists(scalars, min_size=1, max_size=4))
def test_a_value_twice_is_refused(values: list[Any]) -> None:
    with pytest.raises(SpaceError, match="the values of a Choice must differ, but got"):
        Choice(*values, values[0])


# Spaces


@pytest.mark.parametrize("name", ["lr", "model.lr", "optim/adam/lr", "train/LR", "weight-decay", "_lr", "größe"])
def test_a_name_is_free_where_people_write_it(name: str) -> None:
    check_name(name)
    assert list(Space({name: Float(0, 1)})) == [name]
    assert Space({name: Float(0, 1), "b": Float(0, 1, when={name: 0.5})}).active("b", {name: 0.5})


@pytest.mark.parametrize(
    "name", ["train/", "/lr", "train//lr", "train lr", "train/../lr", "train/.lr", "3", "lr=", "-lr", "", "a\n", 3]
)
def test_a_name_that_no_table_could_hold_is_refused(name: Any) -> None:
    with pytest.raises(SpaceError, match=r"must be named with letters, digits, .* as in lr or train/lr"):
        check_name(name)
    with pytest.raises(SpaceError, match=r"must be named with letters, digits, .* as in lr or train/lr"):
        Space({name: Float(0, 1)})


def test_a_name_too_long_for_mlflow_is_refused() -> None:
    with pytest.raises(SpaceError, match="has 201 characters, but may have 200"):
        check_name("a" * 201)


@pytest.mark.parametrize("range_", [0.1, (0, 1), "log(1, 2)", None], ids=repr)
def test_a_space_takes_ranges_only(range_: Any) -> None:
    with pytest.raises(SpaceError, match="train/lr must be a Float, Int or Choice, but got"):
        Space({"train/lr": range_})


@pytest.mark.parametrize("range_", [object(), lambda: 1], ids=["object", "lambda"])
def test_what_is_no_range_is_told_without_its_place_in_memory_and_with_what_to_write(range_: Any) -> None:
    with pytest.raises(SpaceError, match=r"write Float\(1e-4, 1e-1, log=True\), .* into fixed$") as refused:
        Space({"train/lr": range_})
    assert "0x" not in str(refused.value)


def test_ranges_within_a_section_are_told_their_names() -> None:
    with pytest.raises(SpaceError, match="what lies in train is named train/…"):
        Space({"train": {"lr": Float(0, 1)}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "values", [range(3), {"a": 1}.keys(), np.arange(3), iter([1])], ids=["range", "keys", "array", "iterator"]
)
def test_a_collection_other_than_a_list_is_no_choice_and_one_says_how_to_make_it_one(values: Any) -> None:
    with pytest.raises(SpaceError, match=r"for what is in it write Choice\(\*…\)"):
        Choice(values)
    with pytest.raises(SpaceError, match=r"write Choice\(\*sorted\(…\)\)"):
        Choice({"a", "b"})


@pytest.mark.parametrize("low", ["1e-4", "2*c"])
def test_a_bound_that_is_a_text_and_no_name_is_told_so(low: str) -> None:
    with pytest.raises(SpaceError, match="is a text and names no hyperparameter; write numbers without quotes"):
        Space({"train/lr": Float(low, 1)})


@pytest.mark.parametrize(
    "when", [lambda config: True, "a == 1", ("a", 1), 3], ids=["function", "text", "pair", "number"]
)
def test_a_condition_that_is_no_mapping_is_refused_in_one_line(when: Any) -> None:
    with pytest.raises(SpaceError, match="when maps a hyperparameter to its value, or to several, as in"):
        Float(0, 1, when=when)


@pytest.mark.parametrize(
    "wanted", [range(2, 4), (each for each in (2, 3)), [2, 3], np.array([2, 3])], ids=lambda each: type(each).__name__
)
def test_a_condition_takes_whatever_holds_values(wanted: Any) -> None:
    space = Space({"a": Int(1, 8), "b": Float(0, 1, when={"a": wanted})})
    assert [each for each in range(1, 9) if space.active("b", {"a": each})] == [2, 3]
    assert Space({"a": Int(1, 8), "b": Float(0, 1, when={"a": np.int64(2)})}).active("b", {"a": 2})
    assert from_plain_range(json.loads(json.dumps(to_plain_range(space["b"])))).when


def test_a_condition_on_nothing_or_on_a_range_is_refused() -> None:
    with pytest.raises(SpaceError, match="a condition on a has no value, so it never holds"):
        Float(0, 1, when={"a": ()})
    with pytest.raises(SpaceError, match=r"a condition on a is a value or several, but got the range 0 … 0\.5; list"):
        Float(0, 1, when={"a": Float(0, 0.5)})


def test_what_a_condition_or_bound_lacks_is_said_with_what_to_do() -> None:
    later = {"b": Int(1, 4, when={"a": 1}), "a": Int(1, 4)}
    with pytest.raises(SpaceError, match="but no a stands before it; put a before b"):
        Space(later)
    with pytest.raises(SpaceError, match="but no a stands before it; put a before b"):
        Space({"b": Int(1, "a"), "a": Int(1, 4)})
    with pytest.raises(SpaceError, match="b exists when a is 1, but a is fixed at 2; leave out the condition"):
        Space({"b": later["b"]}, {"a": 2})


def test_a_condition_needs_its_parent_before_it() -> None:
    backwards = dict(reversed(NESTED.items()))
    with pytest.raises(SpaceError, match="train/nesterov exists when train/optimizer is 'sgd', but no train/optimizer"):
        Space(backwards)
    with pytest.raises(SpaceError, match="but no train/momentum stands before it"):
        Space({"train/momentum": Float(0, 1, when={"train/momentum": 0.5})})


def test_a_condition_that_can_never_hold_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"exists when train/optimizer is 'sdg', which sgd \| adam never is"):
        Space({**NESTED, "train/momentum": Float(0.5, 0.9, when={"train/optimizer": ("sgd", "sdg")})})


@pytest.mark.parametrize("when", [{"train/optimizer": "sgd"}, {"train/optimizer": ("sgd", "adam")}], ids=str)
def test_a_hyperparameter_exists_where_its_condition_holds(when: dict[str, Any]) -> None:
    space = Space({"train/optimizer": Choice("sgd", "adam", "lion"), "train/momentum": Float(0, 1, when=when)})
    wanted = when["train/optimizer"]
    for value in ("sgd", "adam", "lion"):
        assert space.active("train/momentum", {"train/optimizer": value}) == (value in wanted)
    assert not space.active("train/momentum", {})


@pytest.mark.parametrize("kind", [set, frozenset, list, tuple])
def test_a_condition_may_have_several_values_in_any_collection(kind: Any) -> None:
    space = Space({"a": Choice("x", "y", "z"), "b": Float(0, 1, when={"a": kind(["x", "y"])})})
    assert [space.active("b", {"a": value}) for value in "xyz"] == [True, True, False]
    assert from_plain_range(json.loads(json.dumps(to_plain_range(space["b"])))) == space["b"] or kind is list


def test_a_condition_on_a_tuple_or_none_is_no_list_of_alternatives() -> None:
    widths = Choice((64, 128), (64, 256), None, [1, 2])
    for wanted in ((64, 128), None, [1, 2]):
        space = Space({"w": widths, "b": Float(0, 1, when={"w": wanted})})
        assert [value for value in widths.values if space.active("b", {"w": value})] == [wanted]
        again = Space({name: from_plain_range(json.loads(json.dumps(to_plain_range(r)))) for name, r in space.items()})
        assert again == space
    two = Space({"w": widths, "b": Float(0, 1, when={"w": ((64, 128), None)})})
    assert [value for value in widths.values if two.active("b", {"w": value})] == [(64, 128), None]


@given(spaces())
def test_a_space_reads_back_from_json_as_it_was(space: Space) -> None:
    plain = json.loads(json.dumps([(name, to_plain_range(range_)) for name, range_ in space.items()]))
    again = Space({name: from_plain_range(stored) for name, stored in plain})
    assert list(again.items()) == list(space.items())
    assert [list(map(type, r.values)) for r in again.values() if isinstance(r, Choice)] == [
        list(map(type, r.values)) for r in space.values() if isinstance(r, Choice)
    ]


@given(values_of_any_kind())
def test_a_value_reads_back_from_json_with_its_type(value: Value) -> None:
    again = from_plain(json.loads(json.dumps(to_plain(value))))
    assert same(again, value)
    assert identity(again) == identity(value)
    assert same(parse(written([value])), [value])


@given(spaces_with_points())
def test_a_point_of_the_space_passes(made: tuple[Space, Config]) -> None:
    space, point = made
    space.check_point(point)


@given(spaces_with_points(), st.data())
def test_a_point_that_lacks_a_value_is_refused(made: tuple[Space, Config], data: st.DataObject) -> None:
    space, point = made
    assume(point)
    # The last one, because those after a missing parent would not exist either.
    name = next(reversed(point))
    del point[name]
    with pytest.raises(SpaceError, match=f"start point 3 lacks {name}; give it a value in"):
        space.check_point(point, "start point 3")


@given(spaces_with_points())
def test_a_point_with_a_value_that_is_not_searched_is_refused(made: tuple[Space, Config]) -> None:
    space, point = made
    with pytest.raises(SpaceError, match="start point sets train/lrr, which is not searched; searched are"):
        space.check_point({**point, "train/lrr": 0.1})


@given(spaces_with_points(), st.data())
def test_a_point_with_a_value_outside_its_range_is_refused(made: tuple[Space, Config], data: st.DataObject) -> None:
    space, point = made
    assume(point)
    name = data.draw(st.sampled_from(sorted(point)))
    outside = data.draw(st.sampled_from(["no such word", 10**12, -(10**12), math.nan, math.inf, None]))
    # A condition on the value that is now outside no longer holds, which is another fault.
    assume(not any(name in (*range_.when, *getattr(range_, "bounds", {}).values()) for range_ in space.values()))
    assume(not (outside is None and isinstance(space[name], Choice)))
    with pytest.raises(SpaceError, match=rf"start point has {name}=.*, which lies outside"):
        space.check_point({**point, name: outside})


def test_a_point_with_a_value_that_does_not_exist_is_refused() -> None:
    point: Config = {"train/optimizer": "adam", "train/momentum": 0.6, "train/lr": 0.1}
    with pytest.raises(SpaceError, match=r"start point sets train/momentum, which exists only when .*'sgd'"):
        Space(NESTED).check_point(point)


@given(space=spaces())
def test_every_end_and_every_choice_is_in_one_of_the_corners(space: Space) -> None:
    corners = list(space.corners().values())
    assert [corner for index, corner in enumerate(corners) if corner in corners[2:index]] == []
    for corner in corners:
        space.check_point(corner)
    for name, range_ in space.items():
        if isinstance(range_, Choice):
            assert {identity(v) for v in range_.values} == {identity(c[name]) for c in corners if name in c}


@given(spaces(), st.booleans())
def test_corners_are_points_at_the_ends(space: Space, high: bool) -> None:
    corner = space.corner(high=high)
    space.check_point(corner)
    for name, value in corner.items():
        range_ = space[name]
        if isinstance(range_, Choice):
            assert same(value, range_.values[-1 if high else 0])
        else:
            here = space.at(name, corner)
            assert value == (here.high if high else here.low)


@given(spaces_with_points(), st.data())
def test_what_is_left_of_a_point_is_a_point_of_what_is_left_of_the_space(
    made: tuple[Space, Config], data: st.DataObject
) -> None:
    space, point = made
    names = data.draw(st.lists(st.sampled_from(sorted(point)), unique=True)) if point else []
    fixed = {name: point[name] for name in names}
    rest = space.without(fixed)
    assert not set(rest) & set(fixed)
    rest.check_point({name: value for name, value in point.items() if name not in fixed})


def test_fixing_a_parent_resolves_the_conditions_on_it() -> None:
    with_sgd, with_adam = (Space(NESTED).without({"train/optimizer": value}) for value in ("sgd", "adam"))
    assert list(with_sgd) == ["train/momentum", "train/nesterov", "train/lr"]
    assert not with_sgd.conditional
    assert with_sgd["train/momentum"] == Float(0.5, 0.9)
    assert list(with_adam) == ["train/lr"]


def test_what_depends_on_something_that_no_longer_exists_goes_too() -> None:
    chain = {**NESTED, "train/dampening": Float(0, 1, when={"train/nesterov": False})}
    assert list(Space(chain).without({"train/optimizer": "adam"})) == ["train/lr"]
    assert list(Space(chain).without({"train/optimizer": "sgd"})) == [
        "train/momentum",
        "train/nesterov",
        "train/lr",
        "train/dampening",
    ]


def test_conditions_on_what_stays_open_are_kept() -> None:
    both = Float(0, 1, when={"train/optimizer": "sgd", "train/nesterov": True})
    rest = Space({**NESTED, "train/dampening": both}).without({"train/optimizer": "sgd"})
    assert dict(rest["train/dampening"].when) == {"train/nesterov": True}


# Anything at all

odd = st.one_of(scalars, not_finite, st.none(), st.lists(scalars, max_size=2), st.complex_numbers())
odd_conditions = st.dictionaries(st.sampled_from([*NAMES, "lr"]), st.one_of(odd, st.tuples(odd, odd)), max_size=2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*NAMES, "lr", "", "train/LR", 3]),
            st.sampled_from(["float", "int", "choice", "value"]),
            st.tuples(odd, odd),
            st.booleans(),
            odd_conditions,
        ),
        max_size=4,
    )
)
def test_a_space_of_anything_is_built_or_refused_as_a_space(parts: list[Any]) -> None:
    def build() -> Space:
        made: dict[Any, Any] = {}
        for name, kind, (low, high), log, when in parts:
            made[name] = {
                "float": lambda low=low, high=high, log=log, when=when: Float(low, high, log, when),
                "int": lambda low=low, high=high, log=log, when=when: Int(low, high, log, when),
                "choice": lambda low=low, high=high, when=when: Choice(low, high, when=when),
                "value": lambda low=low: low,
            }[kind]()
        return Space(made)

    try:
        space = build()
    except SpaceError as error:
        assert str(error)  # noqa: PT017
    else:
        for high in (False, True):
            space.check_point(space.corner(high=high))


# The command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", 0.1),
        ("1e-3", 1e-3),
        ("-2.5", -2.5),
        (" 3 ", 3),
        ("true", True),
        ("False", False),
        ("adam", "adam"),
        ("'adam'", "adam"),
        ("one_cycle", "one_cycle"),
        ("log(1e-4, 1e-1)", Float(1e-4, 1e-1, log=True)),
        ("log(1, 10)", Float(1.0, 10.0, log=True)),
        ("uniform(0, 0.5)", Float(0.0, 0.5)),
        ("uniform(-1,1)", Float(-1.0, 1.0)),
        ("int(1,4)", Int(1, 4)),
        ("intlog(16, 256)", Int(16, 256, log=True)),
        (" int ( 1 , 4 ) ", Int(1, 4)),
        ("choice(32, 64)", Choice(32, 64)),
        ("choice(sgd, adam)", Choice("sgd", "adam")),
        ("choice('sgd', \"adam\")", Choice("sgd", "adam")),
        ("choice(true, false)", Choice(True, False)),
        ("choice(0.1)", Choice(0.1)),
        ("null", None),
        ("None", None),
        ("'null'", "null"),
        ("none", "none"),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        (".5", 0.5),
        ("(64, 128)", (64, 128)),
        ("(64,)", (64,)),
        ("(64)", 64),
        ("[32, 64]", [32, 64]),
        ("[[1, 2], (a, null)]", [[1, 2], ("a", None)]),
        ("choice((64, 128), (64, 128, 256))", Choice((64, 128), (64, 128, 256))),
        ("choice([32, 64])", Choice(32, 64)),
        ("choice(null, 0.1)", Choice(None, 0.1)),
        ("choice('a', [1, 2])", Choice("a", [1, 2])),
        ("int(32, 512, step=32)", Int(32, 512, step=32)),
        ("uniform(0, 0.5, step = 0.05)", Float(0.0, 0.5, step=0.05)),
        ("int(8, model/width)", Int(8, "model/width")),
        ("log(1e-6, lr)", Float(1e-6, "lr", log=True)),
        ("data/my.yaml", "data/my.yaml"),
    ],
)
def test_values_and_ranges_read_as_they_are_written(text: str, expected: object) -> None:
    read = parse(text)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "cannot read ''"),
        ("nan", "cannot read 'nan'; write a number, true, false, null, a word"),
        ("NaN", "cannot read 'NaN'"),
        ("inf", "cannot read 'inf'"),
        ("-inf", "cannot read '-inf'"),
        ("+inf", r"cannot read '\+inf'"),
        ("-nan", "cannot read '-nan'"),
        ("infinity", "cannot read 'infinity'"),
        ("-Infinity", "cannot read '-Infinity'"),
        ("1e999", "cannot read '1e999'"),
        pytest.param("9" * 400, "cannot read '999", id="400 digits"),
        ("1j", "cannot read '1j'"),
        ("[1, 2", r"cannot read '\[1, 2'"),
        ("[1, (2])", "cannot read"),
        ("choice(1, [2)])", "cannot read .*brackets do not match"),
        ("choice('a, 2)", "a bracket or quote is not closed"),
        ("int(1, 9, step=2, step=3)", r"int\(…\) takes two numbers"),
        ("log(1e-4, 1, step=0.1)", "Float takes log or a step, not both"),
        ("{[]: 1}", "cannot read"),
        ("{{}}", "cannot read"),
        ("two words", "cannot read 'two words'"),
        ("__import__('os')", "cannot read"),
        ("os.system('true')", "cannot read"),
        ("log(0,1)", "Float with log needs low above 0, but got low=0"),
        ("log(1, 0.1)", r"Float needs low <= high, but got low=1.0 and high=0\.1"),
        ("log(0.1)", r"log\(…\) takes two numbers, low and high, but got 'log\(0\.1\)'"),
        ("int(1, 2, 3)", r"int\(…\) takes two numbers"),
        ("int(1, (2, 3))", r"int\(…\) takes two numbers"),
        ("int(1, true)", r"int\(…\) takes two numbers"),
        ("int(0.5, 2)", r"Int needs whole numbers, but got low=0\.5"),
        ("uniform(0, inf)", "cannot read 'inf'"),
        ("choice()", "Choice needs at least one value"),
        ("choice(1, 1)", "the values of a Choice must differ"),
        ("choice(1, nan)", "cannot read 'nan'"),
        ("choice(__import__('os'), 2)", "cannot read"),
        ("foo(1,2)", r"unknown range foo\(…\); known are log, uniform, int, intlog, choice"),
        ("log(1e-4, 1e-1", "cannot read"),
        ("\0", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        parse(text)


@given(ranges())
def test_a_range_written_as_on_the_command_line_reads_back(range_: Range) -> None:
    if isinstance(range_, Choice):
        text = f"choice({written([*range_.values])})"
    else:
        names = {(Float, False): "uniform", (Float, True): "log", (Int, False): "int", (Int, True): "intlog"}
        step = "" if range_.step is None else f", step={range_.step!r}"
        text = f"{names[type(range_), range_.log]}({range_.low!r}, {range_.high!r}{step})"
    assert parse(text) == range_


@given(st.one_of(st.text(), st.text(alphabet="(){}[],'\"1e.-+ inalogtchoj_\\")))
@example("{[]: 1}")
@example("'\\d'")
@example("1if 2 else 3")
@example("(" * 300)
@example("[" * 3000 + "]" * 3000)
def test_any_text_is_read_or_refused_as_a_space(text: str) -> None:
    try:
        read = parse(text)
    except SpaceError:
        return
    if isinstance(read, float):
        assert math.isfinite(read)
    assert read is None or isinstance(read, (bool, int, float, str, tuple, list, Float, Int, Choice))


def test_a_pinned_corner_makes_what_it_pins_exist() -> None:
    space = Space(
        {
            "train/optimizer": Choice("sgd", "adam"),
            "train/momentum": Choice(0.5, 0.9, when={"train/optimizer": "sgd"}),
            "train/nesterov": Choice(False, True, when={"train/momentum": 0.9}),
        }
    )
    assert space.corner(high=True) == {"train/optimizer": "adam"}
    corner = space.corner(high=True, pinned={"train/nesterov": False})
    assert corner == {"train/optimizer": "sgd", "train/momentum": 0.9, "train/nesterov": False}
