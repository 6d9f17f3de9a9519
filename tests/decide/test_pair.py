"""Which sampler and scheduler a search gets where one of them, or both, are left to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.errors import BadInput
from search.session.asked import adapted
from search.settings import Settings

NETWORK = """
from torch import nn
from spaces.study import Float, Study

def build(config, data):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(len(data.classes)))

STUDY = Study(network=build, dataset="digits", epochs=2, space={"train/lr": Float(1e-3, 1.0, log=True)}%s)
"""
LOOP = """
from spaces.study import Float, Study
from trainables.epoch import Epoch

def train(config, data):
    yield Epoch(1, {"val_accuracy": config["train/lr"]})

STUDY = Study(trainable=train, dataset="digits", epochs=1, space={"train/lr": Float(1e-3, 1.0, log=True)})
"""
SCRIPT = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr', type=float)\n"


@pytest.mark.parametrize(
    ("more", "sampler", "scheduler", "expected"),
    [
        ("", None, None, ("freeze_thaw", "freeze_thaw")),
        ("", "freeze_thaw", None, ("freeze_thaw", "freeze_thaw")),
        ("", None, "freeze_thaw", ("freeze_thaw", "freeze_thaw")),
        ("", "random", None, ("random", "asha")),
        ("", None, "asha", ("tpe", "asha")),
        ("", None, "none", ("tpe", "none")),
        ("", "freeze_thaw", "asha", ("freeze_thaw", "asha")),
        (", sampler='random'", None, None, ("random", "asha")),
        (", scheduler='none'", None, None, ("tpe", "none")),
        (", sampler='random', scheduler='none'", "tpe", None, ("tpe", "none")),
    ],
)
def test_what_is_left_out_goes_with_what_is_named(
    more: str, sampler: str | None, scheduler: str | None, expected: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(NETWORK % more)
    study = adapted(str(tmp_path / "own.py"), Settings(sampler=sampler, scheduler=scheduler))
    assert (study.sampler, study.scheduler) == expected


def test_trials_that_may_leave_no_checkpoint_are_stopped_and_not_paused(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "script.py").write_text(SCRIPT)
    loop = adapted(str(tmp_path / "loop.py"), Settings())
    changes = {"lr": "log(1e-3, 1.0)"}
    script = adapted(str(tmp_path / "script.py"), Settings(changes=changes, metric="accuracy", epochs=3))
    assert {(study.sampler, study.scheduler) for study in (loop, script)} == {("tpe", "asha")}


def test_a_scheduler_that_pauses_beside_a_sampler_that_cannot_judge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NETWORK % "")
    with pytest.raises(BadInput, match="take --sampler freeze_thaw"):
        adapted(str(tmp_path / "own.py"), Settings(sampler="tpe", scheduler="freeze_thaw"))
