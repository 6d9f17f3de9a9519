"""The same command twice gives the same search."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

import spaces
from search.record.events import Kind
from search.record.reader import FILE, read
from tests.session.test_end_to_end import search
from trainables.datasets import names

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

OF_THE_MOMENT = {"seconds", "pid", "node", "began", "gpus", "system"}
"""What an event says of the process that it comes from."""


def told(folder: Path, kinds: Collection[Kind], trials: int) -> list[tuple[Any, ...]]:
    """What the record says of such `kinds` in the first so many trials, but for times and places."""
    return [
        (event.kind, event.trial, {key: value for key, value in event.body.items() if key not in OF_THE_MOMENT})
        for event in read(folder / FILE)
        if event.kind in kinds and (event.trial or 0) < trials
    ]


def searched(study: str, name: str, concurrent: int, tmp_path: Path) -> Path:
    budget = ("--trials", "3", "--epochs", "2", "--seed", "7", "--concurrent", str(concurrent))
    done = search(study, *budget, "--name", name, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "done"
    return tmp_path / "runs" / name


@pytest.mark.parametrize("study", [name for name in spaces.names() if spaces.load(name).dataset in names()])
def test_with_one_worker_the_same_command_gives_the_same_record_but_for_times(study: str, tmp_path: Path) -> None:
    kinds = (Kind.ASKED, Kind.EPOCH, Kind.DECIDED, Kind.ENDED)
    first, second = (told(searched(study, name, 1, tmp_path), kinds, 3) for name in ("first", "second"))
    assert len(first) > 6
    assert first == second


def test_with_two_workers_the_first_two_trials_are_the_same(tmp_path: Path) -> None:
    """What is decided on them depends on which comes first."""
    kinds = (Kind.ASKED, Kind.EPOCH)
    first, second = (told(searched("digits_mlp", name, 2, tmp_path), kinds, 2) for name in ("first", "second"))
    assert sorted(map(str, first)) == sorted(map(str, second))
