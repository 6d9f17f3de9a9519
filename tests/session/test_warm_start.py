"""A search that begins with what earlier ones found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decide.replay import differences
from search.errors import BadInput, EnvironmentFault
from search.record.reader import FILE, read
from search.record.reading import objective_of
from search.record.trials import replayed
from search.session.prepare import prepare
from search.session.resume import more_by_command
from search.session.warm_start import BEST, mapped_onto, warmed
from search.settings import Settings
from search.terminal.console import Silent
from spaces import load
from spaces.space import Range, Space
from spaces.study import Choice, Float, Int, Study, config_of
from tests.simulated import Curves, Memory, begun, kept, work
from tests.strategies import points, spaces


class Said(Silent):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


@given(data=st.data(), old=spaces(), new=spaces())
def test_what_is_mapped_is_a_point_of_the_new_space(data: st.DataObject, old: Space, new: Space) -> None:
    config, default = data.draw(points(old)), data.draw(points(new))
    mapped = mapped_onto(new, config, default, searched=set(config))
    new.check_point(mapped.point)
    assert set(mapped.filled) | set(mapped.changed) <= set(mapped.point)
    for name, value in mapped.point.items():
        if name not in mapped.filled and name not in mapped.changed:
            assert value == config[name]
    assert set(mapped.dropped) == set(config) - set(new)


@given(data=st.data(), space=spaces())
def test_a_point_of_the_same_space_is_taken_as_it_is(data: st.DataObject, space: Space) -> None:
    point = data.draw(points(space))
    mapped = mapped_onto(space, point, {}, searched=set(point))
    assert (mapped.point, mapped.changed, mapped.filled, mapped.dropped) == (point, {}, [], [])


@pytest.mark.parametrize(
    ("range_", "old", "new"),
    [
        (Float(0.0, 1.0), 3, 1.0),
        (Float(1e-3, 1.0, log=True), 1e-5, 1e-3),
        (Int(1, 4), 2.6, 3),
        (Int(1, 4), 9, 4),
        (Choice(32, 64, 128), 100, 128),
        (Choice(32, 64, 128), 40, 32),
        (Choice(-1, 0, 1), 0.4, 0),
        (Choice(16.0, 32.0), 16, 16.0),
    ],
)
def test_a_number_goes_to_the_nearest_that_its_range_has(range_: Range, old: Any, new: Any) -> None:
    mapped = mapped_onto(Space({"model/a": range_}), {"model/a": old}, {}, searched={"model/a"})
    assert repr(mapped.point) == repr({"model/a": new})


def test_a_word_that_is_missing_is_filled_in_from_the_default_or_with_the_first(tiny_study: Study) -> None:
    space = Space({"model/activation": Choice("relu", "gelu"), "train/lr": Float(1e-4, 1.0, log=True)})
    config = {"model/activation": "tanh", "model/width": 8}
    mapped = mapped_onto(space, config, {"model/activation": "gelu"}, searched={"model/activation", "model/width"})
    assert mapped.point == pytest.approx({"model/activation": "gelu", "train/lr": 0.01})
    assert mapped.filled == ["model/activation", "train/lr"]
    assert mapped.dropped == ["model/width"]
    assert mapped_onto(space, config, {}, searched=set()).point["model/activation"] == "relu"


def searched(runs: Path, study: Study, name: str, **changes: Any) -> Path:
    """A finished search called `name` in `runs`."""
    folder, _ = kept(runs / "made", study, **changes)
    runs.mkdir(exist_ok=True)
    return folder.rename(runs / name)


def test_the_best_come_first_by_turns_and_the_studys_own_start_points_follow(tmp_path: Path, tiny_study: Study) -> None:
    for number, name in enumerate(("first", "second")):
        searched(tmp_path, tiny_study, name, seed=number + 3, trials=12)
    study, taken = warmed(tiny_study, ["first", "second"], tmp_path)
    assert [each.name for each in taken[:4]] == ["first", "second", "first", "second"]
    assert len(taken) <= 2 * BEST
    for name in ("first", "second"):
        events = read(tmp_path / name / FILE)
        ranked = [trial.number for trial in replayed(events, objective_of(events)).ranking()]
        mine = [each.trial for each in taken if each.name == name]
        assert mine == [number for number in ranked if number in mine]
        assert mine[0] == ranked[0]
    assert [config_of(point) for point in study.start[: len(taken)]] == [config_of(t.mapped.point) for t in taken]
    for point in tiny_study.start:
        assert list(study.start).count(point) == 1


def damage(folder: Path) -> None:
    (folder / FILE).write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("spoil", "names", "error", "says"),
    [
        (None, ["frist"], BadInput, "unknown search 'frist'; known are first; did you mean first"),
        (None, ["no/such/folder"], BadInput, "no search is in that folder"),
        (damage, ["first"], EnvironmentFault, "the record .* cannot be opened"),
    ],
)
def test_a_search_that_cannot_be_begun_from_is_refused(
    spoil: Callable[[Path], None] | None,
    names: list[str],
    error: type[Exception],
    says: str,
    tmp_path: Path,
    tiny_study: Study,
) -> None:
    folder = searched(tmp_path, tiny_study, "first")
    if spoil:
        spoil(folder)
    with pytest.raises(error, match=says):
        warmed(tiny_study, names, tmp_path)


def test_a_search_with_no_common_hyperparameter_is_refused_with_what_both_have(
    tmp_path: Path, tiny_study: Study
) -> None:
    searched(tmp_path, tiny_study, "first")
    other = replace(tiny_study, space={"model/kernel": Choice(3, 5)}, fixed={}, start=(), name="other")
    with pytest.raises(BadInput, match=r"none of the hyperparameters that other searches \(model/kernel\), but model/"):
        warmed(other, ["first"], tmp_path)


def test_a_search_without_a_result_is_refused(tmp_path: Path, tiny_study: Study) -> None:
    searched(tmp_path, tiny_study, "first", steps=1)
    with pytest.raises(BadInput, match="no result to start from"):
        warmed(tiny_study, ["first"], tmp_path)


def test_the_plan_says_what_was_taken_and_the_search_tries_it_first(tmp_path: Path) -> None:
    study = replace(load("digits_mlp"), published=())
    searched(tmp_path, study, "before", trials=6)
    display = Said()
    settings = Settings(runs=tmp_path, warm_start=("before",), changes={"train/optimizer": "sgd"}, seed=5)
    prepared = prepare("digits_mlp", settings, display)  # type: ignore[arg-type]
    told = prepared.header.warm_start
    assert told
    assert all(each["search"] == "before" for each in told)
    assert sum("start point from trial" in line for line in display.lines) == len(told)
    search = begun(prepared.study, Memory())
    assert dict(search.ask().point) == config_of(told[0]["point"])  # type: ignore[union-attr]


def test_a_warm_search_goes_on_by_its_own_command_although_the_earlier_one_has_changed(tmp_path: Path) -> None:
    study = replace(load("digits_mlp"), published=())
    folder = searched(tmp_path, study, "before", trials=6)
    settings = Settings(runs=tmp_path, warm_start=("before",))
    begun = prepare("digits_mlp", settings, Said()).header  # type: ignore[arg-type]
    record = Memory()
    events = record.append(("search", None, replace(begun, name="x").to_plain()))
    folder.rename(tmp_path / "gone")
    assert more_by_command("digits_mlp", settings, events).trials is None
    with pytest.raises(BadInput, match=r"warm start was from \['before'\], asked is nothing"):
        more_by_command("digits_mlp", Settings(runs=tmp_path), events)


def test_a_warm_search_is_replayed_from_its_record(tmp_path: Path, tiny_study: Study) -> None:
    searched(tmp_path, tiny_study, "before", trials=10)
    study, taken = warmed(tiny_study, ["before"], tmp_path)
    record = Memory()
    search = begun(study, record, trials=12, sampler="tpe")
    work(search, Curves(1), workers=2)
    assert len(taken) > 0
    assert [trial.origin for trial in search.trials][: len(study.start)] == [
        f"start point {number}" for number in range(len(study.start))
    ]
    assert differences(record.events, study) == []
