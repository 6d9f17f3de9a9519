"""What a script says of its test set, in one more run: how it is asked, how it is read, and what is refused."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from trainables.script.failures import ScriptFailed, ScriptWithoutModel
from trainables.script.folder import FILES
from trainables.script.measured import Measured, measured, name_of
from trainables.script.script import Script

CONFIG = {"lr": 0.1, "train/epochs": 3, "train/seed": 7}


def script(folder: Path, text: str, **more: Any) -> Script:
    (folder / "mine.py").write_text(textwrap.dedent(text))
    return Script(str(folder / "mine.py"), str(folder), **{"metric": "val_accuracy", "test": ("--evaluate",), **more})


def said(folder: Path, line: str, **more: Any) -> Measured:
    """What is heard of a script that prints `line` when it is asked for its test."""
    return measured(script(folder, f"print({line!r})", **more), CONFIG, folder / "test", None)


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        ('{"test_accuracy": 0.5, "test_loss": 2}', {"accuracy": 0.5, "loss": 2.0}),
        ('{"test": {"accuracy": 0.5}}', {"accuracy": 0.5}),
        ("test_accuracy=0.5 test_loss: 1e-1", {"accuracy": 0.5, "loss": 0.1}),
        ("test accuracy 0.5", {"accuracy": 0.5}),
        ("Test Acc: 93.5%", {"acc": 93.5}),
        ('{"test_accuracy": 0.5, "val_accuracy": 0.7}', {"accuracy": 0.5}),
    ],
)
def test_it_is_heard_in_the_ways_in_which_people_say_it(line: str, metrics: dict[str, float], tmp_path: Path) -> None:
    told = said(tmp_path, line)
    assert dict(told.metrics) == metrics
    assert told.accuracy == metrics.get("accuracy", metrics.get("acc"))
    assert told.note == ""


def test_how_many_images_there_were_is_no_measure(tmp_path: Path) -> None:
    told = said(tmp_path, '{"test_accuracy": 0.5, "test_images": 16}')
    assert (told.images, dict(told.metrics)) == (16, {"accuracy": 0.5})


@pytest.mark.parametrize(
    ("metric", "name"),
    [("val_accuracy", "test_accuracy"), ("val/loss", "test_loss"), ("acc", "test_acc"), ("value", "test_value")],
)
def test_the_test_is_called_like_the_objective(metric: str, name: str) -> None:
    assert name_of(metric) == name


def test_a_measure_without_its_part_is_taken_for_the_tests_and_that_is_said(tmp_path: Path) -> None:
    told = said(tmp_path, '{"acc": 0.5}', metric="acc")
    assert (told.accuracy, told.note) == (0.5, "it says acc, which is taken for test_acc, as this run is the test")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('{\"val_accuracy\": 0.5}')", "mine.py said no test_accuracy, or .*; what it said is val_accuracy"),
        ("", "it said no number at all"),
        ("print('test_accuracy=nan')", "test_accuracy is nan, which is no result"),
        ("print('test_accuracy=0.5 test_images=2.5')", "no number of images"),
        ("import sys; sys.exit('no such file')", "mine.py ended with exit code 1: no such file"),
    ],
)
def test_what_is_no_result_is_told(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match=why):
        measured(script(tmp_path, text), CONFIG, tmp_path / "test", None)


def test_the_command_is_that_of_the_trial_with_more_words_and_finds_what_it_kept(tmp_path: Path) -> None:
    text = """
        import json, pathlib, sys
        print(json.dumps(sys.argv[1:]))
        print("test_accuracy=" + pathlib.Path(sys.argv[2], "best.txt").read_text())
    """
    (tmp_path / "kept" / FILES).mkdir(parents=True)
    (tmp_path / "kept" / FILES / "best.txt").write_text("0.75")
    mine = script(tmp_path, text, arguments=("--out", "{folder}"), test=("--evaluate", "{folder}/best.txt", "{lr}"))
    told = measured(mine, CONFIG, tmp_path / "test", tmp_path / "kept")
    files = str(tmp_path / "test" / "files")
    assert told.accuracy == 0.75
    log = (tmp_path / "test" / "log.txt").read_text()
    assert json.dumps(["--out", files, "--lr", "0.1", "--evaluate", f"{files}/best.txt", "0.1"]) in log
    assert "[search] python mine.py --out" in log


def test_another_program_may_be_the_one_that_measures(tmp_path: Path) -> None:
    (tmp_path / "evaluate.py").write_text("import sys; print(sys.argv[1:]); print('test_accuracy=0.25')")
    mine = script(tmp_path, "raise SystemExit('not this one')", test=("evaluate.py", "--weights", "{folder}/w", "{lr}"))
    assert measured(mine, CONFIG, tmp_path / "test", None).accuracy == 0.25
    assert f"['--weights', '{tmp_path}/test/files/w', '0.1']" in (tmp_path / "test" / "log.txt").read_text()


def test_a_script_of_the_functions_is_asked_by_them(tmp_path: Path) -> None:
    text = """
        from search.report import config, epoch, folder, tested, testing
        if testing():
            tested(accuracy=config(lr=1.0)["lr"], images=9, test_loss=2)
        else:
            epoch(1, val_accuracy=1)
    """
    mine = script(tmp_path, text, style="module", test=())
    told = measured(mine, CONFIG, tmp_path / "test", None)
    assert (dict(told.metrics), told.images) == ({"accuracy": 0.1, "loss": 2.0}, 9)
    assert [dict(epoch.metrics) for epoch in mine(CONFIG, None)] == [{"val_accuracy": 1.0}]


def test_one_that_trains_again_before_it_measures_is_not_held_up(tmp_path: Path) -> None:
    text = """
        from search.report import epoch, tested
        for number in range(3):
            epoch(number, val_accuracy=1)
        tested(accuracy=0.5)
    """
    assert measured(script(tmp_path, text, test=()), CONFIG, tmp_path / "test", None).accuracy == 0.5


def test_a_secret_of_the_test_stands_in_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "hunter2")
    mine = script(tmp_path, "import sys; print('test_accuracy=0.5', len(sys.argv[-1]))", test=("{env:MINE}",))
    measured(mine, CONFIG, tmp_path / "test", None)
    log = (tmp_path / "test" / "log.txt").read_text()
    assert "$MINE" in log
    assert "hunter2" not in log


@pytest.mark.parametrize("arguments", [("{epochs}",), ()], ids=["told when to end", "not told"])
def test_one_that_ends_without_its_model_is_told_at_its_end(arguments: tuple[str, ...], tmp_path: Path) -> None:
    text = """
        import pathlib
        for number in (1, 2, 3):
            pathlib.Path(FOLDER, "last.pt").write_text("")
            print('{"val_accuracy": 0.5}')
    """
    text = text.replace("FOLDER", "__import__('sys').argv[1]")
    mine = script(tmp_path, text, arguments=("{folder}", *arguments), model="best.pt")
    with pytest.raises(ScriptWithoutModel, match=r"without best\.pt in \{folder\}.*it wrote last\.pt: name one with"):
        list(mine(CONFIG, None))


@pytest.mark.parametrize("model", ["/etc/passwd", "../best.pt"])
def test_a_model_elsewhere_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=r"a file in its \{folder\}"):
        Script("/mine.py", "/", model=model)


def test_a_record_of_a_script_without_them_says_nothing_of_test_and_model() -> None:
    assert not {"test", "model", "more"} & set(Script("/mine.py", "/").to_plain())
    whole = Script("/mine.py", "/", test=("--evaluate",), model="best.pt")
    assert Script.from_plain({"program": "/mine.py", **whole.to_plain()}) == whole


def test_what_is_written_right_after_its_epoch_was_printed_is_in_the_checkpoint(tmp_path: Path) -> None:
    text = """
        import pathlib, sys, time
        for number in (1, 2):
            time.sleep(1.0)
            print(f'{{"epoch": {number}, "val_accuracy": 0.5}}')
            time.sleep(0.01)
            pathlib.Path(sys.argv[1], "best.txt").write_text(str(number))
        time.sleep(2)
    """
    mine, kept = script(tmp_path, text, arguments=("{folder}",)), []
    for epoch in mine.at(tmp_path / "home")(CONFIG, None):
        (into := tmp_path / f"checkpoint-{epoch.number}").mkdir()
        assert epoch.save is not None
        epoch.save(into)
        kept.append((into / FILES / "best.txt").read_text())
    assert kept == ["1", "2"]
