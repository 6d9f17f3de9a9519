"""What a model is asked about: pictures in every form that is certain are seen alike; what is uncertain is refused."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from trainables.pictures import Unreadable
from trainables.request import BATCH, Intake, brightest


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def file(array: Any) -> bytes:
    with io.BytesIO() as made:
        Image.fromarray(array).save(made, "PNG")
        return made.getvalue()


def taken(given: Any, shape: tuple[int, int, int] = (3, 9, 9), brightest: int = 255) -> tuple[Any, list[str]]:
    """What a network of this `shape` is shown, and what is said of it."""
    said: list[str] = []
    return np.concatenate(list(Intake(shape, brightest).batches(given, said.append))), said


def refused(given: Any, message: str, shape: tuple[int, int, int] = (1, 8, 8), brightest: int = 255) -> None:
    with pytest.raises(Unreadable, match=message) as raised:
        taken(given, shape, brightest)
    assert "\n" not in str(raised.value)


PICTURE = noise(9, 9, 3)


def forms(folder: Path) -> dict[str, Any]:
    """One picture twice, in every form in which people have it."""
    path = folder / "one.png"
    path.write_bytes(file(PICTURE))
    text = base64.b64encode(file(PICTURE)).decode()
    return {
        "array": np.stack([PICTURE, PICTURE]),
        "list of arrays": [PICTURE, PICTURE],
        "nested lists": [PICTURE.tolist(), PICTURE.tolist()],
        "array of objects, as MLflow makes it": np.array([PICTURE.tolist(), PICTURE.tolist()], dtype=object),
        "channels first": np.stack([PICTURE, PICTURE]).transpose(0, 3, 1, 2),
        "a tensor, as torch has it": torch.from_numpy(np.stack([PICTURE, PICTURE]).transpose(0, 3, 1, 2).copy()),
        "shares of one": np.stack([PICTURE, PICTURE]) / 255.0,
        "float32 grey levels": np.stack([PICTURE, PICTURE]).astype(np.float32),
        "int64": np.stack([PICTURE, PICTURE]).astype(np.int64),
        "files": [file(PICTURE), file(PICTURE)],
        "paths": [path, path],
        "base64": [text, text],
        "base64 in lines, and as browsers write it": [f"{text[:50]}\n{text[50:]}", f"data:image/png;base64,{text}"],
        "a column of base64": pandas.DataFrame({"picture": [text, text]}),
        "a column of files": pandas.DataFrame({"picture": [file(PICTURE), file(PICTURE)]}),
        "a mapping with one key": {"picture": [text, text]},
        "Pillow's": [Image.fromarray(PICTURE), Image.fromarray(PICTURE)],
        "mixed": [file(PICTURE), PICTURE.tolist()],
    }


def test_a_picture_is_seen_alike_in_every_form(tmp_path: Path) -> None:
    for form, pictures in forms(tmp_path).items():
        made, _ = taken(pictures)
        assert made.shape == (2, 3, 9, 9), form
        assert (made == PICTURE.transpose(2, 0, 1)).all(), form


def test_one_picture_alone_is_a_list_of_one() -> None:
    for alone in (PICTURE, file(PICTURE), Image.fromarray(PICTURE), base64.b64encode(file(PICTURE)).decode()):
        assert (taken(alone)[0] == PICTURE.transpose(2, 0, 1)[None]).all()
    assert taken(noise(8, 8), (1, 8, 8))[0].shape == (1, 1, 8, 8)


def test_rows_of_as_many_numbers_as_pixels_are_pictures() -> None:
    made, said = taken(noise(5, 64), (1, 8, 8))
    assert (made[:, 0] == noise(5, 64).reshape(5, 8, 8)).all()
    assert said == ["rows of 64 numbers are read as pictures of 8×8"]


def test_pictures_of_several_sizes_are_fitted_and_batches_keep_their_order() -> None:
    mixed = [np.full((n % 30 + 2, 40, 3), n % 256, np.uint8) for n in range(BATCH + 9)]
    made, _ = taken(mixed, (1, 8, 8))
    assert made[:, 0, 0, 0].tolist() == [n % 256 for n in range(BATCH + 9)]


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(8), st.just(8))))
@settings(max_examples=30)
def test_whole_levels_and_their_shares_are_the_same_picture(levels: Any) -> None:
    expected = levels[:, None]
    assert (taken(levels, (1, 8, 8))[0] == expected).all()
    assert (taken(levels / 255.0, (1, 8, 8))[0] == expected).all()
    assert (taken((levels / 255.0).astype(np.float32), (1, 8, 8))[0] == expected).all()


def test_a_dark_picture_among_bright_ones_is_not_taken_for_shares_of_one() -> None:
    dark, bright = np.full((8, 8), 1.0), np.full((8, 8), 200.0)
    made, _ = taken([dark, bright], (1, 8, 8))
    assert made[:, 0, 0, 0].tolist() == [1, 200]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((2, 8, 8), -0.4), "from -0.4 to -0.4 are no grey levels; .* before they are normalised"),
        (np.full((2, 8, 8), 1000), "from 1000 to 1000 are no grey levels"),
        (np.full((2, 8, 8), np.nan), "not finite"),
        (np.full((2, 8, 8), 1.3), "could be shares of 1 or grey levels"),
        (np.eye(8, dtype=np.int64)[None], "whole numbers 0 and 1 could be black and white"),
        (noise(2, 63), r"\(2, 63\) holds no pictures of 8×8"),
        (noise(2, 8, 8, 5), r"picture 0: a picture is uint8 .* \(8, 8, 5\)"),
        (noise(2, 0, 8), "picture 0: .* no pixels"),
        (["/etc/passwd"], "picture 0: text is read as a file in base64, and this is none"),
        ([base64.b64encode(b"some text in a file").decode()], "picture 0: it is text"),
        ([[[1, 2], [3]]], "picture 0: its rows have several lengths"),
        ([{"a": 1}], "picture 0: a picture is uint8"),
        (3.5, "a float is no picture"),
        ([[["a"]]], "picture 0: it holds other things than numbers"),
        (pandas.DataFrame({"a\nb": ["x"], "c": ["y"]}), r"a table of 2 columns \(a b, c\) does not say which has the"),
        (np.zeros((1, 8, 8), complex), "arrays of complex128 are no pictures"),
    ],
)  # fmt: skip
def test_what_could_mean_two_things_or_nothing_is_refused_in_one_line(given: Any, message: str) -> None:
    refused(given, message)


def test_text_is_never_a_path(tmp_path: Path) -> None:
    path = tmp_path / "AAAA"  # which is base64, too
    path.write_bytes(file(PICTURE))
    refused([str(path)], "a path is given as pathlib.Path")
    assert taken([path])[0].shape == (1, 3, 9, 9)


def test_shares_of_one_are_refused_where_levels_go_to_16_only() -> None:
    refused(np.full((2, 8, 8), 0.5), "could be shares of 255 or of 16, the brightest", brightest=16)
    made, said = taken(np.full((2, 8, 8), 9), (1, 8, 8), 16)
    assert (made == 9).all()
    assert not said
    _, said = taken(np.full((2, 8, 8), 99), (1, 8, 8), 16)
    assert "grey levels above 16" in said[0]


def test_what_a_network_is_shown_is_its_own() -> None:
    """It may change it, and torch warns of what is read-only."""
    for array, shape, level in ((noise(2, 8, 8), (1, 8, 8), 255), (np.ones((2, 3), np.float32), (3, 1, 1), 0)):
        before = array.copy()
        array.flags.writeable = False
        made = next(Intake(shape, level).batches(array))
        made += 1
        assert (array == before).all()


def test_rows_of_a_table_are_numbers() -> None:
    made, _ = taken(pandas.DataFrame({"x": [0.5, 2.0], "y": [1.0, 3.0]}), (2, 1, 1), 0)
    assert made[:, :, 0, 0].tolist() == [[0.5, 1.0], [2.0, 3.0]]


def test_points_are_taken_as_they_are() -> None:
    points = np.array([[0.5, -1.0], [2.0, 3.0], [0, 0]], np.float32)
    for given_ in (points, points.tolist(), points.reshape(3, 1, 1, 2), points.reshape(3, 2, 1, 1)):
        made, _ = taken(given_, (2, 1, 1), 0)
        assert (made == points.reshape(3, 2, 1, 1)).all()
    refused(["text"], r"takes numbers \(N, 2\), and no pictures", (2, 1, 1))
    refused(np.zeros((3, 5)), r"takes numbers \(N, 2\), but got \(3, 5\)", (2, 1, 1))


def test_numbers_of_a_network_of_ones_own_are_taken_in_either_order() -> None:
    numbers = np.random.default_rng(0).normal(size=(4, 3, 5, 6)).astype(np.float32)
    assert (taken(numbers, (3, 5, 6), 0)[0] == numbers).all()
    assert (taken(numbers.transpose(0, 2, 3, 1), (3, 5, 6), 0)[0] == numbers).all()
    refused(numbers[:, :2], r"takes numbers \(N, 3, 5, 6\)", (3, 5, 6), 0)


def test_the_brightest_level_tells_data_of_a_range_of_their_own() -> None:
    assert brightest(torch.tensor([[0, 16]], dtype=torch.uint8)) == 16
    assert brightest(torch.tensor([[0, 200]], dtype=torch.uint8)) == 255
    assert brightest(torch.zeros(1, 2, 1, 1)) == 0
    assert brightest(torch.empty(0, 0, 0, 0, dtype=torch.uint8)) == 255
