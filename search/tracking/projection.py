"""What MLflow is to show of a search: its trials as the record tells them, and what their runs are still to be told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from search.findings import confirmed
from search.printable import fenced, markdown, printable
from search.record.events import Asked, EpochReport, Event, Finished, Kind, Restarted, Steered, WinnerTested
from search.record.header import Header
from search.record.reading import header_of
from search.record.state import State
from search.record.steering import in_words
from search.record.trial import Trial
from search.record.trials import Trials
from search.tracking.shown import LONGEST_PARAM, LONGEST_TAG, metric_key, value_text

STATUS = {
    State.RUNNING: "RUNNING",
    State.PAUSED: "SCHEDULED",
    State.COMPLETE: "FINISHED",
    State.STOPPED: "KILLED",
    State.INTERRUPTED: "KILLED",
    State.PREEMPTED: "KILLED",
    State.INFEASIBLE: "KILLED",
    State.TIMED_OUT: "FAILED",
    State.DIVERGED: "FAILED",
    State.OUT_OF_MEMORY: "FAILED",
    State.FAILED: "FAILED",
}
"""MLflow's status of a trial, while its search runs; see `status_of`."""

WHY_LENGTH = 5000
"""So much of a reason becomes a tag; MLflow takes at most 8,000 characters."""

MOST_STEERED = 20
"""So many requests, the latest, are told of."""

Point = tuple[str, float, int, int]
"""Name of a metric, value, milliseconds since 1970, step."""


@dataclass
class Update:
    """What a run is still to be told; `status` is MLflow's, with the milliseconds since 1970 at which it began."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    status: tuple[str, int] | None = None


def status_of(state: State, *, over: bool) -> str:
    """MLflow's status of a trial in `state`; one that is paused when its search is `over` was left, and is no plan."""
    return "KILLED" if over and state is State.PAUSED else STATUS[state]


class Projection:
    """The search that begins with the event `first`. `children` are the updates of trials by number.

    Updates pile up with each event that is taken, until they are `written`. `notes` says, by name, what MLflow cannot
    show as it is.
    """

    def __init__(self, first: Event) -> None:
        self.header: Header = header_of([first])
        self.trials = Trials(self.header.objective)
        self.children: dict[int, Update] = {}
        self.notes: dict[str, str] = {}
        self._steering: list[str] = []
        self._parent = Update()
        self._taken = 0

    def take(self, events: Sequence[Event]) -> None:
        """Take in those of `events` that were not yet, in order."""
        for event in events:
            if event.id > self._taken:
                self._follow(event)
                self._taken = event.id

    def written(self) -> None:
        """Everything that was taken in is written."""
        self.children, self._parent = {}, Update()

    def parent(self, last: Event) -> Update:
        """The update of the parent run after the event `last`; its last tags say that all until there is written."""
        best, stamp = self.trials.best(), milliseconds(last.at)
        metrics = [(name, value, stamp, last.id) for name, value in self._totals(best).items()]
        said = {"mlflow.note.content": self._note(best)}
        cursor = {"search.cursor": str(last.id), "search.cursor_at": repr(last.at)}
        earlier = self._parent
        return Update(earlier.params, [*earlier.metrics, *metrics], {**earlier.tags, **said, **cursor}, earlier.status)

    def _follow(self, event: Event) -> None:
        before = {trial.number: (trial.state, trial.why) for trial in self.trials.going()}
        self.trials.apply(event)
        for number, stood in before.items():
            trial = self.trials[number]
            if (trial.state, trial.why) != stood:
                update = self._child(number)
                update.status = (STATUS[trial.state], milliseconds(event.at))
                update.tags |= {"search.state": str(trial.state), "search.why": printable(trial.why)[:WHY_LENGTH]}
        tell = self._TELL.get(event.kind)
        if tell is not None:
            tell(self, event)

    def _child(self, number: int | None) -> Update:
        assert number is not None
        return self.children.setdefault(number, Update())

    def _began(self, event: Event) -> None:
        settings = ("seed", "sampler", "scheduler", "epochs", "trials", "time_budget")
        self._parent.params |= {name: str(getattr(self.header, name)) for name in settings}

    def _resumed(self, event: Event) -> None:
        self.header = self.header.changed(event.body)
        self._parent.status = ("RUNNING", milliseconds(event.at))
        self._parent.tags["search.state"] = "running"
        self._tell_paused(event, over=False)

    def _steered(self, event: Event) -> None:
        told = Steered.of(event)
        self.header = self.header.changed(
            {name: value for name in ("trials", "time_budget") if (value := getattr(told, name)) is not None}
        )
        self._steering.append(in_words(told))
        self._parent.tags["search.steered"] = printable("\n".join(self._steering[-MOST_STEERED:]))[:WHY_LENGTH]

    def _asked(self, event: Event) -> None:
        update, asked = self._child(event.trial), Asked.of(event)
        config = {name: str(value) for name, value in self.header.full_config(asked.point).items()}
        for name in [name for name, text in config.items() if len(text) > LONGEST_PARAM]:
            line = f"MLflow shows the first {LONGEST_PARAM:,} characters of {name}; the record has all"
            self.notes.setdefault(name, line)
        update.params |= {name: value_text(text) for name, text in config.items()}
        update.tags["search.origin"] = asked.origin

    def _key(self, name: str) -> str:
        """What MLflow calls the metric `name`."""
        key = metric_key(name)
        if key != name:
            self.notes.setdefault(f"metric {name}", f"MLflow shows the metric {name} as {key}")
        return key

    def _restarted(self, event: Event) -> None:
        self._child(event.trial).tags["search.attempt"] = str(Restarted.of(event).attempt)

    def _epoch(self, event: Event) -> None:
        report = EpochReport.of(event)
        values = {self._key(name): value for name, value in report.metrics.items()}
        values["seconds"] = report.seconds
        points = [(name, value, milliseconds(event.at), report.epoch) for name, value in values.items()]
        self._child(event.trial).metrics.extend(points)

    def _tested(self, event: Event) -> None:
        tested, stamp = WinnerTested.of(event), milliseconds(event.at)
        said = {"accuracy": tested.test_accuracy, **(tested.beyond or {})}
        for name, value in {self._key(f"test_{name}"): each for name, each in said.items() if each is not None}.items():
            self._child(event.trial).metrics.append((name, value, stamp, tested.epoch))
            self._parent.metrics.append((name, value, stamp, event.id))
        for trial in self.trials:
            if trial.tested:
                self._child(trial.number).tags["search.winner"] = str(trial.number == event.trial).lower()

    def _finished(self, event: Event) -> None:
        ending, best = Finished.of(event), self.trials.best()
        status = {"done": "FINISHED", "failed": "FAILED"}.get(ending.state, "KILLED")
        self._parent.status = (status, milliseconds(event.at))
        self._tell_paused(event, over=True)
        self._parent.tags |= {"search.state": ending.state, "search.why": printable(ending.why)[:WHY_LENGTH]}
        if best is not None:  # tags, because a search that goes on may find another, and params cannot change
            config = {**dict.fromkeys(self.header.space, "-"), **self.header.full_config(best.point)}
            self._parent.tags |= {f"best/{name}": value_text(str(value), LONGEST_TAG) for name, value in config.items()}

    def _tell_paused(self, event: Event, *, over: bool) -> None:
        for trial in self.trials.paused():
            self._child(trial.number).status = (status_of(trial.state, over=over), milliseconds(event.at))

    _TELL: ClassVar[Mapping[Kind, Callable[[Projection, Event], None]]] = {
        Kind.SEARCH: _began,
        Kind.RESUMED: _resumed,
        Kind.STEERED: _steered,
        Kind.ASKED: _asked,
        Kind.RESTARTED: _restarted,
        Kind.EPOCH: _epoch,
        Kind.TESTED: _tested,
        Kind.FINISHED: _finished,
    }

    def _totals(self, best: Trial | None) -> dict[str, float]:
        """The metrics of the parent run: how many trials of each state and epochs there are, and the best value."""
        there, objective = self.trials.counts(), self.trials.objective
        totals = {f"trials_{state.replace(' ', '_')}": float(there.get(str(state), 0)) for state in State}
        totals["epochs"] = float(self.trials.epochs)
        best_key = f"best_{metric_key(objective.metric)}"
        if best is not None:
            totals |= {
                best_key: best.best_value(objective),
                "best_trial": float(best.number),
            }
            return totals | self._confirmed()
        if self.trials.epochs:  # a trial that led may come to a worthless end, and a metric cannot be taken back
            totals |= {best_key: math.nan, "best_trial": math.nan}
        return totals

    def _confirmed(self) -> dict[str, float]:
        """What fresh seeds made of the winner, as metrics; NaN for what cannot be told: none can be taken back."""
        best = confirmed.of_winner(confirmed.document(self.header.fixed, self.trials))
        if best is None:
            return {}
        low, high = best["interval"] or (math.nan, math.nan)
        shrinkage = math.nan if best["shrinkage"] is None else best["shrinkage"]
        return {"confirmed_mean": best["mean"], "confirmed_low": low, "confirmed_high": high, "shrinkage": shrinkage}

    def _note(self, best: Trial | None) -> str:
        """The parent run's description, in Markdown."""
        header, objective, lines = self.header, self.trials.objective, []
        where = markdown(header.where)
        if header.stand_in:
            lines.append(f"**STAND-IN DATA**: {markdown(header.dataset)} could not be had; this ran on {where}.\n")
        lines += [f"{markdown(header.about)}\n", f"{fenced(header.command)}\n"]
        if best is not None:
            metric, value = markdown(objective.metric), best.best_value(objective)
            lines.append(f"Best so far: trial {best.number}, {metric} {value:.4f}\n")
            lines += ["| hyperparameter | value |", "|---|---|"]
            config = header.full_config(best.point)
            lines += [f"| {markdown(name)} | {markdown(str(value))} |" for name, value in config.items()]
        if self._steering:
            lines += ["\nSteered while it ran:\n", *(f"- {markdown(each)}" for each in self._steering[-MOST_STEERED:])]
        versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
        lines.append(f"\n{markdown(versions)}; data SHA-256 {markdown(header.digest[:16])}…; {where}")
        return "\n".join(lines)


def milliseconds(seconds: float) -> int:
    """As MLflow counts."""
    return int(seconds * 1000)
