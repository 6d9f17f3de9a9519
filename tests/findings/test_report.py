"""The report says what the record does, also of a search that came to little, and needs nothing but itself."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from search.cli.group import cli
from search.errors import EnvironmentFault, StorageFull
from search.findings import intervals, report
from search.findings.summary import summarize
from search.record.events import EpochReport, Finished
from search.record.reader import FILE, read
from search.record.state import State
from search.tracking import tracker
from spaces.space import Choice
from spaces.study import Study
from tests.findings.made_up import begun, left_behind, page, searched, text
from tests.simulated import Curves, work

HOSTILE = "<script>alert('1')</script>\"&$x^2$"


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
        "data", "winner", "course", "hyperparameters", "start-points", "test-set", "stopping", "machines",
        "limits", "again",
    ]  # fmt: skip


def test_the_page_of_64_trials_is_one_small_file_that_loads_nothing(tiny_study: Study, tmp_path: Path) -> None:
    search = searched(tmp_path / "s", tiny_study, trials=64)
    left_behind(search, tmp_path / "s", [0, 1] * 500, [0, 1, 1, 0] * 250)
    markup = page(tmp_path / "s")
    found = parsed(markup)
    assert len(markup.encode()) < 1_500_000
    assert {"svg", "img"} <= found.tags
    assert not found.tags & {"script", "link", "iframe", "object"}
    assert all(each.startswith(("#", "data:image/png;base64,", "data:text/csv;base64,")) for each in found.loaded), (
        found.loaded
    )
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
@pytest.mark.nightly
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
