"""`predict`: a winner says what pictures show, asked by search, by folder or from Python, and writes nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import search
from search.cli.group import cli
from search.errors import BadInput, SearchFailed
from search.session.predict import model_called, predicted
from spaces.study import Study
from tests.simulated import kept
from tests.trainables.test_picture_folders import put

CLASSES = ["cat", "dog", "eel", "fox"]


@pytest.fixture
def runs(tiny_study: Study, tmp_path: Path) -> Path:
    """A runs folder with the search `tiny-1`, whose winner knows four animals."""
    kept(tmp_path / "runs", tiny_study, classes=CLASSES)
    return tmp_path / "runs"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures, one of which is none."""
    put(tmp_path / "photos", "some", count=5, suffix=".png", size=(8, 8))
    (tmp_path / "photos" / "some" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return tmp_path / "photos"


def asked(*words: str | Path) -> int:
    """The exit code of `python -m search predict` with these words."""
    code = cli.main(["predict", *map(str, words)], prog_name="search", standalone_mode=False)
    return code if isinstance(code, int) else 0


def state(folder: Path) -> dict[str, str]:
    """Every file below `folder` with what is in it."""
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def test_the_table_names_each_picture_with_its_class_and_what_is_broken(
    runs: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(runs.parent)
    assert asked("tiny-1", photos, "--top", "2", "--runs", runs) == 2
    out, said = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 5
    model = search.load("tiny-1", runs).model()
    names, images = zip(*_seen(photos), strict=True)
    chances = model(torch.from_numpy(np.stack(images))).softmax(1)
    for line, name, row in zip(lines, names, chances, strict=True):
        first, second = row.argsort(descending=True)[:2]
        expected = f"{CLASSES[first]} {row[first]:.4f}  {CLASSES[second]} {row[second]:.4f}"
        assert line.split("  ", 1)[1].strip() == expected
        assert line.split("  ", 1)[0].endswith(name[-20:])
    assert "warning: 1 of 6 pictures cannot be read: " in said
    assert "torn.jpg (" in said
    assert state(runs.parent) == before, "to ask writes nothing"


def _seen(photos: Path) -> list[tuple[str, Any]]:
    from trainables.pictures import image_of

    return [(str(file), image_of(file.read_bytes(), (1, 8, 8))) for file in sorted(photos.rglob("*.png"))]


def test_the_document_has_classes_probabilities_and_broken_files(
    runs: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("tiny-1", photos, "--json", "--top", "9", "--runs", runs) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["model"], document["classes"]) == ("tiny-1", CLASSES)
    assert len(document["predictions"]) == 5
    for each in document["predictions"]:
        assert sorted(one["class"] for one in each["top"]) == CLASSES
        assert abs(sum(one["probability"] for one in each["top"]) - 1) < 1e-5
    (broken,) = document["broken"]
    assert broken["path"].endswith("torn.jpg")


def test_the_csv_has_a_row_for_each_picture(runs: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "some" / "torn.jpg").unlink()
    assert asked("tiny-1", photos, "--csv", tmp_path / "said.csv", "--top", "2", "--runs", runs) == 0
    with (tmp_path / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert list(rows[0]) == ["path", "class", "probability", "class_2", "probability_2"]
    assert float(rows[0]["probability"]) >= float(rows[0]["probability_2"])


def test_a_file_that_cannot_be_written_is_told_in_one_line(runs: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be written .* --csv"):
        asked("tiny-1", photos, "--csv", tmp_path / "none" / "said.csv", "--runs", runs)


def test_python_asks_paths_and_pictures_alike(runs: Path, photos: Path) -> None:
    result = search.load("tiny-1", runs)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table = result.predict(photos, top=2)
    assert [str(each.message).partition(":")[0] for each in told] == [
        "5 pictures in colour made grey, as this model takes them",
        "1 of 6 pictures cannot be read",
    ]
    assert list(table) == ["path", "class", "probability", "class_2", "probability_2"]
    files = sorted(photos.rglob("*.png"))
    images = np.stack([image for _, image in _seen(photos)])[:, 0]
    with pytest.warns(UserWarning, match="in colour made grey"):
        listed = result.predict(files)
    assert listed["class"].tolist() == result.predict(images)["class"].tolist() == table["class"].tolist()
    with pytest.warns(UserWarning, match="shares of 255"):
        shares = result.predict(images / 255.0)
    assert shares["probability"].tolist() == result.predict(images)["probability"].tolist()
    with pytest.raises(BadInput, match="no grey levels"):
        result.predict(images - 300.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-2", "unknown search 'tiny-2'.*tiny-1"),
        ("./none", "no folder ./none"),
        ("photos", "holds no model; `export` writes"),
    ],
)
def test_a_model_that_is_not_there_is_told_in_one_line(
    name: str, message: str, runs: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    with pytest.raises(BadInput, match=message) as raised:
        model_called(name, runs)
    assert "\n" not in str(raised.value)


def test_a_search_without_a_result_has_nothing_to_answer_with(tiny_study: Study, tmp_path: Path) -> None:
    kept(tmp_path / "runs", tiny_study, steps=1, end=None)
    with pytest.raises(SearchFailed, match="tiny-1 has no result yet"):
        model_called("tiny-1", tmp_path / "runs")


def test_a_path_that_is_not_there_is_bad_input(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no file and no folder at .*none"):
        predicted(model_called("tiny-1", runs), [tmp_path / "none"])
