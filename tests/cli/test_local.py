"""Searches that run here, by the verbs that clusters have too; lists, versions and help."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.cli.group import cli
from search.errors import EnvironmentFault
from search.record.events import EpochReport, Finished
from search.storage import lock
from search.storage.requests import Inbox
from spaces.study import Study
from tests.findings.made_up import begun, searched


def called(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words])


def test_the_list_has_a_head_and_its_columns_stand_under_one_another(tmp_path: Path, tiny_study: Study) -> None:
    searched(tmp_path / "tiny-1", tiny_study)
    searched(tmp_path / "a-longer-name-1", tiny_study)
    head, *rows = called("list", "--runs", str(tmp_path)).output.splitlines()
    assert head.split() == ["NAME", "STATE", "BEST", "TEST", "PROGRESS", "TOOK", "STUDY", "DATA", "STARTED", "TRIALS"]
    assert len(rows) == 2
    for row in rows:
        assert row[head.index("PROGRESS") :].startswith("8 of 8")
        assert row[head.index("STUDY") :].startswith("tiny")


def test_status_tells_of_the_searches_that_run_here_and_of_any_by_name(tmp_path: Path, tiny_study: Study) -> None:
    searched(tmp_path / "over-1", tiny_study)
    begun(tmp_path / "tiny-1", tiny_study).ask()
    with lock.held(tmp_path / "tiny-1"):
        told = called("status", "--runs", str(tmp_path)).output
    assert told.startswith("tiny-1  running  0 of 8 trials")
    assert "over-1" not in told
    assert "over-1  done" in called("status", "over-1", "--runs", str(tmp_path)).output


def test_logs_tells_what_has_happened_and_what_happens_until_the_search_is_over(
    tmp_path: Path, tiny_study: Study
) -> None:
    search = begun(tmp_path / "tiny-1", tiny_study)
    search.ask()
    held = threading.Event()

    def run() -> None:
        with lock.held(tmp_path / "tiny-1"):
            held.set()
            time.sleep(0.3)
            search.report(0, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
            search.note(Finished("done", "nothing is left", 1.0))

    driver = threading.Thread(target=run)
    driver.start()
    held.wait()
    done = called("logs", "tiny-1", "--runs", str(tmp_path))
    driver.join()
    assert done.exit_code == 0
    lines = [line.partition("  ")[2] for line in done.output.splitlines()]
    assert lines[1:] == [
        "trial 0 begins (start point 0)",
        "trial 0 epoch 1: val_accuracy 0.5000",
        "done: nothing is left",
    ]


def test_logs_of_a_search_whose_process_died_says_how_to_go_on(tmp_path: Path, tiny_study: Study) -> None:
    begun(tmp_path / "tiny-1", tiny_study)
    done = called("logs", "tiny-1", "--runs", str(tmp_path))
    assert isinstance(done.exception, EnvironmentFault)
    assert "resume tiny-1" in str(done.exception)


def test_stop_asks_the_search_to_leave_and_waits_until_it_has(tmp_path: Path, tiny_study: Study) -> None:
    search = begun(tmp_path / "tiny-1", tiny_study)
    held = threading.Event()

    def run() -> None:
        with lock.held(tmp_path / "tiny-1"):
            inbox = Inbox(tmp_path / "tiny-1")
            inbox.open()
            held.set()
            while not search.steering.told:
                for name, request in inbox.take():
                    assert not isinstance(request, str)
                    search.steer(request)
                    inbox.remove(name)
                time.sleep(0.02)
            inbox.close()

    driver = threading.Thread(target=run)
    driver.start()
    held.wait()
    told = called("stop", "tiny-1", "--runs", str(tmp_path)).output
    driver.join()
    assert "tiny-1 was stopped; `python -m search resume tiny-1" in told
    assert search.steering.told[0][1].verb == "stop"
    assert called("stop", "tiny-1", "--runs", str(tmp_path)).output == "tiny-1 was over already\n"


@pytest.mark.parametrize("words", [("-h",), ("--help",), ("show", "-h"), ("steer", "--help")])
def test_help_has_a_short_name_everywhere(words: tuple[str, ...]) -> None:
    done = called(*words)
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_the_version_is_one_line() -> None:
    done = called("--version")
    assert done.exit_code == 0
    assert done.output.startswith("search ")
    assert done.output.count("\n") == 1
