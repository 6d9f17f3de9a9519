"""What is shown of a search while it runs: how far it is, its best and its running trials, as text and as a screen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.findings.progress import Progress, progress
from search.findings.text import configuration, short, sparkline
from search.printable import printable
from search.record.events import Confirming
from search.record.state import WORTHLESS, State
from search.record.trial import Trial
from search.terminal.console import Left

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.decide.search import Search

LEADERS = 5
SCALED_BY = 4
"""So many first trials set the lower end of the scale of all curves."""
LEARNING_RATE = "lr"
"""What people look for first in a configuration."""
WIDEST = 10
"""Characters of a value in a column of its own, at most."""
BAR = 20


class Pace:
    """How fast `search` goes since this process works on it; `left` tells the seconds until its trials must end."""

    def __init__(self, search: Search, left: Left) -> None:
        self._search, self._left = search, left
        self._began, self._epochs, self._rested = time.monotonic(), search.trials.epochs, 0.0
        self._looked = self._began

    def now(self) -> Progress:
        """How far it is; the time in which it is paused does not count."""
        now = time.monotonic()
        if self._search.steering.paused:
            self._rested += now - self._looked
        self._looked = now
        spent, left = now - self._began - self._rested, self._left()
        asked = self._search.rules.trials or self._search.study.trials
        trained = self._search.trials.epochs - self._epochs
        return progress(self._search.trials, asked, spent, None if left is None else spent + left, trained=trained)


def ending(trial: Trial, search: Search) -> str:
    """How a trial did, in one line."""
    objective = search.study.objective
    if trial.state in WORTHLESS or not trial.has_value(objective):
        return f"{trial.why}  {configuration(trial)}"
    value = trial.best_value(objective)
    budget = search.study.epochs_of(trial.point)
    return f"{value:.4f} after {len(trial.epochs):2d} of {budget} epochs  {configuration(trial)}"


def left_paused(paused: Sequence[Trial]) -> str:
    """What is said of trials that are `paused` when a search ends."""
    epochs = sorted(len(trial.epochs) for trial in paused)
    after = f"{epochs[0]} to {epochs[-1]}" if epochs[0] < epochs[-1] else f"{epochs[0]}"
    return f"paused trials: {len(paused)}, after epoch {after}; more trials or time (resume) may let them go on"


def status(search: Search, far: Progress) -> str:
    """Where the search stands, in one line."""
    return f"{far}; {standing(search)}"


def standing(search: Search) -> str:
    """How many trials stand how, and which is best, in one line."""
    trials = search.trials
    counts = ", ".join(f"{count} {state}" for state, count in trials.counts().items())
    parts = [counts or "starting"]
    best = trials.best()
    if best is not None:
        parts.append(f"best {best.best_value(search.study.objective):.4f} (trial {best.number})")
    if search.steering.paused:
        parts.append(f"PAUSED by {search.steering.paused}")
    return "; ".join(parts)


def scale(trials: Sequence[Trial], search: Search) -> tuple[float, float]:
    """One scale for curves, from worst to best: set by the first trials, it grows with the best and never shrinks."""
    objective = search.study.objective
    first = [v for trial in trials[:SCALED_BY] for v in trial.values(objective) if math.isfinite(v)]
    every = [v for trial in trials for v in trial.values(objective) if math.isfinite(v)]
    if not first:
        return 0.0, 1.0
    return (min(first), max(every)) if objective.mode == "max" else (max(first), min(every))


def shown_trials(search: Search) -> list[Trial]:
    """The best trials that have ended, the best first, and those that run."""
    leaders = [trial for trial in search.trials.ranking() if trial.state is not State.RUNNING][:LEADERS]
    return [*leaders, *search.trials.running()]


def varying(search: Search, shown: Sequence[Trial]) -> list[tuple[str, str]]:
    """The hyperparameters in which `shown` trials differ, each with its head; the learning rate first."""
    names = [name for name in search.study.ranges if len({repr(trial.point.get(name)) for trial in shown}) > 1]
    names.sort(key=lambda name: name.rpartition("/")[2] != LEARNING_RATE)
    heads = [name.rpartition("/")[2] for name in names]
    return [(name, name if heads.count(head) > 1 else head) for name, head in zip(names, heads, strict=True)]


def columns(search: Search, shown: Sequence[Trial], room: int) -> list[tuple[str, str, int]]:
    """Of what varies as much as there is `room` for: name, head and width."""
    made = []
    for name, head in varying(search, shown):
        width = max(len(head), *(len(_value(trial, name)) for trial in shown))
        if width + 2 <= room:
            room -= width + 2
            made.append((name, head, width))
    return made


def row_of(search: Search, trial: Trial, names: Sequence[str]) -> list[str]:
    """A trial as texts: number, state, epochs, value, and the hyperparameters `names`."""
    objective = search.study.objective
    worth = f"{trial.best_value(objective):.4f}" if trial.has_value(objective) else "…"
    told = f"{len(trial.epochs)}/{search.study.epochs_of(trial.point)}"
    return [str(trial.number), str(trial.state), told, worth, *(_value(trial, name) for name in names)]


def _value(trial: Trial, name: str) -> str:
    if name not in trial.point:
        return "–"
    value = trial.point[name]
    text = f"{value:.3g}" if isinstance(value, float) else short(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def screen(search: Search, far: Progress, width: int) -> Any:
    """The whole screen, so many columns wide, as something that rich can draw."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    objective, trials = search.study.objective, search.trials
    rows = shown_trials(search)
    worst, best = scale(list(trials), search)
    budget = max((search.study.epochs_of(trial.point) for trial in rows), default=search.study.epochs)

    def shown(text: str) -> Text:  # as it is: no markup of rich, which has links and colours
        return Text(printable(text))

    metric = objective.metric
    table = Table(box=None, padding=(0, 1), expand=False)
    for head in ("trial", "state", "epoch", shown(metric), "curve"):
        table.add_column(head, no_wrap=True)
    curve = min(max((len(trial.epochs) for trial in rows), default=0), max(10, width // 4))
    states = max((len(trial.state) for trial in rows), default=5)
    taken = 5 + max(5, states) + max(5, 2 * len(str(budget)) + 1) + max(6, len(metric)) + max(5, curve) + 5 * 2 + 4
    more = columns(search, rows, width - taken) if rows else []
    for _, head, _ in more:
        table.add_column(shown(head), no_wrap=True)
    for trial in rows:
        texts = row_of(search, trial, [name for name, _, _ in more])
        line = sparkline(trial.values(objective)[-curve:] if curve else [], worst, best)
        style = "cyan" if trial.state is State.RUNNING else "bold green" if trial is rows[0] else ""
        table.add_row(*texts[:4], line, *map(shown, texts[4:]), style=style)
    first = Table.grid(padding=(0, 1))
    first.add_row(ProgressBar(total=1.0, completed=far.share, width=BAR), shown(str(far)))
    parts: list[Any] = [first, Text(printable(standing(search)), style="bold"), table]
    rungs = rung_counts(search)
    if rungs:
        parts.append(Text("rungs  " + "   ".join(rungs), style="dim"))
    return Panel(Group(*parts), title=shown(search.study.name), title_align="left")


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
