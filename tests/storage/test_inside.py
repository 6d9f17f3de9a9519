"""A search folder from somebody else: what lies behind its links stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import EnvironmentFault
from search.record.trials import Trials
from search.storage import inside, lock
from search.storage.checkpoints import Retention, Shelf, verified
from spaces.study import Objective

PLACES = ("trial-0099", "trial-0099/attempt-1", "trial-0099/attempt-1/epoch-0001", "trial-0001/attempt-1/epoch-0007")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is somebody else's, with files and empty folders at every depth."""
    folder = tmp_path / "outside"
    for name in ("attempt-1/epoch-0001", "epoch-0001", "empty/empty"):
        (folder / name).mkdir(parents=True)
    for name in ("letter.txt", "attempt-1/letter.txt", "attempt-1/epoch-0001/weights", "epoch-0001/weights"):
        (folder / name).write_text("mine")
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "search" / "checkpoints").mkdir(parents=True)
    shelf = Shelf(tmp_path / "search" / "checkpoints")
    shelf.write(1, 1, lambda folder: (folder / "weights").write_text("ours") and None)
    return shelf


def seen(folder: Path) -> dict[str, str]:
    """Every entry below `folder`, and what is in it."""
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else "" for p in sorted(folder.rglob("*"))}


def linked(shelf: Shelf, place: str, target: Path) -> Path:
    link = shelf.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return link


@pytest.mark.parametrize("place", PLACES)
def test_tidying_leaves_a_link_and_all_that_is_behind_it(place: str, shelf: Shelf, outside: Path) -> None:
    link, before = linked(shelf, place, outside), seen(outside)
    Retention(shelf).tidy(Trials(Objective()))
    assert seen(outside) == before
    assert link.is_symlink()
    assert shelf.links() == [place]
    assert not (shelf.root / "trial-0001/attempt-1/epoch-0001").exists(), "what is ours is still tidied up"


def test_checkpoints_that_are_a_link_as_a_whole_are_refused_before_anything_is_written(
    tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "checkpoints").symlink_to(outside)
    before = seen(outside)
    refused = pytest.raises(
        EnvironmentFault, match="checkpoints is a link, and a search writes into its own folder only"
    )
    with refused, lock.held(tmp_path / "other"):
        raise AssertionError
    shelf = Shelf(tmp_path / "other" / "checkpoints")
    Retention(shelf).tidy(Trials(Objective()))
    assert seen(outside) == before
    assert not (tmp_path / "other" / "lock").exists()


@pytest.mark.parametrize("place", PLACES[:2])
def test_no_checkpoint_is_written_through_a_link(place: str, shelf: Shelf, outside: Path) -> None:
    linked(shelf, place, outside)
    before = seen(outside)
    with pytest.raises(EnvironmentFault, match=r"a link, or a file, stands where .*epoch-0002"):
        shelf.write(99, 2, lambda folder: (folder / "weights").write_text("ours") and None)
    assert seen(outside) == before


def test_a_checkpoint_behind_a_link_is_not_taken_for_one(shelf: Shelf, outside: Path) -> None:
    linked(shelf, PLACES[1], outside)
    with pytest.raises(EnvironmentFault, match="is behind a link, which is not followed"):
        verified(shelf, "trial-0099/attempt-1/epoch-0001", "0" * 64)


@pytest.mark.parametrize(
    "name", ["../../../outside/x", "/etc", "trial-0001/../../x", "trial-0001/attempt-1", "a" * 500]
)
def test_no_other_name_is_taken_for_a_checkpoint(name: str, shelf: Shelf) -> None:
    with pytest.raises(EnvironmentFault, match="is no checkpoint's name"):
        verified(shelf, name, "0" * 64)


@pytest.mark.parametrize("name", inside.OWN)
def test_whatever_a_search_writes_is_refused_where_it_is_a_link(name: str, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / name).symlink_to(tmp_path / "letter.txt")
    with pytest.raises(EnvironmentFault, match=f"{name} is a link"), lock.held(tmp_path / "search"):
        raise AssertionError
    assert (tmp_path / "letter.txt").read_text() == "mine"
    assert os.listdir(tmp_path / "search") == [name]


@pytest.mark.timeout(20)
def test_a_lock_that_is_a_pipe_is_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    assert not lock.is_held(tmp_path)
    with pytest.raises(EnvironmentFault, match="lock is no plain file"), lock.held(tmp_path):
        raise AssertionError


@settings(max_examples=40)
@given(
    places=st.lists(
        st.tuples(
            st.sampled_from(["trial-0001", "trial-0002", "x"]),
            st.sampled_from(["", "attempt-1", "a"]),
            st.sampled_from(["", "epoch-0001", "epoch-0001.part", "e"]),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_whatever_lies_among_checkpoints_tidying_touches_nothing_outside(
    places: list[tuple[str, str, str, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("inside")
    (base / "outside" / "attempt-1" / "epoch-0001").mkdir(parents=True)
    (base / "outside" / "attempt-1" / "epoch-0001" / "weights").write_text("mine")
    root = base / "checkpoints"
    root.mkdir()
    for *parts, link in places:
        path = root.joinpath(*[part for part in parts if part])
        if any(p.is_symlink() for p in [path, *path.parents]) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(base / "outside") if link else path.mkdir()
    before = seen(base / "outside")
    links = inside.links(root)
    Retention(Shelf(root)).tidy(Trials(Objective()))
    assert seen(base / "outside") == before
    assert inside.links(root) == links
