"""A user's study file, and the modules that it imports from beside it, as files: what is in them has names that any
process can import, be it one that a trial starts itself."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import spaces

_LOADED: dict[str, Callable[..., Iterator[Any]]] = {}
"""The trainable of the code that this process has loaded last, by its digest."""


@dataclass(frozen=True)
class UsersCode:
    """The study file `source`, and what it imported from the folders `places`: files by their paths on the driver.

    A worker loads them from there if they are the same, and else from a copy: on another node, or where somebody has
    edited them since.
    """

    source: str
    places: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def of_study(cls, source: str) -> UsersCode:
        """The code of the study file `source`, which was loaded last."""
        files = {source: Path(source).read_bytes()}
        for module in spaces.users_modules():
            path = getattr(module, "__file__", None)
            if path and path.endswith(".py") and os.path.isfile(path):
                files[os.path.realpath(path)] = Path(path).read_bytes()
        return cls(source, tuple(spaces.users_folders()), tuple(sorted(files.items())))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and contents."""
        whole = hashlib.sha256()
        for path, content in self.files:
            whole.update(f"{path} {len(content)} ".encode() + content)
        return whole.hexdigest()

    def trainable(self) -> Callable[..., Iterator[Any]]:
        """What the study trains with, from modules of this process. Raises what their import raises."""
        if self.digest not in _LOADED:
            _LOADED.clear()
            root = "" if self._same_here() else self._unpacked()
            source, *places = (_below(root, path) for path in (self.source, *self.places))
            _LOADED[self.digest] = spaces.load(source, places).trainable
        return _LOADED[self.digest]

    def _same_here(self) -> bool:
        try:
            return all(Path(path).read_bytes() == content for path, content in self.files)
        except OSError:
            return False

    def _unpacked(self) -> str:
        """A folder that has the files below it, each under its whole path."""
        root = Path(tempfile.gettempdir()) / f"search-code-{os.getuid()}-{self.digest[:16]}-{os.getpid()}"
        for path, content in self.files:
            copy = Path(_below(str(root), path))
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy.write_bytes(content)
        return str(root)


def _below(root: str, path: str) -> str:
    return f"{root}{path}" if root else path
