"""What travels to a cluster, and what stays here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.errors import BadInput
from search.jobs import order, packing
from search.settings import Settings

OURS = order.Order("digits_cnn", Settings(name="x"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text("from spaces.digits_mlp import STUDY\n")
    (folder / "data.npz").write_bytes(bytes(1000))
    return folder


def mine(folder: Path) -> order.Order:
    return order.Order("mine.py", Settings(name="x"), folder=folder)


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_our_packages_travel_with_every_search() -> None:
    with packing.packed(OURS) as folder:
        assert {path.name for path in folder.iterdir()} == {"search", "spaces", "trainables", order.FILE}
        assert {"search/findings/report.html", "search/decide/samplers/grid.py", "spaces/digits_cnn.py"} <= names(
            folder
        )
        assert not any("__pycache__" in name for name in names(folder))


def test_what_gitignore_names_and_what_is_made_by_searches_stays_here(project: Path) -> None:
    (project / ".gitignore").write_text("*.secret\nsearch/\n")
    (project / "key.secret").write_text("1")
    (project / "runs" / "one").mkdir(parents=True)
    (project / "runs" / "one" / "record.db").write_text("1")
    (project / "mlflow.db").write_text("1")
    (project / ".venv").mkdir()
    (project / ".venv" / "python").write_text("1")
    with packing.packed(mine(project)) as folder:
        travelling = {name for name in names(folder) if not name.startswith(("search/", "spaces/", "trainables/"))}
        assert travelling == {"mine.py", "data.npz", order.FILE}
        assert "search/__main__.py" in names(folder), "the user's .gitignore must not keep our packages back"


def test_too_much_is_refused_with_its_size(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_BYTES", 2 * 10**6)
    (project / "large.bin").write_bytes(os.urandom(3 * 10**6))
    with (
        pytest.raises(BadInput, match=r"would travel with \d MB, and at most 2 MB do"),
        packing.packed(mine(project)),
    ):
        pass


def test_the_order_travels_as_a_file_and_is_read_there_as_it_was(project: Path) -> None:
    with packing.packed(mine(project)) as folder:
        there = order.read(folder / order.FILE)
    assert (there.study, there.settings) == ("mine.py", Settings(name="x"))
