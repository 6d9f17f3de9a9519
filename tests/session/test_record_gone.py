"""The folder of a search goes while the search runs: that is noticed at the next event, and said."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.errors import RecordGone
from search.record.events import Finished
from search.record.reader import FILE
from search.record.record import Record
from spaces.study import Study
from tests.session.test_end_to_end import environment
from tests.simulated import kept

STUDY = '''"""An epoch each tenth of a second."""
import time
from spaces.study import Float, Study
from trainables.epoch import Epoch

def train(config, data, *, resume=None):
    for number in range(1, config["train/epochs"] + 1):
        time.sleep(0.1)
        yield Epoch(number, {"val_accuracy": config["model/x"]}, lambda folder: (folder / "a").write_text("a"))

STUDY = Study(trainable=train, dataset="digits", epochs=30, space={"model/x": Float(0.0, 1.0)}, trials=50)
'''


def test_nothing_is_appended_to_a_record_that_was_deleted(tmp_path: Path, tiny_study: Study) -> None:
    folder, _ = kept(tmp_path / "runs", tiny_study, steps=10, end=None)
    with Record(folder / FILE) as record:
        shutil.rmtree(tmp_path / "runs")
        with pytest.raises(RecordGone, match=r"record\.db was deleted or moved while the search ran"):
            record.append(Finished("done", "", 1.0).entry())
    assert not (tmp_path / "runs").exists()


def test_nor_to_one_that_another_has_taken_the_place_of(tmp_path: Path, tiny_study: Study) -> None:
    folder, _ = kept(tmp_path / "runs", tiny_study, steps=10, end=None)
    with Record(folder / FILE) as record:
        record.append(Finished("interrupted", "", 1.0).entry())
        shutil.copy(folder / FILE, folder / "other")
        os.replace(folder / "other", folder / FILE)
        with pytest.raises(RecordGone):
            record.append(Finished("done", "", 1.0).entry())


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.nightly
def test_a_search_whose_runs_folder_is_deleted_ends_with_what_it_has_found(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    command = [sys.executable, "-m", "search", "study.py", "--scheduler", "none", "--quiet"]
    env, record = environment(), tmp_path / "runs" / "study-1" / FILE
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as running:
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and epochs(record) < 35:
                time.sleep(0.2)
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
            _, error = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 3, error
    # MLflow's store is gone too, which its thread may say after the search has ended.
    last = [line for line in error.strip().splitlines() if not line.startswith("warning: MLflow")][-1]
    assert last.startswith("error: the record ")
    assert "was deleted or moved while the search ran, so the search has ended; best so far: trial " in last
    assert not record.exists()


def epochs(record: Path) -> int:
    try:
        with sqlite3.connect(f"file:{record}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM events WHERE kind = 'epoch'").fetchone()[0])
    except sqlite3.Error:
        return 0
