"""What a notebook shows of a search: the plan as text that stays, and one table that is drawn anew while it runs.

On standard output: what goes to standard error a notebook shows as if something were wrong.
"""

from __future__ import annotations

import html
import logging
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from search.findings.progress import Progress
from search.printable import printable
from search.record.state import State
from search.terminal.console import Left
from search.terminal.drawing import Pace, row_of, shown_trials, standing, varying

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.decide.search import Search

REFRESH_SECONDS = 1.0
MOST_COLUMNS = 12
"""Hyperparameters that have a column, at most."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, so that a cell shows what is displayed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "ipykernel" in sys.modules and getattr(shell, "kernel", None) is not None


class Cell:
    """Shows in the cell that runs."""

    def __init__(self) -> None:
        # What Ray imports misses widgets that nobody is shown, and says so in red, while it is imported.
        warnings.filterwarnings("ignore", message="IProgress not found")
        logging.getLogger("ray.widgets").setLevel(logging.WARNING)
        self._search: Search | None = None
        self._table: Any = None
        self._drawn = 0.0

    def say(self, text: str) -> None:
        """See `Display`."""
        print(printable(text), flush=True)

    def warn(self, text: str) -> None:
        """See `Display`."""
        print(f"warning: {printable(text)}", flush=True)

    def reading(self, done: int, of: int) -> None:
        """Nothing: a cell is no place for a counter that stays."""

    def begin(self, search: Search, left: Left) -> None:
        """See `Display`."""
        from IPython.display import HTML, display

        self._search, self._pace, self._html = search, Pace(search, left), HTML
        self._table = display(HTML(table(search, self._pace.now())), display_id=True)

    def tick(self) -> None:
        """See `Display`."""
        if self._search is not None and time.monotonic() - self._drawn > REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._table.update(self._html(table(self._search, self._pace.now())))

    def end(self) -> None:
        """See `Display`."""
        if self._search is not None:
            self._table.update(self._html(table(self._search, self._pace.now())))
        self._search = None


def table(search: Search, far: Progress) -> str:
    """How far the search is, its best and its running trials, as HTML in which every text is escaped."""
    rows = shown_trials(search)
    names = varying(search, rows)[:MOST_COLUMNS]
    heads = ["trial", "state", "epoch", search.study.objective.metric, *(head for _, head in names)]
    lines = []
    for trial in rows:
        style = ' style="font-weight:600"' if trial is rows[0] and trial.state is not State.RUNNING else ""
        lines.append(f"<tr{style}>{_cells('td', row_of(search, trial, [name for name, _ in names]))}</tr>")
    bar = f'<progress max="1" value="{far.share:.4f}"></progress>'
    told = html.escape(printable(f"{far}; {standing(search)}"))
    return f"<div>{bar} {told}</div><table><tr>{_cells('th', heads)}</tr>{''.join(lines)}</table>"


def _cells(tag: str, texts: list[str]) -> str:
    return "".join(f"<{tag}>{html.escape(printable(text))}</{tag}>" for text in texts)
