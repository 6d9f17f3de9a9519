"""The study of a script, made from a command: the script is looked at, and never run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import spaces
from spaces.objective import Objective
from spaces.ranges import Choice, Float
from spaces.script import ENDLESS, Wish, is_study, study_of, style_of
from spaces.study import from_plain, script_of, to_plain
from spaces.values import SpaceError

RUN = '"""Trains a thing.\n\nAt length."""\nimport argparse\nraise SystemExit("this was run")\n'
CHANGES: dict[str, Any] = {"lr": Float(1e-4, 1e-1, log=True), "optimizer": Choice("sgd", "adamw"), "depth": 3}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "train.py"
    file.write_text(RUN)
    return file


def made(program: Path, *arguments: str, **more: Any) -> Any:
    return study_of(program, Wish(arguments=arguments, **{"changes": CHANGES, **more}), program.parent)


def test_what_is_set_to_a_range_is_searched_and_the_rest_is_fixed(program: Path) -> None:
    study = made(program, "--data", "photos", epochs=9, metric="val_loss", mode="min")
    assert (dict(study.space), dict(study.fixed)) == (
        {"lr": CHANGES["lr"], "optimizer": CHANGES["optimizer"]},
        {"depth": 3},
    )
    assert (study.name, study.about, study.dataset, study.epochs) == ("train", "Trains a thing.", "", 9)
    assert study.objective == Objective("val_loss", "min")
    script = study.trainable
    assert (script.program, script.folder, script.arguments) == (
        str(program),
        str(program.parent),
        ("--data", "photos"),
    )


def test_a_script_of_which_nobody_says_how_long_it_trains_is_not_told(program: Path) -> None:
    study = made(program)
    assert (study.epochs, study.trainable.endless) == (ENDLESS, True)
    with pytest.raises(SpaceError, match=r"\{epochs\} is how many epochs a trial trains at most; say so with --epochs"):
        made(program, "{epochs}")


@pytest.mark.parametrize("metric", ["loss", "val_loss", "val/Loss", "RMSE", "eval.wer"])
def test_of_a_loss_one_says_whether_more_of_it_is_good(program: Path, metric: str) -> None:
    with pytest.raises(SpaceError, match=f"{metric} may be one to make small; say --mode min, or --mode max"):
        made(program, metric=metric)
    assert made(program, metric=metric, mode="min").objective.mode == "min"


@pytest.mark.parametrize("metric", ["val_accuracy", "closs_rate", "f1", "mAP50-95(B)"])
def test_of_other_metrics_more_is_good(program: Path, metric: str) -> None:
    assert made(program, metric=metric).objective.mode == "max"


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"changes": {}}, "train.py defines no STUDY = Study.*, so it is a script, and nothing of it is searched"),
        ({"changes": {"depth": 3}}, "nothing of it is searched: name a hyperparameter and its range"),
        ({"report": "loss"}, "names no metric in braces"),
        ({"style": "loud"}, "takes values as flags, hydra, file, module, but not as 'loud'"),
        ({"arguments": ("{lr2}",)}, r"\{lr2\} stands for nothing"),
        ({"arguments": ("{config:gone.yaml}",)}, "gone.yaml cannot be read"),
        ({"arguments": ("{config:list.yaml}",)}, "must hold names with values, but holds a list"),
        ({"arguments": ("{config:bad.yaml}",)}, "is no YAML or JSON"),
        ({"arguments": ("{config:date.yaml}",)}, "holds what no record can keep"),
        ({"arguments": ("{config:a}", "{config:b}")}, "names 2 files"),
    ],
)
def test_what_cannot_be_searched_is_refused(program: Path, more: dict[str, Any], match: str) -> None:
    for name, text in (("list", "[1, 2]"), ("bad", "a: [1"), ("date", "day: 2026-01-01")):
        (program.parent / f"{name}.yaml").write_text(text)
    with pytest.raises(SpaceError, match=match):
        study_of(program, Wish(**{"changes": CHANGES, **more}), program.parent)


@pytest.mark.parametrize(
    ("text", "arguments", "style"),
    [
        ("import argparse", (), "flags"),
        ("import click", (), "flags"),
        ("", (), "flags"),
        ("import hydra", (), "hydra"),
        ("def main():\n    from hydra import main", (), "hydra"),
        ("from search.report import config, epoch", (), "module"),
        ("from search import report\nreport.config(lr=1)", (), "module"),
        ("from search.report import epoch", (), "flags"),
        ("import hydra", ("--config", "{config}"), "file"),
        ("not Python", ("{config.json}",), "file"),
        ("not Python", (), "flags"),
    ],
)
def test_how_a_script_takes_values_is_seen_in_its_text(text: str, arguments: tuple[str, ...], style: str) -> None:
    assert style_of(text, arguments) == style


@pytest.mark.parametrize(
    ("text", "study"),
    [
        ("STUDY = 1", True),
        ("if True:\n    STUDY: int = 1", True),
        ("from mine import STUDY", True),
        ("from mine import A as STUDY", True),
        ("for STUDY in (1,): pass", True),
        ("a = b = STUDY = 1", True),
        ("def f():\n    STUDY = 1", False),
        ("print(STUDY)", False),
        ("class C:\n    STUDY = 1", False),
        ("from mine import *", False),
        ("", False),
        ("broken (", True),
    ],
)
def test_a_file_is_a_study_if_it_binds_one_and_else_a_script(tmp_path: Path, text: str, study: bool) -> None:
    file = tmp_path / "file.py"
    file.write_text(text)
    assert is_study(file) is study
    assert spaces.is_script(str(file)) is not study


@pytest.mark.parametrize("name", ["digits_cnn", "gone.py", "./gone"])
def test_what_is_no_file_is_no_script(name: str) -> None:
    assert not spaces.is_script(name)


def test_a_program_of_another_language_is_a_script(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("exit 1")
    assert spaces.is_script(str(tmp_path / "train.sh"))


def test_a_study_of_a_script_is_rebuilt_from_its_record_alone(program: Path) -> None:
    (program.parent / "base.yaml").write_text("model: {depth: 3}")
    study = made(program, "--config", "{config:base.yaml}", epochs=3, report="pairs", metric="acc")
    plain = json.loads(json.dumps(to_plain(study)))
    assert "program" not in plain["script"]  # the record names it once, as what it runs
    program.unlink()
    script = script_of(plain, str(program))
    assert script is not None
    assert from_plain(plain, script) == study
