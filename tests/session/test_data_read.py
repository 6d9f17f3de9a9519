"""The data of a search as it is prepared, recorded, and read again when the search goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import spaces
from search.errors import BadInput
from search.record.contents import Contents
from search.record.header import Header
from search.session.data_read import read
from search.session.prepare import prepare
from search.session.resume import more_by_command
from search.settings import Settings
from search.terminal.console import Silent
from tests.simulated import HEADER, Memory
from tests.trainables.test_picture_folders import put
from trainables.datasets import digest, find
from trainables.splits import held_out


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


class Told(Silent):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def prepared(root: Path, study: str = "digits_cnn", **settings: Any) -> tuple[Any, Told]:
    """A search of the pictures at `root`, ready to begin, and what was told of it."""
    told = Told()
    return prepare(study, Settings(runs=root.parent / "runs", data=root, **settings), told), told


def again(header: Header) -> Header:
    """A header as it is read from a record."""
    return Header.from_plain(json.loads(json.dumps({**header.to_plain(), "name": "mine-1"})))


def many(root: Path, count: int = 40) -> Path:
    put(root / "train", "cat", "dog", count=count)
    put(root / "test", "cat", "dog", count=4, first=500)
    return root


def test_a_search_of_pictures_is_parted_by_class_and_says_so_in_its_record(tmp_path: Path) -> None:
    ready, _ = prepared(many(tmp_path / "pets"))
    header = again(ready.header)
    assert (header.split, header.image_size, header.notes) == ("stratified", None, ())
    assert ready.data.val.labels.bincount().tolist() == [8, 8]
    assert header.digest == digest(ready.source.train())


def test_the_validation_part_of_the_data_is_used_and_part_of_the_digest(tmp_path: Path) -> None:
    put(many(tmp_path / "pets") / "val", "cat", "dog", count=3, first=700)
    ready, _ = prepared(tmp_path / "pets")
    assert (len(ready.data.train), len(ready.data.val), ready.header.split) == (80, 6, "own")
    before = ready.header.digest
    (tmp_path / "pets" / "val" / "cat" / "0.png").unlink()
    assert prepared(tmp_path / "pets")[0].header.digest != before


def test_what_was_done_is_said_once_and_kept(tmp_path: Path) -> None:
    root = many(tmp_path / "pets")
    Image.new("RGB", (30, 40)).save(root / "train" / "cat" / "odd.png")
    (root / "train" / "cat" / "no.png").write_text("no picture")
    with pytest.raises(BadInput, match=r"1 of 90 files is no readable image: train/cat/no\.png"):
        prepared(root)
    ready, told = prepared(root, skip_broken=True, image_size=12)
    header = again(ready.header)
    assert (header.image_size, header.skip_broken, header.shape) == (12, True, [3, 12, 12])
    assert [f"data: {text}" for text in header.notes] == [*told.warned, *told.said]
    assert any("made 12×12" in text for text in header.notes)
    assert any("left out: train/cat/no.png" in text for text in told.warned)


def test_a_search_that_goes_on_reads_its_data_as_it_began(tmp_path: Path) -> None:
    root = many(tmp_path / "pets")
    Image.new("RGB", (30, 40)).save(root / "train" / "cat" / "odd.png")
    ready, _ = prepared(root, image_size=12, group_by=r"/(\d)\d*\.png")
    header, told = again(ready.header), Told()
    _, data, sha256 = read(ready.study, Settings(runs=tmp_path / "runs", data=root), told, header)
    assert sha256 == header.digest
    assert torch.equal(data.val.images, ready.data.val.images)
    assert told.said == told.warned == []


def test_a_record_from_before_there_were_other_ways_is_parted_at_random(tmp_path: Path) -> None:
    root = many(tmp_path / "pets")
    put(root / "val", "cat", "dog", count=3, first=700)
    study, old = spaces.load("digits_cnn"), replace(HEADER, stand_in=False)
    assert old.split == "shuffled"
    _, data, sha256 = read(study, Settings(runs=tmp_path / "runs", data=root), Told(), old)
    assert sha256 == digest(find("digits", root).train())
    assert (len(data.train), len(data.val)) == (64, 16)
    expected = held_out([0] * 40 + [1] * 40, None, kind="shuffled", val_fraction=study.val_fraction, seed=0)
    assert torch.equal(data.val.images, find("digits", root).train()[0][expected])


@pytest.mark.parametrize("name", ["digits_cnn", "moons_mlp"])
def test_known_sets_are_parted_as_they_always_were(name: str, tmp_path: Path) -> None:
    ready = prepare(name, Settings(runs=tmp_path / "runs"), Told())
    plain = ready.header.to_plain()
    assert ready.header.split == "shuffled"
    assert not {"split", "image_size", "skip_broken", "group_by", "notes"} & plain.keys()


def test_the_size_that_a_study_wants_is_that_of_pictures_that_have_another(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nimport spaces\nSTUDY = replace(spaces.load('digits_cnn'), image_size=20)\n"
    )
    ready, _ = prepared(put(tmp_path / "pets", "cat", "dog", size=(90, 70), count=30), study=str(tmp_path / "mine.py"))
    assert ready.header.shape == [3, 20, 20]


def test_a_class_too_small_to_be_parted_is_one_line(tmp_path: Path) -> None:
    put(tmp_path / "pets", "cat", "dog", count=1)
    with pytest.raises(BadInput, match="train and validation part need images"):
        prepared(tmp_path / "pets")


def test_a_command_given_again_must_read_the_data_alike(tmp_path: Path) -> None:
    ready, _ = prepared(many(tmp_path / "pets"), image_size=12)
    header = replace(ready.header, name="mine-1", id="0f", process=HEADER.process)
    events = Memory().append(("search", None, header.to_plain()))
    same = Settings(runs=tmp_path / "runs", data=tmp_path / "pets", image_size=12)
    assert more_by_command("digits_cnn", same, events).trials is None
    for other in (replace(same, image_size=16), replace(same, skip_broken=True), replace(same, group_by="x")):
        with pytest.raises(BadInput, match=r"is another search: (image_size|skip_broken|group_by) was"):
            more_by_command("digits_cnn", other, events)


def test_arrays_of_other_forms_are_read_by_a_search(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((60, 3, 9, 9))
    np.savez(tmp_path / "mine.npz", images=values, labels=np.array(["a", "b", "c"])[np.arange(60) % 3])
    ready, told = prepared(tmp_path / "mine.npz")
    assert ready.header.classes == ["a", "b", "c"]
    assert any("read as 0 … 1" in text for text in told.said)


def test_what_was_found_in_the_data_is_in_the_record_and_comes_back(tmp_path: Path) -> None:
    root = many(tmp_path / "pets")
    (root / "train" / "cat" / "no.jpg").write_text("no picture")
    ready, _ = prepared(root, skip_broken=True)
    contents = again(ready.header).contents
    assert contents is not None
    assert contents == ready.header.contents
    assert contents.parts == {"train": {"cat": 40, "dog": 40}, "test": {"cat": 4, "dog": 4}}
    assert (contents.kinds, contents.broken) == ({"PNG": 88}, [["train/cat/no.jpg", "it is text"]])
    assert any("no readable image" in text for text in contents.warnings)


def test_a_validation_part_that_is_the_test_part_is_counted_and_named_as_such(tmp_path: Path) -> None:
    put(tmp_path / "pets" / "train", "cat", "dog", count=20)
    put(tmp_path / "pets" / "val", "cat", "dog", count=3, first=700)
    ready, _ = prepared(tmp_path / "pets", val_as_test=True)
    assert ready.header.contents.parts.keys() == {"train", "test"}
    assert ready.source.file_names("test")[:2] == ["val/cat/0.png", "val/cat/1.png"]
    assert ready.source.file_names("train")[0] == "train/cat/0.png"


@pytest.mark.parametrize(
    "forged",
    [{"parts": 3}, {"parts": {"train": 3}}, {"parts": {"train": {"a": -1}}}, {"parts": {}, "broken": [["a"]]}, 7,
     {"parts": {}, "warnings": [1]}, {"parts": {}, "further_sizes": "many"}],
)  # fmt: skip
def test_contents_that_cannot_be_are_refused(forged: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Contents.from_plain(forged)
