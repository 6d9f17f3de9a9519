"""Arrays as people save them: names, shapes, types and labels, and what is said of what was done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.datasets import DataError, Reading, Source, find
from trainables.datasets.labels import to_labels
from trainables.datasets.levels import to_levels


def smooth(count: int = 40, side: int = 8, channels: int = 3, seed: int = 0) -> Any:
    """uint8 pictures `(N, side, side, channels)` in which neighbours are alike."""
    generator = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(side), np.arange(side))[None, :, :, None] * (255 // (4 * side))
    offset = generator.permutation(50)[:count].reshape(count, 1, 1, 1) * np.arange(1, channels + 1)
    made = (ramp + offset).astype(np.uint8)
    made[0, 0, 0], made[0, 0, 1] = 0, 255
    return made


X, X_TEST = smooth(), smooth(20, seed=1)
Y, Y_TEST = np.arange(40) % 4, np.arange(20) % 4
SOUND = {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST}


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{key: array for key, array in {**SOUND, **arrays}.items() if array is not None})
    return path


def both(change: Callable[[Any], Any]) -> dict[str, Any]:
    return {"x_train": change(X), "x_test": change(X_TEST)}


def said(source: Source) -> str:
    return "\n".join([*source.warnings, *source.notes])


def grey(array: Any) -> Any:
    return array[..., 0]


FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "as usual": (lambda x: x, lambda x: x, ""),
    "floats from 0 to 1": (lambda x: x / 255.0, lambda x: x, "read as 0 … 1"),
    "floats from -1 to 1": (lambda x: (x / 127.5 - 1).astype("float32"), lambda x: x, "read as -1 … 1"),
    "floats from 0 to 255": (lambda x: x.astype("float32"), lambda x: x, "read as 0 … 255"),
    "whole numbers": (lambda x: x.astype("int64"), lambda x: x, "int64 from 0 to 255 are read as 0 … 255"),
    "big-endian": (lambda x: x.astype(">i4"), lambda x: x, "read as 0 … 255"),
    "16 bits": (lambda x: x.astype("uint16") * 257, lambda x: x, "read as 16 bits"),
    "truth values": (lambda x: x > 127, lambda x: (x > 127) * np.uint8(255), "truth values are read as 0 and 255"),
    "channels first": (lambda x: x.transpose(0, 3, 1, 2), lambda x: x, "the first axis of a picture, 3, is read as"),
    "rows in grey": (lambda x: grey(x).reshape(len(x), -1), lambda x: x[..., :1], "rows of 64 pixels are read as 8×8"),
    "rows in colour": (lambda x: x.reshape(len(x), -1), lambda x: x, "red, green and blue of a pixel together"),
    "rows of colours": (lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1), lambda x: x, "all red values first"),
    "grey": (grey, lambda x: x[..., :1], ""),
    "opaque": (
        lambda x: np.concatenate([x, np.full_like(x[..., :1], 255)], -1), lambda x: x, "blue and alpha, laid on white"),
    "transparent": (
        lambda x: np.concatenate([x, np.zeros_like(x[..., :1])], -1), lambda x: np.full_like(x, 255), "on white"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected", "note"), FORMS.values(), ids=FORMS.keys())
def test_pictures_of_each_form_are_read_and_it_is_said(
    tmp_path: Path, change: Callable[[Any], Any], expected: Callable[[Any], Any], note: str
) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", **both(change)))
    images, _ = source.train()
    assert images.dtype == torch.uint8
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected(X))
    assert source.test is not None
    assert np.array_equal(source.test()[0].permute(0, 2, 3, 1).numpy(), expected(X_TEST))
    assert note in said(source)
    assert bool(source.notes) == bool(note)


LABELS: dict[str, tuple[Any, list[int], tuple[str, ...], str]] = {
    "(N, 1)": (Y[:, None], Y.tolist(), ("0", "1", "2", "3"), ""),
    "one-hot": (np.eye(4)[Y], Y.tolist(), ("0", "1", "2", "3"), "rows with a single 1 are read as the classes 0 to 3"),
    "floats": (Y / 1, Y.tolist(), ("0", "1", "2", "3"), "float64 labels are whole numbers"),
    "truth values": (Y > 1, (Y > 1).astype(int).tolist(), ("0", "1"), "truth values are read as the classes 0 and 1"),
    "text": (np.array(["ox", "ant", "bee", "cat"])[Y], ((Y + 3) % 4).tolist(), ("ant", "bee", "cat", "ox"), "ant as 0"),
    "bytes": (np.array([b"a", b"b", b"c", b"d"])[Y], Y.tolist(), ("a", "b", "c", "d"), "a as 0, b as 1"),
    "from 1": (Y + 1, Y.tolist(), ("1", "2", "3", "4"), "4 classes, 1 as 0, 2 as 1, 3 as 2, 4 as 3"),
    "with gaps": (Y * 6 + 1, Y.tolist(), ("1", "7", "13", "19"), "1 as 0, 7 as 1"),
    "negative": (np.array([-1, 1])[Y % 2], (Y % 2).tolist(), ("-1", "1"), "-1 as 0, 1 as 1"),
}  # fmt: skip


@pytest.mark.parametrize(("labels", "expected", "classes", "note"), LABELS.values(), ids=LABELS.keys())
def test_labels_of_each_form_are_read_and_it_is_said(
    tmp_path: Path, labels: Any, expected: list[int], classes: tuple[str, ...], note: str
) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", y_train=labels, x_test=None, y_test=None))
    assert (source.train()[1].tolist(), source.classes) == (expected, classes)
    assert note in said(source)


def test_the_labels_of_all_parts_are_read_alike(tmp_path: Path) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", y_train=Y * 5, y_test=(Y_TEST % 2) * 10))
    assert source.test is not None
    assert source.test()[1].tolist() == ((Y_TEST % 2) * 2).tolist()
    assert "test has no image of 2 classes: 5, 15" in said(source)


NAMES: dict[str, dict[str, str]] = {
    "capitals": {"X_train": "x_train", "Y_train": "y_train", "X_test": "x_test", "Y_test": "y_test"},
    "MedMNIST": {
        "train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"},
    "words": {"images": "x_train", "labels": "y_train"},
    "letters": {"X": "x_train", "y": "y_train"},
    "written together": {"trainX": "x_train", "trainY": "y_train", "testX": "x_test", "testY": "y_test"},
    "a set": {"train_set_x": "x_train", "train_set_y": "y_train", "test_set_x": "x_test", "test_set_y": "y_test"},
    "other words": {"training_data": "x_train", "training_targets": "y_train"},
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_arrays_are_found_by_the_names_that_people_give_them(tmp_path: Path, names: dict[str, str]) -> None:
    np.savez(tmp_path / "mine.npz", **{name: SOUND[meant] for name, meant in names.items()})
    source = find("digits", tmp_path / "mine.npz")
    assert len(source.train()[1]) == 40
    assert (source.test is not None) == (len(names) == 4)
    assert "arrays are read by their names" in said(source)


def test_a_validation_part_is_used_and_an_array_of_another_name_said(tmp_path: Path) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", x_val=smooth(8, seed=2), y_val=Y[:8], ids=np.arange(40)))
    assert source.split == "own"
    assert source.val is not None
    assert len(source.val()[1]) == 8
    assert "1 array passed over: ids" in said(source)


def test_files_of_arrays_for_each_part_are_a_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=X, y=Y)
    np.savez(tmp_path / "test.npz", x=X_TEST, y=Y_TEST)
    source = find("digits", tmp_path)
    assert source.test is not None
    assert (len(source.train()[1]), len(source.test()[1])) == (40, 20)
    assert "test.npz beside it not read" in said(find("digits", tmp_path / "train.npz"))


@pytest.mark.parametrize("key", ["class_names", "classes", "list_classes"])
@pytest.mark.parametrize("kind", ["U", "S"])
def test_names_of_classes_are_taken_from_texts_of_either_kind(tmp_path: Path, key: str, kind: str) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", **{key: np.array(["ant", "bee", "cat", "dog"]).astype(kind)}))
    assert source.classes == ("ant", "bee", "cat", "dog")


def test_shares_of_white_are_not_read_as_black(tmp_path: Path) -> None:
    over = X / 255.0
    over[0, 0, 0] = 1.02
    with pytest.raises(DataError, match=r"x_train has levels from 0 to 1\.02; bring all to 0 … 1, or all to 0 … 255"):
        find("digits", saved(tmp_path / "mine.npz", x_train=over, x_test=None, y_test=None))
    with pytest.raises(DataError, match=r"x_train has levels from 0 to 1, and x_test from 0 to 255; bring all to"):
        find("digits", saved(tmp_path / "mine.npz", x_train=X / 255.0, x_test=X_TEST.astype("float64")))


def test_ten_bits_in_sixteen_are_told_how_few_levels_are_left(tmp_path: Path) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", **both(lambda x: x.astype("uint16") * 4)))
    assert "that leaves 5 of 256 levels, so stretch them before" in said(source)


def test_names_of_classes_and_groups_are_taken_from_their_arrays(tmp_path: Path) -> None:
    names, owners = np.array(["ant", "bee", "cat", "dog"]), np.arange(40) // 4
    path = saved(tmp_path / "mine.npz", class_names=names, owner=owners)
    source = find("digits", path, reading=Reading(group_by="owner"))
    assert (source.classes, source.split) == (("ant", "bee", "cat", "dog"), "by groups")
    with pytest.raises(DataError, match="--group-by 'nobody' is none of the arrays"):
        find("digits", path, reading=Reading(group_by="nobody"))


def test_arrays_with_the_images_along_the_last_axis_are_turned_and_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", X=X.transpose(1, 2, 3, 0), y=Y)
    source = find("digits", tmp_path / "mine.npz")
    assert np.array_equal(source.train()[0].permute(0, 2, 3, 1).numpy(), X)
    assert "X: the last axis is read as that of the images" in said(source)


def test_two_arrays_that_could_be_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x_train and images, and both could be the images of train"):
        find("digits", saved(tmp_path / "mine.npz", images=X))


def test_large_arrays_are_made_as_small_as_the_study_wants(tmp_path: Path) -> None:
    large = {"x_train": smooth(side=80), "x_test": smooth(20, side=80, seed=1)}
    path = saved(tmp_path / "mine.npz", **large)
    source = find("digits", path)
    assert (tuple(source.train()[0].shape[1:]), source.image_size) == ((3, 64, 64), 64)
    assert "60 images of 80×80 pixels made 64×64" in said(source)
    assert tuple(find("digits", path, reading=Reading(otherwise=None)).train()[0].shape[1:]) == (3, 80, 80)
    assert tuple(find("digits", path, reading=Reading(image_size=16)).train()[0].shape[1:]) == (3, 16, 16)


def test_copies_in_train_and_test_are_warned_of(tmp_path: Path) -> None:
    source = find("digits", saved(tmp_path / "mine.npz", x_test=X[:20], y_test=Y[:20]))
    assert "20 of 20 pictures of test are in train too" in said(source)


# Other files


def test_npy_files_beside_one_another_are_a_set(tmp_path: Path) -> None:
    for name, array in SOUND.items():
        np.save(tmp_path / f"{name}.npy", array)
    for path in (tmp_path, tmp_path / "x_train.npy"):
        source = find("digits", path)
        assert np.array_equal(source.train()[0].permute(0, 2, 3, 1).numpy(), X)
        assert source.test is not None


TENSORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "by name": lambda t: t,
    "a pair": lambda t: (t["x_train"], t["y_train"]),
    "two pairs": lambda t: ((t["x_train"], t["y_train"]), (t["x_test"], t["y_test"])),
    "pairs by part": lambda t: {"train": (t["x_train"], t["y_train"]), "test": (t["x_test"], t["y_test"])},
    "labels in a list": lambda t: t | {"y_train": t["y_train"].tolist()},
    "a flat four": lambda t: [t["x_train"], t["x_test"], t["y_train"], t["y_test"]],
}


def test_arrays_may_lie_in_folders_that_are_called_after_their_parts(tmp_path: Path) -> None:
    for part, x, y in (("train", X, Y), ("val", X_TEST, Y_TEST), ("Test", X_TEST, Y_TEST)):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "images.npy", x)
        np.save(tmp_path / part / "labels.npy", y)
    source = find("x", tmp_path)
    assert np.array_equal(source.train()[0].permute(0, 2, 3, 1).numpy(), X)
    assert source.val is not None
    assert source.val()[1].tolist() == Y_TEST.tolist()
    assert source.test is not None
    assert source.test()[1].tolist() == Y_TEST.tolist()


def test_arrays_in_safetensors_are_those_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    safetensors.torch.save_file({name: torch.from_numpy(array.copy()) for name, array in SOUND.items()}, path)
    source, same = find("x", path), find("x", saved(tmp_path / "data.npz"))
    assert torch.equal(source.train()[0], same.train()[0])
    assert torch.equal(source.train()[1], same.train()[1])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cannot be read as \.safetensors .*; copy or save it again"):
        find("x", path)


@pytest.mark.parametrize("form", TENSORS.values(), ids=TENSORS.keys())
def test_tensors_that_torch_saved_are_read_without_running_anything(
    tmp_path: Path, form: Callable[[dict[str, Any]], Any]
) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in SOUND.items()}
    torch.save(form(tensors), tmp_path / "mine.pt")
    source = find("digits", tmp_path / "mine.pt")
    assert np.array_equal(source.train()[0].permute(0, 2, 3, 1).numpy(), X)
    assert source.train()[1].tolist() == Y.tolist()


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".npy"])
def test_nothing_in_a_file_of_tensors_or_arrays_is_unpickled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x_train{suffix}"
    if suffix == ".npy":
        np.save(path, np.array([Bomb(tmp_path / "exploded")], dtype=object), allow_pickle=True)
    else:
        torch.save(Bomb(tmp_path / "exploded"), path)
    with pytest.raises(DataError) as refused:
        find("digits", path)
    assert not (tmp_path / "exploded").exists()
    for word in ("pickle", "weights_only"):
        assert word not in str(refused.value)


def test_a_tensor_that_repeats_itself_without_end_is_refused_by_its_size(tmp_path: Path) -> None:
    huge = torch.zeros(1, dtype=torch.uint8).expand(10**9, 8, 8)
    torch.save({"x_train": huge, "y_train": torch.zeros(2)}, tmp_path / "mine.pt")
    with pytest.raises(DataError, match="would take 64,000,000,008 bytes in memory"):
        find("digits", tmp_path / "mine.pt")


SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=5)
TYPES = st.sampled_from(["uint8", "int16", "float32", "bool", "U3", "complex64", "datetime64[s]"])


@settings(max_examples=150, deadline=None)
@given(shape=SHAPES, kind=TYPES, seed=st.integers(0, 99))
def test_any_array_is_read_as_pictures_or_refused(shape: list[int], kind: str, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 300, [3, *shape]).astype(kind)
    try:
        made, _ = to_levels({"train": array}, {"train": "x_train"}, "mine.npz")
    except DataError as refused:
        text = str(refused)
    else:
        text = ""
        assert (made["train"].dtype, made["train"].ndim, len(made["train"])) == (np.uint8, 4, 3)
        assert made["train"].shape[1] in (1, 3)
    assert "\n" not in text


@settings(max_examples=150, deadline=None)
@given(shape=SHAPES, kind=TYPES, seed=st.integers(0, 99))
def test_any_array_is_read_as_labels_or_refused(shape: list[int], kind: str, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 3, [6, *shape]).astype(kind)
    try:
        made, classes, _ = to_labels({"train": array}, {"train": "y_train"}, "mine.npz")
    except DataError as refused:
        text = str(refused)
    else:
        text = ""
        assert (made["train"].dtype, made["train"].shape) == (np.int64, (6,))
        assert set(made["train"].tolist()) == set(range(len(classes)))
    assert "\n" not in text
