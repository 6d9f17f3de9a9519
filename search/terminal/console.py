"""What a session tells its user: a line that stays, a warning, what goes on. Here the one that shows warnings only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from search.printable import printable

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.decide.search import Search


Left = Callable[[], float | None]
"""Tells the seconds that are left."""


class Display(Protocol):
    """Hears what goes on; `tick` is called several times a second while trials run."""

    def say(self, text: str) -> None:
        """A line that stays, such as a step of the start or the end."""

    def warn(self, text: str) -> None:
        """A line that must be seen."""

    def reading(self, done: int, of: int) -> None:
        """So many of the data's pictures are read; none of none: no more will be."""

    def begin(self, search: Search, left: Left) -> None:
        """Trials begin; `left` tells the seconds until they must end, None without a limit of time."""

    def tick(self) -> None:
        """Something may have changed."""

    def end(self) -> None:
        """Trials are over."""


class Silent:
    """Shows warnings only."""

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """See `Display`."""
        write_line(f"warning: {text}")

    def reading(self, done: int, of: int) -> None:
        """Nothing."""

    def begin(self, search: Search, left: Left) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def write_line(text: str) -> None:
    """Write `text` to standard error, if that is still there."""
    # A pipe that was closed, or a terminal that is gone, ends no search.
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)
