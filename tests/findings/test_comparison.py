"""A grid compared: pairs of equal seed, with intervals, and no claim that seeds cannot carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from search.cli.group import cli
from search.findings import comparison
from search.record.reader import FILE
from search.record.record import Record
from search.record.state import State
from search.record.trial import EpochRow, Trial
from search.record.trials import Trials
from spaces.space import Choice, Space
from spaces.study import Objective, Study, to_plain
from tests.findings.made_up import page, text
from tests.simulated import first_event


def grid(values: Mapping[tuple[Any, int], float], mode: str = "max") -> tuple[Space, Trials]:
    """Trials of one hyperparameter with a final value for each level and seed."""
    levels, seeds = sorted({level for level, _ in values}), sorted({seed for _, seed in values})
    space = Space({"model/norm": Choice(*levels), "train/seed": Choice(*seeds)})
    trials = Trials(Objective("loss", mode))
    for number, ((level, seed), value) in enumerate(values.items()):
        trial = Trial(number, {"model/norm": level, "train/seed": seed}, "sampler", 0.0, state=State.COMPLETE)
        metrics = [{"loss": 0.9}, {"loss": value}]
        trial.epochs = [epoch_row(epoch, each) for epoch, each in enumerate(metrics, start=1)]
        trials._trials[number] = trial
    return space, trials


def epoch_row(epoch: int, metrics: dict[str, float]) -> EpochRow:
    return EpochRow(epoch, metrics, 1.0, None, None, 0, 0.0)


PAIRED = {("a", 0): 0.10, ("a", 1): 0.20, ("a", 2): 0.30, ("b", 0): 0.15, ("b", 1): 0.26, ("b", 2): 0.34}


def test_levels_are_compared_pair_by_pair_with_students_interval() -> None:
    [group] = comparison.compare(*grid(PAIRED))
    first, second = group.levels
    assert (first.n, first.difference) == (3, None)
    assert first.mean == pytest.approx(0.2)
    assert first.deviation == pytest.approx(0.1)
    assert second.difference == pytest.approx(0.05)
    # t(2 degrees of freedom, 97.5 %) = 4.302653, the differences 0.05, 0.06, 0.04 have deviation 0.01.
    assert (second.low, second.high) == pytest.approx((0.05 - 0.0248414, 0.05 + 0.0248414), abs=1e-6)
    assert second.verdict == "better than a"


def test_for_a_loss_more_is_worse() -> None:
    [group] = comparison.compare(*grid(PAIRED, mode="min"))
    assert group.levels[1].verdict == "worse than a"


def test_what_seeds_cannot_show_is_not_claimed() -> None:
    unsure = {**PAIRED, ("b", 0): 0.05}
    [group] = comparison.compare(*grid(unsure))
    assert group.levels[1].verdict == "no difference to a that 3 seeds can show"
    [alone] = comparison.compare(*grid({("a", 0): 0.1, ("b", 0): 0.9}))
    assert (alone.levels[1].low, alone.levels[1].deviation) == (None, None)
    assert alone.levels[1].verdict == "one seed in common with a: may be chance"
    [same] = comparison.compare(*grid({(level, seed): 0.5 for level in "ab" for seed in (0, 1)}))
    assert same.levels[1].verdict == "the same as a with each of 2 seeds"


def test_only_complete_trials_with_the_same_seed_make_a_pair() -> None:
    space, trials = grid({**PAIRED, ("b", 3): 0.9})
    trials[5].state = State.DIVERGED
    [group] = comparison.compare(space, trials)
    assert (group.levels[1].n, group.levels[1].pairs) == (3, 2)


def test_each_combination_of_the_other_choices_is_a_comparison_of_its_own() -> None:
    space = Space({"a/x": Choice(1, 2), "a/y": Choice("p", "q"), "a/z": Choice("only"), "train/seed": Choice(0, 1)})
    trials = Trials(Objective())
    points = [{"a/x": x, "a/y": y, "a/z": "only", "train/seed": s} for x in (1, 2) for y in "pq" for s in (0, 1)]
    for number, point in enumerate(points):
        trials._trials[number] = Trial(number, point, "sampler", 0.0, state=State.COMPLETE)
        trials[number].epochs = [epoch_row(1, {"val_accuracy": float(point["a/x"])})]
    groups = comparison.compare(space, trials)
    assert [(group.name, group.others["a/y" if group.name == "a/x" else "a/x"]) for group in groups] == [
        ("a/x", "p"), ("a/x", "q"), ("a/y", 1), ("a/y", 2),
    ]  # fmt: skip
    assert all(level.n == 2 for group in groups for level in group.levels)


def test_a_grid_is_compared_on_the_page_and_on_the_command_line(tiny_study: Study, tmp_path: Path) -> None:
    definition = to_plain(tiny_study)
    definition["space"] = [
        {"name": "model/norm", "kind": "Choice", "values": ["none", "batch"], "when": {}},
        {"name": "train/seed", "kind": "Choice", "values": [0, 1, 2], "when": {}},
    ]
    folder = tmp_path / "grid"
    folder.mkdir()
    with Record(folder / FILE, create=True) as record:
        kind, trial, body = first_event(tiny_study, name="grid", sampler="grid", scheduler="none", rungs=[], classes=[])
        record.append((kind, trial, {**body, "definition": definition}))
        for number in range(6):
            point = {"model/norm": ("none", "batch")[number % 2], "train/seed": number // 2}
            record.append(("asked", number, {"point": point, "origin": "sampler"}))
            value = 0.5 + 0.2 * (number % 2) + 0.01 * number
            told = {"checkpoint": None, "sha256": None, "seconds": 1.0}
            record.append(("epoch", number, {**told, "epoch": 1, "metrics": {"val_accuracy": value}}))
            record.append(("ended", number, {"state": "complete", "why": ""}))
    told = text(page(folder))
    assert "Controlled comparison" in told
    assert "better than none" in told
    assert "The scheduler stops nobody" in told
    shown = CliRunner().invoke(cli, ["show", "grid", "--runs", str(tmp_path)], catch_exceptions=False).output
    assert "model/norm: final val_accuracy, mean ± standard deviation over seeds" in shown
    assert re.search(r"batch  n=3  0\.7300 ± 0\.0200", shown)
