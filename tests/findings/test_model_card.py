"""The winner's model card."""

import numpy as np
import pytest

from search.findings import model_card, predictions
from search.findings.predictions import Predictions
from search.findings.snapshot import Snapshot
from search.record.events import WinnerTested
from search.record.record import Record
from tests.simulated import kept

HOSTILE = ["cat", "<script>alert(1)</script>", "[a](javascript:x)|`b`\n# dog"]


@pytest.fixture
def search(tiny_study, tmp_path):
    """A search whose winner was tested on 20 images, of which it took five cats for dogs."""
    folder, searched = kept(tmp_path, tiny_study, classes=HOSTILE, commit="c0ffee", brightest=16)
    best = searched.trials.best()
    epoch = best.best_epoch(tiny_study.objective).number
    labels = np.array([0] * 10 + [1] * 5 + [2] * 5)
    predicted = np.array([0] * 5 + [2] * 5 + [1] * 5 + [2] * 5)
    images, shown = np.zeros((1, 1, 8, 8), np.uint8), np.array([5])
    predictions.write(
        folder, Predictions(best.number, epoch, labels, predicted, np.ones(20, np.float32), shown, images)
    )
    with Record(folder / "record.db") as record:
        record.append(WinnerTested(best.number, epoch, 0.75, 0.5, 20).entry(best.number))
    return Snapshot.read(folder)


def test_it_says_what_the_model_is_of_what_how_good_how_found_how_called_and_what_not(search):
    card = model_card.build(search, "models:/tiny@champion")
    heads = [line for line in card.splitlines() if line.startswith("#")]
    assert heads == [
        "# tiny: a classifier of 3 classes",
        "## Data",
        "## How good it is",
        "## How to call it",
        "## Limits",
        "## How it was found",
        "## What it confuses",
        "## Hyperparameters",
    ]
    assert "ab" * 32 in card
    assert "| test accuracy | 0.7500 | 0.5313 … 0.8881 |" in card
    assert "models:/tiny@champion" in card
    assert "python -m search tiny" in card
    assert "raw grey levels of 0 to 16;" in card
    assert "| cat | 5 | 0 | 5 |" in card
    assert f"| train/lr | {search.winner.point['train/lr']} |" in card


def test_names_of_others_are_shown_and_are_no_markup(search):
    card = model_card.build(search, "models:/tiny@champion")
    outside_of_code = "".join(card.split("`")[::2])
    assert "<script>" not in outside_of_code
    assert "\\[a\\](javascript:x)\\|" in outside_of_code
    assert "\n# dog" not in card


def test_its_python_is_python(search):
    code = model_card.build(search, "models:/tiny@champion").split("```")[1]
    compile(code, "card", "exec")


@pytest.mark.parametrize("longest", [5000, 2000, 300])
def test_a_description_is_as_short_as_it_must_be_and_says_what_it_leaves_out(search, longest):
    short = model_card.build(search, "models:/tiny@champion", longest=longest)
    assert len(short) <= longest
    assert short.startswith("# tiny: a classifier of 3 classes")
    whole = model_card.build(search, "models:/tiny@champion")
    assert short == whole or "README.md" in short or longest == 300
