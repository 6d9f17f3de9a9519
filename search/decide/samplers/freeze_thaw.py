"""Proposals, and prospects of paused trials, by a Gaussian process over settings and epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from search.decide import surrogate
from search.decide.coordinates import Coordinates, Points
from search.decide.prospects import Prospects, pause_rungs
from search.decide.samplers.sampler import identity
from search.decide.surrogate import Array, Cost, Kernel, Observed, Posterior, chance_of_more, expected_improvement
from search.record.state import State
from spaces.study import Study
from spaces.values import Config, Value

DRAWN, AROUND = 400, 6
"""Candidates: so many random points, and a twelfth as many neighbours of each of so many of the best trials."""
ROUNDS, BASINS, NEIGHBOURS = 2, 5, 20
"""Then, so many times, so many neighbours of each of so many of the best candidates."""
FEWEST, MOST = 4, 8
"""So many trials are drawn at random before anything is modelled: as many as reach the first rung in the epochs of half
a full training, but in these bounds."""
EARLY = 0.5
"""Of the time after those at most this share goes to first rungs, the rest to trials that went on. Where all looks
settled at the first rung, nobody has looked: what starts slowly shows only later."""
MOST_SEEN = 320
"""More values than these the process does not see: the time for it grows with the cube."""
MOST_PAUSED = 80
"""So many paused trials are judged, the best; the others are left where they are."""
GROWTH = 1.15
"""The kernel is fitted again when there are so many times more values."""


@dataclass
class _Known:
    """What is known of one trial; `seconds` of each of its epochs, `logged` counts its rungs that are in the log."""

    row: Array
    seconds: list[float] = field(default_factory=list)
    best: float = -math.inf
    epochs: int = 0
    logged: int = 0
    running: bool = True
    aside: bool = False


class FreezeThaw:
    """Expected improvement at the full budget, per second that it is expected to take.

    A trial that is taken is trained to its next rung in any case. The epochs beyond count by the chance that it comes
    out better than the best so far, since else it is put aside. No new trial begins while more than the share `EARLY`
    of the time has gone to first rungs. (Swersky, Snoek and Adams 2014, arXiv 1406.3896, choose by entropy, among
    trials that may go on and new ones that were picked by expected improvement.)

    All that was told is kept as a log of values at rungs, in the order in which they came. The kernel is fitted on the
    first values of the log whenever it has grown by `GROWTH`, and draws follow from the seed and the trial's number, so
    nothing depends on when a question was asked, and a search that goes on after a crash knows what it knew.

    A trial that diverged, was infeasible or out of memory, or was silent from the start counts as worst of all at the
    full budget; one that failed for another reason teaches nothing. Inside, more is better, whichever way the objective
    goes.
    """

    def __init__(self, study: Study, seed: int) -> None:
        self._seed, self._epochs = seed, study.epochs
        self._sign = 1.0 if study.objective.mode == "max" else -1.0
        self._space = Coordinates(study.ranges)
        self._rungs = (*pause_rungs(study), study.epochs)
        self.first = min(max(study.epochs // (2 * self._rungs[0]), FEWEST), MOST)
        """So many trials are drawn at random."""
        self._trials: dict[int, _Known] = {}
        self._points: dict[int, Mapping[str, Value]] = {}
        self._tried: set[object] = set()
        self._log: list[tuple[int, int, float]] = []
        """Trial, epoch, worth (more is better); NaN for a trial that is hopeless, whatever it showed before."""
        self._kernels = [surrogate.untrained(len(study.ranges))]
        self._fitted_at = [0]
        self._threads = ThreadpoolController()
        self._mind: _Mind | None = None

    # What is told

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self._points[number] = dict(point)
        self._trials[number] = _Known(self._space.rows(self._space.of([point]))[0])
        self._tried.add(identity(point))
        self._mind = None

    def heard(self, number: int, values: Sequence[float], seconds: float = 0.0) -> None:
        """See `Sampler.heard`."""
        self._trials[number].seconds.append(seconds)
        self._take(number, values)

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""
        self._take(number, values)
        trial = self._trials[number]
        trial.running = trial.aside = False
        silent = state is State.TIMED_OUT and not values
        if silent or state in (State.DIVERGED, State.OUT_OF_MEMORY, State.INFEASIBLE):
            self._log.append((number, self._epochs, math.nan))

    def put_aside(self, number: int, *, aside: bool) -> None:
        """See `Judge.put_aside`."""
        self._trials[number].aside = aside
        self._mind = None

    def _take(self, number: int, values: Sequence[float]) -> None:
        trial, self._mind = self._trials[number], None
        trial.epochs = max(trial.epochs, len(values))
        for rung in self._rungs[trial.logged :]:
            if rung > len(values):
                break
            self._log.append((number, rung, self._sign * values[rung - 1]))
            trial.logged += 1
        if values:
            trial.best = self._sign * values[-1]

    # What is asked

    def propose(self, number: int) -> Config:
        """See `Sampler.propose`."""
        with self._threads.limit(limits=1):  # sums of several threads are not the same to the last digit
            mind = self._made_up(number)
            return self._first_untried(mind.candidates, mind.order)

    def prospects(self, number: int) -> Prospects:
        """See `Judge.prospects`."""
        with self._threads.limit(limits=1):
            return self._made_up(number).prospects

    def _first_untried(self, points: Points, order: Sequence[int]) -> Config:
        for row in order:
            config = self._space.config(points, int(row))
            if identity(config) not in self._tried:
                return config
        return self._space.config(points, int(order[0]))

    def _made_up(self, number: int) -> _Mind:
        if self._mind is None or self._mind.number != number:
            self._mind = _Mind(self, number)
        return self._mind

    def kernel(self) -> Kernel:
        """The kernel as it was last fitted."""
        while (due := math.ceil(max(self._fitted_at[-1] * GROWTH + 2, MOST))) <= len(self._log):
            seen, _ = self.observed(self._log[:due])
            chance = np.random.default_rng([self._seed, due, 1])
            if len(seen) > 1 and len(self._space.names):
                self._kernels.append(surrogate.fitted(seen, self._space.owner, self._kernels[-1], chance))
            self._fitted_at.append(due)
        return self._kernels[-1]

    def observed(self, log: Sequence[tuple[int, int, float]]) -> tuple[Observed, tuple[float, float]]:
        """The values of `log` as the process sees them, and middle and spread that they were scaled by."""
        hopeless = {number for number, _, worth in log if math.isnan(worth)}
        kept = self._most_telling([each for each in log if each[0] not in hopeless or math.isnan(each[2])])
        trial = np.array([number for number, _, _ in kept], dtype=np.int64)
        worth, middle, spread = surrogate.scaled(np.array([worth for _, _, worth in kept], float))
        rows = np.array([self._trials[number].row for number in trial]).reshape(len(kept), len(self._space.owner))
        time = self.time(np.array([epoch for _, epoch, _ in kept], float))
        return Observed(rows, time, trial, worth), (middle, spread)

    def _most_telling(self, log: Sequence[tuple[int, int, float]]) -> Sequence[tuple[int, int, float]]:
        """`log`, of which so many values are kept: of the best trials half as many, and the latest ones."""
        if len(log) <= MOST_SEEN:
            return log
        order = sorted(range(len(log)), key=lambda i: (not math.isnan(log[i][2]), log[i][2]), reverse=True)
        order = [i for i in order if not math.isnan(log[i][2])][: MOST_SEEN // 2]
        chosen = set(order)
        latest = [i for i in range(len(log)) if i not in chosen][-(MOST_SEEN - len(chosen)) :]
        return [log[i] for i in sorted([*order, *latest])]

    def time(self, epochs: Array) -> Array:
        """Epochs as the process counts them."""
        return np.log(epochs) / max(math.log(self._epochs), 1e-9)

    def early_share(self) -> float:
        """Which share of the seconds went to first rungs, of the trials after the `first` ones; 0 to 1."""
        told = [trial.seconds for number, trial in self._trials.items() if number >= self.first]
        total = math.fsum(math.fsum(seconds) for seconds in told)
        return math.fsum(math.fsum(seconds[: self._rungs[0]]) for seconds in told) / total if total else 0.0

    def next_rung(self, trial: _Known) -> int:
        """At which epoch the next value of a trial in flight will be told."""
        return self._rungs[min(trial.logged, len(self._rungs) - 1)]

    def going(self) -> tuple[dict[int, _Known], dict[int, _Known]]:
        """The trials in flight, and of those that are put aside the most promising by their values, by number."""
        flying = {number: trial for number, trial in self._trials.items() if trial.running and not trial.aside}
        aside = [number for number, trial in self._trials.items() if trial.aside and trial.logged]
        best = sorted(aside, key=lambda number: (-self._trials[number].best, number))[:MOST_PAUSED]
        return flying, {number: self._trials[number] for number in sorted(best)}


class _Mind:
    """What the sampler makes of all that it was told, when trial `number` is asked for."""

    def __init__(self, sampler: FreezeThaw, number: int) -> None:
        self.number, self._sampler = number, sampler
        self._chance = np.random.default_rng([sampler._seed, number, 0])
        self._seen, _ = sampler.observed(sampler._log)
        self._ignorant = len(sampler._trials) < sampler.first or len(self._seen) < 2

    @cached_property
    def candidates(self) -> Points:
        """What may be proposed."""
        return self._candidates_and_scores[0]

    @cached_property
    def _candidates_and_scores(self) -> tuple[Points, Array]:
        """What may be proposed, and of each the expected improvement per second, 0 while too little is known."""
        space, trials = self._sampler._space, self._sampler._trials
        points = space.draw(self._chance, DRAWN)
        if self._ignorant:
            return points, np.zeros(len(points))
        finite = [number for number, trial in trials.items() if math.isfinite(trial.best)]
        best = sorted(finite, key=lambda number: (-trials[number].best, number))[:AROUND]
        points += space.near(self._chance, space.of([self._sampler._points[number] for number in best]), DRAWN // 12)
        scores = self._scores(points)
        for _ in range(ROUNDS):
            better = space.near(self._chance, points[np.argsort(-scores, kind="stable")[:BASINS]], NEIGHBOURS)
            points, scores = points + better, np.concatenate([scores, self._scores(better)])
        return points, scores

    def _scores(self, points: Points) -> Array:
        """Of each of `points`, for a trial from the start, the expected improvement per second."""
        rows = self._sampler._space.rows(points)
        gain, chance = self._gain(rows, np.full(len(rows), -1))
        first = self._sampler._rungs[0]
        return gain / ((first + (self._sampler._epochs - first) * chance) * self._cost.of(rows))

    @property
    def order(self) -> Sequence[int]:
        """The candidates, the best first."""
        return [int(i) for i in np.argsort(-self._candidates_and_scores[1], kind="stable")]

    @cached_property
    def prospects(self) -> Prospects:
        """Of paused trials, and of the best candidate."""
        _, aside = self._sampler.going()
        if not aside:
            return Prospects()
        trials, numbers = list(aside.values()), list(aside)
        gain, chance = self._gain(np.stack([trial.row for trial in trials]), np.array(numbers))
        done = np.array([trial.epochs for trial in trials], float)
        rung = np.array([self._sampler.next_rung(trial) for trial in trials], float)
        left = rung - done + (self._sampler._epochs - rung) * chance
        if self._cost.known:
            left *= [max(_mean(trial.seconds), 1e-9) for trial in trials]
        if self._ignorant:
            new = math.inf
        else:
            new = 0.0 if self._sampler.early_share() > EARLY else float(self._candidates_and_scores[1].max())
        return Prospects(
            new,
            dict(zip(numbers, (gain / left).tolist(), strict=True)),
            dict(zip(numbers, gain.tolist(), strict=True)),
        )

    def _gain(self, rows: Array, numbers: NDArray[np.int64]) -> tuple[Array, Array]:
        """By how much each is expected to exceed the best value so far at the full budget, and the chance of that."""
        mean, deviation = self._posterior.at(rows, np.ones(len(rows)), numbers)
        # The luck of a trial that has not begun is no merit of its setting.
        luck = math.exp(self._sampler.kernel().trial)
        deviation = np.where(numbers < 0, np.sqrt(np.maximum(deviation**2 - luck, 1e-4)), deviation)
        best = float(self._seen.worth.max())
        return expected_improvement(mean, deviation, best) + 1e-12, chance_of_more(mean, deviation, best)

    @cached_property
    def _posterior(self) -> Posterior:
        sampler, (flying, _) = self._sampler, self._sampler.going()
        rungs = np.array([sampler.next_rung(trial) for trial in flying.values()], float)
        rows = np.array([trial.row for trial in flying.values()]).reshape(len(flying), len(sampler._space.owner))
        told = Observed(rows, sampler.time(rungs), np.array(list(flying), dtype=np.int64), np.zeros(len(flying)))
        return Posterior(sampler.kernel(), sampler._space.owner, self._seen, told)

    @cached_property
    def _cost(self) -> Cost:
        trials = [trial for trial in self._sampler._trials.values() if trial.seconds]
        rows = np.array([trial.row for trial in trials]).reshape(len(trials), len(self._sampler._space.owner))
        return Cost(rows, np.array([_mean(trial.seconds) for trial in trials]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
