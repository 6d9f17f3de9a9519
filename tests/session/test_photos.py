"""Photos from the command to the registered model: weights by SHA-256, folds by default, a test part if one says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from search.errors import BadInput, EnvironmentFault
from search.record.header import Header
from search.session import data_read
from search.session.prepare import prepare
from search.session.weights import check_weights
from search.settings import Settings
from search.terminal.screen import for_stderr
from tests.chaos.command import FOREIGN
from trainables.efficientnet_lite import EfficientNetLite0


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "efficientnet_lite0.safetensors"
    save_file(EfficientNetLite0().state_dict(), path)
    return path


def folder(root: Path, **parts: int) -> Path:
    """`folder(root, train=8, val=4)`: so many pictures of two classes in each part, of several sizes."""
    generator = torch.Generator().manual_seed(0)
    for part, count in parts.items():
        for number in range(count):
            label = ("left", "right")[number % 2]
            (root / part / label).mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(0, 120, (70 + number, 90, 3), generator=generator, dtype=torch.uint8)
            pixels[:, :40] += 100 * (number % 2)
            Image.fromarray(pixels.numpy()).save(root / part / label / f"{number}.png")
    return root


def settings(tmp_path: Path, data: Path, weights: Path, **more: Any) -> Settings:
    changes = {"model/image_size": "32", "train/views": "0", "model/trained_stages": "0"}
    given = {"runs": tmp_path / "runs", "data": data, "weights": str(weights), "dry_run": True, "changes": changes}
    return Settings(**{**given, **more})


def test_few_photos_are_judged_in_folds_and_the_record_names_the_weights(tmp_path: Path, weights: Path) -> None:
    data = folder(tmp_path / "data", train=30, test=6)
    prepared = prepare("photos", settings(tmp_path, data, weights), for_stderr(quiet=True))
    fixed = prepared.header.fixed
    assert fixed["train/folds"] == 5
    assert len(str(fixed["weights/efficientnet_lite0"])) == 64
    assert fixed["weights/path"] == str(weights)
    assert prepared.header.image_size == 224
    check_weights(prepared.study)


def test_a_validation_part_of_the_datas_own_judges_alone_and_forbids_folds(tmp_path: Path, weights: Path) -> None:
    data = folder(tmp_path / "data", train=20, val=6)
    prepared = prepare("photos", settings(tmp_path, data, weights), for_stderr(quiet=True))
    assert prepared.header.fixed["train/folds"] == 0
    assert prepared.header.val_images == 6
    assert prepared.source.test is None
    with pytest.raises(BadInput, match="--folds deals images into parts, but these have a validation part of their"):
        prepare("photos", settings(tmp_path, data, weights, folds=3), for_stderr(quiet=True))


def test_the_validation_part_becomes_the_test_part_if_one_says_so_and_the_record_keeps_that(
    tmp_path: Path, weights: Path
) -> None:
    data = folder(tmp_path / "data", train=20, val=6)
    asked = settings(tmp_path, data, weights, val_as_test=True)
    prepared = prepare("photos", asked, for_stderr(quiet=True))
    header = prepared.header
    assert prepared.source.test is not None
    assert header.train_images + header.val_images == 20
    assert (header.fixed["train/folds"], header.val_as_test, header.split) == (5, True, "stratified")
    assert any("--val-as-test" in note for note in header.notes)
    before = Header.from_plain(json.loads(json.dumps(header.to_plain())))
    source, again, digest = data_read.read(prepared.study, asked, for_stderr(quiet=True), before)
    assert source.test is not None
    assert digest == header.digest
    assert torch.equal(again.val.images, prepared.data.val.images)


@pytest.mark.parametrize(
    ("parts", "has"), [({"train": 9}, "no validation part"), ({"train": 9, "val": 4, "test": 4}, "a test part")]
)
def test_there_must_be_a_validation_part_and_no_test_part_for_that(
    parts: dict[str, int], has: str, tmp_path: Path, weights: Path
) -> None:
    asked = settings(tmp_path, folder(tmp_path / "data", **parts), weights, val_as_test=True)
    with pytest.raises(BadInput, match=rf"--val-as-test is for data with .*, but .* has {has}"):
        prepare("photos", asked, for_stderr(quiet=True))


def test_a_search_does_not_go_on_with_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(EfficientNetLite0().state_dict(), path)
    data = folder(tmp_path / "data", train=20)
    prepared = prepare("photos", settings(tmp_path, data, path), for_stderr(quiet=True))
    save_file(EfficientNetLite0().state_dict(), path)
    with pytest.raises(EnvironmentFault, match="the search began with weights of efficientnet_lite0 whose SHA-256 is"):
        check_weights(prepared.study)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_photos_are_searched_tested_registered_and_served_whole(tmp_path: Path, weights: Path) -> None:
    data = folder(tmp_path / "data", train=40, val=10)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    line = (
        f"--data {data} --val-as-test --weights {moved} --trials 2 --epochs 2 --set model/image_size=32 --json".split()
    )
    place = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    ended = subprocess.run(
        [sys.executable, "-m", "search", *line], cwd=tmp_path, env=place, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["study"], found["best"]["test_images"], found["test_openings"]) == ("photos", 10, 1)
    moved.unlink()  # what is served needs no weights of anybody else
    code = (
        "import sys, mlflow, numpy; model = mlflow.pyfunc.load_model(sys.argv[1]);"
        "file = open(sys.argv[2], 'rb').read();"
        "print(*model.predict([file, file]).columns, model.predict(numpy.zeros((3, 224, 224, 3), 'uint8')).shape)"
    )
    place["MLFLOW_TRACKING_URI"] = found["mlflow"]["tracking_uri"]
    served = subprocess.run(
        [sys.executable, "-c", code, found["mlflow"]["model_uri"], next(each for each in data.rglob("*.png"))],
        cwd=tmp_path, env=place, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert served.stdout.strip() == "left right (3, 2)", served.stderr
