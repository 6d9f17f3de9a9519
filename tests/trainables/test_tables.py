"""Tables: labels beside pictures, pixels in rows, IDX files, Parquet as Hugging Face stores pictures."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from trainables.datasets import KNOWN, DataError, Reading, Source, find


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def said(source: Source) -> str:
    return "\n".join([*source.warnings, *source.notes])


def pictures(folder: Path, count: int = 12, first: int = 0) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(first + number).save(folder / f"p{first + number:03d}.png")
    return [f"p{first + number:03d}" for number in range(count)]


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


LABEL_TABLES: dict[str, Callable[[Path, list[str]], Any]] = {
    "names and labels": lambda root, ids: table(
        root / "labels.csv", "filename,label", *(f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "paths": lambda root, ids: table(
        root / "labels.csv", "path,class", *(f"./images/{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "ids without suffix": lambda root, ids: table(
        root / "labels.csv", "id,breed", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "semicolons and other columns": lambda root, ids: table(
        root / "all.csv", "nr;image;label;age", *(f"{i};{name}.png;{'ab'[i % 2]};3" for i, name in enumerate(ids))),
    "tabs": lambda root, ids: table(
        root / "all.tsv", "image\tlabel", *(f"{name}.png\t{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "paths of a Windows machine": lambda root, ids: table(
        root / "labels.csv", "class,path", *(f"{'ab'[i % 2]},C:\\pets\\images\\{n}.png" for i, n in enumerate(ids))),
    "names in another case": lambda root, ids: table(
        root / "labels.csv", "file,label", *(f"{name.upper()}.PNG,{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "names with another suffix": lambda root, ids: table(
        root / "labels.csv", "file,label", *(f"{name}.jpg,{'ab'[i % 2]}" for i, name in enumerate(ids))),
    "a comma at the end of each row": lambda root, ids: table(
        root / "labels.csv", "file,label", *(f"{name}.png,{'ab'[i % 2]}," for i, name in enumerate(ids))),
    "UTF-16": lambda root, ids: (root / "labels.csv").write_text(
        "\n".join(["file,label", *(f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids))]), "utf-16"),
    "every row twice": lambda root, ids: table(
        root / "labels.csv", "file,label", *(f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids) for _ in "12")),
    "a column for each class": lambda root, ids: table(
        root / "truth.csv", "image,a,b", *(f"{name},{1.0 - i % 2},{0.0 + i % 2}" for i, name in enumerate(ids))),
}  # fmt: skip


@pytest.mark.parametrize("write", LABEL_TABLES.values(), ids=LABEL_TABLES.keys())
def test_pictures_get_the_labels_of_the_table_beside_them(tmp_path: Path, write: Callable[..., Any]) -> None:
    write(tmp_path, pictures(tmp_path / "images"))
    source = find("digits", tmp_path)
    assert (source.classes, source.train()[1].tolist()) == (("a", "b"), [0, 1] * 6)
    assert np.array_equal(source.train()[0][3].permute(1, 2, 0).numpy(), np.asarray(picture(3)))


def test_labels_are_read_in_older_letters_and_with_accents_of_either_form(tmp_path: Path) -> None:
    ids = pictures(tmp_path / "images")
    kinds = ["B\u00e4r", "W\u00f6lf"]
    text = "\n".join(["file,label", *(f"{name}.png,{kinds[i % 2]}" for i, name in enumerate(ids))])
    (tmp_path / "labels.csv").write_bytes(text.encode("cp1252"))
    assert find("digits", tmp_path).classes == ("B\u00e4r", "W\u00f6lf")
    (tmp_path / "labels.csv").write_text(text.replace("B\u00e4r", "Ba\u0308r", 3))
    assert find("digits", tmp_path).classes == ("B\u00e4r", "W\u00f6lf")


def test_paths_of_another_machine_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder, first in (("x", 0), ("y", 50)):
        (tmp_path / folder).mkdir()
        for number in range(6):
            picture(first + number).save(tmp_path / folder / f"{number}.png")
    rows = [f"/home/me/pets/{folder}/{number}.png,{'ab'[number % 2]}" for folder in "xy" for number in range(6)]
    table(tmp_path / "labels.csv", "path,label", *rows)
    source = find("digits", tmp_path)
    assert (source.classes, source.train()[1].tolist()) == (("a", "b"), [0, 1] * 6)


def test_rows_without_a_label_or_with_too_many_cells_are_counted(tmp_path: Path) -> None:
    ids = pictures(tmp_path / "images", 16)
    rows = [f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids)]
    rows[0], rows[1], rows[2] = f"{ids[0]}.png,", f"{ids[1]}.png,NaN", f"{ids[2]}.png,a, large"
    table(tmp_path / "labels.csv", "file,label", *rows)
    source = find("digits", tmp_path)
    assert (source.classes, len(source.train()[1])) == (("a", "b"), 13)
    assert "2 rows of labels.csv without a label: left out" in said(source)
    assert "1 row of labels.csv with more or fewer cells than its first line: left out" in said(source)


def test_two_labels_for_one_picture_are_refused(tmp_path: Path) -> None:
    ids = pictures(tmp_path / "images")
    table(tmp_path / "labels.csv", "file,label", *(f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids)))
    table(tmp_path / "older.csv", "file,label", f"{ids[0]}.png,b")
    with pytest.raises(DataError, match=r"more than one label for 1 picture: images/p000\.png \(a, b\)"):
        find("digits", tmp_path)


def test_the_answers_that_kaggle_wants_are_no_labels(tmp_path: Path) -> None:
    ids, others = pictures(tmp_path / "train"), pictures(tmp_path / "test", 4, 50)
    table(tmp_path / "train.csv", "id,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(ids)))
    table(tmp_path / "sample_submission.csv", "id,label", *(f"{name},a" for name in others))
    source = find("digits", tmp_path)
    assert (source.train()[1].tolist(), source.test) == ([0, 1] * 6, None)
    assert "1 table named after no part, or after a submission, passed over: sample_submission.csv" in said(source)


def test_a_row_is_of_the_part_that_the_folder_of_its_picture_is_called(tmp_path: Path) -> None:
    ids, others = pictures(tmp_path / "train"), pictures(tmp_path / "test", 4, 50)
    paths = [*(f"train/{name}.png" for name in ids), *(f"test/{name}.png" for name in others)]
    table(tmp_path / "labels.csv", "path,label", *(f"{path},{'ab'[i % 2]}" for i, path in enumerate(paths)))
    source = find("digits", tmp_path)
    assert source.test is not None
    assert (len(source.train()[1]), len(source.test()[1])) == (12, 4)


def test_a_column_of_parts_is_read_or_refused_and_never_left_aside(tmp_path: Path) -> None:
    ids = pictures(tmp_path / "images")
    rows = [f"{name}.png,{'ab'[i % 2]},{'train' if i < 8 else 'test'}" for i, name in enumerate(ids)]
    table(tmp_path / "labels.csv", "file,label,data set", *rows)
    assert find("digits", tmp_path).test is not None
    table(tmp_path / "labels.csv", "file,label,split", *(row.replace("test", "holdout") for row in rows))
    with pytest.raises(DataError, match="the column split has holdout beside parts; allowed are train, val and test"):
        find("digits", tmp_path)


@pytest.mark.parametrize(
    ("column", "cells", "parts"),
    [
        ("is_test", ("0", "1"), (8, None, 4)),
        ("is_valid", ("False", "True"), (8, 4, None)),
        ("is_train", ("1", "0"), (8, None, 4)),
    ],
)
def test_a_column_that_says_yes_or_no_to_a_part_is_read(
    tmp_path: Path, column: str, cells: tuple[str, str], parts: tuple[int, int | None, int | None]
) -> None:
    ids = pictures(tmp_path / "images")
    rows = [f"{name}.png,{'ab'[i % 2]},{cells[i >= 8]}" for i, name in enumerate(ids)]
    table(tmp_path / "labels.csv", f"file,label,{column}", *rows)
    source = find("digits", tmp_path)
    there = (source.train, source.val, source.test)
    assert tuple(part and len(part()[1]) for part in there) == parts
    table(
        tmp_path / "labels.csv",
        f"file,label,{column}",
        *rows[:8],
        *(f"{row.rpartition(',')[0]},maybe" for row in rows[8:]),
    )
    with pytest.raises(DataError, match=f"the column {column} has maybe; allowed are 0 and 1"):
        find("digits", tmp_path)


def test_a_table_that_names_nothing_is_told_of(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    table(tmp_path / "labels.csv", "file,label", "other.png,a", "another.png,b")
    with pytest.raises(DataError, match=r"of which class \(labels\.csv: no labels of training pictures"):
        find("digits", tmp_path)


def lines(path: Path, *objects: dict[str, Any]) -> Path:
    """A file with a JSON object in each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def test_objects_in_lines_are_a_table_also_for_each_part(tmp_path: Path) -> None:
    for part, count, first in (("train", 12, 0), ("test", 4, 50)):
        ids = pictures(tmp_path / part, count, first)
        rows = [{"file_name": f"{name}.png", "label": i % 2, "boxes": [[1, 2]]} for i, name in enumerate(ids)]
        lines(tmp_path / part / "metadata.jsonl", *rows)
    source = find("digits", tmp_path)
    assert source.test is not None
    assert (source.classes, source.train()[1].tolist()) == (("0", "1"), [0, 1] * 6)
    assert source.test()[1].tolist() == [0, 1] * 2
    assert np.array_equal(source.test()[0][0].permute(1, 2, 0).numpy(), np.asarray(picture(50)))


def test_the_same_name_in_two_parts_is_the_picture_beside_its_table(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 50)):
        (tmp_path / part).mkdir()
        for number in range(6):
            picture(first + number).save(tmp_path / part / f"{number}.png")
        rows = (f"{number}.png,{'ab'[number % 2]}" for number in range(6))
        table(tmp_path / part / "metadata.csv", "file_name,label", *rows)
    source = find("digits", tmp_path)
    assert source.test is not None
    for part, first in ((source.train(), 0), (source.test(), 50)):
        assert np.array_equal(part[0][3].permute(1, 2, 0).numpy(), np.asarray(picture(first + 3)))


def test_captions_beside_folders_of_classes_are_no_labels(tmp_path: Path) -> None:
    names = [f"{kind}/{name}.png" for kind in "ab" for name in pictures(tmp_path / kind, 6, 50 * (kind == "b"))]
    lines(tmp_path / "captions.jsonl", *({"file_name": name, "text": f"this is {name}"} for name in names))
    assert find("digits", tmp_path).classes == ("a", "b")


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    ids = pictures(tmp_path)
    lines(tmp_path / "metadata.jsonl", {"file_name": f"{ids[0]}.png", "label": 1})
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(DataError, match=r"metadata\.jsonl: line 2 is no JSON object"):
        find("digits", tmp_path)


def test_a_table_without_a_line_of_names_loses_no_picture(tmp_path: Path) -> None:
    ids = pictures(tmp_path)
    table(tmp_path / "all.csv", *(f"{name}.png,{'ab'[i % 2]}" for i, name in enumerate(ids)))
    source = find("digits", tmp_path)
    assert source.train()[1].tolist() == [0, 1] * 6
    assert "has no line of names: its first line is a picture's" in said(source)


@pytest.mark.parametrize("place", ["", "labels"])
def test_folders_of_pictures_that_a_table_names_are_no_classes(tmp_path: Path, place: str) -> None:
    ids = [*pictures(tmp_path / "part_1", 6), *pictures(tmp_path / "part_2", 6, 50)]
    rows = (f"L{i // 2},{name},{'ab'[i % 2]},{40 + i}" for i, name in enumerate(ids))
    table(tmp_path / place / "metadata.csv", "lesion,image_id,dx,age", *rows)
    source = find("digits", tmp_path, reading=Reading(group_by="lesion"))
    assert (source.classes, source.split) == (("a", "b"), "by groups")
    assert len(source.train()[1]) == 12


def test_pictures_of_no_class_are_told_what_to_do(tmp_path: Path) -> None:
    pictures(tmp_path / "train")
    pictures(tmp_path / "test1", first=50)
    with pytest.raises(DataError, match="holds 24 pictures, and nothing says of which class: sort them into a folder"):
        find("digits", tmp_path)


def test_the_table_itself_may_be_given(tmp_path: Path) -> None:
    path = LABEL_TABLES["names and labels"](tmp_path, pictures(tmp_path))
    assert len(find("digits", path).train()[1]) == 12


def test_a_table_for_each_part_and_a_column_of_parts_are_read(tmp_path: Path) -> None:
    ids = pictures(tmp_path / "train")
    table(tmp_path / "train.csv", "id,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(ids[:8])))
    table(tmp_path / "test.csv", "id,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(ids[8:])))
    source = find("digits", tmp_path)
    assert source.test is not None
    assert (len(source.train()[1]), len(source.test()[1])) == (8, 4)
    for file in tmp_path.glob("*.csv"):
        file.unlink()
    rows = (f"{name},{'ab'[i % 2]},{['train', 'valid', 'train'][i % 3]}" for i, name in enumerate(ids))
    table(tmp_path / "all.csv", "id,label,split", *rows)
    source = find("digits", tmp_path)
    assert source.val is not None
    assert (len(source.train()[1]), len(source.val()[1])) == (8, 4)


def test_groups_are_taken_from_a_column(tmp_path: Path) -> None:
    ids = pictures(tmp_path)
    table(tmp_path / "all.csv", "id,label,owner", *(f"{name},{'ab'[i % 2]},{i // 4}" for i, name in enumerate(ids)))
    source = find("digits", tmp_path, reading=Reading(group_by="owner"))
    assert source.split == "by groups"
    assert source.groups is not None
    assert source.groups.tolist() == [0] * 4 + [4] * 4 + [8] * 4


def test_rows_without_a_picture_are_broken_files_and_pictures_without_a_row_are_said(tmp_path: Path) -> None:
    ids = pictures(tmp_path, 14)
    table(tmp_path / "all.csv", "id,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(ids[:12])), "gone,a")
    with pytest.raises(DataError, match=r"1 of 13 files is no readable image: gone \(it is named in a table"):
        find("digits", tmp_path)
    source = find("digits", tmp_path, reading=Reading(skip_broken=True))
    assert len(source.train()[1]) == 12
    assert "2 pictures that no table has a label for: left out" in said(source)


# Pixels


def pixel_table(path: Path, rows: int, seed: int = 0, *, labels: bool = True, header: bool = True) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, 64))
    names = [*(["label"] if labels else []), *(f"pixel{number}" for number in range(64))]
    lines = [[*([index % 3] if labels else []), *row] for index, row in enumerate(pixels.tolist())]
    table(path, *([",".join(names)] if header else []), *(",".join(map(str, line)) for line in lines))
    return pixels


@pytest.mark.parametrize("header", [True, False])
def test_a_table_of_pixels_is_read(tmp_path: Path, header: bool) -> None:
    pixels = pixel_table(tmp_path / "digits.csv", 30, header=header)
    source = find("digits", tmp_path / "digits.csv")
    images, labels = source.train()
    assert np.array_equal(images.reshape(30, 64).numpy(), pixels)
    assert (tuple(images.shape), labels.tolist()) == ((30, 1, 8, 8), [0, 1, 2] * 10)
    assert ("has no line of names: its first column is read as labels" in said(source)) == (not header)


def test_a_folder_of_pixel_tables_has_a_part_for_each(tmp_path: Path) -> None:
    pixel_table(tmp_path / "fashion-mnist_train.csv", 30)
    pixel_table(tmp_path / "fashion-mnist_test.csv", 9, seed=1)
    source = find("fashion_mnist", tmp_path)
    assert source.test is not None
    assert (len(source.train()[1]), len(source.test()[1])) == (30, 9)
    assert "beside it not read" in said(find("fashion_mnist", tmp_path / "fashion-mnist_train.csv"))
    pixel_table(tmp_path / "fashion-mnist_test.csv", 9, seed=1, labels=False)
    source = find("fashion_mnist", tmp_path)
    assert source.test is None
    assert "fashion-mnist_test.csv has no column of labels: passed over" in said(source)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["label," + ",".join(f"p{n}" for n in range(50)), "1," + ",".join(["5"] * 50)], "must have shape"),
        (["label," + ",".join(f"p{n}" for n in range(64)), "1," + ",".join(["x"] * 64)], "hold no numbers"),
        (["label," + ",".join(f"p{n}" for n in range(64)), "1,2"], "cannot be read as a table"),
        (["label," + ",".join(f"p{n}" for n in range(64))], "has no rows"),
        (["a," + ",".join(f"p{n}" for n in range(64)), "1," + ",".join(["5"] * 64)], "has no column of labels"),
    ],
    ids=["no square", "words", "a short row", "no rows", "no labels"],
)
def test_a_table_that_holds_no_pictures_is_refused(tmp_path: Path, rows: list[str], why: str) -> None:
    wide = [rows[0], *[f"{i % 2}{row[1:]}" for row in rows[1:] for i in range(4)]]
    with pytest.raises(DataError, match=why):
        find("digits", table(tmp_path / "mine.csv", *wide))


# IDX


def test_a_table_of_pixels_may_have_semicolons(tmp_path: Path) -> None:
    pixel_table(tmp_path / "train.csv", 20)
    (tmp_path / "train.csv").write_text((tmp_path / "train.csv").read_text().replace(",", ";"))
    assert len(find("digits", tmp_path / "train.csv").train()[1]) == 20


def idx(path: Path, array: Any) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def idx_set(folder: Path, suffix: str) -> Any:
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    for part, some in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        idx(folder / f"{part}-images-idx3-ubyte{suffix}", images[some])
        idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.arange(40)[some] % 10)
    return images


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("given", ["", "raw", "raw/train-images-idx3-ubyte"])
def test_idx_files_that_lie_flat_are_read(tmp_path: Path, suffix: str, given: str) -> None:
    images = idx_set(tmp_path / "raw" if given else tmp_path, suffix)
    path = tmp_path / (given + suffix if "ubyte" in given else given)
    source = find("fashion_mnist", path)
    assert np.array_equal(source.train()[0][:, 0].numpy(), images[:30])
    assert source.test is not None
    assert source.test()[1].tolist() == [n % 10 for n in range(30, 40)]


def test_packed_idx_files_where_torchvision_wants_them_are_the_known_set(tmp_path: Path) -> None:
    idx_set(tmp_path / "FashionMNIST" / "raw", ".gz")
    source = find("fashion_mnist", tmp_path)
    assert (source.name, source.classes, source.split) == ("fashion_mnist", KNOWN["fashion_mnist"].classes, "shuffled")


def test_damaged_and_missing_idx_files_are_refused(tmp_path: Path) -> None:
    idx_set(tmp_path, "")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no IDX file of the labels of test"):
        find("digits", tmp_path)
    idx_set(tmp_path, "")
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"announces 23,520 bytes and holds fewer"):
        find("digits", tmp_path)
    file.write_bytes(b"\x00\x00\x08\x03" + struct.pack(">3I", 2**31, 28, 28))
    with pytest.raises(DataError, match=r"would take 1,683,627,180,032 bytes in memory"):
        find("digits", tmp_path)


def test_idx_files_in_folders_of_their_names_or_packed_otherwise_than_they_say_are_read(tmp_path: Path) -> None:
    images = idx_set(tmp_path, "")
    for path in [each for each in tmp_path.iterdir() if each.is_file()]:
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(gzip.compress(content) if "images" in path.name else content)
    source = find("digits", tmp_path)
    assert source.test is not None
    assert np.array_equal(source.train()[0][:, 0].numpy(), images[:30])


def test_idx_files_of_two_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    idx_set(tmp_path, "")
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f"emnist-letters-{path.name}")
    idx_set(tmp_path, ".gz")
    with pytest.raises(
        DataError, match=r"has two IDX files of the images of test, t10k-images-idx3-ubyte\.gz and emnist"
    ):
        find("digits", tmp_path)


# Parquet


def faces(path: Path, *parts: str, count: int = 12) -> Path:
    """A table as that of FER2013: all pixels of a picture in one column."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16), dtype=np.uint8)
    rows = [f"{n % 2},{' '.join(map(str, pixels[n]))},{parts[n % len(parts)]}" for n in range(count)]
    return table(path, "emotion,pixels,Usage", *rows)


def test_pixels_in_one_column_are_read_and_the_table_says_to_which_part_a_row_belongs(tmp_path: Path) -> None:
    source = find("x", faces(tmp_path / "fer.csv", "Training", "Training", "PublicTest", "PrivateTest"))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8).reshape(12, 1, 4, 4)
    assert np.array_equal(source.train()[0].numpy(), pixels[[0, 1, 4, 5, 8, 9]])
    assert source.train()[1].tolist() == [0, 1] * 3
    assert source.val is not None
    assert np.array_equal(source.val()[0].numpy(), pixels[[2, 6, 10]])
    assert source.test is not None
    assert np.array_equal(source.test()[0].numpy(), pixels[[3, 7, 11]])
    assert "the column emotion is read as labels" in said(source)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 2 three 4", "line 14: the column pixels must have whole numbers from 0 to 255"),
        ("1 2 3 256", "line 14: the column pixels must have"),
        ("1 2 3 4", "line 14 has 4 pixels, and those before have 16"),
        ("", "line 14: the column pixels must have"),
    ],
)
def test_pixels_in_one_column_that_are_none_are_refused_with_their_line(tmp_path: Path, text: str, line: str) -> None:
    path = faces(tmp_path / "fer.csv", "Training")
    path.write_text(f"{path.read_text()}0,{text},Training\n")
    with pytest.raises(DataError, match=line):
        find("x", path)


def test_of_several_tables_each_is_a_part_and_their_column_of_parts_is_passed_over_aloud(tmp_path: Path) -> None:
    for part in ("train", "test"):
        faces(tmp_path / f"{part}.csv", "Training", "Training")
    source = find("x", tmp_path)
    assert source.test is not None
    assert len(source.test()[1]) == len(source.train()[1]) == 12
    assert "test.csv: its column of parts is passed over, the file is test" in said(source)


def test_parts_with_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="parts that are called first, second; call them train, val and test"):
        find("x", faces(tmp_path / "fer.csv", "first", "second"))


def test_a_gzipped_table_is_the_table(tmp_path: Path) -> None:
    plain = faces(tmp_path / "plain" / "faces.csv", "Training", "Training", "PrivateTest", "PrivateTest")
    packed = tmp_path / "faces.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, other = find("x", plain), find("x", packed)
    assert np.array_equal(one.train()[0].numpy(), other.train()[0].numpy())
    assert (one.classes, one.train()[1].tolist()) == (other.classes, other.train()[1].tolist())
    assert str(packed) in other.where


def parquet_file(path: Path, count: int, first: int = 0, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Any]] = {"image": [], "label": []}
    for number in range(count):
        with io.BytesIO() as file:
            picture(first + number).save(file, "PNG")
            rows["image"].append(
                {"bytes": file.getvalue(), "path": None} if how.get("struct", True) else file.getvalue()
            )
        rows["label"].append(number % 2)
    made = pa.table(rows | how.get("columns", {}))
    if how.get("names"):
        told = {"info": {"features": {"label": {"names": how["names"], "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(told)})
    parquet.write_table(made, path)
    return path


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_of_hugging_face_is_read_with_its_parts_and_names(tmp_path: Path, struct: bool) -> None:
    parquet_file(tmp_path / "data" / "train-00000-of-00002.parquet", 8, names=["cat", "dog"], struct=struct)
    parquet_file(tmp_path / "data" / "train-00001-of-00002.parquet", 8, 100, names=["cat", "dog"], struct=struct)
    parquet_file(tmp_path / "data" / "validation-00000-of-00001.parquet", 4, 200, names=["cat", "dog"], struct=struct)
    source = find("digits", tmp_path)
    assert source.val is not None
    assert (source.classes, len(source.train()[1]), len(source.val()[1])) == (("cat", "dog"), 16, 4)
    assert np.array_equal(source.train()[0][9].permute(1, 2, 0).numpy(), np.asarray(picture(101)))


def test_of_two_columns_of_labels_the_fine_one_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "train.parquet", 8)
    made = parquet.read_table(path)
    names = ["fine_label" if name == "label" else name for name in made.column_names]
    parquet.write_table(made.rename_columns(names).append_column("coarse_label", pa.array([0] * 8)), path)
    source = find("x", path)
    assert sorted({*source.train()[1].tolist()}) == [0, 1]
    assert said(source).count("the column fine_label is read as labels, and coarse_label passed over") == 1


def test_several_sets_in_parquet_are_not_mixed(tmp_path: Path) -> None:
    for name, first in (("digits", 0), ("letters", 50)):
        parquet_file(tmp_path / name / "train-00000-of-00001.parquet", 8, first)
        parquet_file(tmp_path / name / "test-00000-of-00001.parquet", 4, first + 20)
    with pytest.raises(
        DataError, match="holds several sets in Parquet files, in the folders digits, letters; give one"
    ):
        find("digits", tmp_path)
    assert len(find("digits", tmp_path / "letters").train()[1]) == 8


def test_a_parquet_part_whose_labels_are_kept_back_is_passed_over(tmp_path: Path) -> None:
    parquet_file(tmp_path / "train-00000.parquet", 8, names=["cat", "dog"])
    parquet_file(tmp_path / "test-00000.parquet", 4, 20, names=["cat", "dog"], columns={"label": [-1] * 4})
    source = find("digits", tmp_path)
    assert source.test is None
    assert "the 4 pictures of test-00000.parquet have no labels: passed over" in said(source)


def test_what_lies_beside_a_file_that_is_given_is_said(tmp_path: Path) -> None:
    for number in range(2):
        path = parquet_file(tmp_path / f"train-0000{number}.parquet", 8, 20 * number)
    assert "train-00000.parquet beside it not read; give the folder to use all parts" in said(find("digits", path))
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(DataError, match=r"is a pointer of Git LFS; `git lfs pull` fetches the file"):
        find("digits", path)


def test_one_parquet_file_may_be_given_and_its_broken_rows_are_named(tmp_path: Path) -> None:
    images = [{"bytes": b"no picture", "path": None}, {"bytes": None, "path": None}]
    path = parquet_file(tmp_path / "pets.parquet", 6)
    stored = parquet.read_table(path).to_pydict()
    stored["image"][2:4] = images
    parquet.write_table(pa.table(stored), path)
    with pytest.raises(
        DataError, match=r"2 of 6 files are no readable images: pets\.parquet row 2 \(it is text\), pets"
    ):
        find("digits", path)
    assert len(find("digits", path, reading=Reading(skip_broken=True)).train()[1]) == 4


def test_parquet_groups_come_from_a_column_and_what_is_no_set_is_refused(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "pets.parquet", 8, columns={"owner": [0, 0, 1, 1, 2, 2, 3, 3]})
    assert find("digits", path, reading=Reading(group_by="owner")).split == "by groups"
    parquet.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match="has no column with the bytes of pictures; it has a, b"):
        find("digits", tmp_path / "numbers.parquet")
    (tmp_path / "numbers.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        find("digits", tmp_path / "numbers.parquet")


def test_parquet_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "pets.parquet", 40)
    with pytest.raises(DataError, match=r"unpacks to more than 3,000 bytes of files"):
        find("digits", path, reading=Reading(limit=3000))
