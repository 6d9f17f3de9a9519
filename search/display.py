"""What the user sees while a search runs: a live screen on a terminal, plain lines anywhere else. All on stderr."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from search import audit, confirmation
from search.trials import State, Trial

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.search import Search
    from spaces.study import Study

BLOCKS = "▁▂▃▄▅▆▇█"
REFRESH_SECONDS = 0.25


class Display(Protocol):
    """Told what is going on; `tick` is called several times a second while trials run."""

    def say(self, text: str) -> None:
        """A line that stays, such as a step of the start or the end."""

    def warn(self, text: str) -> None:
        """A line that must be seen."""

    def begin(self, search: Search, deadline: float | None) -> None:
        """Trials begin; `deadline` on the monotonic clock."""

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
        _print(f"warning: {text}")

    def begin(self, search: Search, deadline: float | None) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines(Silent):
    """One line per trial that ends, and one each half minute in between."""

    def __init__(self) -> None:
        self._search: Search | None = None
        self._told: set[int] = set()
        self._best: int | None = None
        self._plan: Any = None
        self._spoke = time.monotonic()

    def say(self, text: str) -> None:
        """See `Display`."""
        _print(text)

    def begin(self, search: Search, deadline: float | None) -> None:
        """See `Display`."""
        self._search, self._deadline = search, deadline
        self._told = {trial.number for trial in search.trials if trial.state is not State.RUNNING}

    def tick(self) -> None:
        """See `Display`."""
        search = self._search
        if search is None:
            return
        plan = search.trials.confirming
        if plan is not None and plan is not self._plan:
            self.say(confirming(plan))
        self._plan = plan
        for trial in search.trials:
            if trial.state is not State.RUNNING and trial.number not in self._told:
                self._told.add(trial.number)
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

    def say(self, text: str) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(f"warning: {text}", style="bold yellow", highlight=False, markup=False)

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


def _print(text: str) -> None:
    # A pipe that was closed, or a terminal that is gone, ends no search.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def for_stderr(*, quiet: bool) -> Display:
    """The display that fits: nothing if `quiet`, a live screen on a capable terminal, else lines."""
    import os

    if quiet:
        return Silent()
    capable = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live() if capable else Lines()


def plan(study: Study, about: dict[str, Any]) -> str:
    """What a search is going to do, as lines of text."""
    budget = [f"{about['trials']} trials", f"{study.epochs} epochs each"]
    if about["time_budget"]:
        budget.append(f"{clock(about['time_budget'])} in all")
    if about.get("until_settled"):
        budget.append("until settled")
    if about.get("confirm"):
        budget.append(f"the best {about['confirm']} confirmed with {about['confirm_seeds']} fresh seeds each")
    rows = [
        ("study", f"{about['study']}: {about['about']}"),
        (
            "data",
            f"{about['dataset']} ({about['where']}): {about['train_images']} train, {about['val_images']} validation",
        ),
        ("budget", ", ".join(budget)),
        ("rungs", f"{about['scheduler']}: compared after epoch " + ", ".join(map(str, about["rungs"])))
        if about["rungs"]
        else ("rungs", f"{about['scheduler']}: every trial trains to the end"),
        ("sampler", f"{about['sampler']}, seed {about['seed']}, {_first(study, about.get('published'))} first"),
        *(
            [("to beat", f"test accuracy {about['published']:.4f}, published; claimed, not trained: --published does")]
            if about.get("published") is not None and not study.published
            else []
        ),
        (
            "resources",
            f"{about['concurrent']} at a time, each {about['cpus']:g} CPU"
            + (f" and {about['gpus']:g} GPU" if about["gpus"] else "")
            + (", or no GPU where none is free" if about.get("also_cpus") else ""),
        ),
        ("mlflow", about["tracking_uri"]),
    ]
    width = max(len(name) for name in [*study.ranges, *study.fixed])
    lines = [f"{name:<10} {text}" for name, text in rows]
    lines.append("space")
    lines += [f"  {name:<{width}}  {range_}{_when(range_)}" for name, range_ in study.ranges.items()]
    if study.fixed:
        lines.append("fixed")
        lines += [f"  {name:<{width}}  {value}" for name, value in sorted(study.fixed.items())]
    return "\n".join(lines)


def _first(study: Study, claim: float | None) -> str:
    start = f"{len(study.start)} start point{'' if len(study.start) == 1 else 's'}"
    count = len(study.published)
    published = "the published setting" if count == 1 else f"{count} published settings"
    published += f" (test accuracy {claim:.2%})" if claim is not None else ""
    return f"{published} and {start}" if study.published else start


def _when(range_: Any) -> str:
    conditions = ", ".join(f"{name}={value}" for name, value in range_.when.items())
    return f"   when {conditions}" if conditions else ""


def ending(trial: Trial, search: Search) -> str:
    """How a trial did, in one line."""
    objective = search.study.objective
    if trial.state in (State.FAILED, State.DIVERGED, State.OUT_OF_MEMORY) or not trial.has_value(objective):
        return f"{trial.why}  {configuration(trial)}"
    value = trial.best_value(objective)
    budget = search.study.epochs_of(trial.point)
    return f"{value:.4f} after {len(trial.epochs):2d} of {budget} epochs  {configuration(trial)}"


def configuration(trial: Trial) -> str:
    """The searched values, short: `lr=0.03 optimizer=sgd`."""
    short = {name.split("/", 1)[1]: value for name, value in trial.point.items()}
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in short.items()
    )


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


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One block per value, `low` and below lowest, `high` and above highest; `×` where it is not finite."""
    span, top = (high - low) or 1.0, len(BLOCKS) - 1
    return "".join(
        BLOCKS[min(top, max(0, int((value - low) / span * len(BLOCKS))))] if math.isfinite(value) else "×"
        for value in values
    )


def clock(seconds: float) -> str:
    """`75` as `1:15`, `3675` as `1:01:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def screen(search: Search, deadline: float | None) -> Any:
    """The whole screen as something that rich can draw."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    objective, trials = search.study.objective, search.trials
    finite = sorted(value for trial in trials for value in trial.values(objective) if math.isfinite(value))
    low, high = (finite[len(finite) // 10], finite[-1]) if finite else (0.0, 1.0)

    def row(trial: Trial) -> tuple[str, ...]:
        values = trial.values(objective)
        worth = f"{trial.best_value(objective):.4f}" if trial.has_value(objective) else "…"
        return (
            str(trial.number),
            str(trial.state),
            f"{len(values)}/{search.study.epochs_of(trial.point)}",
            worth,
            sparkline(values, low, high),
            configuration(trial),
        )

    table = Table(box=None, padding=(0, 1), expand=True)
    for name, ratio in (("trial", None), ("state", None), ("epoch", None), (objective.metric, None), ("curve", None)):
        table.add_column(name, no_wrap=True, ratio=ratio)
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
    return Panel(Group(*parts), title=f"{search.study.name}: {search.study.about}", title_align="left")


def rung_counts(search: Search) -> list[str]:
    """`epoch 3: 4 of 9 went on`, for each rung that a trial has reached."""
    lines = []
    for rung in search.scheduler.rungs:
        reached = [t for t in search.trials if len(t.epochs) >= rung and not t.exempt]
        went_on = [t for t in reached if len(t.epochs) > rung or t.state is State.RUNNING]
        if reached:
            lines.append(f"epoch {rung}: {len(went_on)} of {len(reached)} went on")
    return lines


def confirming(plan: Mapping[str, Any]) -> str:
    """What is about to be confirmed, in one line."""
    numbers = ", ".join(map(str, plan["trials"]))
    control = "" if plan["control"] is None else f", and the first start point (trial {plan['control']}) as control"
    seeds = f"{plan['seeds']} fresh seed{'' if plan['seeds'] == 1 else 's'} each"
    return f"confirming the settings of trial{'' if len(plan['trials']) == 1 else 's'} {numbers}{control}: {seeds}"


def result(summary: dict[str, Any]) -> str:
    """The winner, for people."""
    best, places, times = summary["best"], summary["mlflow"], summary["test_openings"]
    opened = "measured once" if times == 1 else f"the test set was opened {times} times"
    lines = [f"winner of {summary['name']}: trial {best['trial']}, epoch {best['epoch']}"]
    if best["confirmed_from"] is not None:
        lines[0] += f", which confirms trial {best['confirmed_from']}"
    lines += [f"  {key} = {short(value)}" for key, value in best["config"].items()]
    if best["metric"] != "val_accuracy":
        lines.append(f"{best['metric']:<19} {best[best['metric']]:.4f}")
    lines.append(f"validation accuracy {best['val_accuracy']:.4f}" if "val_accuracy" in best else "")
    if summary["confirmation"] is not None:
        lines += confirmation.lines(summary["confirmation"])
    if summary["settled"] is not None:
        told = summary["settled"]
        lines.append(
            f"settled             after {told['trials']} trials: as many more as were looked at would gain "
            f"{told['expected_gain']:.5f}, a seed decides {told['spread']:.5f}"
        )
    if summary["audit"] is not None:
        lines += audit.lines(summary["audit"])
    if best["test_accuracy"] is not None:
        lines.append(f"test accuracy       {best['test_accuracy']:.4f}  ({opened}, on {best['test_images']} images)")
    elif summary["state"] == "done":
        lines.append("test accuracy       not measured")
    if summary["published"] is not None:
        claim = summary["published"]
        how = "trained here too" if claim["trained"] else "claimed, not trained here"
        lines.append(f"published           {claim['test_accuracy']:.4f}  ({how})")
    if summary["stand_in"]:
        lines.append(f"STAND-IN DATA: these numbers say nothing about {summary['dataset']}")
    if places.get("parent_run_id"):
        page = f"/#/experiments/{places['experiment_id']}/runs/{places['parent_run_id']}"
        served = places["tracking_uri"].startswith("http")
        lines.append(f"MLflow   {places['tracking_uri'] if served else summary['ui'] + '   then '}{page}")
    if places.get("model_uri"):
        lines.append(f"model    mlflow.pyfunc.load_model({places['model_uri']!r})")
        lines.append(f"         with MLFLOW_TRACKING_URI={places['tracking_uri']}")
    elif best["checkpoint"]:
        lines.append(f"weights  {summary['run_dir']}/checkpoints/{best['checkpoint']}")
    if summary["report"]:
        lines.append(f"report   {summary['report']}")
    lines.append(f"record   {summary['run_dir']}")
    return "\n".join(line for line in lines if line)


def short(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
