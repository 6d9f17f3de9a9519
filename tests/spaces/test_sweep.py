"""A sweep file of W&B's: what it becomes, and that nothing in it is passed over in silence."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spaces
from spaces import sweep
from spaces.objective import Objective
from spaces.ranges import Choice, Float, Int
from spaces.script import ENDLESS, Wish
from spaces.values import SpaceError

WHOLE = """
program: train.py
method: bayes
name: mine
description: |
  Pictures of pets.
  At length.
project: pets
metric: {name: val_accuracy, goal: maximize}
run_cap: 40
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}
  decay: {distribution: log_uniform, min: -6, max: -2}
  width: {min: 8, max: 64}
  dropout: {min: 0.0, max: 0.5}
  batch: {distribution: q_uniform, min: 32, max: 128, q: 32}
  optimizer: {values: [sgd, adamw, null]}
  data: {value: photos}
  model:
    parameters:
      depth: {values: [1, 2], probabilities: [0.5, 0.5]}
early_terminate: {type: hyperband, min_iter: 2, max_iter: 54, eta: 3}
command: ["${env}", "${interpreter}", "${program}", "--key", "${envvar:KEY_OF_MINE}", "${args}"]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")


def made(text: str, **wish: Any) -> Any:
    Path("sweep.yaml").write_text(text)
    return sweep.read(Path("sweep.yaml")).study(Wish(**wish), Path.cwd())


def test_a_whole_file_becomes_a_study() -> None:
    study = made(WHOLE)
    assert dict(study.space) == {
        "lr": Float(1e-4, 1e-1, log=True),
        "decay": Float(math.exp(-6), math.exp(-2), log=True),
        "width": Int(8, 64),
        "dropout": Float(0, 0.5),
        "batch": Int(32, 128, step=32),
        "optimizer": Choice("sgd", "adamw", None),
        "model.depth": Choice(1, 2),
    }
    assert (dict(study.fixed), study.trials, study.epochs) == ({"data": "photos"}, 40, 54)
    assert (study.sampler, study.scheduler, study.first_rung, study.reduction_factor) == ("tpe", "asha", 2, 3)
    assert (study.objective, study.name, study.about) == (
        Objective("val_accuracy", "max"),
        "sweep",
        "Pictures of pets.",
    )
    script = study.trainable
    assert (script.arguments, script.style, script.name) == (("--key", "{env:KEY_OF_MINE}"), "flags", "train.py")


def test_what_means_nothing_here_is_named_and_counted() -> None:
    Path("sweep.yaml").write_text(WHOLE)
    assert sweep.notes(sweep.read(Path("sweep.yaml"))) == [
        "2 keys of the sweep file mean nothing here: project, parameters.model.depth.probabilities"
    ]


def test_options_of_the_command_go_before_the_file() -> None:
    study = made(WHOLE, epochs=9, metric="loss", mode="min", changes={"lr": 0.5, "new": Int(1, 2)})
    assert (study.epochs, study.objective, study.fixed["lr"]) == (9, Objective("loss", "min"), 0.5)
    assert {"new"} == study.space.keys() - {"decay", "width", "dropout", "batch", "optimizer", "model.depth"}


def test_without_early_terminate_none_is_stopped_and_without_a_goal_little_is_good() -> None:
    study = made("program: train.py\nmethod: random\nmetric: {name: acc}\nparameters: {lr: {min: 0.1, max: 1.0}}")
    assert (study.scheduler, study.sampler, study.objective, study.epochs) == (
        "none",
        "random",
        Objective("acc", "min"),
        ENDLESS,
    )


def test_the_program_is_what_the_record_names_as_the_source() -> None:
    Path("sub").mkdir()
    Path("sub/sweep.yml").write_text("program: other.py\nparameters: {lr: {min: 0.1, max: 1}}")
    Path("sub/other.py").write_text("")
    assert spaces.source("sub/sweep.yml") == str(Path("sub/other.py").resolve())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1]", "sweep.yaml must hold names with values"),
        ("a: [", "sweep.yaml is no YAML"),
        ("method: grid", "names no program"),
        ("program: gone.py", "no program 'gone.py', neither here nor beside sweep.yaml"),
        ("program: train.py\nmethod: annealing", "method 'annealing' is not known; known are bayes, random, grid"),
        ("program: train.py\nparameters: {lr: 3}", "parameter lr must hold names with values"),
        ("program: train.py\nparameters: {lr: {min: 1}}", "parameter lr needs value, values, or min and max"),
        ("program: train.py\nparameters: {lr: {min: a, max: 1}}", "min of lr must be a number, but is 'a'"),
        ("program: train.py\nparameters: {lr: {values: 3}}", "values of lr must be a list, but are 3"),
        (
            "program: train.py\nparameters: {lr: {min: 0, max: 1, distribution: normal}}",
            "distribution 'normal' of lr is not known here; known are uniform, int_uniform",
        ),
        ("program: train.py\nearly_terminate: {type: median}", "early_terminate of type 'median' is not known"),
        ("program: train.py\ncommand: [bash, '${program}']", "command has 'bash' before the program"),
        (
            "program: train.py\ncommand: ['${program}', '${args_json}']",
            r"command has \$\{args_json\}, which",
        ),
        ("program: train.py\nrun_cap: 0", "run_cap must be a whole number from 1, but is 0"),
        ("program: train.py\nmetric: {goal: up, name: a}", "metric.goal 'up' is not known"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text: str, match: str) -> None:
    with pytest.raises(SpaceError, match=match):
        made(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*sweep.KEYS, *sweep.RANGE, "lr"]), inner, max_size=4)
    ),
)


@given(ANYTHING)
def test_whatever_a_file_holds_it_is_read_or_refused(plain: Any) -> None:
    import yaml

    whole = {"program": "train.py", **plain} if isinstance(plain, dict) else plain
    Path("sweep.yaml").write_text(yaml.safe_dump(whole))
    with contextlib.suppress(SpaceError):
        assert sweep.read(Path("sweep.yaml")).program
