"""A script's search is killed again and again; it ends as if nothing had happened, and nothing of it runs on."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import command
from tests.faults.stage import count, events, processes, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SCRIPT = """
    import argparse, json, pathlib, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    state = given.out / "state.json"
    value, done = json.loads(state.read_text()) if state.exists() else (0.0, 0)
    for number in range(done + 1, given.epochs + 1):
        time.sleep(0.2)
        value = 0.5 * value + 1 - (given.lr - 0.03) ** 2
        print(json.dumps({"epoch": number, "acc": value}))
        time.sleep(0.02)  # it prints before it saves, as many do
        state.write_text(json.dumps([value, number]))
"""
OPTIONS = ("--set", "lr=log(1e-4, 1e-1)", "--epochs", "9", "--trials", "8", "--metric", "acc", "--concurrent", "1")
SEARCH = ("run", "slow.py", *OPTIONS, "--name", command.NAME, "--json")
WORDS = ("--", "--epochs", "{epochs}", "--out", "{folder}")


def by_itself(folder: Path) -> list[Any]:
    """What of the events must not depend on interruptions: all but times, processes, attempts and checkpoints."""
    apart = ("began", "pid", "node", "seconds", "system", "checkpoint", "sha256", "bytes")
    return [
        (event.kind, event.trial, {key: value for key, value in event.body.items() if key not in apart})
        for event in events(folder)
        if event.kind in ("asked", "epoch", "decided", "ended")
    ]


def left_after(folder: Path, seconds: float) -> list[int]:
    """The runs of the script that there still are after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := processes(folder, "slow.py --epochs")) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def written(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slow.py").write_text(textwrap.dedent(SCRIPT))


@staged
def undisturbed(folder: Path) -> SimpleNamespace:
    written(folder)
    ended = command.finish(command.launch(*SEARCH, *WORDS, folder=folder), 240)
    return SimpleNamespace(code=ended.code, stderr=ended.stderr, told=by_itself(folder), document=ended.document)


@staged
def killed(folder: Path) -> SimpleNamespace:
    written(folder)
    running, left = command.launch(*SEARCH, *WORDS, folder=folder), []
    for mark in (5, 14):
        command.wait_for(command.record_of(folder), lambda now, mark=mark: count("epoch")(now) >= mark, process=running)
        command.kill(running)
        left.append(left_after(folder, 20))
        running = command.launch("resume", command.NAME, "--json", folder=folder)
    ended = command.finish(running, 240)
    return SimpleNamespace(code=ended.code, stderr=ended.stderr, told=by_itself(folder), left=left, folder=folder)


def test_a_search_of_a_script_ends_well(undisturbed: SimpleNamespace) -> None:
    assert undisturbed.code == 0, undisturbed.stderr
    best = undisturbed.document["best"]
    assert best["command"].startswith("python slow.py --epochs 9 --out chaos-best --lr ")


def test_killed_twice_it_makes_the_same_decisions(undisturbed: SimpleNamespace, killed: SimpleNamespace) -> None:
    assert killed.code == 0, killed.stderr
    assert killed.told == undisturbed.told


def test_no_script_runs_on_after_its_search_was_killed(killed: SimpleNamespace) -> None:
    assert killed.left == [[], []]


def test_its_decisions_follow_from_its_record(killed: SimpleNamespace) -> None:
    replayed = command.finish(command.launch("replay", command.NAME, folder=killed.folder), 60)
    assert replayed.code == 0, replayed.stderr


def test_to_look_at_it_runs_nothing_of_it(killed: SimpleNamespace) -> None:
    trap = killed.folder / "slow.py"
    trap.write_text("import pathlib; pathlib.Path('was run').touch()")
    for verb in (("list",), ("show", command.NAME), ("best", command.NAME, "--json"), ("replay", command.NAME)):
        ended = command.finish(command.launch(*verb, folder=killed.folder), 60)
        assert ended.code == 0, ended.stderr
    assert not (killed.folder / "was run").exists()
