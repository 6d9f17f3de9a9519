"""The winner's mistakes one by one: named, the surest first, on the page, in a file and in what is exported."""

from __future__ import annotations

import base64
import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.decide.search import Search
from search.errors import EnvironmentFault
from search.findings import mistaken, predictions
from search.findings.export import export_search
from search.findings.figures.confusion import cells, order
from search.findings.snapshot import Snapshot
from search.session.winner import measure_winner
from spaces.study import Study
from tests.findings.made_up import left_behind, measured, ours, page, searched, text
from tests.findings.test_report import parsed
from trainables.data import Data, Split

NAMES = [f"test/ant/{number} <b>.jpg" for number in range(8)]


def looked_at(folder: Path, study: Study, *, files: bool = True) -> Search:
    """A finished search of 8 test pictures, 3 of them mistaken, and of 16 validation pictures, of which one is."""
    search = searched(folder, study, trials=8, classes=["ant", "bee"])
    kept = left_behind(search, folder, [0] * 8, [0, 1, 0, 1, 0, 0, 1, 0])
    if files:
        predictions.write(folder, replace(kept, files=NAMES))
    split = Split(torch.zeros(16, 1, 8, 8, dtype=torch.uint8), torch.ones(16, dtype=torch.int64))
    taken = torch.tensor([0] + [1] * 15)
    names = [f"train/bee/{number}.jpg" for number in range(16)] if files else []
    of_val = predictions.chosen(kept.trial, kept.epoch, split, taken, torch.full((16,), 0.99), names)
    predictions.write(folder, of_val, predictions.OF_VAL)
    return search


def test_mistakes_of_both_parts_stand_in_one_list_the_surest_first(tiny_study: Study, tmp_path: Path) -> None:
    looked_at(tmp_path / "s", tiny_study)
    found = mistaken.mistaken(Snapshot.read(tmp_path / "s"))
    assert found is not None
    assert [(each.file, each.part, each.said, each.labelled) for each in found] == [
        ("train/bee/0.jpg", "val", "ant", "bee"),
        (NAMES[6], "test", "bee", "ant"),
        (NAMES[3], "test", "bee", "ant"),
        (NAMES[1], "test", "bee", "ant"),
    ]
    assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)


def test_the_page_names_the_files_and_carries_them_as_a_file(tiny_study: Study, tmp_path: Path) -> None:
    looked_at(tmp_path / "s", tiny_study)
    markup = page(tmp_path / "s")
    told = text(markup)
    assert "the first of 4 mistakes on the test set and the validation part" in told
    assert "train/bee/0.jpg val bee ant 0.990" in told
    assert "<b>.jpg" not in markup.replace("&lt;b&gt;", "")
    parsed(markup)
    carried = re.search(r'download="mistakes.csv" href="data:text/csv;base64,([^"]+)"', markup)
    assert carried is not None
    rows = list(csv.DictReader(base64.b64decode(carried[1]).decode().splitlines()))
    assert [row["file"] for row in rows] == ["train/bee/0.jpg", NAMES[6], NAMES[3], NAMES[1]]
    assert list(rows[0]) == ["file", "part", "index", "said", "labelled", "probability"]


def test_pictures_of_arrays_are_named_by_their_index(tiny_study: Study, tmp_path: Path) -> None:
    looked_at(tmp_path / "s", tiny_study, files=False)
    told = text(page(tmp_path / "s"))
    assert "image 6 test ant bee" in told
    assert "image 0 val bee ant 0.990" in told


def test_export_writes_them_all_and_nothing_where_nothing_was_kept(
    tiny_study: Study, tiny_data: Data, tmp_path: Path
) -> None:
    search, trial, source, folder = measured(tmp_path / "s", tiny_study, tiny_data, [])
    export_search(folder, tmp_path / "bare")
    assert not (tmp_path / "bare" / "mistakes.csv").exists()
    named = replace(source, file_names=lambda part: [f"{part}/{number}" for number in range(len(tiny_data.train))])
    accuracy = measure_winner(search, trial, named, folder, ours(trial, folder))
    assert accuracy is not None
    export_search(folder, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "mistakes.csv").read_text().splitlines()))
    assert len(rows) == round((1 - accuracy) * len(tiny_data.train)) > 0
    assert all(row["file"] == f"test/{row['index']}" for row in rows)


def test_validation_of_another_winner_or_damaged_is_left_out(tiny_study: Study, tmp_path: Path) -> None:
    looked_at(tmp_path / "s", tiny_study)
    kept = predictions.read(tmp_path / "s", predictions.OF_VAL)
    assert kept is not None
    predictions.write(tmp_path / "s", replace(kept, trial=kept.trial + 1), predictions.OF_VAL)
    assert "the first of 3 mistakes on the test set." in text(page(tmp_path / "s")).replace("; files", ". files")
    (tmp_path / "s" / predictions.OF_VAL).write_bytes(b"PK")
    assert "the first of 3 mistakes on the test set" in text(page(tmp_path / "s"))


def test_what_earlier_versions_kept_has_no_names_and_is_read(tiny_study: Study, tmp_path: Path) -> None:
    looked_at(tmp_path / "s", tiny_study, files=False)
    with np.load(tmp_path / "s" / predictions.FILE) as stored:
        assert "files" not in stored.files
    kept = predictions.read(tmp_path / "s")
    assert kept is not None
    assert kept.files == []
    predictions.write(tmp_path / "s", replace(kept, files=["one", "two"]))
    with pytest.raises(EnvironmentFault, match=r"test\.npz is damaged"):
        predictions.read(tmp_path / "s")


def test_classes_that_are_confused_stand_side_by_side() -> None:
    counts = {(each, each): 50 for each in range(30)} | {(3, 27): 20, (27, 3): 10, (8, 19): 15}
    ordered = order(counts, 30)
    assert sorted(ordered) == list(range(30))
    assert abs(ordered.index(3) - ordered.index(27)) == 1
    assert abs(ordered.index(8) - ordered.index(19)) == 1


def test_of_a_hundred_classes_the_whole_matrix_is_one_small_drawing(tiny_study: Study, tmp_path: Path) -> None:
    classes = [f"a class with a long name {number}" for number in range(100)]
    generator = np.random.default_rng(0)
    labels = np.arange(10_000) % 100
    taken = np.where(generator.random(10_000) < 0.4, (labels + generator.integers(0, 9, 10_000)) % 100, labels)
    search = searched(tmp_path / "s", tiny_study, trials=8, classes=classes)
    left_behind(search, tmp_path / "s", labels.tolist(), taken.tolist())
    markup = page(tmp_path / "s")
    drawn = re.findall(r"<svg.*?</svg>", markup[markup.index('class="cells"') :], re.DOTALL)[0]
    wrong = {(true, said) for true, said in zip(labels.tolist(), taken.tolist(), strict=True) if true != said}
    assert drawn.count("h1v1h-1z") == len(wrong)
    assert len(drawn) < 60_000
    assert len(markup) < 600_000


def test_a_class_without_pictures_and_names_of_any_kind_are_drawn() -> None:
    drawn = cells({(0, 1): 3, (1, 1): 1}, ["<script>", "b", "nobody"])
    assert "<script>" not in drawn
    assert "nobody" in drawn
    assert "<text" not in cells({(0, 1): 3}, [str(each) for each in range(300)])
