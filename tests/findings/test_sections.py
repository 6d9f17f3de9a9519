"""What the sections of a report say is what the record holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.decide.search import Search
from search.findings import predictions, report
from search.findings.sections import hyperparameters, limits, machines, mistakes, start_points, stopping
from search.findings.snapshot import Snapshot
from search.record.contents import Contents
from search.record.events import EpochReport
from search.record.state import State
from search.session.winner import measure_winner
from spaces.study import Published, Study
from tests.findings.made_up import begun, left_behind, measured, ours, page, searched, text
from trainables.data import Data, Split


def test_hyperparameters_are_compared_at_the_highest_rung_that_enough_trials_reached(
    tiny_study: Study, tmp_path: Path
) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=40, ends=0.0)
    section = hyperparameters.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    reached = {rung: sum(len(trial.epochs) >= rung for trial in search.trials) for rung in (1, 3, 9)}
    assert reached[3] >= section.needed == 12 > reached[9]
    assert section.compared.epoch == 3
    best = tuple(max(trial.values(tiny_study.objective)[:3]) for trial in section.compared.trials)
    assert section.compared.values == best
    assert f"epoch 3 , which {reached[3]} of 40 reached" in text(page(tmp_path / "s"))


def test_a_hyperparameter_that_only_some_trials_have_is_left_out_and_said_to_be(
    tiny_study: Study, tmp_path: Path
) -> None:
    searched(tmp_path / "s", tiny_study, trials=40, ends=0.0)
    section = hyperparameters.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    assert "train/momentum" not in [each.name for each in section.importances]
    assert "train/momentum" in dict(section.slices)
    assert "train/momentum (when train/optimizer is sgd)" in text(page(tmp_path / "s"))


def test_an_importance_that_mixes_budgets_is_named_where_it_would_say_otherwise(
    tiny_study: Study, tmp_path: Path
) -> None:
    study = replace(tiny_study, start=(), scheduler="none")
    search = begun(tmp_path / "s", study, trials=24)
    for number in range(24):
        # What is after one epoch follows batch norm; who trains on, and so ends higher, the rate.
        high, norm = number % 2 == 0, number % 4 < 2
        point = {**tiny_study.start[0], "train/lr": 0.1 + 0.001 * number if high else 0.001 + 1e-5 * number}
        point["model/batch_norm"] = norm
        search.record.append(("asked", number, {"point": point, "origin": "sampler"}))
        for epoch in range(1, 4 if high else 2):
            value = 0.3 + 0.1 * norm + 0.2 * (epoch - 1)
            told = {"epoch": epoch, "metrics": {"val_accuracy": value}, "seconds": 1.0, "checkpoint": None}
            search.record.append(("epoch", number, {**told, "sha256": None}))
        search.record.append(("ended", number, {"state": "complete" if high else "stopped", "why": ""}))
    section = hyperparameters.build(Snapshot.read(tmp_path / "s"), rung=1)
    assert section is not None
    assert section.importances[0].name == "model/batch_norm"
    assert section.mixed == "train/lr"


def test_a_published_setting_is_no_rival_in_what_mattered(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", replace(tiny_study, start=()), trials=30, ends=0.0)
    own = {**tiny_study.start[0], "train/weight_decay": 0.1, "train/epochs": 1}
    told = {"epoch": 1, "metrics": {"val_accuracy": 0.5}, "seconds": 1.0, "checkpoint": None, "sha256": None}
    search.record.append(
        ("asked", 30, {"point": own, "origin": "published setting 0"}),
        ("epoch", 30, told),
        ("ended", 30, {"state": "complete", "why": ""}),
    )
    section = hyperparameters.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    assert 30 not in [trial.number for trial in section.compared.trials]
    assert section.published == 1
    row = next(row for row in start_points.build(Snapshot.read(tmp_path / "s")).rows if row.trial == 30)
    assert (row.epochs, row.budget) == (1, 1)
    assert "1 trial has settings of its own" in text(page(tmp_path / "s"))


def test_what_stopping_saved_adds_up(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=30)
    section = stopping.build(Snapshot.read(tmp_path / "s"))
    saving = section.saving
    assert saving is not None
    assert saving.whole == 30 * 9
    assert saving.trained + saving.saved + saving.other == saving.whole
    stopped = [trial for trial in search.trials if trial.state is State.STOPPED]
    assert saving.saved == sum(9 - len(trial.epochs) for trial in stopped)
    assert [rung.epoch for rung in section.rungs] == [1, 3]
    for rung in section.rungs:
        assert rung.arrived == sum(len(trial.epochs) >= rung.epoch for trial in search.trials)
        assert rung.on == sum(len(trial.epochs) > rung.epoch for trial in search.trials)


def test_a_published_setting_stands_beside_start_points_and_is_no_rival_at_a_rung(
    tiny_study: Study, tmp_path: Path
) -> None:
    published = Published({**tiny_study.start[0], "train/epochs": 4})
    searched(tmp_path / "s", replace(tiny_study, published=(published,)), trials=6, ends=0.0)
    made = Snapshot.read(tmp_path / "s")
    rows = {row.origin: row for row in start_points.build(made).rows}
    assert set(rows) >= {"published setting 0", "start point 0", "start point 1"}
    assert (rows["published setting 0"].epochs, rows["published setting 0"].budget) == (4, 4)
    assert stopping.build(made).rungs[0].arrived == 5
    section = hyperparameters.build(made)
    assert section is not None
    assert section.published == 1


@pytest.mark.parametrize(
    ("lr", "width", "ends"),
    [(1e-4, 12, ["train/lr"]), (1.7e-4, 4, ["model/width"]), (0.7, 32, ["train/lr", "model/width"]), (0.1, 12, [])],
)
def test_an_edge_is_found_on_the_scale_of_its_range(
    lr: float, width: int, ends: list[str], tiny_study: Study, tmp_path: Path
) -> None:
    start = {**tiny_study.start[1], "train/lr": lr, "model/width": width}
    searched(tmp_path / "s", replace(tiny_study, start=(start,)), trials=1, ends=0.0)
    assert sorted(edge.name for edge in limits.build(Snapshot.read(tmp_path / "s")).edges) == sorted(ends)


def test_the_published_value_stands_beside_ours(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=8, published=0.75)
    left_behind(search, tmp_path / "s", [0, 1] * 50, [0, 1] * 40 + [1, 0] * 10)
    told = text(page(tmp_path / "s"))
    assert (
        "The published setting is said to have a test accuracy of 0.7500 (claimed, not trained here); the winner has "
        "0.8000 here (+0.0500" in told
    )
    assert "holds the published value" in told


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -40])
def test_damaged_predictions_are_said_to_be_and_the_rest_of_the_page_stands(
    cut: int, tiny_study: Study, tmp_path: Path
) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=8)
    left_behind(search, tmp_path / "s", [0, 1] * 20, [0, 1] * 20)
    file = tmp_path / "s" / predictions.FILE
    file.write_bytes(file.read_bytes()[:cut])
    told = text(page(tmp_path / "s"))
    assert "test.npz beside the record is damaged" in told
    assert "test accuracy 1.0000" in told


def test_predictions_that_are_missing_or_of_another_winner_are_not_shown(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=8)
    assert "The test set was not opened for this winner." in text(page(tmp_path / "s"))
    kept = left_behind(search, tmp_path / "s", [0, 1, 1], [0, 1, 0])
    assert "1 of 3 images are taken for something else" in text(page(tmp_path / "s"))
    predictions.write(tmp_path / "s", replace(kept, trial=kept.trial + 1))
    assert "test.npz beside the record is of another winner" in text(page(tmp_path / "s"))
    predictions.write(tmp_path / "s", replace(kept, predicted=kept.labels))
    assert "is not of the measurement that is recorded" in text(page(tmp_path / "s"))
    (tmp_path / "s" / predictions.FILE).unlink()
    assert "There is no test.npz beside the record" in text(page(tmp_path / "s"))


def test_the_confusion_matrix_counts_every_image_once(tiny_study: Study, tmp_path: Path) -> None:
    labels, predicted = [0] * 10 + [1] * 5 + [2] * 3, [0] * 8 + [1] * 2 + [1] * 5 + [0, 1, 2]
    search = searched(tmp_path / "s", tiny_study, trials=8, classes=["x", "y", "z"])
    left_behind(search, tmp_path / "s", labels, predicted)
    confusion = mistakes.build(Snapshot.read(tmp_path / "s")).confusion
    assert confusion is not None
    cells = [[count for count, _ in row.cells] for row in confusion.rows]
    assert cells == [[8, 2, 0], [0, 5, 0], [1, 1, 1]]
    assert [row.share for row in confusion.rows] == [0.8, 1.0, pytest.approx(1 / 3)]
    assert confusion.wrong == 4


def test_of_many_classes_the_most_confused_pairs_are_shown(tiny_study: Study, tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(25)]
    labels = [i % 25 for i in range(500)]
    predicted = [7 if label == 3 else label for label in labels]
    search = searched(tmp_path / "s", tiny_study, trials=8, classes=classes)
    left_behind(search, tmp_path / "s", labels, predicted)
    told = text(page(tmp_path / "s"))
    assert "true taken for images class 3 class 7 20 class right" in told
    assert "Of 25 classes the pairs that are most often confused" in told


def test_a_picture_is_the_image_that_was_measured(tmp_path: Path) -> None:
    import io

    from PIL import Image

    for channels, kind in ((1, "L"), (3, "RGB")):
        image = np.random.default_rng(0).integers(0, 255, (channels, 5, 7)).astype(np.uint8)
        read = Image.open(io.BytesIO(mistakes.png(image)))
        assert (read.mode, read.size) == (kind, (7, 5))
        assert np.array_equal(np.asarray(read).reshape(5, 7, channels), image.transpose(1, 2, 0))


def plane() -> Data:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(90, 2, 1, 1, generator=generator), torch.arange(90) % 3
    return Data(Split(images[:60], labels[:60]), Split(images[60:], labels[60:]), ("p", "q", "r"), (0, 0), (1, 1))


def test_the_decisions_of_a_winner_over_the_plane_are_drawn(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plane()
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, data, [])
    without = page(tmp_path / "s")
    assert 'id="regions"' not in without
    measure_winner(search, trial, source, folder, ours(trial, folder))
    told = text(page(tmp_path / "s"))
    assert "Decision regions" in told
    assert "and test points in the colour of their own" in told
    told = text(report.write(tmp_path / "s", data=data).read_text())
    assert "and training and validation points in the colour of their own" in told


def test_the_data_come_before_all_else_as_the_record_keeps_them(tiny_study: Study, tmp_path: Path) -> None:
    contents = Contents.of(
        {"train": {"ant": 60, "bee": 20}, "test": {"ant": 5}},
        {f"{width}×9": 81 - width for width in range(1, 61)},
        {"JPEG": 80, "PNG": 5},
        [["train/ant/no.jpg", "it is text"]],
        ["2 of 5 pictures of test are in train too"],
    )
    notes = [*contents.warnings, "3 pictures turned upright"]
    searched(tmp_path / "s", tiny_study, trials=8, classes=["ant", "bee"], contents=contents.to_plain(), notes=notes)
    markup = page(tmp_path / "s")
    assert re.findall(r'<section id="([^"]+)"', markup)[0] == "data"
    told = text(markup)
    for words in (
        "train 80 pictures, 16 of them held out to validate test 5 pictures classes 2",
        "2 of 5 pictures of test are in train too 3 pictures turned upright",
        "10×9 (71) and 50 others",
        "kinds: JPEG (80), PNG (5)",
        "train/ant/no.jpg it is text",
        "class train test ant 60 5 bee 20 0",
    ):
        assert words in told
    assert told.count("2 of 5 pictures of test") == 1


def test_of_many_classes_the_largest_and_the_smallest_are_named(tiny_study: Study, tmp_path: Path) -> None:
    counts = {f"class {number:02}": 100 + number for number in range(50)}
    contents = Contents.of({"train": counts}, {}, {}, [], [])
    searched(tmp_path / "s", tiny_study, trials=8, classes=[*counts], contents=contents.to_plain())
    told = text(page(tmp_path / "s"))
    assert "class 49 149" in told
    assert "class 00 100" in told
    assert "class 25" not in told
    assert "Of 50 classes those with the most and the fewest training pictures." in told


def test_of_known_sets_and_older_records_the_parts_are_told(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=8)
    told = text(page(tmp_path / "s"))
    assert "The data digits made up train 80 pictures, 16 of them held out to validate classes 2" in told


def trained_on(search: Search, number: int, node: str, epochs: int, busy: Mapping[str, float] | None) -> None:
    """Trial `number` of `search`, by a worker of its own on `node`, whose machine was so `busy`."""
    search.record.append(("asked", number, {"point": dict(search.study.start[0]), "origin": "sampler"}))
    for epoch in range(1, epochs + 1):
        report = EpochReport(
            epoch, {"val_accuracy": 0.5}, 1.0, node=node, pid=number + 1, began=1000.0, gpus=None, system=busy
        )
        search.record.append(report.entry(number))


def test_the_report_shows_how_busy_each_node_and_worker_was(tiny_study: Study, tmp_path: Path) -> None:
    search = begun(tmp_path / "s", tiny_study, trials=4)
    trained_on(search, 0, "<b>one</b>", 3, {"cpu_utilization_percentage": 97.0, "gpu_1_utilization_percentage": 50.0})
    trained_on(search, 1, "two", 2, {"cpu_utilization_percentage": 12.0, "system_memory_usage_megabytes": 4.0})
    section = machines.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    drawn = {figure.what: figure.lines for figure in section.figures}
    assert set(drawn) == {"processor", "GPU"}
    assert {name: {value for _, value in points} for name, points in drawn["processor"].items()} == {
        "<b>one</b>": {97.0}, "two": {12.0},
    }  # fmt: skip
    assert list(drawn["GPU"]) == ["<b>one</b>, GPU 1"]
    assert [(each.node, each.trials, each.epochs) for each in section.workers] == [("<b>one</b>", 1, 3), ("two", 1, 2)]
    assert "<b>one" not in page(tmp_path / "s")


def test_of_many_nodes_the_mean_is_drawn_and_every_worker_is_listed(tiny_study: Study, tmp_path: Path) -> None:
    search = begun(tmp_path / "s", tiny_study, trials=9)
    for number in range(9):
        trained_on(search, number, f"node {number}", 1, {"cpu_utilization_percentage": 10.0 * number})
    section = machines.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    [(name, points)] = section.figures[0].lines.items()
    assert name == "mean of 9"
    assert sum(value for _, value in points) / len(points) == pytest.approx(40, abs=20)
    assert len(section.workers) == 9


def test_of_workers_without_number_the_first_are_listed_and_the_others_counted(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "MOST_WORKERS", 3)
    search = begun(tmp_path / "s", tiny_study, trials=12)
    for number in range(12):
        trained_on(search, number, "one", 1, None)
    section = machines.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    assert ([each.pid for each in section.workers], section.more) == ([1, 2, 3], 9)
    assert "9 more workers began later and are not listed" in text(page(tmp_path / "s"))


def test_a_search_whose_epochs_were_too_short_to_look_says_so(tiny_study: Study, tmp_path: Path) -> None:
    search = begun(tmp_path / "s", tiny_study, trials=4)
    trained_on(search, 0, "one", 2, None)
    assert "No epoch lasted a second" in page(tmp_path / "s")
