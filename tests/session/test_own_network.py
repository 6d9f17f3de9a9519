"""Whole searches of a network and of a loop of one's own: tested, exported, registered, loaded without their code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from search import load
from search.record.events import Event
from search.record.reader import read
from tests.chaos import command
from tests.session.test_end_to_end import search

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "STUDY = " in code)
"""The study of one's own that the README shows, as it stands there: a network, and beside it a loop."""
LOOP = EXAMPLE.replace("network=build", "trainable=train").replace(' | {"train/optimizer": Choice("sgd", "adamw")}', "")
WAYS = {"network": EXAMPLE, "loop": LOOP}

STRANGER = """
import sys
import mlflow, numpy as np
from sklearn.datasets import load_digits
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
digits = load_digits()
print((model.predict(digits.images.astype(np.uint8)).argmax(1) == digits.target).mean())
print(model.predict(digits.images[:1].astype(np.uint8)).shape)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"search", "spaces", "mine"}))
"""
GRAPH = """
import sys
import mlflow, mlflow.pytorch, torch
mlflow.set_tracking_uri(sys.argv[1])
graph = mlflow.pytorch.load_model(sys.argv[2])
print(tuple(graph(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"search", "spaces", "trainables", "mine"}))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]


def searched(folder: Path, code: str, *options: str) -> tuple[dict[str, Any], str]:
    """What a search of the study `code` ends with, and what it said."""
    (folder / "mine.py").write_text(code)
    done = search("mine.py", "--epochs", "3", "--concurrent", "1", "--json", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("way", ["network", pytest.param("loop", marks=pytest.mark.nightly)])
def test_the_winner_of_ones_own_code_is_tested_once_exported_registered_and_loaded_without_it(
    way: str, tmp_path: Path
) -> None:
    document, said = searched(tmp_path, WAYS[way], "--trials", "2", "--set", "train/lr=0.01")
    best, place = document["best"], document["mlflow"]
    assert best["test_accuracy"] > 0.5
    assert document["test_openings"] == 1
    assert place["aliases"] == ["candidate", "champion"]
    assert "warning" not in said
    # In another process, in another folder, where none of our packages and no file of the user's is.
    (tmp_path / "elsewhere").mkdir()
    told = {}
    # MLflow takes no file without example inputs for free of pickles; ours are cut out, being somebody's images.
    for code, pickles in ((STRANGER, "false"), (GRAPH, "true")):
        asked = [sys.executable, "-P", "-c", code, place["tracking_uri"], place["model_uri"]]
        stranger = subprocess.run(
            asked,
            cwd=tmp_path / "elsewhere",
            env={"PATH": "/usr/bin:/bin", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": pickles},
            capture_output=True,
            text=True,
            check=False,
        )
        assert stranger.returncode == 0, stranger.stderr
        told[code] = stranger.stdout.splitlines()
    accuracy, shape, ours = told[STRANGER][-3:]
    assert float(accuracy) > 0.5
    assert (shape, ours) == ("(1, 10)", "[]")
    assert told[GRAPH][-2:] == ["(3, 10)", "[]"], "the graph alone takes nobody's code, not even ours"
    # From Python and as files, too.
    (tmp_path / "mine.py").unlink()
    model = load("mine-1", tmp_path / "runs").model()
    assert model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)
    assert search("export", "mine-1", "out", cwd=tmp_path).returncode == 0
    assert {"model.pt2", "weights.safetensors"} <= {file.name for file in (tmp_path / "out" / "model").iterdir()}
    assert search("sync", "mine-1", cwd=tmp_path).returncode == 0


CHOOSY = '''
class Choosy(nn.Module):
    """Its course depends on what it is shown."""

    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, images):
        flat = self.linear(images.flatten(1))
        return flat if flat.sum() > 0 else flat * 1.0


def build(config, data):
    return Choosy(len(data.classes))


'''


@pytest.mark.nightly
def test_a_network_that_cannot_be_exported_is_registered_with_its_code_and_a_warning_says_why(tmp_path: Path) -> None:
    code = EXAMPLE.replace("def train(", f"{CHOOSY}def train(")
    sure = ("--trials", "1", "--set", "width=8", "--set", "train/lr=0.01", "--set", "train/optimizer=adamw")
    document, said = searched(tmp_path, code, *sure)
    assert document["best"]["test_accuracy"] > 0.5
    assert document["mlflow"]["aliases"] == ["candidate", "champion"]
    assert re.search(
        "torch.export does not take the winner .*data-dependent.*logged as a pickle with the study's code", said
    )
    assert search("sync", "mine-1", cwd=tmp_path).returncode == 0


@pytest.mark.nightly
def test_a_network_that_takes_other_images_than_the_data_is_not_tested_and_one_line_says_so(tmp_path: Path) -> None:
    """Normalised outside of the network, where no reader of the model could know of it."""
    code = LOOP.replace(".float())", ".float() / 16 * 100 - 300)")
    document, said = searched(tmp_path, code, "--trials", "1", "--set", "width=8")
    assert document["best"]["test_accuracy"] is None
    assert document["test_openings"] == 0
    assert re.search("built again, the winner gets .* validation images right and .* were recorded", said)


@pytest.mark.nightly
def test_trials_that_keep_nothing_end_well_and_it_is_said_once(tmp_path: Path) -> None:
    code = LOOP.replace(", model=net, optimizer=steps)\n\n", ")\n\n")
    document, said = searched(tmp_path, code, "--trials", "3", "--set", "width=8")
    assert document["state"] == "done"
    assert document["best"]["val_accuracy"] > 0.3
    assert said.count("the trials keep no checkpoint") == 1
    assert "the winner kept no checkpoint, so it is neither tested nor registered" in said
    assert search("doctor", "mine-1", cwd=tmp_path).returncode == 0


@pytest.mark.nightly
def test_a_patience_of_ones_own_is_complete_and_its_winner_is_tested(tmp_path: Path) -> None:
    code = LOOP.replace("optimizer=steps)\n\n", "optimizer=steps)\n        if number == 2:\n            return\n\n")
    document, _ = searched(tmp_path, code, "--trials", "2", "--scheduler", "none")
    assert document["trials"] == {"complete": 2}
    assert document["best"]["test_accuracy"] is not None
    shown = json.loads(search("show", "mine-1", "--json", cwd=tmp_path).stdout)
    assert {row["why"] for row in shown["leaderboard"]} == {"finished early, after 2 of 3 epochs"}
    assert search("replay", "mine-1", cwd=tmp_path).returncode == 0


@pytest.mark.nightly
def test_a_killed_loop_of_ones_own_goes_on_from_its_checkpoint_and_ends_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    code = LOOP.replace("import torch\n", "import time\n\nimport torch\n", 1)
    code = code.replace("        right = net", "        time.sleep(0.3)\n        right = net")
    asked = ("--name", "chaos", "--concurrent", "1", "--trials", "4", "--epochs", "6", "--seed", "1", "--json")
    told = {}
    for kill in (False, True):
        folder = tmp_path / ("killed" if kill else "whole")
        folder.mkdir()
        (folder / "mine.py").write_text(code)
        running = command.launch("mine.py", *asked, folder=folder)
        if kill:
            command.wait_for(command.record_of(folder), lambda now: epochs_of(now) >= 4, process=running)
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            running = command.launch("resume", "chaos", "--json", folder=folder)
        ended = command.finish(running, 200)
        assert ended.code == 0, ended.stderr
        assert "train all their epochs again" not in ended.stderr
        told[kill] = [
            (event.kind, event.trial, {name: event.body[name] for name in KEPT if name in event.body})
            for event in read(command.record_of(folder))
            if event.kind in ("asked", "epoch", "decided", "ended", "tested")
        ]
    assert told[True] == told[False]


KEPT = ("point", "epoch", "metrics", "value", "rung", "cutoff", "go_on", "state", "why", "test_accuracy")


def epochs_of(events: Sequence[Event]) -> int:
    return sum(event.kind == "epoch" for event in events)
