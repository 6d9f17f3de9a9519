"""The served model takes pictures as people have them, and sees them as the data of its search were seen."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from tests.trainables.test_picture_folders import put
from trainables.classifier import Architecture
from trainables.datasets import Reading, find
from trainables.pictures import Unreadable


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def served(folder: Path, shape: tuple[int, int, int]) -> Any:
    """A model of images `shape`, with weights of its own."""
    torch.manual_seed(0)
    architecture = Architecture("mlp", shape, ("cat", "dog"), {"depth": 1, "width": 4, "activation": "relu"})
    architecture.save(folder, architecture.build())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of its imports
        from search.tracking.served_model import ServedClassifier
    model = ServedClassifier()
    model.load_context(SimpleNamespace(artifacts={"classifier": str(folder)}))
    return model


def test_files_of_the_data_are_seen_as_the_search_saw_them(tmp_path: Path) -> None:
    put(tmp_path / "pets", "cat", "dog", count=6, suffix=".jpg", size=(300, 260))
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = tmp_path / "pets" / "cat" / "odd.png"
    Image.effect_noise((40, 90), 60).convert("RGBA").save(odd, exif=exif)
    images, _ = find("digits", tmp_path / "pets", reading=Reading(image_size=24)).train()
    files = sorted(tmp_path.glob("pets/*/*"))
    model = served(tmp_path, (3, 24, 24))
    expected = model.predict(None, images.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(model.predict(None, [file.read_bytes() for file in files]), expected)
    assert np.array_equal(model.predict(None, files), expected)
    table = pandas.DataFrame({"picture": [file.read_bytes() for file in files]})
    assert np.array_equal(model.predict(None, table), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)], ids=["grey", "colour"])
def test_arrays_of_any_size_and_colours_are_taken(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    model = served(tmp_path, shape)
    generator = np.random.default_rng(0)
    for size in (
        (5, 8, 8),
        (5, 8, 8, 1),
        (5, 8, 8, 3),
        (5, 40, 31, 3),
        (5, 9, 70),
        (253, 20, 20, 4),
        (0, 8, 8, 3),
    ):
        pictures = generator.integers(0, 256, size, dtype=np.uint8)
        answer = model.predict(None, pictures)
        assert answer.shape == (size[0], 2)
        one_by_one = [model.predict(None, [picture])[0] for picture in pictures[:4]]
        assert np.allclose(answer[:4], np.reshape(one_by_one, (-1, 2)), atol=1e-6)
    mixed = model.predict(None, [generator.integers(0, 256, (n, n + 3, 3), dtype=np.uint8) for n in (4, 90)])
    assert mixed.shape == (2, 2)
    assert model.predict(None, [[[0, 255], [7, 9]]]).shape == (1, 2)


def test_what_is_no_picture_is_named_by_its_number(tmp_path: Path) -> None:
    model = served(tmp_path, (3, 8, 8))
    with pytest.raises(Unreadable, match="picture 1: it is text"):
        model.predict(None, [np.zeros((4, 4), np.uint8), b"no picture"])
    with pytest.raises(Unreadable, match="picture 0: a picture is uint8"):
        model.predict(None, np.zeros((2, 8, 8, 3)))
