"""What searches teach: read from their records, kept beside them, carried in a file, refused where it is damaged."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import BadInput
from search.record.lesson import FEWEST, MOST_TRIALS, Lesson, lesson_of
from search.record.reader import FILE as RECORD
from search.record.reader import read
from search.record.reading import objective_of
from search.record.trials import replayed
from search.storage import experience
from search.storage.experience import FILE, Unreadable, export, of_file, of_folder
from spaces.study import Study
from spaces.values import from_plain
from tests.forging import forge, of_kind
from tests.simulated import kept

TRAINS = "trainables.mlp.train_mlp"


def searched(runs: Path, study: Study, name: str, **changes: Any) -> Path:
    """A search called `name` in `runs`, on a data set of its own, which is told by that name."""
    told = {"trains": TRAINS, "id": name.replace("-", ""), "dataset": f"data of {name}", "digest": name.encode().hex()}
    folder, _ = kept(runs / "made", study, **{**told, **changes})
    runs.mkdir(exist_ok=True)
    return folder.rename(runs / name)


def nothing_wrong(text: str) -> None:
    raise AssertionError(text)


def known(runs: Path, warn: Callable[[str], None] = nothing_wrong, *, keep: bool = True, **more: Any) -> list[Lesson]:
    return of_folder(runs, None, warn, keep=keep, **more)


@pytest.fixture
def runs(tmp_path: Path, tiny_study: Study) -> Path:
    for number, name in enumerate(("one", "two")):
        searched(tmp_path, tiny_study, name, seed=number + 3, started_at=1000.0 + number)
    return tmp_path


# What a search teaches


def test_a_search_teaches_its_curves_its_data_and_no_test_accuracy(runs: Path, tiny_study: Study) -> None:
    events = read(runs / "one" / RECORD)
    lesson = lesson_of("one", events)
    assert lesson is not None
    trials = replayed(events, objective_of(events))
    assert (lesson.name, lesson.dataset, lesson.images, lesson.epochs) == ("one", "data of one", 80, 9)
    for each in lesson.trials:
        trial = trials[each.number]
        assert each.point == dict(trial.point)
        curve = trial.best_so_far(trials.objective, 9)
        assert all(value == curve[epoch - 1] for epoch, value in each.curve)
        assert each.diverged or each.curve[-1][0] == len(curve)
        assert each.complete == (trial.state == "complete")
    assert "test" not in json.dumps(lesson.to_plain())


def test_what_it_teaches_reads_back_as_it_was(runs: Path) -> None:
    lesson = lesson_of("one", read(runs / "one" / RECORD))
    assert lesson is not None
    assert Lesson.from_plain(json.loads(json.dumps(lesson.to_plain()))) == lesson


@pytest.mark.parametrize(
    "changes",
    [{"steps": 3}, {"end": None}, {"digest": ""}, {"stand_in": True}, {"trains": ""}],
    ids=["few trials", "not ended", "data without digest", "stand-in data", "earlier version"],
)
def test_a_search_from_which_nothing_can_be_learned_is_passed_over(
    changes: dict[str, Any], tmp_path: Path, tiny_study: Study
) -> None:
    searched(tmp_path, tiny_study, "some", **changes)
    assert known(tmp_path) == []


def test_of_very_many_trials_the_best_are_kept_and_some_others(tmp_path: Path, tiny_study: Study) -> None:
    folder = searched(tmp_path, tiny_study, "long", trials=MOST_TRIALS + 60)
    (lesson,) = known(tmp_path)
    events = read(folder / RECORD)
    trials = replayed(events, objective_of(events))
    numbers = [each.number for each in lesson.trials]
    assert FEWEST < len(numbers) <= MOST_TRIALS
    assert numbers == sorted(set(numbers))
    assert {trial.number for trial in trials.ranking()[:50]} <= set(numbers)


# The projection


def test_the_projection_says_what_the_records_say_and_reads_again_only_what_has_changed(
    runs: Path, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known(runs)
    assert [each.name for each in first] == ["one", "two"]
    opened: list[str] = []

    def counted(path: Path) -> Any:
        opened.append(path.parent.name)
        return read(path)

    monkeypatch.setattr(experience, "read", counted)
    assert known(runs) == first
    assert opened == []
    searched(runs, tiny_study, "three", started_at=2000.0)
    forge(runs / "one", lambda rows: setattr(rows[0], "body", {**rows[0].body, "dataset": "something else"}))
    assert [each.dataset for each in known(runs)] == ["something else", "data of two", "data of three"]
    assert sorted(opened) == ["one", "three"]
    shutil.rmtree(runs / "two")
    assert [each.name for each in known(runs)] == ["one", "three"]


def test_a_projection_that_was_thrown_away_is_made_again_as_it_was(runs: Path) -> None:
    first = known(runs)
    (runs / FILE).unlink()
    assert known(runs) == first


def test_who_only_looks_writes_nothing(runs: Path) -> None:
    before = sorted(path.name for path in runs.iterdir())
    assert len(known(runs, keep=False)) == 2
    assert sorted(path.name for path in runs.iterdir()) == before


def test_a_copy_of_a_search_teaches_once(runs: Path) -> None:
    shutil.copytree(runs / "one", runs / "one-more")
    assert len(known(runs)) == 2


def test_only_the_newest_searches_of_a_space_are_kept(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "NEWEST", 1)
    assert [each.name for each in known(runs)] == ["two"]
    assert [each.name for each in known(runs)] == ["two"]


def test_only_what_is_of_the_problem_is_read(runs: Path, tiny_study: Study) -> None:
    searched(runs, tiny_study, "loss", objective={"metric": "val_loss", "mode": "min"})
    ours = next(each.problem.key for each in known(runs) if each.name == "one")
    assert {each.name for each in of_folder(runs, ours, nothing_wrong, keep=True)} == {"one", "two"}


def test_what_takes_too_long_has_its_turn_later(runs: Path) -> None:
    lines: list[str] = []
    assert known(runs, lines.append, patience=-1.0) == []
    assert len(lines) == 1
    assert "2 searches" in lines[0]
    assert len(known(runs)) == 2


def garbage(path: Path) -> None:
    path.write_bytes(b"nothing of this kind")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    content[-100] ^= 0xFF
    path.write_bytes(bytes(content))


def later(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")


def changed(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(sql)

    change.__name__ = sql[:20]
    return change


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        cut,
        later,
        changed("CREATE TRIGGER t AFTER DELETE ON known BEGIN SELECT 1; END"),
        changed("UPDATE known SET at = 'x'"),
        changed("UPDATE known SET lesson = x'00'"),
    ],
)
def test_a_projection_that_is_damaged_or_of_another_make_is_one_line_and_is_made_anew(
    runs: Path, spoil: Callable[[Path], None]
) -> None:
    first = known(runs)
    spoil(runs / FILE)
    lines: list[str] = []
    assert known(runs, lines.append) == first
    assert len(lines) == 1
    assert FILE in lines[0]
    assert "\n" not in lines[0]
    assert known(runs) == first


def test_a_projection_that_is_damaged_inside_is_never_a_traceback(runs: Path) -> None:
    first = known(runs)
    flipped(runs / FILE)
    lines: list[str] = []
    assert len(known(runs, lines.append)) <= len(first)
    assert len(lines) <= 3


def test_a_row_that_says_what_cannot_be_is_one_line_and_the_others_are_used(runs: Path) -> None:
    known(runs)
    changed("UPDATE known SET lesson = replace(lesson, 'data of one', x'1b') WHERE folder = 'one'")(runs / FILE)
    changed("UPDATE known SET lesson = '{}' WHERE folder = 'two'")(runs / FILE)
    lines: list[str] = []
    assert [each.name for each in known(runs, lines.append)] in (["one"], [])
    assert any("two" in line for line in lines)


def test_a_projection_that_cannot_be_written_is_one_line_and_all_is_used(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / FILE).mkdir()
    lines: list[str] = []
    assert len(known(runs, lines.append)) == 2
    assert [FILE in line for line in lines] == [True] * len(lines)
    assert 1 <= len(lines) <= 2


def test_through_a_link_nothing_is_written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("elsewhere") / "target.db"
    target.write_bytes(b"precious")
    (runs / FILE).symlink_to(target)
    lines: list[str] = []
    assert len(known(runs, lines.append)) == 2
    assert (len(lines), target.read_bytes()) == (1, b"precious")
    assert (runs / FILE).is_symlink()


def test_a_damaged_record_is_one_line_and_the_others_are_used(runs: Path) -> None:
    (runs / "one" / RECORD).write_bytes(b"nothing")
    lines: list[str] = []
    assert [each.name for each in known(runs, lines.append)] == ["two"]
    assert len(lines) == 1
    assert [each.name for each in known(runs)] == ["two"]


def test_a_record_whose_name_says_what_no_line_should_hold_is_no_traceback(runs: Path) -> None:
    forge(runs / "one", lambda rows: of_kind(rows, "search").body.update(dataset="x" * 5000, started_at=math.inf))
    lines: list[str] = []
    assert [each.name for each in known(runs, lines.append)] == ["two"]
    assert len(lines) == 1


def test_a_record_with_a_budget_that_no_memory_holds_is_read_as_any_other(runs: Path) -> None:
    forge(runs / "one", lambda rows: of_kind(rows, "search").body.update(epochs=2**53, rungs=[2**53]))
    assert {each.name for each in known(runs)} >= {"two"}


# The file that travels


def test_what_was_exported_is_read_as_it_was(runs: Path, tmp_path: Path) -> None:
    lessons = known(runs)
    export(lessons, tmp_path / "some.json")
    assert of_file(tmp_path / "some.json", None) == lessons
    assert of_file(tmp_path / "some.json", "another problem") == []
    assert of_file(runs / FILE, lessons[0].problem.key) == lessons
    with pytest.raises(BadInput, match="exists"):
        export(lessons, tmp_path / "some.json")
    with pytest.raises(BadInput, match="cannot be written"):
        export(lessons, tmp_path / "no" / "some.json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"[" * 10**5, "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[]", "no file of experience"),
        (b'{"experience": 2, "searches": []}', "version 2"),
        (b'{"searches": []}', "version None"),
        (b'{"experience": 1, "searches": {}}', "no file of experience"),
        (b'{"experience": 1, "searches": [1]}', "what cannot be"),
        (b" " * (experience.LARGEST + 1), "bytes"),
        (b"SQLite format 3\0 and no more", "cannot be read"),
    ],
    ids=["empty", "deep", "no text", "a list", "later", "none", "an object", "a number", "large", "half a database"],
)
def test_a_file_that_is_none_is_refused_in_a_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "some.json").write_bytes(content)
    with pytest.raises(Unreadable, match=says) as caught:
        of_file(tmp_path / "some.json", None)
    assert "\n" not in str(caught.value)


def trial(told: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in told["trials"] if not each.get("diverged"))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: trial(told)["curve"][0].__setitem__(1, math.nan),
        lambda told: trial(told)["curve"][0].__setitem__(1, 10**400),
        lambda told: trial(told)["curve"].append([1, 0.5]),
        lambda told: trial(told)["point"].update({"train/lr": math.inf}),
        lambda told: trial(told)["point"].update({"train/lr": {"a": 1}}),
        lambda told: trial(told)["point"].update({"model/other": 1}),
        lambda told: told["trials"].extend([trial(told)] * MOST_TRIALS),
        lambda told: told.update(name="../x"),
        lambda told: told.update(dataset="x" * 5000),
        lambda told: told["problem"]["space"][0].update(name="\x1b[2J"),
    ],
)
def test_what_no_search_teaches_is_refused_in_a_line(
    spoil: Callable[[dict[str, Any]], object], plain: dict[str, Any], tmp_path: Path
) -> None:
    told = json.loads(json.dumps(plain))
    spoil(told)
    (tmp_path / "some.json").write_text(json.dumps({"experience": 1, "searches": [told]}))
    with pytest.raises(Unreadable, match="says what cannot be: ") as caught:
        of_file(tmp_path / "some.json", None)
    assert not {"\n", "\x1b"} & set(str(caught.value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_study: Study) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plain")
    searched(folder, tiny_study, "one")
    (lesson,) = known(folder)
    return json.loads(json.dumps(lesson.to_plain()))  # type: ignore[no-any-return]


def places(told: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@given(data=st.data())
def test_any_damage_to_what_was_exported_is_a_line_or_a_lesson_that_can_be(
    data: st.DataObject, plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = json.loads(json.dumps(plain))
    path = data.draw(st.sampled_from(places(told)[1:]))
    inner = told
    for key in path[:-1]:
        inner = inner[key]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(JSON)
    file = tmp_path_factory.mktemp("file") / "some.json"
    file.write_text(json.dumps({"experience": 1, "searches": [told]}))
    said = ""
    try:
        (lesson,) = of_file(file, None)
    except Unreadable as error:
        said = str(error)
    if said:
        assert "\n" not in said
        return
    for trial in lesson.trials:
        assert all(math.isfinite(value) for _, value in trial.curve)
        assert all(from_plain(value) == value for value in trial.point.values())
    json.dumps(lesson.to_plain(), allow_nan=False)
