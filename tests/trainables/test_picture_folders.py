"""Folders of pictures as people have them: which layouts are read, what is said of the rest, what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.datasets import DataError, Reading, Source, digest, find
from trainables.datasets import cache as kept
from trainables.datasets.files import MOST_FILES


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Noise that no other seed gives; `size` is (width, height)."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def put(root: Path, *classes: str, count: int = 6, suffix: str = ".png", first: int = 0, **how: Any) -> Path:
    """`count` pictures for each of `classes`, which are folders below `root`."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(first + 1000 * number + index, **how).save(root / name / f"{index}{suffix}")
    return root


def usual(root: Path, **how: Any) -> Path:
    """train/ and test/ with cats and dogs."""
    put(root / "train", "cat", "dog", **how)
    put(root / "test", "cat", "dog", count=2, first=100, **how)
    return root


def read(path: Path, name: str = "digits", **reading: Any) -> Source:
    return find(name, path, reading=Reading(**reading))


def counts(source: Source) -> dict[str, int]:
    """How many pictures are in each part."""
    parts = {"train": source.train, "val": source.val, "test": source.test}
    return {name: len(part()[1]) for name, part in parts.items() if part is not None}


def said(source: Source) -> str:
    return "\n".join([*source.warnings, *source.notes])


# Layouts


def _wrapped(root: Path) -> Path:
    usual(root / "archive" / "archive")
    return root


def _twice(root: Path) -> Path:
    put(root / "seg_train" / "seg_train", "cat", "dog")
    put(root / "seg_test" / "seg_test", "cat", "dog", count=2, first=100)
    return root


def _inside(root: Path) -> Path:
    for name in ("cat", "dog"):
        put(root / name, "train", first=ord(name[0]))
        put(root / name, "test", count=2, first=100 + ord(name[0]))
    return root


def _beside(root: Path) -> Path:
    usual(root / "pets")
    picture(9999).save(root / "preview.png")
    (root / "classes.csv").write_text("id,name\n0,cat\n1,dog\n")
    return root


def _annotated(root: Path) -> Path:
    put(root / "images", "cat", "dog")
    (root / "meta").mkdir()
    (root / "meta" / "about.txt").write_text("of pets")
    return root


def _nested(root: Path) -> Path:
    for part, count in (("train", 3), ("test", 1)):
        for number, name in enumerate(("cat", "dog")):
            put(root / part / name, "a", "b", count=count, first=5000 * number + (100 if part == "test" else 0))
    return root


LAYOUTS: dict[str, tuple[Callable[[Path], Path], dict[str, int]]] = {
    "train and test": (usual, {"train": 12, "test": 4}),
    "no train": (lambda root: put(root, "cat", "dog"), {"train": 12}),
    "training, valid and testing": (
        lambda root: (
            put(root / "Training", "cat", "dog"),
            put(root / "valid", "cat", "dog", first=50, count=3),
            put(root / "TESTING", "cat", "dog", first=100, count=2),
            root,
        )[-1],
        {"train": 12, "val": 6, "test": 4},
    ),
    "one folder too many": (_wrapped, {"train": 12, "test": 4}),
    "a part in its own name": (_twice, {"train": 12, "test": 4}),
    "parts whose names are written together": (
        lambda root: (
            put(root / "trainset", "cat", "dog"),
            put(root / "TestSet", "cat", "dog", first=100, count=2),
            root,
        )[-1],
        {"train": 12, "test": 4},
    ),
    "a test part beside the classes": (
        lambda root: (put(root, "cat", "dog"), put(root / "Test", "Cat", "dog", first=100, count=2), root)[-1],
        {"train": 12, "test": 4},
    ),
    "a picture and a list of classes beside the set": (_beside, {"train": 12, "test": 4}),
    "notes beside the folder of the classes": (_annotated, {"train": 12}),
    "parts inside classes": (_inside, {"train": 12, "test": 4}),
    "folders inside classes": (_nested, {"train": 12, "test": 4}),
}


@pytest.mark.parametrize(("make", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_layout_is_read_with_all_its_parts(
    tmp_path: Path, make: Callable[[Path], Path], expected: dict[str, int]
) -> None:
    source = read(make(tmp_path / "pets"))
    assert (source.classes, counts(source)) == (("cat", "dog"), expected)
    assert source.train()[1].tolist() == [0] * 6 + [1] * 6


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    source = read(put(tmp_path, "bus", "plane", "train"))
    assert (source.classes, counts(source)) == (("bus", "plane", "train"), {"train": 18})


def test_a_folder_without_pictures_among_classes_is_said(tmp_path: Path) -> None:
    (put(tmp_path, "cat", "dog") / "bird").mkdir()
    assert "1 folder without pictures passed over: bird" in said(read(tmp_path))


def test_a_lone_folder_of_pictures_beside_an_empty_one_is_no_wrapper(tmp_path: Path) -> None:
    put(tmp_path / "cat", "black", "white")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"has 1 class \(cat\) with training pictures"):
        read(tmp_path)


def test_classes_that_hold_the_same_folders_are_warned_of(tmp_path: Path) -> None:
    put(tmp_path / "fold1", "cat", "dog")
    put(tmp_path / "fold2", "cat", "dog", first=100)
    assert "fold1, fold2 are read as the classes, and each holds the same folders, cat, dog" in said(read(tmp_path))


def test_a_class_that_is_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (usual(tmp_path) / "train" / "bird").symlink_to("/nowhere/bird")
    with pytest.raises(DataError, match="train/bird is a link that leads nowhere; mend it, or remove it"):
        read(tmp_path)


def test_pictures_are_read_as_they_are_and_in_the_order_of_their_names(tmp_path: Path) -> None:
    images, labels = read(usual(tmp_path)).train()
    assert (tuple(images.shape), images.dtype, labels.dtype) == ((12, 3, 8, 8), torch.uint8, torch.int64)
    expected = [np.asarray(picture(1000 * kind + index)) for kind in (0, 1) for index in range(6)]
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_a_folder_of_one_size_and_one_level_has_the_digest_that_earlier_versions_gave(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for index in range(3):
            level = np.full((4, 4), 40 * index + 5 * number, np.uint8)
            Image.fromarray(level).save(tmp_path / "train" / name / f"{index}.png")
    assert digest(read(tmp_path).train()) == "3ab01414bb2c4035cbb8db4974fb232003ada451f2f89e9704a3ab929afb4eda"


def test_the_validation_part_of_the_data_is_the_one_that_is_used(tmp_path: Path) -> None:
    put(usual(tmp_path) / "val", "cat", "dog", count=1, first=500)
    source = read(tmp_path)
    assert source.split == "own"
    assert source.val is not None
    assert np.array_equal(source.val()[0][0].permute(1, 2, 0).numpy(), np.asarray(picture(500)))


def test_classes_that_another_part_writes_otherwise_are_matched_and_said(tmp_path: Path) -> None:
    usual(tmp_path)
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "CAT")
    source = read(tmp_path)
    assert (source.classes, counts(source)) == (("cat", "dog"), {"train": 12, "test": 4})
    assert "classes of test that are written otherwise are read: CAT as cat" in said(source)


def test_a_class_that_only_the_test_part_has_is_refused(tmp_path: Path) -> None:
    put(usual(tmp_path) / "test", "horse", count=3, first=900)
    with pytest.raises(DataError, match=r"3 pictures of test are of 1 class without training pictures: horse"):
        read(tmp_path)


def test_a_class_that_the_test_part_lacks_is_said(tmp_path: Path) -> None:
    shutil.rmtree(usual(tmp_path) / "test" / "dog")
    source = read(tmp_path)
    assert (counts(source), source.classes) == ({"train": 12, "test": 2}, ("cat", "dog"))
    assert "test has no picture of 1 class: dog" in said(source)


def test_a_test_part_without_classes_is_no_test_part_and_said(tmp_path: Path) -> None:
    put(put(tmp_path / "train", "cat", "dog").parent, "test", count=4, first=77)
    source = read(tmp_path)
    assert source.test is None
    assert "the 4 pictures in" in said(source)
    assert "no test part of their own" in said(source)


def test_folders_beside_the_parts_and_pictures_beside_the_classes_are_said(tmp_path: Path) -> None:
    usual(tmp_path)
    put(tmp_path, "predict", count=3, first=300)
    picture(444).save(tmp_path / "train" / "loose.png")
    text = said(read(tmp_path))
    assert "predict/ with 3 pictures is none of train, val and test: passed over" in text
    assert "1 picture in" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: shutil.rmtree(root / "train" / "dog"),
            r"has 1 class \(cat\) with training pictures; at least two",
        ),
        (lambda root: [file.unlink() for file in (root / "train" / "dog").iterdir()], r"train/dog holds no pictures"),
        (lambda root: shutil.rmtree(root / "train"), r"has test but no train folder"),
        (lambda root: put(root / "Training", "cat", "dog"), r"two folders for one part, Training and train"),
    ],
    ids=["one class", "a class without pictures", "no train", "two trains"],
)
def test_a_folder_is_refused_with_the_reason(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    change(usual(tmp_path))
    with pytest.raises(DataError, match=message):
        read(tmp_path)


# Files


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPG", ".jpeg", ".jfif", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".PNG", ".avif"]
)
def test_pictures_of_each_suffix_are_read(tmp_path: Path, suffix: str) -> None:
    assert counts(read(usual(tmp_path, suffix=suffix))) == {"train": 12, "test": 4}


def test_a_picture_without_a_pictures_suffix_is_read_and_said(tmp_path: Path) -> None:
    file = usual(tmp_path) / "train" / "cat" / "0.png"
    file.rename(file.with_suffix(""))
    source = read(tmp_path)
    assert counts(source)["train"] == 12
    assert "1 file without a picture's suffix are pictures, and read: 1 without suffix" in said(source)


@pytest.mark.parametrize("kind", ["BMP", "AVIF", "PPM"])
def test_a_picture_of_any_kind_is_read_without_a_suffix(tmp_path: Path, kind: str) -> None:
    picture(77, size=(16, 16)).save(usual(tmp_path, size=(16, 16)) / "train" / "cat" / "one", format=kind)
    (tmp_path / "train" / "cat" / "notes").write_text("BM is what a bitmap begins with, P5 what a greymap does")
    assert counts(read(tmp_path)) == {"train": 13, "test": 4}


@pytest.mark.parametrize("suffix", [".dcm", ".TGA", ".exr"])
def test_pictures_of_kinds_that_are_not_read_are_not_lost_in_silence(tmp_path: Path, suffix: str) -> None:
    (usual(tmp_path) / "train" / "cat" / f"scan{suffix}").write_bytes(bytes(200))
    with pytest.raises(DataError, match=f"{suffix.lower()} is not read here; save it as JPEG or PNG"):
        read(tmp_path)


def test_what_systems_leave_behind_is_passed_over_and_said(tmp_path: Path) -> None:
    usual(tmp_path)
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "readme.txt"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"\0\1")
    put(tmp_path / "train", ".ipynb_checkpoints", count=1)
    source = read(tmp_path)
    assert (source.classes, counts(source)["train"]) == (("cat", "dog"), 12)
    assert "5 hidden files and folders passed over" in said(source)
    assert "1 file of other kinds passed over: 1 .txt" in said(source)


def test_names_of_any_kind_are_read(tmp_path: Path) -> None:
    put(tmp_path / "train", "Ñandú & 'co', a=b 🐦", "猫 (cat)")
    odd = os.fsencode(tmp_path / "train" / "猫 (cat)") + b"/\xff\xfe.png"
    picture(99).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", odd)
    source = read(tmp_path)
    assert counts(source) == {"train": 13}
    text = os.fsencode(tmp_path / "train" / "猫 (cat)") + b"/\xff.txt.png"
    Path(os.fsdecode(text)).write_text("no picture")
    with pytest.raises(DataError, match=r"\\xff\.txt\.png \(it is text\)") as refused:
        read(tmp_path)
    str(refused.value).encode()  # a record can hold it


def test_links_are_followed_and_those_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    usual(tmp_path / "pets")
    (tmp_path / "pets" / "train" / "cat").rename(tmp_path / "elsewhere")
    (tmp_path / "pets" / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    assert counts(read(tmp_path / "pets"))["train"] == 12
    (tmp_path / "elsewhere" / "9.png").symlink_to("/nowhere/9.png")
    with pytest.raises(
        DataError, match=r"1 of 17 files is no readable image: train/cat/9\.png \(it is a link that leads"
    ):
        read(tmp_path / "pets")


def test_a_link_to_a_folder_above_is_refused_and_not_followed_for_ever(tmp_path: Path) -> None:
    (usual(tmp_path) / "train" / "cat" / "again").symlink_to(tmp_path)
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        read(tmp_path)
    assert MOST_FILES < 10**7


@pytest.mark.timeout(20)
def test_a_pipe_among_pictures_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(usual(tmp_path) / "train" / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png \(it is no file but a pipe or a device\)"):
        read(tmp_path)


def broken(root: Path) -> Path:
    """Seven files that are no pictures, two of them in the test part."""
    usual(root)
    whole = root / "train" / "cat" / "0.png"
    whole.write_bytes(whole.read_bytes()[:60])
    for place, content in {
        "train/cat/empty.jpg": b"",
        "train/cat/page.jpg": b"<html>404</html>",
        "train/dog/phone.HEIC": b"\0\0\0\x18ftypheic",
        "train/dog/lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "test/cat/zeros.png": bytes(500),
        "test/dog/words.gif": b"no picture",
    }.items():
        (root / place).write_bytes(content)
    return root


def test_all_broken_files_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read(broken(tmp_path))
    text = str(refused.value)
    assert "7 of 22 files are no readable images" in text
    for name in ("cat/0.png", "empty.jpg", "page.jpg", "phone.HEIC", "lfs.png", "zeros.png", "words.gif"):
        assert name in text
    assert "--skip-broken" in text
    assert "\n" not in text


def test_broken_files_are_left_out_on_request_and_named(tmp_path: Path) -> None:
    source = read(broken(tmp_path), skip_broken=True)
    assert counts(source) == {"train": 11, "test": 4}
    assert source.train()[1].tolist() == [0] * 5 + [1] * 6
    assert np.array_equal(source.train()[0][0].permute(1, 2, 0).numpy(), np.asarray(picture(1)))
    assert "7 of 22 files are no readable images, left out: train/cat/0.png" in said(source)


def test_a_class_that_loses_all_its_pictures_is_refused(tmp_path: Path) -> None:
    for file in (usual(tmp_path) / "train" / "dog").iterdir():
        file.write_text("no picture")
    with pytest.raises(DataError, match="no training picture of dog can be read"):
        read(tmp_path, skip_broken=True)


# Sizes and colours


def test_small_pictures_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    source = read(usual(tmp_path, size=(9, 12)))
    assert (tuple(source.train()[0].shape[1:]), source.image_size, source.notes) == ((3, 12, 9), None, ())


def test_pictures_of_different_sizes_become_squares_of_64(tmp_path: Path) -> None:
    usual(tmp_path)
    picture(7, (50, 30)).save(tmp_path / "train" / "cat" / "0.png")
    source = read(tmp_path)
    assert (tuple(source.train()[0].shape[1:]), source.image_size) == ((3, 64, 64), 64)
    assert "16 pictures of 2 sizes made 64×64: short side resized, middle cut out" in said(source)
    assert "16 pictures smaller than 64 pixels made larger" in said(source)


def test_large_pictures_get_the_size_that_the_study_or_the_user_wants(tmp_path: Path) -> None:
    usual(tmp_path, size=(100, 80))
    assert tuple(read(tmp_path).train()[0].shape[1:]) == (3, 64, 64)
    assert tuple(read(tmp_path, otherwise=40).train()[0].shape[1:]) == (3, 40, 40)
    assert tuple(read(tmp_path, otherwise=40, image_size=24).train()[0].shape[1:]) == (3, 24, 24)
    assert tuple(read(tmp_path, otherwise=None).train()[0].shape[1:]) == (3, 80, 100)


def test_a_search_that_began_with_one_size_refuses_others(tmp_path: Path) -> None:
    usual(tmp_path)
    picture(7, (9, 9)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(DataError, match="this search began with pictures of one size"):
        read(tmp_path, otherwise=None)


@pytest.mark.parametrize("place", ["train/cat/0.png", "train/dog/5.png"])
def test_one_grey_picture_makes_no_other_grey(tmp_path: Path, place: str) -> None:
    picture(7, mode="L").save(usual(tmp_path) / place)
    source = read(tmp_path)
    assert source.train()[0].shape[1] == 3
    assert "1 picture in grey among others in colour: all are read in colour" in said(source)


def test_pictures_that_are_all_grey_have_one_channel(tmp_path: Path) -> None:
    assert read(usual(tmp_path, mode="L")).train()[0].shape[1] == 1


def test_what_was_done_with_pictures_is_said_once_for_each_kind(tmp_path: Path) -> None:
    usual(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(1).save(tmp_path / "train" / "cat" / "0.jpg", exif=exif)
    picture(2).convert("RGBA").save(tmp_path / "train" / "cat" / "1.png")
    picture(3).convert("CMYK").save(tmp_path / "train" / "cat" / "2.jpg")
    text = said(read(tmp_path))
    assert "kinds of pictures, all read: 16 PNG, 2 JPEG" in text
    for line in (
        "1 picture turned upright",
        "1 picture with transparency laid on white",
        "1 picture converted from CMYK",
    ):
        assert text.count(line) == 1


def test_pictures_that_would_take_more_than_the_limit_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    usual(tmp_path)
    Image.new("L", (3000, 4000)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(DataError, match="it would take 12,000,000 bytes in memory, and 10,000,000 are allowed"):
        read(tmp_path, limit=10**7)
    with pytest.raises(DataError, match="would take 12,000,000 bytes in memory, and 10,000,000 are allowed"):
        read(usual(tmp_path / "more"), limit=10**7, image_size=500)


# Pictures that are in more than one place, and classes with few


def test_copies_in_two_parts_are_counted_and_warned_of(tmp_path: Path) -> None:
    usual(tmp_path)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "cat" / "copy.png")
    shutil.copy(tmp_path / "train" / "cat" / "1.png", tmp_path / "test" / "dog" / "copy.png")
    warned = read(tmp_path).warnings
    assert warned == (
        "2 of 6 pictures of test are in train too, 1 of them as another class: what is measured on test is too good",
    )


def test_a_picture_in_two_classes_of_one_part_is_warned_of(tmp_path: Path) -> None:
    usual(tmp_path)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "train" / "dog" / "also.png")
    told = "1 of 13 pictures of train are there as another class too: one of the two labels is wrong"
    assert told in find("digits", tmp_path).warnings


def test_copies_in_the_train_part_stay_together(tmp_path: Path) -> None:
    usual(tmp_path)
    for name in ("a", "b"):
        shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "train" / "dog" / f"{name}.png")
    source = read(tmp_path)
    assert source.split == "by groups"
    assert source.groups is not None
    assert source.groups[[0, 12, 13]].tolist() == [0, 0, 0]
    assert len(source.groups.unique()) == 12
    assert "2 of 14 training pictures are copies of others, kept in the same part" in said(source)


def test_one_and_the_same_picture_everywhere_is_said_and_still_parted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("L", (4, 4)).save(tmp_path / name / f"{index}.png")
    source = read(tmp_path)
    assert source.split == "stratified"
    assert "more than half of the 8 training pictures are one and the same" in said(source)


def test_rare_classes_and_one_that_outnumbers_another_are_warned_of(tmp_path: Path) -> None:
    put(tmp_path, "cat", count=40)
    put(tmp_path, "dog", count=4, first=5000)
    warned = "\n".join(read(tmp_path).warnings)
    assert "1 class with fewer than 5 training pictures, too few to learn or judge: dog (4)" in warned
    assert "--metric val_balanced_accuracy" in warned


def test_groups_by_a_pattern_of_the_file_names(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for index in range(8):
            picture(100 * number + index).save(tmp_path / name / f"owner{index // 2}_{index}.png")
    source = read(tmp_path, group_by=r"owner(\d+)")
    assert source.split == "by groups"
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 2, 2, 4, 4, 6, 6] * 2
    assert "4 groups of training pictures, each kept in one part" in said(source)
    with pytest.raises(DataError, match="matches no file name"):
        read(tmp_path, group_by="nobody")
    with pytest.raises(DataError, match="takes a regular expression or a column"):
        read(tmp_path, group_by="(")


# Kept for the next run


def test_pictures_are_decoded_once_and_then_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEAST", 0)
    usual(tmp_path, size=(70, 70))
    first = read(tmp_path)
    entries = list(kept.folder().iterdir())
    assert len(entries) == 1
    monkeypatch.setattr("trainables.pictures.opened", None)  # whoever decodes now fails
    second = read(tmp_path)
    assert digest(first.train()) == digest(second.train())
    assert (first.notes, first.classes) == (second.notes, second.classes)


def test_a_changed_picture_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEAST", 0)
    first = digest(read(usual(tmp_path)).train())
    picture(4711).save(tmp_path / "train" / "cat" / "0.png")
    assert digest(read(tmp_path).train()) != first


@pytest.mark.parametrize(
    "spoil", [lambda file: os.truncate(file, 10), lambda file: file.write_bytes(b"x" * 12), Path.unlink]
)
def test_what_was_kept_and_is_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(kept, "LEAST", 0)
    first = digest(read(usual(tmp_path)).train())
    (entry,) = kept.folder().iterdir()
    for name in (kept.IMAGES, kept.ABOUT):
        spoil(entry / name)
        assert digest(read(tmp_path).train()) == first


def test_without_a_disk_to_keep_them_on_pictures_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LEAST", 0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert counts(read(usual(tmp_path / "pets"))) == {"train": 12, "test": 4}


def test_the_progress_of_reading_is_told(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    read(usual(tmp_path), progress=lambda done, of: heard.append((done, of)))
    assert heard[-1] == (16, 16)
