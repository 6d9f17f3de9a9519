"""What the user sees while a search runs: a live screen on a terminal, plain lines anywhere else. All on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from search.printable import printable
from search.record.state import State
from search.terminal.console import Display, Left, Silent, write_line
from search.terminal.drawing import Pace, confirming, ending, left_paused, screen, status
from search.terminal.notebook import Cell, in_notebook

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.decide.search import Search

REFRESH_SECONDS = 0.25
GOING = (State.RUNNING, State.PAUSED)
"""Trials of which no line is printed yet, because they may still come to something else."""
READING_SECONDS = 5.0


class Lines(Silent):
    """One line per trial that ends, and one each half minute in between."""

    def __init__(self) -> None:
        self._search: Search | None = None
        self._shown: set[int] = set()
        self._best: int | None = None
        self._confirming: Any = None
        self._spoke = time.monotonic()
        self._read = time.monotonic()

    def say(self, text: str) -> None:
        """See `Display`."""
        write_line(text)

    def reading(self, done: int, of: int) -> None:
        """See `Display`."""
        if time.monotonic() - self._read > READING_SECONDS and done < of:
            self._read = time.monotonic()
            self.say(f"{done:,} of {of:,} pictures read")

    def begin(self, search: Search, left: Left) -> None:
        """See `Display`."""
        self._search, self._pace = search, Pace(search, left)
        self._shown = {trial.number for trial in search.trials if trial.state not in GOING}

    def tick(self) -> None:
        """See `Display`."""
        search = self._search
        if search is None:
            return
        plan = search.trials.confirming
        if plan is not None and plan is not self._confirming:
            self.say(confirming(plan))
        self._confirming = plan
        for trial in search.trials:
            if trial.state not in GOING and trial.number not in self._shown:
                self._shown.add(trial.number)
                self._spoke = time.monotonic()
                best = search.trials.best()
                mark = " *best*" if best is trial and trial.number != self._best else ""
                self._best = trial.number if mark else self._best
                self.say(f"trial {trial.number:3d}  {trial.state:<11}  {ending(trial, search)}{mark}")
        if time.monotonic() - self._spoke > 30:
            self._spoke = time.monotonic()
            self.say(status(search, self._pace.now()))

    def end(self) -> None:
        """See `Display`."""
        self.tick()
        self._tell_paused()
        self._search = None

    def _tell_paused(self) -> None:
        if self._search is not None and (paused := self._search.trials.paused()):
            self.say(left_paused(paused))


class Live(Lines):
    """A screen that is drawn again four times a second."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live as Screen

        self._console = Console(stderr=True)
        self._screen = Screen(console=self._console, auto_refresh=False, transient=True)
        self._drawn = 0.0
        self._bar: Any = None

    def say(self, text: str) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(printable(text), highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(f"warning: {printable(text)}", style="bold yellow", highlight=False, markup=False)

    def reading(self, done: int, of: int) -> None:
        """See `Display`."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with contextlib.suppress(OSError, ValueError):
            if self._bar is None and done < of:
                columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
                self._bar = Progress(*columns, console=self._console, transient=True)
                self._bar.add_task("reading pictures", total=of)
                self._bar.start()
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=done)
                if done >= of:
                    self._bar.stop()
                    self._bar = None

    def begin(self, search: Search, left: Left) -> None:
        """See `Display`."""
        super().begin(search, left)
        self._screen.start()

    def tick(self) -> None:
        """See `Display`."""
        if self._search is not None and time.monotonic() - self._drawn > REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._screen.update(self._draw(), refresh=True)

    def _draw(self) -> Any:
        assert self._search is not None
        return screen(self._search, self._pace.now(), self._console.width)

    def end(self) -> None:
        """See `Display`."""
        if self._search is not None:
            with contextlib.suppress(OSError, ValueError):
                self._screen.update(self._draw(), refresh=True)
                self._screen.stop()
                self._console.print(self._draw())
        self._tell_paused()
        self._search = None


def for_stderr(*, quiet: bool) -> Display:
    """The display that fits: nothing if `quiet`, else a notebook's table, a capable terminal's screen, or lines."""
    import os

    if quiet:
        return Silent()
    if in_notebook():
        return Cell()
    capable = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live() if capable else Lines()
