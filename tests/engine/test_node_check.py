"""What a node answers before a search begins, and what is said of one that cannot do our work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search import provenance
from search.engine import node_check


@pytest.fixture
def answer(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / ".probe-1").write_text("token")
    return node_check._look(tmp_path / ".probe-1", "token", None)


def judged(found: dict[str, Any]) -> str:
    return node_check._fault(found, provenance.versions(), provenance.code_digest(), Path("/shared/runs"))


def test_a_node_like_this_one_is_well_and_has_written_where_it_was_asked_to(answer: Any, tmp_path: Path) -> None:
    assert judged(answer) == ""
    [written] = [file for file in tmp_path.iterdir() if file.name != ".probe-1"]
    assert written.read_text() == "token"


@pytest.mark.parametrize("name", node_check.MATTERS)
def test_a_node_with_another_version_is_named_with_both(answer: Any, name: str) -> None:
    here = answer["versions"][name]
    answer["versions"] = {**answer["versions"], name: "0.1"}
    assert judged(answer).startswith(f"has {name} 0.1, the driver {here}; ")


def test_a_node_with_other_code_of_ours_is_told(answer: Any) -> None:
    assert "another version of our code" in judged({**answer, "code": "0"})


def test_a_folder_that_a_node_does_not_see_is_told_with_what_to_do(tmp_path: Path) -> None:
    found = node_check._look(tmp_path / "elsewhere" / ".probe-1", "token", None)
    assert "--runs must be a folder or bucket that all of them share" in judged(found)


def test_a_folder_of_the_same_name_on_another_disk_is_not_taken_for_the_drivers(tmp_path: Path) -> None:
    (tmp_path / ".probe-1").write_text("another token")
    assert "does not see /shared/runs" in judged(node_check._look(tmp_path / ".probe-1", "token", None))


def test_a_folder_that_a_node_may_not_write_is_told(answer: Any) -> None:
    assert "cannot write into /shared/runs (Permission denied)" in judged({**answer, "runs": "Permission denied"})


def test_an_mlflow_that_a_node_does_not_reach_is_told(tmp_path: Path) -> None:
    (tmp_path / ".probe-1").write_text("token")
    found = node_check._look(tmp_path / ".probe-1", "token", "http://127.0.0.1:9")
    assert "does not reach MLflow: no MLflow server answers at http://127.0.0.1:9" in judged(found)


def test_the_probe_leaves_nothing_in_the_runs_folder_and_no_folder_that_was_not_there(tmp_path: Path) -> None:
    runs = tmp_path / "new" / "runs"
    with node_check._probe_file(runs) as (path, token):
        node_check._look(path, token, None)
        assert len(list(runs.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_was_in_the_runs_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    with node_check._probe_file(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["search"]
