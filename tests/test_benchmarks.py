"""Benchmarks still play what they measure; how fast is theirs to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import scale

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.nightly
def test_a_search_of_a_hundred_played_trials_is_told_and_reaches_mlflow(tmp_path: Path) -> None:
    told = scale.played(tmp_path / "scale", trials=100, concurrent=4, sampler="random")
    assert [row["trials"] for row in told["rows"]] == [100]
    assert told["rows"][0]["reports_per_s"] > 0
    assert told["mlflow_done"]
