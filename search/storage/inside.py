"""A search's own folder, and nothing beyond it: no link in it is ever followed to write, move or delete.

Searches are folders that people send each other and keep on shared disks, so what lies in one may be made by somebody
else. Every step below the folder is taken relative to the step before (`dir_fd`) and refuses links (`O_NOFOLLOW`), so
that a name which is turned into a link in between leads nowhere either.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from search.errors import EnvironmentFault

OWN = (
    "record.db",
    "record.db-wal",
    "record.db-shm",
    "record.db-journal",
    "record.new",
    "lock",
    "pull",
    "checkpoints",
    "stacks",
    "requests",
    "trials",
    "logs",
    "ray",
    "report.html",
    "result.json",
    "test.npz",
    "val.npz",
)
"""What a search writes at the top of its folder."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def check(folder: Path) -> None:
    """Raise EnvironmentFault if something that a search writes in `folder` is a link, which leads who knows where."""
    for name in OWN:
        if (folder / name).is_symlink():
            raise EnvironmentFault(
                f"{folder / name} is a link, and a search writes into its own folder only; remove it, or put what it "
                "points to in its place"
            )


def plain_file(path: Path, flags: int, mode: int = 0o644) -> int:
    """A descriptor of the plain file at `path`. Raises EnvironmentFault for a link, pipe or device, else OSError.

    A pipe is not waited for.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError:
        if path.is_symlink():
            raise EnvironmentFault(f"{path} is a link, and is not followed; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise EnvironmentFault(f"{path} is no plain file; remove it")
    return descriptor


def is_own(root: Path, name: str) -> bool:
    """Whether `name`, below `root`, is a folder that is reached without a link."""
    try:
        with _opened(root, name.split("/")):
            return True
    except OSError:
        return False


def make(root: Path, name: str) -> None:
    """Make the folder `name` below `root`, which must not exist, and those above it.

    Raises EnvironmentFault where a step of the way is a link, and where `root` is gone.
    """
    *way, last = name.split("/")
    try:
        at = os.open(root, FOLDER)
    except OSError as error:
        raise EnvironmentFault(f"{root} is gone, or a link ({error.strerror})") from None
    try:
        for step in way:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, dir_fd=at)
            below = os.open(step, FOLDER, dir_fd=at)
            os.close(at)
            at = below
        os.mkdir(last, dir_fd=at)
    except NotADirectoryError:
        raise EnvironmentFault(f"a link, or a file, stands where {root / name} is to be made; remove it") from None
    except OSError as error:
        if links(root):
            raise EnvironmentFault(
                f"{root / name} cannot be made beside links ({error.strerror}); remove them"
            ) from None
        raise
    finally:
        os.close(at)


def remove(root: Path, name: str, *, empty_above: bool = False) -> None:
    """Remove the folder `name` below `root` with all that is in it; nothing if it is not there, or behind a link.

    With `empty_above` the folders between go too, once they are empty. A link in it is removed, not what it points to.
    """
    way = name.split("/")
    for depth in range(len(way), 0, -1) if empty_above else (len(way),):
        with contextlib.suppress(OSError), _opened(root, way[: depth - 1]) as above:
            if depth == len(way):
                if not stat.S_ISLNK(os.lstat(way[-1], dir_fd=above).st_mode):
                    shutil.rmtree(way[-1], ignore_errors=True, dir_fd=above)
            else:
                os.rmdir(way[depth - 1], dir_fd=above)


def remove_empty(root: Path, levels: int) -> None:
    """Remove folders with nothing in them, so many `levels` below `root`; links are left."""
    if not root.is_symlink():
        for name in sorted(folders(root, levels), reverse=True):
            way = name.split("/")
            with contextlib.suppress(OSError), _opened(root, way[:-1]) as above:  # not empty, or gone
                os.rmdir(way[-1], dir_fd=above)


def links(root: Path, levels: int = 3) -> list[str]:
    """The links among the entries at most so many `levels` below `root`, by name; `root` itself is "." if it is one."""
    if root.is_symlink():
        return ["."]
    return sorted(name for name, entry in _entries(root, levels) if entry.is_symlink())


def folders(root: Path, levels: int) -> list[str]:
    """The folders at most so many levels below `root`, by name, none of them behind a link."""
    return [name for name, entry in _entries(root, levels) if entry.is_dir(follow_symlinks=False)]


def _entries(root: Path, levels: int, above: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(root) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone, or not for us
        return
    for entry in there:
        yield f"{above}{entry.name}", entry
        if levels > 1 and entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path), levels - 1, f"{above}{entry.name}/")


@contextlib.contextmanager
def _opened(root: Path, way: Sequence[str]) -> Iterator[int]:
    """A descriptor of the folder that `way` leads to from `root`. Raises OSError for a link, or no folder."""
    at = os.open(root, FOLDER)
    try:
        for step in way:
            below = os.open(step, FOLDER, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)
