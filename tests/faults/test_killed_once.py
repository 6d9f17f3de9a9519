"""The daily one of the nightly faults: a search that is killed once ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import checker, command
from tests.faults.stage import by_itself, count, events, look

SEARCH = ("digits_mlp", "--name", "chaos", "--concurrent", "1", "--trials", "2", "--epochs", "9", "--seed", "1")
SLOWER = ("--set", "train/batch_size=8")
"""Small batches: an epoch takes long enough that the kill comes in the middle."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_search_that_is_killed_goes_on_to_the_same_record_and_opens_the_test_set_once(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    try:
        undisturbed = command.finish(command.launch(*SEARCH, *SLOWER, folder=whole), 120)
        running = command.launch(*SEARCH, *SLOWER, folder=killed)
        command.wait_for(command.record_of(killed), lambda now: count("epoch")(now) >= 6, process=running)
        command.kill(running)
        left = count("ended")(events(killed))
        seen = look(killed, command.finish(command.launch("resume", "chaos", folder=killed), 120), 0)
    finally:
        for folder in (whole, killed):
            checker.sweep(folder)
    assert left < 2, "else the kill came too late to prove anything"
    assert undisturbed.code == 0, undisturbed.stderr
    assert seen.faults == []
    assert count("resumed")(seen.events) == 1
    assert by_itself(seen.events) == by_itself(events(whole))
    assert count("tested")(seen.events) == 1
