"""Spaces as people write them, constraints and weighted objectives, in all that is shown of a search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.findings import report
from search.findings.importance import importances
from search.findings.optuna_export import write_study
from search.findings.sections import tradeoffs
from search.findings.snapshot import Snapshot
from search.findings.tables import curve_table, trial_table
from search.record.events import EpochReport, Finished
from search.session.warm_start import mapped_onto
from spaces.ranges import Choice, Float, Int
from spaces.study import Objective, Study
from spaces.values import identity
from tests.findings.made_up import begun, searched

SPACE = {
    "train/lr": Float(1e-3, 1.0, log=True),
    "widths": Choice((64, 128), [64, 128], None),
    "model.batch": Int(32, 128, step=32),
    "optim/adam/hidden": Int(8, "model.batch"),
    "optim/sgd/hidden": Float(0, 1, step=0.25, when={"widths": {None, (64, 128)}}),
}


@pytest.fixture
def written(tiny_study: Study) -> Study:
    """A study as people write one."""
    return replace(tiny_study, space=SPACE, fixed={"shape": (3, [4])}, start=())


def test_a_search_in_a_space_as_people_write_it_can_be_looked_at_in_every_way(written: Study, tmp_path: Path) -> None:
    told = {name: str(range_) for name, range_ in SPACE.items()}
    search = searched(tmp_path / "s", written, trials=40, ends=0.0, space=told)
    snapshot = Snapshot.read(tmp_path / "s")
    assert snapshot.space == search.study.space
    for trial, known in zip(snapshot.trials, search.trials, strict=True):
        assert {name: identity(v) for name, v in trial.point.items()} == {
            name: identity(v) for name, v in known.point.items()
        }
    assert repr(snapshot.header.fixed) == "{'shape': (3, [4])}"
    assert "adam/hidden" in report.page(snapshot)
    write_study(tmp_path / "optuna.db", snapshot.events, running=False)
    assert len(optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/optuna.db").trials) == 40
    columns, rows = trial_table(snapshot)
    assert set(columns) >= set(SPACE)
    assert len(rows) == 40
    json.dumps(rows)


def test_importance_counts_lists_and_none_as_values(written: Study) -> None:
    points = [
        {"widths": widths, "model.batch": batch, "optim/adam/hidden": batch - 1, "train/lr": 0.1}
        for widths in ((64, 128), [64, 128], None)
        for batch in (32, 64, 96, 128)
    ]
    values = [1.0 if point["widths"] is None else 0.0 for point in points]
    shares = importances(written.ranges, points, values, seed=0)
    assert next(iter(shares)) == "widths"
    assert set(shares) == {"widths", "model.batch", "optim/adam/hidden"}


def test_a_warm_start_maps_values_of_every_kind(written: Study) -> None:
    config = {"train/lr": 0.1, "widths": None, "model.batch": 70, "optim/adam/hidden": 100, "optim/sgd/hidden": 0.3}
    mapped = mapped_onto(written.ranges, config, {}, searched=set(config))
    assert mapped.point == {**config, "model.batch": 64, "optim/adam/hidden": 64, "optim/sgd/hidden": 0.25}
    assert mapped.changed["optim/adam/hidden"] == (100, 64)
    lists = mapped_onto(written.ranges, {**config, "widths": [64, 128]}, {}, searched=set())
    assert identity(lists.point["widths"]) == identity([64, 128])
    missing = mapped_onto(written.ranges, {"widths": [7]}, {}, searched=set())
    assert missing.point["widths"] == (64, 128)
    assert "widths" in missing.filled
    written.ranges.check_point(missing.point)


def told(folder: Path, study: Study, *epochs: Mapping[str, float]) -> Snapshot:
    """A search with a trial of one epoch for each of `epochs`."""
    search = begun(folder, replace(study, epochs=1), trials=len(epochs))
    for metrics in epochs:
        trial = search.ask()
        assert trial is not None
        search.report(trial.number, EpochReport(1, metrics, 1.0))
    search.note(Finished("done", "", 1.0))
    return Snapshot.read(folder)


def test_a_study_without_constraint_or_weights_has_no_tradeoffs(tiny_study: Study, tmp_path: Path) -> None:
    assert tradeoffs.build(told(tmp_path / "s", tiny_study, {"val_accuracy": 0.5})) is None


def test_the_pareto_front_of_a_constraint_has_what_no_other_trial_beats(tiny_study: Study, tmp_path: Path) -> None:
    pairs = [(0.9, 90), (0.8, 10), (0.7, 50), (0.8, 20), (0.95, 200)]
    epochs = [{"val_accuracy": value, "parameters": float(size)} for value, size in pairs]
    snapshot = told(tmp_path / "s", replace(tiny_study, constraint={"parameters": "<= 100"}), *epochs)
    section = tradeoffs.build(snapshot)
    assert section is not None
    assert section.metrics == [("val_accuracy", "max"), ("parameters", "min")]
    assert [(row.trial, *row.values) for row in section.rows] == [(0, 0.9, 90.0), (1, 0.8, 10.0)]
    assert [row.winner for row in section.rows] == [True, False]
    assert (section.front, section.compared, section.infeasible) == (2, 4, 1)
    page = report.page(snapshot)
    assert "parameters &lt;= 100. 1 did not" in page
    assert "Pareto front: 2 of 4 trials" in page


def test_the_pareto_front_of_a_weighted_objective_is_over_what_is_weighed(tiny_study: Study, tmp_path: Path) -> None:
    objective = Objective("score", "max", {"val_accuracy": 1, "latency": -0.01})
    pairs = [(0.9, 30.0), (0.8, 1.0), (0.7, 2.0)]
    epochs = [{"val_accuracy": value, "latency": latency} for value, latency in pairs]
    section = tradeoffs.build(told(tmp_path / "s", replace(tiny_study, objective=objective), *epochs))
    assert section is not None
    assert section.metrics == [("latency", "min"), ("val_accuracy", "max")]
    assert [(row.trial, row.winner) for row in section.rows] == [(1, True), (0, False)]


def test_metrics_called_epoch_or_seconds_do_not_take_the_columns_of_curves(tiny_study: Study, tmp_path: Path) -> None:
    metrics: dict[str, Any] = {"val_accuracy": 0.5, "epoch": 7.0, "seconds": 8.0, "mAP50-95(B)": 0.1}
    columns, (row,) = curve_table(told(tmp_path / "s", tiny_study, metrics))
    assert columns == ["trial", "epoch", "seconds", "metrics/epoch", "mAP50-95(B)", "metrics/seconds", "val_accuracy"]
    assert (row["epoch"], row["seconds"]) == (1, 1.0)
    assert (row["metrics/epoch"], row["metrics/seconds"], row["mAP50-95(B)"]) == (7.0, 8.0, 0.1)
