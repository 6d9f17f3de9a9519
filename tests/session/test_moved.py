"""A training script as people have it, moved here in each way: how many lines that takes, and that it runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search import load
from tests.moved.changed import changed
from tests.session.test_end_to_end import search

ROOT = Path(__file__).parents[2]
MOVED = ROOT / "tests" / "moved"
OPTUNA_NEEDS = 31
"""Changed lines of the same kind of script by Optuna's tutorial; Ray Tune's needs 45."""


@pytest.mark.parametrize("way", ["network", "loop", "script"])
def test_a_script_is_moved_in_fewer_lines_than_elsewhere_and_the_page_says_how_many(way: str) -> None:
    new, gone = changed((MOVED / "train.py").read_text(), (MOVED / f"{way}.py").read_text())
    assert new < OPTUNA_NEEDS
    table = (ROOT / "docs" / "studies.md").read_text()
    [row] = re.findall(rf"\|[^|\n]*tests/moved/{way}\.py[^|\n]*\| (\d+) \| (\d+) \|", table)
    assert tuple(map(int, row)) == (new, gone)


def photographed(folder: Path) -> None:
    """Two classes that differ in colour, in photos of many sizes."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 48), ("val", 16), ("test", 16)):
        for label, name in enumerate(("dawn", "dusk")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count // 2):
                height, width = generator.integers(70, 120, 2)
                pixels = generator.integers(0, 120, (height, width, 3), dtype=np.uint8)
                pixels[..., 2 * label] += 100
                Image.fromarray(pixels).save(folder / part / name / f"{number}.jpg")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["network", "loop"])
def test_the_moved_script_ends_with_a_test_accuracy_and_a_registered_model(way: str, tmp_path: Path) -> None:
    photographed(tmp_path / "photos")
    shutil.copy(MOVED / f"{way}.py", tmp_path)
    done = search(f"{way}.py", "--trials", "2", "--epochs", "2", "--concurrent", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["best"]["test_images"] == 16
    assert document["mlflow"]["aliases"][0] == "candidate"
    assert (tmp_path / "runs" / f"{way}-1" / "model.pt2").is_file()
    assert load(f"{way}-1", tmp_path / "runs").model() is not None


WINNERS = {"train": ("--model", "best.pt"), "script": ("--test", "--evaluate")}
"""What each of the two is asked for besides."""


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WINNERS)
def test_the_script_as_it_is_ends_with_the_command_that_is_best_and_a_registered_model(
    way: str, tmp_path: Path
) -> None:
    photographed(tmp_path / "photos")
    shutil.copy(MOVED / f"{way}.py", tmp_path)
    options = ["--set", "lr=log(1e-3, 1e-1)", "--epochs", "2", "--trials", "2", "--concurrent", "1", "--json"]
    words = ["--", "--epochs", "{epochs}", "--out", "{folder}"]
    done = search(f"{way}.py", *options, *WINNERS[way], *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    best, place, run = document["best"], document["mlflow"], tmp_path / "runs" / f"{way}-1"
    assert best["command"].startswith(f"python {way}.py --epochs 2 --out {way}-1-best --lr ")
    assert place["aliases"] == ["candidate", "champion"]
    assert (run / "trials" / "trial-0000" / "files" / "best.pt").is_file()
    if way == "script":
        assert (run / "checkpoints" / best["checkpoint"] / "files" / "last.pt").is_file()
        assert best["test_accuracy"] >= 0.5
        assert document["test_openings"] == 1
        assert "file" not in place
        assert load("script-1", tmp_path / "runs").model() is not None
    else:
        assert place["file"] == "best.pt"
        assert best["test_accuracy"] is None, "it says one of each trial, in its log"
        assert "test accuracy" in (run / "trials" / "trial-0000" / "log.txt").read_text()
