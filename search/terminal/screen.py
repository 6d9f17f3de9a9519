"""What the user sees while a search runs: a live screen on a terminal, plain lines anywhere else. All on stderr."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from search.findings.text import clock, configuration, sparkline
from search.printable import printable
from search.record.events import Confirming
from search.record.state import WORTHLESS, State
from search.record.trial import Trial
from search.terminal.console import Display, Silent, write_line

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

    def begin(self, search: Search, deadline: float | None) -> None:
        """See `Display`."""
        self._search, self._deadline = search, deadline
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
            self.say(status(search, self._deadline))

    def end(self) -> None:
        """See `Display`."""
        self.tick()
        self._search = None


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

    def begin(self, search: Search, deadline: float | None) -> None:
        """See `Display`."""
        super().begin(search, deadline)
        self._screen.start()

    def tick(self) -> None:
        """See `Display`."""
        if self._search is not None and time.monotonic() - self._drawn > REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._screen.update(screen(self._search, self._deadline), refresh=True)

    def end(self) -> None:
        """See `Display`."""
        if self._search is not None:
            with contextlib.suppress(OSError, ValueError):
                self._screen.update(screen(self._search, self._deadline), refresh=True)
                self._screen.stop()
                self._console.print(screen(self._search, self._deadline))
        self._search = None


def for_stderr(*, quiet: bool) -> Display:
    """The display that fits: nothing if `quiet`, a live screen on a capable terminal, else lines."""
    import os

    if quiet:
        return Silent()
    capable = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live() if capable else Lines()


def ending(trial: Trial, search: Search) -> str:
    """How a trial did, in one line."""
    objective = search.study.objective
    if trial.state in WORTHLESS or not trial.has_value(objective):
        return f"{trial.why}  {configuration(trial)}"
    value = trial.best_value(objective)
    budget = search.study.epochs_of(trial.point)
    return f"{value:.4f} after {len(trial.epochs):2d} of {budget} epochs  {configuration(trial)}"


def status(search: Search, deadline: float | None) -> str:
    """Where the search stands, in one line."""
    trials = search.trials
    counts = ", ".join(f"{count} {state}" for state, count in trials.counts().items())
    best = trials.best()
    parts = [f"{counts or 'starting'}; {trials.epochs} epochs"]
    if best is not None:
        parts.append(f"best {best.best_value(search.study.objective):.4f} (trial {best.number})")
    if deadline is not None:
        parts.append(f"{clock(max(0.0, deadline - time.monotonic()))} left")
    return "; ".join(parts)


def screen(search: Search, deadline: float | None) -> Any:
    """The whole screen as something that rich can draw."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    objective, trials = search.study.objective, search.trials
    finite = sorted(value for trial in trials for value in trial.values(objective) if math.isfinite(value))
    low, high = (finite[len(finite) // 10], finite[-1]) if finite else (0.0, 1.0)

    def shown(text: str) -> Text:  # as it is: no markup of rich, which has links and colours
        return Text(printable(text))

    def row(trial: Trial) -> tuple[str | Text, ...]:
        values = trial.values(objective)
        worth = f"{trial.best_value(objective):.4f}" if trial.has_value(objective) else "…"
        return (
            str(trial.number),
            str(trial.state),
            f"{len(values)}/{search.study.epochs_of(trial.point)}",
            worth,
            sparkline(values, low, high),
            shown(configuration(trial)),
        )

    table = Table(box=None, padding=(0, 1), expand=True)
    for head in ("trial", "state", "epoch", shown(objective.metric), "curve"):
        table.add_column(head, no_wrap=True)
    table.add_column("configuration", ratio=1, overflow="ellipsis", no_wrap=True)
    leaders = [trial for trial in trials.ranking() if trial.state is not State.RUNNING][:5]
    for trial in leaders:
        table.add_row(*row(trial), style="bold green" if trial is leaders[0] else "")
    for trial in trials.running():
        table.add_row(*row(trial), style="cyan")
    parts: list[Any] = [Text(status(search, deadline), style="bold"), table]
    rungs = rung_counts(search)
    if rungs:
        parts.append(Text("rungs  " + "   ".join(rungs), style="dim"))
    return Panel(Group(*parts), title=shown(f"{search.study.name}: {search.study.about}"), title_align="left")


def rung_counts(search: Search) -> list[str]:
    """`epoch 3: 4 of 9 went on`, for each rung that a trial has reached."""
    lines = []
    for rung in search.scheduler.rungs:
        reached = [t for t in search.trials if len(t.epochs) >= rung and not t.exempt]
        went_on = [t for t in reached if len(t.epochs) > rung or t.state is State.RUNNING]
        if reached:
            lines.append(f"epoch {rung}: {len(went_on)} of {len(reached)} went on")
    return lines


def confirming(plan: Confirming) -> str:
    """What is about to be confirmed, in one line."""
    numbers = ", ".join(map(str, plan.trials))
    control = "" if plan.control is None else f", and the first start point (trial {plan.control}) as control"
    seeds = f"{plan.seeds} fresh seed{'' if plan.seeds == 1 else 's'} each"
    return f"confirming the settings of trial{'' if len(plan.trials) == 1 else 's'} {numbers}{control}: {seeds}"
