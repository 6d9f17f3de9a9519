"""Pictures that nobody has labelled are read as the data of a search are, and what cannot be read is named."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.test_picture_folders import put
from trainables.datasets import DataError, Reading, find
from trainables.datasets.unlabelled import Unlabelled
from trainables.request import BATCH, Intake


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def read(*paths: Path, shape: tuple[int, int, int] = (1, 8, 8), brightest: int = 255) -> tuple[Any, Any, Unlabelled]:
    """Names, images, and what else there is to be said of the pictures at `paths`."""
    there = Unlabelled(paths, Intake(shape, brightest))
    batches = list(there.batches())
    names = [name for some, _ in batches for name in some]
    return names, np.concatenate([np.empty((0, *shape)), *(images for _, images in batches)]), there


def test_a_folder_is_seen_as_a_search_of_it_sees_it(tmp_path: Path) -> None:
    put(tmp_path / "pets", "cat", "dog", count=6, suffix=".jpg", size=(300, 260))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((40, 90), 60).convert("RGBA").save(tmp_path / "pets" / "cat" / "odd.png", exif=exif)
    Image.fromarray(np.arange(40 * 40, dtype=np.uint16).reshape(40, 40) * 40).save(tmp_path / "pets/dog/deep.tif")
    images, _ = find("digits", tmp_path / "pets", reading=Reading(image_size=24)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names, made, there = read(tmp_path / "pets", shape=(3, 24, 24))
    assert (made == images.numpy()).all()
    assert names[0] == str(tmp_path / "pets" / "cat" / "0.jpg")
    assert "14 pictures of another size made 24×24: middle cut out, resized" in there.notes
    assert "1 picture turned upright, as their EXIF says" in there.notes


def test_broken_files_are_named_with_reasons_and_all_others_are_read(tmp_path: Path) -> None:
    put(tmp_path / "all", "some", count=3, suffix=".png", size=(8, 8))
    (tmp_path / "all" / "empty.png").touch()
    (tmp_path / "all" / "text.jpg").write_text("no picture")
    (tmp_path / "all" / "phone.heic").write_bytes(b"....ftypheic")
    (tmp_path / "all" / "gone.png").symlink_to("nowhere.png")
    names, made, there = read(tmp_path / "all")
    assert len(names) == len(made) == 3
    assert {Path(name).name: why for name, why in there.broken} == {
        "empty.png": "it is empty",
        "text.jpg": "it is text",
        "phone.heic": ".heic is not read here; save it as JPEG or PNG",
        "gone.png": "it is a link that leads nowhere",
    }


def test_arrays_are_read_as_a_search_reads_them_and_named_by_their_rows(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (BATCH + 5, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", images=levels, labels=np.zeros(len(levels), int))
    names, made, there = read(tmp_path / "new.npz")
    assert (made[:, 0] == levels).all()
    assert (names[0], names[-1]) == (f"{tmp_path}/new.npz[images][0]", f"{tmp_path}/new.npz[images][{BATCH + 4}]")
    assert there.notes == [f"{tmp_path}/new.npz: 1 array passed over: labels"]
    np.save(tmp_path / "lone.npy", levels[:3] / 255.0)
    names, made, there = read(tmp_path / "lone.npy")
    assert (made[:, 0] == levels[:3]).all()
    assert names == [f"{tmp_path}/lone.npy[{row}]" for row in range(3)]
    assert "0 … 1, 1 as white" in there.notes[0]
    np.save(tmp_path / "one.npy", levels[0])
    assert (read(tmp_path / "one.npy")[1][0, 0] == levels[0]).all()


def test_an_archive_is_read_as_the_folder_in_it(tmp_path: Path) -> None:
    put(tmp_path / "all", "some", count=3, suffix=".png", size=(8, 8))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "all").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    names, made, _ = read(tmp_path / "all.zip")
    assert names[0] == str(tmp_path / "all.zip" / "all" / "some" / "0.png")
    assert (made == read(tmp_path / "all")[1]).all()


def test_points_are_read_from_arrays_and_from_nothing_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=np.array([[0.5, -1.0], [2.0, 3.0]], np.float32))
    names, made, _ = read(tmp_path / "points.npz", shape=(2, 1, 1), brightest=0)
    assert made.reshape(2, 2).tolist() == [[0.5, -1.0], [2.0, 3.0]]
    assert len(names) == 2
    put(tmp_path / "all", "some", count=1, suffix=".png", size=(8, 8))
    with pytest.raises(DataError, match=r"takes numbers, as an \.npz"):
        read(tmp_path / "all", shape=(2, 1, 1), brightest=0)


def test_what_holds_no_pictures_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(tmp_path / "nan.npy", np.full((2, 8, 8), np.nan))
    np.save(tmp_path / "half.npy", np.full((2, 8, 8), 0.5))
    for path, message, brightest in (
        (tmp_path / "none", "no file and no folder at .*none", 255),
        (tmp_path / "empty", "empty holds no pictures; 1 file of other kinds passed over: 1 .txt", 255),
        (tmp_path / "other.npz", "has no array called x or images, but a, b", 255),
        (tmp_path / "nan.npy", "no finite number", 255),
        (tmp_path / "half.npy", "numbers up to 0.5, and this model was trained on grey levels up to 16", 16),
    ):
        with pytest.raises(DataError, match=message):
            read(path, brightest=brightest)


def test_bright_pictures_for_a_model_of_dark_data_are_answered_with_a_warning(tmp_path: Path) -> None:
    put(tmp_path / "all", "some", count=2, suffix=".png", size=(8, 8))
    _, made, there = read(tmp_path / "all", brightest=16)
    assert len(made) == 2
    assert any("grey levels above 16" in note for note in there.notes)
