"""`look`: what it says of data, as text, as a document and as a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from search.cli.group import cli
from search.errors import BadInput, EnvironmentFault
from tests.trainables.test_picture_folders import put, usual


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def looked(*words: Any) -> str:
    """What `look` prints."""
    done = CliRunner().invoke(cli, ["look", *map(str, words)], catch_exceptions=False, standalone_mode=False)
    return done.stdout


def document(*words: Any) -> dict[str, Any]:
    return json.loads(looked(*words, "--json"))  # type: ignore[no-any-return]


def uneven(root: Path) -> Path:
    """30 cats, 2 dogs, a broken file, an odd size and a test part with a copy."""
    put(root / "train", "cat", count=30)
    put(root / "train", "dog", count=2, first=5000)
    put(root / "test", "cat", count=3, first=900)
    (root / "train" / "cat" / "no.jpg").write_text("no picture")
    Image.new("RGB", (20, 30)).save(root / "train" / "cat" / "odd.png")
    shutil.copy(root / "train" / "cat" / "0.png", root / "test" / "cat" / "copy.png")
    return root


def test_the_document_counts_parts_classes_sizes_and_kinds(tmp_path: Path) -> None:
    found = document(uneven(tmp_path / "pets"))
    assert found["parts"] == {"train": {"cat": 31, "dog": 2}, "test": {"cat": 4}}
    assert (found["classes"], found["shape"], found["image_size"]) == (["cat", "dog"], [3, 64, 64], 64)
    assert (found["sizes"], found["kinds"]) == ({"8×8": 36, "20×30": 1}, {"PNG": 37})
    assert found["broken"] == [["train/cat/no.jpg", "it is text"]]
    assert any("1 of 4 pictures of test are in train too" in text for text in found["warnings"])
    assert {"photos", "--metric val_balanced_accuracy", "--skip-broken", "--folds 5"} == found["recommended"].keys()


def test_the_text_says_the_same(tmp_path: Path) -> None:
    text = looked(uneven(tmp_path / "pets"))
    for line in (
        "pets: 33 train, 4 test in 2 classes",
        "cat         31        4",
        "1 of 4 pictures of test are in train",
    ):
        assert line in text
    assert "recommended: --metric val_balanced_accuracy" in text


def test_even_data_are_recommended_no_other_metric(tmp_path: Path) -> None:
    assert "--metric val_balanced_accuracy" not in document(usual(tmp_path / "pets"))["recommended"]


def test_the_page_has_training_pictures_of_each_class_and_none_of_the_test_part(tmp_path: Path) -> None:
    root = uneven(tmp_path / "<b>pets</b> & co")
    page = Path(document(root)["page"])
    text = page.read_text()
    assert page.name == "_b_pets__b____co-look.html" or page.name.endswith("-look.html")
    assert text.count("a training picture of cat") == 8
    assert text.count("a training picture of dog") == 2
    assert "<b>pets</b>" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "train/cat/no.jpg" in text


def test_the_page_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    assert document(usual(tmp_path / "pets"), "-o", tmp_path / "my.html")["page"] == str(tmp_path / "my.html")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        looked(tmp_path / "pets", "-o", tmp_path / "none" / "my.html")


def test_pictures_that_look_alike_are_counted_on_request(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "film" / part / name).mkdir(parents=True)
    for number in range(12):
        name = ("cat", "dog")[number % 2]
        small = Image.fromarray(generator.integers(20, 230, (6, 6, 3), dtype=np.uint8))
        frame = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
        for part, add in (("train", 0), ("test", 2)):
            if part == "train" or number < 4:
                Image.fromarray(frame + np.uint8(add)).save(tmp_path / "film" / part / name / f"{number}.png")
    other = Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    other.save(tmp_path / "film" / "test" / "cat" / "other.png")
    assert document(tmp_path / "film")["warnings"] == []
    (warning,) = document(tmp_path / "film", "--near")["warnings"]
    assert warning.startswith("4 of 5 pictures of test look like one of train and are not equal")


def test_arrays_and_known_sets_are_looked_at_too(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "mine.npz", x_train=np.arange(2560, dtype=np.uint8).reshape(40, 8, 8), y_train=np.arange(40) % 2
    )
    assert document(tmp_path / "mine.npz")["parts"] == {"train": {"0": 20, "1": 20}}
    found = document("digits")
    assert sum(found["parts"]["train"].values()) == 1438
    assert "examples" not in looked("moons").lower()


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no data at"):
        looked(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty is not an image folder"):
        looked(tmp_path / "empty")
