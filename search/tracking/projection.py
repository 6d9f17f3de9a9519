"""What MLflow is to show of a search: its trials as the record tells them, and what their runs are still to be told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from search.findings import confirmed
from search.printable import printable
from search.record.events import (
    Asked,
    Decided,
    EpochReport,
    Event,
    Finished,
    InMLflow,
    Kind,
    Restarted,
    Steered,
    WinnerTested,
)
from search.record.header import Header
from search.record.reading import Spent, header_of
from search.record.state import State
from search.record.steering import in_words
from search.record.trial import Trial
from search.record.trials import Trials
from search.tracking import descriptions
from search.tracking.descriptions import MOST_STEERED
from search.tracking.shown import LONGEST_PARAM, LONGEST_TAG, as_param, metric_key, value_text

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

    Updates pile up with each event that is taken, until they are `written`; whether events come one by one or all at
    once makes no difference. `notes` says, by name, what MLflow cannot show as it is. The parent's curves run over
    trials: their steps count, from `first_step` on, those that have ended for good. One that is called `…_over_seconds`
    runs over the seconds that were spent on the search.
    """

    def __init__(self, first: Event, first_step: int = 0) -> None:
        self.header: Header = header_of([first])
        self.trials = Trials(self.header.objective)
        self.children: dict[int, Update] = {}
        self.notes: dict[str, str] = {}
        self._told = descriptions.Told()
        self._decided: dict[int, Decided] = {}
        self._spent = Spent()
        self.first_step, self._ended, self._shown_best = first_step, 0, False
        self._seen = {State.RUNNING}
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
        said = {"mlflow.note.content": descriptions.of_search(self.header, self.trials, self._told), **self._counted()}
        cursor = {"search.cursor": str(last.id), "search.cursor_at": repr(last.at)}
        earlier = self._parent
        return Update(earlier.params, earlier.metrics, {**earlier.tags, **said, **cursor}, earlier.status)

    def _description(self, trial: Trial) -> str:
        return descriptions.of_trial(self.header, self.trials, trial, self._decided.get(trial.number))

    def _follow(self, event: Event) -> None:
        before = {trial.number: (trial.state, trial.why) for trial in self.trials.going()}
        self.trials.apply(event)
        self._spent.take(event)
        for number, stood in before.items():
            trial = self.trials[number]
            if (trial.state, trial.why) != stood:
                self._seen.add(trial.state)
                update = self._child(number)
                update.status = (STATUS[trial.state], milliseconds(event.at))
                update.tags |= {"search.state": str(trial.state), "search.why": printable(trial.why)[:WHY_LENGTH]}
                update.tags["mlflow.note.content"] = self._description(trial)
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
        self._told.ending = None
        self._parent.status = ("RUNNING", milliseconds(event.at))
        self._parent.tags["search.state"] = "running"
        self._tell_paused(event, over=False)

    def _steered(self, event: Event) -> None:
        told = Steered.of(event)
        self.header = self.header.changed(
            {name: value for name in ("trials", "time_budget") if (value := getattr(told, name)) is not None}
        )
        self._told.steering.append(in_words(told))
        self._parent.tags["search.steered"] = printable("\n".join(self._told.steering[-MOST_STEERED:]))[:WHY_LENGTH]

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

    def _decision(self, event: Event) -> None:
        assert event.trial is not None
        self._decided[event.trial] = Decided.of(event)

    def _epoch(self, event: Event) -> None:
        report, update = EpochReport.of(event), self._child(event.trial)
        trial, values = self.trials[event.trial], dict[str, float]()
        config = self.header.full_config(trial.point)
        for name, value in report.metrics.items():
            if as_param(name, value, trial, config):
                update.params[name] = f"{value:.15g}"
            else:
                values[self._key(name)] = value
        values["seconds"] = report.seconds
        values |= {metric_key(f"system/{name}"): value for name, value in (report.system or {}).items()}
        update.metrics += [(name, value, milliseconds(event.at), report.epoch) for name, value in values.items()]

    def _over(self, event: Event) -> None:
        """A trial has ended: the best so far goes on by a step."""
        if self.trials[event.trial].state is not State.INTERRUPTED:
            self._ended += 1
            self._tell_best(self.trials.leader(), event)

    def _tested(self, event: Event) -> None:
        tested, stamp = WinnerTested.of(event), milliseconds(event.at)
        said = {"accuracy": tested.test_accuracy, **(tested.beyond or {})}
        for name, value in {self._key(f"test_{name}"): each for name, each in said.items() if each is not None}.items():
            self._child(event.trial).metrics.append((name, value, stamp, tested.epoch))
            self._parent.metrics.append((name, value, stamp, self._step))
        for trial in self.trials:
            if trial.tested:
                told = {"search.winner": str(trial.number == event.trial).lower()}
                self._child(trial.number).tags |= {**told, "mlflow.note.content": self._description(trial)}

    def _published(self, event: Event) -> None:
        self._told.model = InMLflow.of(event)

    def _finished(self, event: Event) -> None:
        ending, best = Finished.of(event), self.trials.best()
        self._told.ending = ending
        self._tell_best(best, event)
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
        Kind.DECIDED: _decision,
        Kind.ENDED: _over,
        Kind.TESTED: _tested,
        Kind.PUBLISHED: _published,
        Kind.FINISHED: _finished,
    }

    @property
    def _step(self) -> int:
        """Where the parent's curves are."""
        return self.first_step + self._ended

    def _tell_best(self, best: Trial | None, event: Event) -> None:
        """A point of the parent's curves: the `best` by now."""
        key, stamp = f"best_{metric_key(self.trials.objective.metric)}", milliseconds(event.at)
        if best is None and not self._shown_best:
            return
        # A trial that led may come to a worthless end, and a metric cannot be taken back.
        value = math.nan if best is None else best.best_value(self.trials.objective)
        self._shown_best = True
        self._parent.metrics.append((key, value, stamp, self._step))
        seconds = self.first_step + round(self._spent.seconds)
        self._parent.metrics.append((f"{key}_over_seconds", value, stamp, seconds))
        self._parent.tags["best_trial"] = "-" if best is None else str(best.number)
        self._parent.metrics += [(name, each, stamp, self._step) for name, each in self._confirmed().items()]

    def _counted(self) -> dict[str, str]:
        """Counters, as tags: of trials by state, as far as any was in it, and of epochs."""
        there = self.trials.counts()
        counted = {
            f"trials_{state.replace(' ', '_')}": there.get(str(state), 0) for state in State if state in self._seen
        }
        return {name: str(count) for name, count in {**counted, "epochs": self.trials.epochs}.items()}

    def _confirmed(self) -> dict[str, float]:
        """What fresh seeds made of the winner, as metrics; NaN for what cannot be told: none can be taken back."""
        if not self.trials.confirmations:
            return {}
        best = confirmed.of_winner(confirmed.document(self.header.fixed, self.trials))
        if best is None:
            return {}
        low, high = best["interval"] or (math.nan, math.nan)
        shrinkage = math.nan if best["shrinkage"] is None else best["shrinkage"]
        return {"confirmed_mean": best["mean"], "confirmed_low": low, "confirmed_high": high, "shrinkage": shrinkage}


def milliseconds(seconds: float) -> int:
    """As MLflow counts."""
    return int(seconds * 1000)
