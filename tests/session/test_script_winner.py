"""The winner of a script, in whole searches: measured once by its own program, its model registered and loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search import load
from search.record.events import Kind, WinnerTested
from search.record.reader import FILE, read
from tests.session.test_end_to_end import search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

SCRIPT = """
import argparse, json, pathlib
import torch
from search.report import model
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--evaluate", action="store_true")
given = parser.parse_args()
torch.manual_seed(0)
inputs = torch.randn(400, 4)
labels = (inputs.sum(1) > 0).long()
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def accuracy(part):
    return (net(inputs[part]).argmax(1) == labels[part]).float().mean().item()


if given.evaluate:
    with open("tests.txt", "a") as file:
        print("tested", file=file)
    net.load_state_dict(torch.load(given.out / "best.pt"))
    print(f"test accuracy {accuracy(slice(300, 400))}")
    raise SystemExit
optimizer, best = torch.optim.SGD(net.parameters(), lr=given.lr), -1.0
for number in range(1, given.epochs + 1):
    for part in torch.randperm(200).split(20):
        loss = torch.nn.functional.cross_entropy(net(inputs[part]), labels[part])
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    value = accuracy(slice(200, 300))
    if value > best:
        best = value
        torch.save(net.state_dict(), given.out / "best.pt")
        KEEP
    print(json.dumps({"epoch": number, "val_accuracy": value}), flush=True)
"""
KEPT = {
    "pt2": "model(net, inputs[:2])",
    "onnx": "torch.onnx.export(net.eval(), (inputs[:2],), given.out / 'model.onnx', dynamo=True, external_data=False, "
    "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False)",
}
OPTIONS = ("--set", "lr=log(1e-2, 1)", "--epochs", "2", "--trials", "2", "--concurrent", "1", "--json")
WORDS = ("--", "--epochs", "{epochs}", "--out", "{folder}")
STRANGER = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
told = mlflow.pyfunc.load_model(sys.argv[2]).predict(np.ones((5, 4), np.float32))
print((next(iter(told.values())) if isinstance(told, dict) else told).shape)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"search", "spaces", "trainables"}))
"""


def searched(folder: Path, kept: str, *options: str) -> tuple[dict[str, Any], str]:
    """What a search of the script ends with, and what it said."""
    (folder / "train.py").write_text(SCRIPT.replace("KEEP", kept))
    done = search("train.py", *OPTIONS, *options, *WORDS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def tests_in(folder: Path) -> Sequence[WinnerTested]:
    return [WinnerTested.of(event) for event in read(folder / FILE) if event.kind is Kind.TESTED]


def loaded(document: dict[str, Any], folder: Path) -> list[str]:
    """What a process elsewhere makes of the registered model."""
    place = document["mlflow"]
    stranger = subprocess.run(
        [sys.executable, "-c", STRANGER, place["tracking_uri"], place["model_uri"]],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert stranger.returncode == 0, stranger.stderr
    return stranger.stdout.split("\n")[:2]


@pytest.mark.parametrize("kind", [pytest.param("pt2"), pytest.param("onnx", marks=pytest.mark.nightly)])
def test_the_winner_of_a_script_is_tested_once_registered_and_loaded_elsewhere(kind: str, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    named = () if kind == "pt2" else ("--model", "model.onnx")
    document, said = searched(tmp_path, KEPT[kind], "--test", "--evaluate", *named)
    best, place, run = document["best"], document["mlflow"], tmp_path / "runs" / "train-1"
    assert "measures trial" in said
    assert "on its test set, once" in said
    assert best["test_accuracy"] > 0.5
    assert (tmp_path / "tests.txt").read_text() == "tested\n"
    [told] = tests_in(run)
    assert (told.test_accuracy, told.images, told.test_loss) == (best["test_accuracy"], None, None)
    assert place["aliases"] == ["candidate", "champion"]
    assert place["model_uri"] == "models:/train@champion"
    assert "file" not in place
    (elsewhere := tmp_path / "elsewhere").mkdir()
    assert loaded(document, elsewhere) == ["(5, 2)", "[]"]
    if kind == "pt2":
        assert load("train-1", tmp_path / "runs").model() is not None
        assert search("export", "train-1", "out", cwd=tmp_path).returncode == 0
        assert (tmp_path / "out" / "model" / "model.pt2").is_file()
    # What is done is not done again: neither by sync nor by resume, nor for a winner that stays one.
    assert search("sync", "train-1", cwd=tmp_path).returncode == 0
    assert search("resume", "train-1", cwd=tmp_path).returncode == 0
    assert (tmp_path / "tests.txt").read_text() == "tested\n"


@pytest.mark.nightly
def test_a_file_of_another_kind_is_registered_as_what_it_is_and_an_untested_one_is_said_to_be(tmp_path: Path) -> None:
    document, said = searched(tmp_path, "pass", "--model", "best.pt")
    assert "train.py is asked for no test (--test), so the winner is not tested" in said
    assert "best.pt is registered as a file: it takes the code of train.py to use it" in said
    assert document["best"]["test_accuracy"] is None
    assert document["test_openings"] == 0
    assert (document["mlflow"]["file"], document["mlflow"]["aliases"]) == ("best.pt", ["candidate", "champion"])
    code = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); print(mlflow.artifacts.download_artifacts("
    place = document["mlflow"]
    fetched = subprocess.run(
        [sys.executable, "-c", f"{code}sys.argv[2]))", place["tracking_uri"], place["model_uri"]],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    assert [path.name for path in Path(fetched.stdout.strip()).iterdir()] == ["best.pt"]
    shown = search("best", "train-1", cwd=tmp_path).stdout
    assert "test accuracy       not measured" in shown
    assert "mlflow.artifacts.download_artifacts('models:/train@champion')" in shown


@pytest.mark.nightly
def test_a_test_that_fails_leaves_a_search_that_resume_tests(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.replace("KEEP", KEPT["pt2"]).replace("test accuracy", "accuracy of"))
    done = search("train.py", *OPTIONS, "--test", "--evaluate", *WORDS, cwd=tmp_path)
    assert done.returncode == 3
    assert "the winner was not tested: train.py said no test_accuracy" in done.stderr
    assert "then resume train-1" in done.stderr
    assert tests_in(tmp_path / "runs" / "train-1") == []
    assert search("sync", "train-1", cwd=tmp_path).returncode == 3  # it runs nobody's code
    assert (tmp_path / "tests.txt").read_text() == "tested\n"
    (tmp_path / "train.py").write_text(SCRIPT.replace("KEEP", KEPT["pt2"]))
    done = search("resume", "train-1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"]["test_accuracy"] > 0.5
    assert json.loads(done.stdout)["mlflow"]["aliases"] == ["candidate", "champion"]


@pytest.mark.nightly
def test_a_model_that_is_never_written_ends_the_search_at_its_first_trial(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.replace("KEEP", "pass"))
    done = search("train.py", *OPTIONS, "--model", "beste.pt", *WORDS, cwd=tmp_path)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if "beste.pt" in line and line.startswith("error")] or [""]
    assert "it wrote best.pt" in (line or done.stderr)
