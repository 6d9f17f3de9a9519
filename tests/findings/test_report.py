"""The report says what the record does, also of a search that came to little, and needs nothing but itself."""

from __future__ import annotations

import errno
import html
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from search.cli.group import cli
from search.decide.search import Search
from search.errors import EnvironmentFault, StorageFull
from search.findings import comparison, importance, intervals, predictions, report
from search.findings.figures import course
from search.findings.figures.axes import window
from search.findings.predictions import Predictions
from search.findings.sections import hyperparameters, limits, mistakes, start_points, stopping
from search.findings.snapshot import Snapshot
from search.findings.summary import summarize
from search.record.events import EpochReport, Finished, WinnerTested
from search.record.record import FILE, Record, read
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import Trials
from search.session.winner import measure_winner
from search.storage import checkpoints
from search.tracking import tracker
from spaces.space import Choice, Float, Int, Space
from spaces.study import Objective, Published, Study, to_plain
from tests.simulated import Curves, first_event, searching, work
from trainables.classifier import Architecture
from trainables.data import Data, Split
from trainables.datasets import Source
from trainables.training import evaluate, examined

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert('1')</script>\"&$x^2$"


def begun(folder: Path, study: Study, **changes: Any) -> Search:
    """A search with a record in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(folder / FILE, create=True)
    told = {"name": folder.name, "rungs": [1, 3], "classes": ["a", "b"], "shape": [1, 8, 8], **changes}
    return searching(study, record, record.append(first_event(study, **told)))


def searched(folder: Path, study: Study, *, ends: float = 0.06, seed: int = 0, **changes: Any) -> Search:
    """A finished search with made-up curves."""
    search = begun(folder, study, **changes)
    work(search, Curves(seed, ends), workers=2)
    search.note(Finished("done", "", 12.0))
    return search


def left_behind(search: Search, folder: Path, labels: Sequence[int], predicted: Sequence[int]) -> Predictions:
    """What measuring the winner leaves behind, with images of noise."""
    best = search.trials.best()
    assert best is not None
    row = best.best_epoch(search.study.objective)
    images = torch.randint(0, 255, (len(labels), 1, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.tensor(labels))
    kept = predictions.chosen(
        best.number, row.number, split, torch.tensor(predicted), torch.linspace(0.5, 1, len(labels))
    )
    predictions.write(folder, kept)
    search.note(WinnerTested(best.number, row.number, kept.accuracy, 0.1, len(labels)), best.number)
    return kept


def page(folder: Path) -> str:
    return report.write(folder).read_text()


def text(markup: str) -> str:
    """What one reads: no tags, no styles."""
    bare = re.sub(r"<style.*?</style>|<[^>]*>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


class Ids(HTMLParser):
    """Every id, every reference to one, and every tag that is open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        for name, value in attributes:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "srcset", "data", "action"):
                self.loaded.append(value)
            self.references |= set(re.findall(r"(?:^|url\()#([^)]+)", value))
            self.loaded += re.findall(r"url\(([^)]*)\)", value)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(markup: str) -> Ids:
    found = Ids()
    found.feed(markup)
    assert not found.open
    return found


# The page as a whole


def test_the_page_says_who_won_and_how_sure_that_is(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=20)
    left_behind(search, tmp_path / "s", [0, 1] * 100, [0, 1] * 95 + [1, 0] * 5)
    best = summarize(tmp_path / "s")["best"]
    told = text(page(tmp_path / "s"))
    assert f"validation accuracy {best['val_accuracy']:.4f} trial {best['trial']}, epoch {best['epoch']}" in told
    low, high = intervals.share_interval(190, 200)
    assert f"test accuracy 0.9500 {low:.4f} … {high:.4f} (95 %, Wilson), 200 images" in told
    assert "STAND-IN" not in told
    assert "OPENED" not in told


def test_every_section_is_there_in_its_order(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=20)
    assert re.findall(r'<section id="([^"]+)"', page(tmp_path / "s")) == [
        "winner", "course", "hyperparameters", "start-points", "test-set", "stopping", "limits", "again",
    ]  # fmt: skip


def test_the_page_of_64_trials_is_one_small_file_that_loads_nothing(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=64)
    left_behind(search, tmp_path / "s", [0, 1] * 500, [0, 1, 1, 0] * 250)
    markup = page(tmp_path / "s")
    found = parsed(markup)
    assert len(markup.encode()) < 1_500_000
    assert {"svg", "img"} <= found.tags
    assert not found.tags & {"script", "link", "iframe", "object"}
    assert all(each.startswith(("#", "data:image/png;base64,")) for each in found.loaded), found.loaded
    assert not re.search(r"(?:src|href|url\()[^>]{0,3}https?:|@import|//fonts", markup)


def test_no_id_comes_twice_and_every_reference_has_one(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=30)
    found = parsed(page(tmp_path / "s"))
    assert len(found.ids) == len(set(found.ids))
    assert found.references
    assert found.references <= set(found.ids)


def test_all_colours_of_a_figure_are_the_pages(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=30)
    drawn = "".join(re.findall(r"<svg.*?</svg>", page(tmp_path / "s"), re.DOTALL))
    assert "currentColor" in drawn
    assert "var(--c1)" in drawn
    assert not re.search(r"(?:fill|stroke): #", drawn)


def test_whatever_is_written_in_a_record_is_shown_and_never_run(tiny_study: Study, tmp_path: Path) -> None:
    space = {**tiny_study.space, "model/activation": Choice(HOSTILE, "b")}
    study = replace(tiny_study, space=space, start=(), name=HOSTILE)
    how = {"about": HOSTILE, "command": HOSTILE, "dataset": HOSTILE, "where": HOSTILE, "classes": [HOSTILE, "b"]}
    search = begun(tmp_path / "s", study, trials=20, stand_in=True, **how)
    work(search, Curves(0, ends=0.0))
    search.end(search.trials[0].number, State.FAILED, HOSTILE)
    left_behind(search, tmp_path / "s", [0, 1, 1, 0], [0, 1, 0, 1])
    search.note(Finished("failed", HOSTILE, 1.0))
    markup = page(tmp_path / "s")
    assert "script" not in parsed(markup).tags
    assert "<script" not in markup
    assert text(markup).count(HOSTILE) > 5


def test_a_stand_in_and_a_second_look_at_the_test_set_are_said_aloud(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=8, stand_in=True)
    for _ in range(2):
        left_behind(search, tmp_path / "s", [0, 1], [0, 1])
    told = text(page(tmp_path / "s"))
    assert "STAND-IN DATA: digits could not be had" in told
    assert "THE TEST SET WAS OPENED 2 TIMES" in told


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 8])
def test_a_search_of_any_age_has_a_report(steps: int, tiny_study: Study, tmp_path: Path) -> None:
    search = begun(tmp_path / "s", tiny_study)
    work(search, Curves(0), steps=steps)
    told = text(page(tmp_path / "s"))
    assert "The search is interrupted" in told
    assert ("No epoch has been trained yet." in told) == (steps < 2)


def test_a_search_without_any_finite_value_has_a_report(tiny_study: Study, tmp_path: Path) -> None:
    search = begun(tmp_path / "s", tiny_study, trials=3)
    while (trial := search.ask()) is not None:
        search.report(trial.number, EpochReport(1, {"val_accuracy": math.nan}, 1.0))
    search.note(Finished("failed", "none of 3 trials has a result", 1.0))
    told = text(page(tmp_path / "s"))
    assert "no trial has a finite value" in told
    assert "Only 0 trials reached epoch 1" in told
    assert "There is no winner to compare." in told
    assert "diverged 3 100 %" in told


def test_a_report_is_whole_or_not_there(tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(tmp_path / "s", tiny_study, trials=4)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageFull, match="no space for the report"):
        report.write(tmp_path / "s")
    assert not list((tmp_path / "s").glob("*report*"))
    assert not list((tmp_path / "s").glob(".*"))


def test_the_command_prints_the_path_and_writes_where_it_is_told(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=4)
    run = CliRunner().invoke(cli, ["report", "s", "--runs", str(tmp_path)])
    assert run.output == f"{tmp_path}/s/report.html\n"
    assert summarize(tmp_path / "s")["report"] == str((tmp_path / "s" / "report.html").resolve())
    other = tmp_path / "other.html"
    assert CliRunner().invoke(cli, ["report", "s", "--runs", str(tmp_path), "-o", str(other)]).output == f"{other}\n"
    assert other.read_text() == (tmp_path / "s" / "report.html").read_text()
    lost = CliRunner().invoke(cli, ["report", "s", "--runs", str(tmp_path), "-o", str(tmp_path / "no" / "x.html")])
    assert isinstance(lost.exception, EnvironmentFault)


def test_a_search_without_report_says_so_in_its_document(tiny_study: Study, tmp_path: Path) -> None:
    searched(tmp_path / "s", tiny_study, trials=4)
    assert summarize(tmp_path / "s")["report"] is None


# Its parts


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert intervals.share_interval(right, count) == pytest.approx((low, high), abs=5e-5)


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


def test_what_mattered_is_found_and_what_did_not_is_not() -> None:
    space = Space({"train/lr": Float(1e-3, 1, log=True), "train/shift": Int(0, 8), "train/flip": Choice(True, False)})
    rows = [
        {"train/lr": 10 ** (-(i * 7 % 30) / 10), "train/shift": i % 9, "train/flip": bool(i % 2)} for i in range(30)
    ]
    values = [math.log10(row["train/lr"]) for row in rows]
    found = importance.importances(space, rows, values, seed=0)
    assert next(iter(found)) == "train/lr"
    assert found["train/lr"] > 0.9
    assert sum(found.values()) == pytest.approx(1)
    assert found == importance.importances(space, rows, values, seed=0)


def test_a_hyperparameter_that_only_some_trials_have_is_left_out_and_said_to_be(
    tiny_study: Study, tmp_path: Path
) -> None:
    searched(tmp_path / "s", tiny_study, trials=40, ends=0.0)
    section = hyperparameters.build(Snapshot.read(tmp_path / "s"))
    assert section is not None
    assert "train/momentum" not in dict(section.importances)
    assert "train/momentum" in dict(section.slices)
    assert "train/momentum (when train/optimizer is sgd)" in text(page(tmp_path / "s"))


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


# What the test set left behind


def test_mistakes_come_first_and_the_most_confident_first_of_all() -> None:
    labels = torch.tensor([0, 1] * 50)
    predicted = labels.clone()
    predicted[[3, 10, 50]] = 1 - predicted[[3, 10, 50]]
    sure = torch.full((100,), 0.9)
    sure[[3, 10, 50]] = torch.tensor([0.6, 0.99, 0.8])
    kept = predictions.chosen(1, 2, Split(torch.zeros(100, 1, 4, 4, dtype=torch.uint8), labels), predicted, sure)
    assert kept.shown[:3].tolist() == [10, 50, 3]
    assert len(kept.shown) == len(set(kept.shown.tolist())) <= predictions.MOST
    assert len(kept.shown) > 30
    assert len(kept.images) == len(kept.shown)


def test_among_many_mistakes_some_right_answers_are_kept() -> None:
    labels = torch.zeros(200, dtype=torch.int64)
    predicted = (torch.arange(200) % 2).long()
    kept = predictions.chosen(
        1, 2, Split(torch.zeros(200, 1, 4, 4, dtype=torch.uint8), labels), predicted, torch.rand(200)
    )
    right = [labels[index] == predicted[index] for index in kept.shown]
    assert len(kept.shown) == predictions.MOST
    assert sum(map(bool, right)) == predictions.RIGHT
    assert not any(right[: -predictions.RIGHT])


def test_all_points_of_the_plane_are_kept() -> None:
    split = Split(torch.rand(500, 2, 1, 1), torch.zeros(500, dtype=torch.int64))
    kept = predictions.chosen(0, 1, split, torch.zeros(500, dtype=torch.int64), torch.rand(500))
    assert kept.images.shape == (500, 2, 1, 1)
    assert kept.images.dtype == np.float32


def test_examples_come_back_as_they_were_written(tmp_path: Path) -> None:
    split = Split(torch.randint(0, 255, (60, 3, 5, 4), dtype=torch.uint8), torch.arange(60) % 7)
    kept = predictions.chosen(4, 2, split, torch.arange(60) % 5, torch.rand(60))
    predictions.write(tmp_path, kept)
    again = predictions.read(tmp_path)
    assert again is not None
    for name in Predictions.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(kept, name)), name
    assert [file.name for file in tmp_path.iterdir()] == [predictions.FILE]


def test_a_full_disk_leaves_no_half_written_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    split = Split(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(StorageFull, match=r"bytes free, some \d+ needed"):
        predictions.write(tmp_path, predictions.chosen(0, 1, split, split.labels, torch.ones(3)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -40])
def test_damaged_examples_are_said_to_be_and_the_rest_of_the_page_stands(
    cut: int, tiny_study: Study, tmp_path: Path
) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=8)
    left_behind(search, tmp_path / "s", [0, 1] * 20, [0, 1] * 20)
    file = tmp_path / "s" / predictions.FILE
    file.write_bytes(file.read_bytes()[:cut])
    told = text(page(tmp_path / "s"))
    assert "test.npz beside the record is damaged" in told
    assert "test accuracy 1.0000" in told


def test_examples_that_are_missing_or_of_another_winner_are_not_shown(tiny_study: Study, tmp_path: Path) -> None:
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


def classifier(folder: Path, data: Data) -> Callable[[Path], None]:
    architecture = Architecture("mlp", data.shape, data.classes, {"width": 8, "depth": 1})
    model = architecture.build(list(data.mean), list(data.std))
    return lambda into: architecture.save(into, model)


def test_looking_at_each_image_changes_no_number(tiny_data: Data) -> None:
    model = Architecture("mlp", tiny_data.shape, tiny_data.classes, {"width": 8, "depth": 1}).build(
        list(tiny_data.mean), list(tiny_data.std)
    )
    metrics, predicted, sure = examined(model, tiny_data.train)
    assert metrics == evaluate(model, tiny_data.train)
    assert (predicted == tiny_data.train.labels).double().mean().item() == metrics["val_accuracy"]
    assert len(sure) == len(tiny_data.train)
    assert bool(((sure > 0.25) & (sure <= 1)).all())


def measured(folder: Path, study: Study, data: Data, opened: list[int]) -> tuple[Search, Trial, Source, Path]:
    """A search of one trial, whose one epoch has a checkpoint, and a source that counts how often it is opened."""

    def test() -> tuple[torch.Tensor, torch.Tensor]:
        opened.append(1)
        return data.train.images, data.train.labels

    source = Source("made up", "here", data.classes, lambda: (data.train.images, data.train.labels), test)
    search = begun(folder, study, trials=1, classes=list(data.classes), shape=list(data.shape))
    trial = search.ask()
    assert trial is not None
    (folder / "checkpoints").mkdir()
    written = checkpoints.shelf(folder).write(0, 1, classifier(folder, data))
    search.report(0, EpochReport(1, {"val_accuracy": 0.5}, 1.0, checkpoint=written.name, sha256=written.sha256))
    return search, trial, source, folder


def test_measuring_the_winner_leaves_its_answers_behind_from_one_opening(
    tiny_study: Study, tiny_data: Data, tmp_path: Path
) -> None:
    opened: list[int] = []
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, tiny_data, opened)
    accuracy = measure_winner(search, trial, source, folder)
    assert measure_winner(search, trial, source, folder) == accuracy
    kept = predictions.read(tmp_path / "s")
    assert kept is not None
    assert (kept.trial, kept.epoch, kept.accuracy) == (0, 1, accuracy)
    assert kept.labels.tolist() == tiny_data.train.labels.tolist()
    page(tmp_path / "s")
    assert len(opened) == 1


def test_a_full_disk_while_measuring_leaves_the_test_set_unmeasured(
    tiny_study: Study, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, tiny_data, [])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(StorageFull):
        measure_winner(search, trial, source, folder)
    assert not trial.tested


# Points in the plane


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
    measure_winner(search, trial, source, folder)
    told = text(page(tmp_path / "s"))
    assert "Decision regions" in told
    assert "and test points in the colour of their own" in told
    told = text(report.write(tmp_path / "s", data=data).read_text())
    assert "and training and validation points in the colour of their own" in told


# The controlled comparison


def grid(values: Mapping[tuple[Any, int], float], mode: str = "max") -> tuple[Space, Trials]:
    """Trials of one hyperparameter with a final value for each level and seed."""
    levels, seeds = sorted({level for level, _ in values}), sorted({seed for _, seed in values})
    space = Space({"model/norm": Choice(*levels), "train/seed": Choice(*seeds)})
    trials = Trials(Objective("loss", mode))
    for number, ((level, seed), value) in enumerate(values.items()):
        trial = Trial(number, {"model/norm": level, "train/seed": seed}, "sampler", 0.0, state=State.COMPLETE)
        metrics = [{"loss": 0.9}, {"loss": value}]
        trial.epochs = [report_row(epoch, each) for epoch, each in enumerate(metrics, start=1)]
        trials._trials[number] = trial
    return space, trials


def report_row(epoch: int, metrics: dict[str, float]) -> Any:
    from search.record.trial import EpochRow

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
        trials[number].epochs = [report_row(1, {"val_accuracy": float(point["a/x"])})]
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


# Figures


@pytest.mark.parametrize("mode", ["max", "min"])
def test_one_hopeless_value_does_not_flatten_all_others(mode: str) -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.1]
    low, high = window([v if mode == "max" else -v for v in values], mode)
    low, high = (low, high) if mode == "max" else (-high, -low)
    assert 0.7 < low < 0.9
    assert 0.95 < high < 1


def test_a_figure_is_the_same_every_time() -> None:
    points = [course.Point(number, 0.5 + number / 100, "complete") for number in range(5)]
    drawn = {course.history(points, [(0, 0.5)], "value", "max") for _ in range(2)}
    assert len(drawn) == 1


# MLflow


def test_a_store_that_does_not_take_the_report_is_told_in_one_line_and_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    class Client:
        def log_artifact(self, run: str, path: str) -> None:
            raise ConnectionError("refused\nagain")

    class Silent:
        def log_artifact(self, run: str, path: str) -> None:
            held.wait(20)

    held, began = threading.Event(), time.monotonic()
    monkeypatch.setattr(tracker, "connect", lambda uri: Client())
    assert tracker.log_report("http://x", "run", tmp_path, 5.0) == "refused again"
    monkeypatch.setattr(tracker, "connect", lambda uri: Silent())
    assert tracker.log_report("http://x", "run", tmp_path, 0.1) == "no answer in 0 s"
    assert time.monotonic() - began < 3
    held.set()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_a_search_ends_with_its_report_on_disk_and_in_mlflow(tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "search", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done

    done = run("digits_cnn", "--trials", "4", "--name", "s", "--json")
    document = json.loads(done.stdout)
    file = tmp_path / "runs" / "s" / "report.html"
    assert document["report"] == str(file)
    markup = file.read_text()
    assert f"{document['best']['test_accuracy']:.4f}" in text(markup)
    assert 'class="confusion"' in markup
    assert "data:image/png" in markup
    assert "report" not in done.stderr

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    logged = client.download_artifacts(document["mlflow"]["parent_run_id"], "report.html", str(tmp_path))
    assert Path(logged).read_text() == markup
    before = len(list(read(tmp_path / "runs" / "s" / FILE)))
    run("report", "s")
    assert len(list(read(tmp_path / "runs" / "s" / FILE))) == before
    Path(logged).unlink()
    run("sync", "s")
    files = [each.path for each in client.list_artifacts(document["mlflow"]["parent_run_id"])]
    assert files.count("report.html") == 1
