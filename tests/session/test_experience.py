"""A search takes start points from earlier searches on other data, says so, records it, and needs them no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spaces
from search.decide.replay import differences
from search.errors import BadInput
from search.findings.snapshot import Snapshot
from search.findings.summary import summary_of
from search.prepared import Prepared
from search.record.events import Kind
from search.record.header import Process
from search.record.reader import FILE as RECORD
from search.record.reader import read
from search.record.record import Record
from search.session.experience import POINTS
from search.session.prepare import prepare
from search.session.resume import more_by_command
from search.settings import Settings
from search.storage.experience import FILE, export
from search.terminal.messages import result
from spaces.study import Choice, Study, config_of
from spaces.values import config_from_plain
from tests.session.test_end_to_end import search
from tests.session.test_warm_start import Said
from tests.simulated import Curves, note, searching, work
from tests.storage.test_experience_kept import known, searched

STUDY = replace(spaces.load("digits_mlp"), published=())
OWN = [config_of(point) for point in STUDY.start]


def before(runs: Path, name: str = "before", study: Study = STUDY, **changes: Any) -> Path:
    """An earlier search of this study, on data of another name and digest."""
    return searched(runs, study, name, **{"trials": 12, "seed": 3, **changes})


def prepared(runs: Path, display: Said | None = None, study: str = "digits_mlp", **more: Any) -> Prepared:
    return prepare(study, Settings(runs=runs, **more), display or Said())  # type: ignore[arg-type]


def points(made: Prepared) -> list[Mapping[str, Any]]:
    """The start points that are not the study's own."""
    own = [config_of(point) for point in spaces.load("digits_mlp").start]
    return [dict(point) for point in made.study.start if config_of(point) not in own]


def test_a_new_search_begins_with_its_own_start_points_and_then_with_what_was_good_on_other_data(
    tmp_path: Path,
) -> None:
    before(tmp_path, "mnist-1", dataset="mnist")
    display = Said()
    made = prepared(tmp_path, display)
    told = made.header.experience
    assert 1 <= len(told) <= POINTS
    assert [config_of(point) for point in made.study.start] == [
        *OWN,
        *(config_of(config_from_plain(each["point"])) for each in told),
    ]
    assert [each["start"] for each in told] == [*range(len(OWN), len(OWN) + len(told))]
    assert [line for line in display.lines if "experience" in line] == [
        f"start point from experience: trial {each['trial']} of mnist-1 (mnist)" for each in told
    ]
    events = read(tmp_path / "mnist-1" / RECORD)
    asked = {event.trial: event.body["point"] for event in events if event.kind == Kind.ASKED}
    assert all(each["point"] == asked[each["trial"]] for each in told)
    assert made.header.experience_from is None
    assert (tmp_path / FILE).is_file()


def bare(folder: Path) -> str:
    """The path of a study without start points."""
    text = "from dataclasses import replace\nfrom spaces.digits_mlp import STUDY as OURS\n"
    (folder / "bare.py").write_text(f"{text}STUDY = replace(OURS, start=())\n")
    return str(folder / "bare.py")


def test_without_start_points_of_its_own_a_study_begins_with_those_from_experience(tmp_path: Path) -> None:
    before(tmp_path)
    made = prepared(tmp_path, study=bare(tmp_path))
    assert made.header.experience[0]["start"] == 0
    assert len(made.study.start) == len(made.header.experience) > 0


def test_what_did_best_on_the_only_other_data_set_is_the_first_choice_of_a_study_without_start_points(
    tmp_path: Path,
) -> None:
    folder = before(tmp_path / "runs", trials=24)
    made = prepared(tmp_path / "runs", study=bare(tmp_path))
    (first,) = Snapshot.read(folder).trials.ranking()[:1]
    assert made.header.experience[0]["trial"] == first.number


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "same"},
        {"objective": {"metric": "val_loss", "mode": "min"}},
        {"trains": "trainables.cnn.train_cnn"},
        {"stand_in": True},
        {"study": replace(STUDY, space={**STUDY.space, "train/label_smoothing": Choice(0.0, 0.1)}, start=())},
        {"study": replace(STUDY, space={**STUDY.space, "model/depth": Choice(1, 2)}, start=())},
    ],
    ids=["the same data", "another metric", "another network", "stand-in data", "one more", "another kind"],
)
def test_nothing_is_taken_from_a_search_of_the_same_data_or_of_another_problem(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    if changes.get("digest") == "same":
        changes = {"digest": prepared(tmp_path).header.digest}
    before(tmp_path, **changes)
    display = Said()
    made = prepared(tmp_path, display)
    assert (list(made.header.experience), points(made)) == ([], [])
    assert not any("experience" in line for line in display.lines)


def test_in_other_ranges_values_are_mapped_and_what_was_changed_is_said(tmp_path: Path) -> None:
    before(tmp_path, trials=40)
    display = Said()
    made = prepared(tmp_path, display, changes={"train/lr": "log(1e-3, 0.04)", "model/width": "int(16, 40)"})
    told = made.header.experience
    assert told
    for each in told:
        made.study.ranges.check_point(config_from_plain(each["point"]))
    changed = [each for each in told if each["changed"]]
    assert sum("became" in line for line in display.lines) == len(changed)


def test_a_fixed_hyperparameter_makes_another_space(tmp_path: Path) -> None:
    before(tmp_path)
    assert not prepared(tmp_path, changes={"train/optimizer": "sgd"}).header.experience


def test_several_searches_of_one_data_set_count_as_one(tmp_path: Path) -> None:
    before(tmp_path, "first")
    alone = prepared(tmp_path).header.experience
    before(tmp_path, "second", digest=b"first".hex(), seed=5)
    before(tmp_path, "short", digest=b"first".hex(), seed=6, epochs=2)
    both = prepared(tmp_path).header.experience
    assert {each["search"] for each in both} <= {"first", "second"}
    assert alone


@pytest.mark.parametrize("more", [{"experience": "none"}, {"sampler": "grid"}, {"warm_start": ("before",)}])
def test_none_a_grid_and_a_warm_start_leave_experience_out(more: dict[str, Any], tmp_path: Path) -> None:
    study = "digits_mlp"
    if more.get("sampler") == "grid":
        more["changes"] = {"train/lr": "0.1", "model/dropout": "0.0", "train/momentum": "0.9", "model/width": "32"}
    before(tmp_path)
    display = Said()
    made = prepared(tmp_path, display, study, **more)
    assert not made.header.experience
    assert not any("experience" in line for line in display.lines)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"experience": "no/such"}, "--experience no/such: no folder and no file is there"),
        ({"experience": "x" * 5000}, "no folder and no file is there"),
        ({"experience": ".", "warm_start": ("before",)}, "leave one of them out"),
        (
            {"experience": ".", "sampler": "grid", "changes": dict.fromkeys(("train/lr", "model/dropout"), "0.1")},
            "a grid",
        ),
    ],
)
def test_what_cannot_be_asked_of_experience_is_refused(more: dict[str, Any], says: str, tmp_path: Path) -> None:
    more = {**more, "changes": {**more.get("changes", {}), "train/momentum": "0.9"}}
    with pytest.raises(BadInput, match=says):
        prepared(tmp_path, **more)


def test_a_dry_run_says_what_would_be_taken_and_writes_nothing(tmp_path: Path) -> None:
    before(tmp_path)
    assert prepared(tmp_path, dry_run=True).header.experience
    assert not (tmp_path / FILE).exists()


def test_another_folder_and_a_file_are_read_and_left_as_they_are(tmp_path: Path) -> None:
    before(tmp_path / "theirs")
    export(known(tmp_path / "theirs", keep=False), tmp_path / "some.json")
    (tmp_path / "mine").mkdir()
    from_folder = prepared(tmp_path / "mine", experience=str(tmp_path / "theirs")).header
    from_file = prepared(tmp_path / "mine", experience=str(tmp_path / "some.json")).header
    assert list(from_folder.experience) == list(from_file.experience) != []
    assert from_file.experience_from == str(tmp_path / "some.json")
    assert not (tmp_path / "theirs" / FILE).exists()
    assert not prepared(tmp_path / "mine").header.experience


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nothing", "is damaged, or no file of experience"),
        ('{"experience": 7, "searches": []}', "is of version 7"),
        ('{"experience": 1, "searches": []}', "no search of this space on other data is known there"),
    ],
)
def test_a_file_of_no_use_is_one_line_and_the_search_goes_on_without(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(content)
    display = Said()
    made = prepared(tmp_path, display, experience=str(tmp_path / "some.json"))
    assert not made.header.experience
    lines = [line for line in display.lines if "some.json" in line]
    assert says in lines[0]
    assert all("\n" not in line for line in lines)


def test_experience_that_was_shipped_with_a_study_is_used_but_not_of_data_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "EXPERIENCE", tmp_path)
    before(tmp_path / "made", "mnist-1", dataset="mnist", seed=3)
    before(tmp_path / "made", "digits-1", dataset="digits", seed=4)
    export(known(tmp_path / "made", keep=False), tmp_path / "digits_mlp.json")
    told = prepared(tmp_path / "runs").header.experience
    assert {each["search"] for each in told} == {"mnist-1"}
    assert not prepared(tmp_path / "runs", experience="none").header.experience
    (tmp_path / "digits_mlp.json").write_text("nothing")
    display = Said()
    assert not prepared(tmp_path / "runs", display).header.experience
    assert sum("digits_mlp.json" in line for line in display.lines) == 1


def test_start_points_that_cannot_run_on_these_data_are_one_line_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(tmp_path)
    (own := tmp_path / "own.py").write_text(
        "from dataclasses import replace\n"
        "from spaces.digits_mlp import STUDY as OURS\n"
        "from trainables.mlp import train_mlp as theirs\n"
        "WHOLE = [dict(p) for p in (*OURS.start, *OURS.ranges.corners().values())]\n"
        "def train_mlp(config, data, *, resume=None):\n"
        "    if not any(all(config[k] == v for k, v in p.items()) for p in WHOLE):\n"
        "        raise ValueError('these data are too small')\n"
        "    return theirs(config, data, resume=resume)\n"
        "train_mlp.__module__ = 'trainables.mlp'\n"
        "STUDY = replace(OURS, trainable=train_mlp)\n"
    )
    display = Said()
    made = prepared(tmp_path, display, study=str(own))
    assert (list(made.header.experience), len(made.study.start)) == ([], len(OWN))
    assert sum("no start point from experience is used" in line for line in display.lines) == 1


# What is recorded


def run(made: Prepared, folder: Path, curves: Curves | None = None, **more: Any) -> Snapshot:
    """The prepared search, with made-up trials."""
    folder.mkdir(parents=True)
    process = Process(concurrent=2, cores=2.0, pid=1, node="here")
    header = replace(made.header, name=folder.name, id="77", started_at=5e3, process=process, **more)
    with Record(folder / RECORD, create=True) as record:
        first = record.append((Kind.SEARCH, None, header.to_plain()))
        ours = searching(made.study, record, first)
        work(ours, curves or Curves(1), workers=2)
        note(ours, "finished", {"state": "done", "why": "", "wall_s": 1.0})
    return Snapshot.read(folder)


def test_replay_needs_no_experience_and_the_same_command_goes_on_without_it(tmp_path: Path) -> None:
    folder = before(tmp_path)
    made = prepared(tmp_path, trials=14)
    assert made.header.experience
    ran = run(made, tmp_path / "now")
    shutil.rmtree(folder)
    (tmp_path / FILE).unlink()
    assert differences(ran.events, made.study) == []
    assert more_by_command("digits_mlp", Settings(runs=tmp_path, trials=14), ran.events).trials is None
    with pytest.raises(BadInput, match="experience was from the runs, asked is none"):
        more_by_command("digits_mlp", Settings(runs=tmp_path, trials=14, experience="none"), ran.events)
    assert not prepared(tmp_path, trials=14).header.experience


def test_the_same_command_twice_in_one_folder_is_the_same_search(tmp_path: Path) -> None:
    before(tmp_path)
    first = prepared(tmp_path, trials=14)
    run(first, tmp_path / "now")
    second = prepared(tmp_path, trials=14)
    assert second.header.to_plain() == {**first.header.to_plain()}
    assert [each.name for each in known(tmp_path)] == ["before", "now"]


def test_the_summary_tells_of_each_start_point_and_where_the_winner_comes_from(tmp_path: Path) -> None:
    before(tmp_path, "mnist-1", dataset="mnist\x1b[2J")
    made = prepared(tmp_path, trials=14)
    ran = run(made, tmp_path / "now")
    summary = summary_of(ran)
    told = summary["experience"]
    assert [each["tried"] for each in told["points"]] == [each["start"] for each in made.header.experience]
    tried = ran.trials[told["points"][0]["tried"]]
    assert ran.origin(tried) == f"{tried.origin}, from experience"
    assert summary["best"]["origin"] == ran.origin(ran.trials[summary["best"]["trial"]])
    text = result(summary)
    assert sum(line.startswith("experience ") for line in text.splitlines()) == 1
    assert "\x1b" not in text
    assert json.dumps(summary, allow_nan=False)


class Biased(Curves):
    """Trials whose learning rate is among these are good, or bad."""

    def __init__(self, rates: set[Any], good: bool) -> None:
        super().__init__(1, ends=0.0)
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "good", good)

    def metrics(self, config: Mapping[str, Any], epoch: int) -> dict[str, float]:
        high = (config["train/lr"] in self.rates) is self.good  # type: ignore[attr-defined]
        return {"val_accuracy": (0.8 if high else 0.3) + epoch / 100, "val_loss": 0.5}


@pytest.mark.parametrize("good", [True, False])
def test_whether_experience_helped_is_said_in_one_line(good: bool, tmp_path: Path) -> None:
    before(tmp_path, "mnist-1", dataset="mnist")
    made = prepared(tmp_path, trials=14)
    rates = {each["point"]["train/lr"] for each in made.header.experience}
    ran = run(made, tmp_path / "now", Biased(rates, good))
    told = summary_of(ran)["experience"]
    (line,) = [line for line in result(summary_of(ran)).splitlines() if line.startswith("experience ")]
    if good:
        assert (told["below"], told["won"] is not None) == (None, True)
        assert "the winner has the setting of trial" in line
        assert "of mnist-1 (mnist)" in line
    else:
        assert (told["below"], told["won"]) == (ran.header.rungs[0], None)
        assert "did not help: after epoch 1 " in line


def test_a_search_without_experience_says_nothing_of_it(tmp_path: Path) -> None:
    ran = run(prepared(tmp_path, trials=4), tmp_path / "now")
    summary = summary_of(ran)
    assert summary["experience"] is None
    assert "experience" not in result(summary)


# The verb, and all of it for real


def test_the_verb_lists_what_is_known_and_writes_a_file(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from search.cli.group import cli

    before(tmp_path / "runs", "mnist-1", dataset="mnist\x1b[2J")
    ask = CliRunner().invoke
    done = ask(cli, ["experience", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "tiny" in done.output
    file = tmp_path / "some.json"
    done = ask(cli, ["experience", "--runs", str(tmp_path / "runs"), "--json", "--export", str(file)])
    (told,) = json.loads(done.stdout)
    assert (told["metric"], told["mode"], told["data"][0]["searches"]) == ("val_accuracy", "max", ["mnist-1"])
    assert json.loads(ask(cli, ["experience", str(file), "--json"]).stdout) == [told]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["made", "mnist-1"]
    file.write_text("nothing")
    for words in (["experience", str(file)], ["experience", str(tmp_path / "no")]):
        assert ask(cli, words).exception is not None


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_real_search_learns_from_one_on_other_data_and_goes_on_without_it(tmp_path: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    upside_down = digits.images[:600, ::-1].astype(np.uint8) * 15
    np.savez(tmp_path / "other.npz", x=upside_down, y=digits.target[:600])
    budget = ("--trials", "6", "--epochs", "2", "--concurrent", "1", "--json")
    first = search("digits_mlp", *budget, "--name", "first", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = search("digits_mlp", *budget, "--dry-run", "--probe", "0", cwd=tmp_path)
    assert json.loads(again.stdout)["start"] == Snapshot.read(tmp_path / "runs" / "first").events[0].body["start"]
    other = search("digits_mlp", *budget, "--data", "other.npz", "--name", "other", cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    lines = [line for line in other.stderr.splitlines() if line.startswith("start point from experience: ")]
    assert lines
    assert all("of first (digits)" in line for line in lines)
    assert len(json.loads(other.stdout)["experience"]["points"]) == len(lines)
    assert len(Snapshot.read(tmp_path / "runs" / "other").header.experience) == len(lines)
    (tmp_path / "runs" / FILE).unlink()
    shutil.rmtree(tmp_path / "runs" / "first")
    more = search("resume", "other", "--trials", "2", "--json", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert sum(json.loads(more.stdout)["trials"].values()) == 8
    assert search("replay", "other", cwd=tmp_path).returncode == 0
