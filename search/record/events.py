"""The events of a record: what kinds there are, and what each says.

| event        | trial | body |
|--------------|-------|------|
| `search`     |       | what the search is (header.py); the first event, and only that |
| `resumed`    |       | a later process goes on: what it changes of that, and where it runs; `reopened`? |
| `asked`      | yes   | `Asked`: a new trial; a worker gets it at once |
| `lost`       | yes   | `Lost`: its worker died or hung, and the trial waits for another |
| `restarted`  | yes   | `Restarted`: another worker goes on with the trial |
| `epoch`      | yes   | `EpochReport`: a worker has finished an epoch |
| `repeated`   | yes   | `Repeated`: an epoch that was known came again after a restart |
| `decided`    | yes   | `Decided`: what the scheduler said |
| `continued`  | yes   | `Continued`: a paused trial goes on |
| `ended`      | yes   | `Ended` |
| `confirming` |       | `Confirming`: the search proper is over; what of it still runs is left |
| `settled`    |       | `Settled`: going on would gain less than a seed decides |
| `closing`    |       | `Closing`: the time that is left is too short for anything new |
| `steered`    |       | `Steered`: what somebody asked of the search while it ran, and what it came to |
| `tested`     | yes   | `WinnerTested`: written each time that the test set was opened |
| `published`  |       | `InMLflow`: where runs and model are |
| `finished`   |       | `Finished`: a process left the search; trials that still ran are interrupted |

A search that was `confirming` stays so when it is resumed, unless it is `reopened` because it was given more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from search.record.body import Body as Body
from search.record.body import Entry as Entry
from search.record.body import Event as Event
from search.record.kind import Kind as Kind
from search.record.state import State
from spaces.values import Value, config_from_plain, config_to_plain

BEGINNINGS = (Kind.SEARCH, Kind.RESUMED)
"""With one of these each process begins that works on the search."""


@dataclass(frozen=True)
class Asked(Body):
    """A new trial: what of its configuration was searched, and where that comes from (see `trial.PROPOSED` …)."""

    kind = Kind.ASKED
    point: Mapping[str, Value]
    origin: str

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """See `Body.from_plain`; a point is as it was asked, its tuples are tuples."""
        asked = super().from_plain(plain)
        return replace(asked, point=config_from_plain(asked.point))

    def to_plain(self) -> dict[str, Any]:
        """See `Body.to_plain`."""
        return {**super().to_plain(), "point": config_to_plain(self.point)}


@dataclass(frozen=True)
class Lost(Body):
    """A trial lost the worker of its `attempt` (from 1); `state` is how it would have ended without another."""

    kind = Kind.LOST
    attempt: int
    state: State
    why: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))


@dataclass(frozen=True)
class Restarted(Body):
    """A worker goes on with a trial after `epoch`, from its `checkpoint`; after epoch 0 from none."""

    kind = Kind.RESTARTED
    attempt: int
    checkpoint: str | None
    epoch: int


@dataclass(frozen=True)
class EpochReport(Body):
    """An epoch (from 1) of a trial: its metrics, the `seconds` of training steps and validation, its checkpoint.

    `checkpoint` is the path within the folder of checkpoints, `bytes` its size. Where it was trained: `pid`, `node`,
    `gpus` (their numbers, by commas; None on a CPU); `began` is when that process began with the trial, in seconds
    since 1970. `system` is how busy its machine was, by MLflow's names; None if nobody looked in that time.
    """

    kind = Kind.EPOCH
    optional = ("pid", "node", "began", "gpus", "system")
    epoch: int
    metrics: Mapping[str, float]
    seconds: float
    checkpoint: str | None = None
    sha256: str | None = None
    bytes: int = 0
    pid: int | None = None
    node: str | None = None
    began: float | None = None
    gpus: str | None = None
    system: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Repeated(Body):
    """An epoch that was known came again, with a new checkpoint; whether its metrics were the `same`."""

    kind = Kind.REPEATED
    epoch: int
    same: bool
    checkpoint: str | None
    sha256: str | None
    bytes: int = 0


@dataclass(frozen=True)
class Decided(Body):
    """At `rung` (an epoch) the scheduler compared `value`, the best so far, with `cutoff`; None if it had no rivals.

    `spared` is why the trial goes on that it would have stopped. With `pause` the trial is put aside, and goes on if it
    is `continued`.
    """

    kind = Kind.DECIDED
    optional = ("spared", "pause")
    epoch: int
    value: float
    rung: int
    cutoff: float | None
    go_on: bool
    spared: str | None = None
    pause: bool | None = None


@dataclass(frozen=True)
class Continued(Body):
    """A paused trial goes on: `at_once` in the worker that it still has, else as soon as another is given to it."""

    kind = Kind.CONTINUED
    at_once: bool


@dataclass(frozen=True)
class Ended(Body):
    """A trial has ended in `state`."""

    kind = Kind.ENDED
    optional = ("traceback",)
    state: State
    why: str
    traceback: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))


@dataclass(frozen=True)
class Confirming(Body):
    """The settings of `trials`, the best first, and of `control` are trained again, each from so many fresh `seeds`.

    `control` is the trial of the first start point; None if there is none with a finite value.
    """

    kind = Kind.CONFIRMING
    trials: Sequence[int]
    control: int | None
    seeds: int


@dataclass(frozen=True)
class Settled(Body):
    """The `expected_gain` of as much search again is below `spread`, what a seed decides; both as the objective is.

    `best` is the best value so far, of so many `trials`.
    """

    kind = Kind.SETTLED
    expected_gain: float
    spread: float
    best: float
    trials: int


@dataclass(frozen=True)
class Closing(Body):
    """Nothing new begins: so many seconds are `left`, and the first `epochs` of a new trial would take `needed`.

    What runs goes on, and of paused trials the best one. It holds until there is more time.
    """

    kind = Kind.CLOSING
    left: float
    needed: float
    epochs: int


@dataclass(frozen=True)
class Steered(Body):
    """`who` asked something of the search while it ran, at `sent_at` (seconds since 1970): see `steering.VERBS`.

    `given` is what was said besides the verb, `id` tells the request from every other. `refused` is why nothing came of
    it. Else `trial` is the one that it is about, `point` a configuration to be tried next, and `trials` and
    `time_budget` (seconds) are what the search has from now on in all.
    """

    kind = Kind.STEERED
    optional = ("refused", "trial", "point", "trials", "time_budget")
    verb: str
    id: str
    who: str
    sent_at: float
    given: Mapping[str, Any]
    refused: str | None = None
    trial: int | None = None
    point: Mapping[str, Value] | None = None
    trials: int | None = None
    time_budget: float | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """See `Asked.from_plain`."""
        told = super().from_plain(plain)
        return told if told.point is None else replace(told, point=config_from_plain(told.point))

    def to_plain(self) -> dict[str, Any]:
        """See `Body.to_plain`."""
        plain = super().to_plain()
        return plain if self.point is None else {**plain, "point": config_to_plain(self.point)}


@dataclass(frozen=True)
class WinnerTested(Body):
    """What the test set of so many `images` gave for the best `epoch` of a trial.

    `beyond` has what says more than accuracy where classes differ in size (see `trainables.metrics`), each 0 to 1.
    `low` is the lower end of the 95 % interval of what the search optimised, accuracy or balanced accuracy; a model
    that always says the largest class gets `chance` in it. All three are None in records of earlier versions.

    Of a script here stands what its program says of its test set: accuracy and images if it says them, and in `beyond`
    all else, in its own measures, its loss too.
    """

    kind = Kind.TESTED
    optional = ("test_accuracy", "test_loss", "images", "beyond", "low", "chance")
    trial: int
    epoch: int
    test_accuracy: float | None = None
    test_loss: float | None = None
    images: int | None = None
    beyond: Mapping[str, float] | None = None
    low: float | None = None
    chance: float | None = None

    @property
    def no_better(self) -> bool:
        """Whether the winner is, as far as can be told, no better than always saying the largest class."""
        return self.low is not None and self.chance is not None and self.low <= self.chance


@dataclass(frozen=True)
class InMLflow(Body):
    """Where the runs of the search are in MLflow; the ids are None if it has not answered yet.

    Once the model of the `winner` (search id/trial/epoch) is logged, `model_uri` is where; if it is registered, under
    an alias, with its version, its `aliases` and the `logged_model`. It is no more than a `file` where that is named,
    which only its author's code can read.
    """

    kind = Kind.PUBLISHED
    optional = ("model_uri", "winner", "model_version", "aliases", "logged_model", "file")
    tracking_uri: str
    experiment_id: str | None
    parent_run_id: str | None
    model_uri: str | None = None
    winner: str | None = None
    model_version: int | None = None
    aliases: Sequence[str] | None = None
    logged_model: str | None = None
    file: str | None = None

    def with_model_of(self, earlier: InMLflow | None) -> InMLflow:
        """These runs, and the model that was published `earlier`."""
        if earlier is None:
            return self
        runs, experiment = self.parent_run_id, self.experiment_id
        return replace(earlier, tracking_uri=self.tracking_uri, experiment_id=experiment, parent_run_id=runs)


@dataclass(frozen=True)
class Finished(Body):
    """A process left the search, which is then "done", "failed" or "interrupted".

    Processes have worked on it for `wall_s` seconds in all. `posthumous` is what a later one says of one that died.
    """

    kind = Kind.FINISHED
    optional = ("posthumous",)
    state: str
    why: str
    wall_s: float
    posthumous: bool | None = None
