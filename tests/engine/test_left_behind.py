"""What a trial prints is kept within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.engine import left_behind
from search.storage.runs import log_file


def test_a_log_that_grows_too_large_keeps_its_end_and_says_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_behind, "MOST_BYTES", 10_000)
    with left_behind.kept(tmp_path, 0):
        for number in range(10_000):
            print(f"line {number}")
    text = log_file(tmp_path, 0).read_text()
    assert len(text) < 10_100
    assert text.startswith("--- ")
    assert "bytes before this were dropped ---" in text.splitlines()[0]
    assert text.splitlines()[-1] == "line 9999"


def test_where_nothing_is_printed_nothing_is_left(tmp_path: Path) -> None:
    with left_behind.kept(tmp_path, 0, "attempt 2"):
        pass
    assert not log_file(tmp_path, 0).exists()
