"""Ray Tune as the engine: it places trials on workers and carries their reports to the search, which decides."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.decide.search import Search
from search.engine.places import Places
from search.engine.ray_patches import no_secrets, one_worker_out_of_memory, untold
from search.engine.watchdog import Watchdog
from search.engine.worker import Task, as_ray_function, send_along, stack_file
from search.errors import EnvironmentFault, StorageFull
from search.record.trials import EpochRow, State, Trial
from search.settings import Settings
from search.storage import checkpoints
from search.storage.checkpoints import Retention

STACK_GRACE_SECONDS = 30.0
"""A silent worker is ended this much later if it has not dumped its stacks: it may still be starting, or be stopped."""

ROOM_COUNT_SECONDS = 1.0
"""How often the places for trials are counted again."""

ROOM_SECONDS = 120.0
"""Trials may wait at least so long for a node with room; a worker's start alone can take a minute on a busy machine."""

GPU_WAIT_SECONDS = 30.0
"""A trial that has waited longer for its GPU may lack the CPU beside it, which one of ours without a GPU has taken."""


class Engine:
    """Runs the trials of `search` until it has no more, or `should_stop` names a reason.

    Once `should_confirm` says so, no more time is left for the search proper, and its confirmation begins; what runs is
    ended at its next report.

    Tune is a stateless executor here: its searcher, scheduler and callback are thin adapters to one `Search`, its
    snapshots are never read, and an error in the search ends the run instead of being logged and forgotten. Nor does it
    retry: a trial that lost its worker comes back as another of Tune's trials, with the checkpoint to go on from.
    """

    def __init__(
        self,
        search: Search,
        task: Task,
        retention: Retention,
        watchdog: Watchdog,
        *,
        should_stop: Callable[[], str],
        should_confirm: Callable[[], bool],
        places: Callable[[], Places],
        alone: Callable[[], bool],
        some_gone: Callable[[], bool],
        unreachable: Callable[[], bool],
        tick: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self.search, self.task, self.retention, self.watchdog = search, task, retention, watchdog
        self.should_stop, self.unreachable, self.tick, self.warn = should_stop, unreachable, tick, warn
        self.should_confirm, self.alone, self.some_gone = should_confirm, alone, some_gone
        self._places, self._room, self._counted = places, Places(0), -math.inf
        self._bare: dict[str, bool] = {}
        """The trials that Tune has, as it calls them, and whether the place of each is one without a GPU."""
        self._waiting: dict[str, float] = {}
        """Those that have not begun yet and do not lack a GPU: since when."""
        self.fault: BaseException | None = None
        self.ray_trials: list[Any] = []
        self._numbers: dict[str, int] = {}
        self._silent: dict[str, str] = {}

    def run(self, settings: Settings, *, folder: Path) -> str:
        """Run, and return why it ended: "" if there was nothing left to do. Trials may still be running then."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it would say, we say
        send_along(self.task.trainable)
        cpus = settings.cpus
        # Tune keeps apart what workers of different resources it has, so a trial never comes to one of the other kind.
        trainable = tune.with_resources(as_ray_function(self.task), lambda config: {"cpu": cpus, "gpu": config["gpus"]})
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Suggest(self),
                scheduler=_Decide(self),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="ray",
                storage_path=str(folder),
                verbose=0,
                callbacks=[_Watch(self)],
                stop=_Stop(self),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        # Tune prints its configuration whatever the verbosity; standard output is for the result.
        try:
            with contextlib.redirect_stdout(io.StringIO()), untold(), no_secrets(), one_worker_out_of_memory():
                tuner.fit()
        except Exception as error:
            if self.fault is None:
                if checkpoints.is_full(error):
                    raise StorageFull(f"no space for Ray's files in {folder}; free some, then resume") from error
                # Some of its errors are whole tracebacks, as text.
                why = str(error).strip().splitlines()[-1] if "Traceback" in str(error) else str(error)
                raise EnvironmentFault(f"Ray Tune ended early: {' '.join(why.split())[:300]}") from error
        if self.fault is not None:
            raise self.fault
        return self.should_stop()

    def suggest(self, ray_id: str) -> dict[str, Any] | None:
        """What a worker is to do next, or None when there is nothing at present."""
        if self.should_stop():
            return None
        bare = bool(self._next_is_bare())
        waiting = self.search.again()
        row = self._restart(waiting) if waiting else None
        trial = waiting or self.search.ask()
        if trial is None:
            return None
        self._numbers[ray_id], self._bare[ray_id] = trial.number, bare
        if not bare:
            self._waiting[ray_id] = time.monotonic()
        return {
            "trial": trial.number,
            "attempt": trial.attempt,
            "config": self.search.config(trial),
            "resume": row.checkpoint if row else None,
            "done": row.number if row else 0,
            "silence": self.watchdog.limit,
            "gpus": 0.0 if bare else self.task.gpus,
        }

    def check_clock(self) -> None:
        """Begin the confirmation if it is time."""
        if self.should_confirm():
            self.search.confirm()

    @property
    def more(self) -> bool:
        """Whether a trial may still come up: one that runs now could lose its worker."""
        return bool(self.search.trials.running()) and not self.should_stop() and not self.search.hopeless()

    @property
    def room(self) -> Places:
        """How many trials may run at a time; nodes come and go, and other searches begin and end."""
        if time.monotonic() > self._counted + ROOM_COUNT_SECONDS:
            self._room, self._counted = self._places(), time.monotonic()
        return self._room

    @property
    def full(self) -> bool:
        """Whether no more trials may begin at present."""
        return self._next_is_bare() is None

    def _next_is_bare(self) -> bool | None:
        """Whether the place of the next trial is one without a GPU: if no other is free. None if there is no place.

        While a trial waits for its GPU for long, and others of ours run without one, no more of these begin, so that
        no device stands idle for want of a CPU that they hand on from one to the next.
        """
        room, live = self.room, self._live
        if sum(live) >= sum(room):
            return None
        if live.asked < room.asked:
            return False
        now, oldest = time.monotonic(), min(self._waiting.values(), default=math.inf)
        starved = live.cpu_only > 0 and live.asked == room.asked and now > oldest + GPU_WAIT_SECONDS
        return None if live.cpu_only >= room.cpu_only or starved else True

    @property
    def _live(self) -> Places:
        """How many places of each kind are taken."""
        bare = sum(self._bare.values())
        return Places(len(self._bare) - bare, bare)

    def began(self, ray_id: str) -> None:
        """A worker begins with the trial that Tune calls `ray_id`."""
        self._waiting.pop(ray_id, None)
        self.watchdog.began(ray_id)

    def left(self, ray_id: str) -> None:
        """Tune is done with the trial that it calls `ray_id`."""
        self._bare.pop(ray_id, None)
        self._waiting.pop(ray_id, None)

    def heard(self, ray_id: str, report: Mapping[str, Any]) -> bool:
        """Take in a report of the trial that Ray calls `ray_id`, and say whether it goes on."""
        number = self._numbers.get(ray_id)
        if number is None:  # an attempt that was given up
            return False
        self.watchdog.heard(ray_id)
        go_on = False
        if "storage_full" in report:
            raise StorageFull(
                f"no space for checkpoints ({report['storage_full']}); free some or give more, then resume"
            )
        if "unfit" in report:
            raise EnvironmentFault(f"{report['unfit']}; the search can be resumed")
        if "end" in report:
            self.search.end(number, State(report["end"]), report["why"], report.get("traceback", ""))
        elif "epoch" in report:
            self.retention.added(report["checkpoint"])
            go_on = self.search.report(
                number,
                report["epoch"],
                report["metrics"],
                seconds=report["seconds"],
                checkpoint=report["checkpoint"],
                sha256=report["sha256"],
                size=report["bytes"],
                place=report["place"],
            )
            if go_on and self._too_many(bare=self._bare.get(ray_id, False)) and not self.alone():
                # Another search has begun; this place is its share, and the checkpoint is there to go on from.
                self.search.lost(number, State.PREEMPTED, "gave its place to another search")
                go_on = False
        self.retention.sweep(self.search.trials)
        if not go_on:
            self.watchdog.ended(ray_id)
        return go_on

    def _too_many(self, *, bare: bool) -> bool:
        """Whether more trials run on places of this kind than there are for us."""
        return self._live[bare] > self.room[bare]

    def lost(self, ray_id: str, why: str) -> None:
        """The worker of a trial died; Ray's memory monitor and its nodes say so where it was they."""
        number = self._numbers.pop(ray_id, None)
        self.watchdog.ended(ray_id)
        self._counted = -math.inf  # its node may be gone, and with it the GPU for which it would wait
        if number is None:
            return
        stack = stack_file(self.task.stacks, number, self.search.trials[number].attempt)
        if stack.is_file() and not stack.stat().st_size:
            stack.unlink()
        silent = self._silent.pop(ray_id, None)
        if silent is not None:
            state, why = State.TIMED_OUT, silent
        elif "low on memory" in why or "OutOfMemory" in why:
            state = State.OUT_OF_MEMORY
        elif any(word in why for word in ("node has died", "preempt", "drain")) or (
            "is unavailable" in why and self.some_gone()  # that a node has just died Ray does not know yet
        ):
            state = State.PREEMPTED
        else:
            state = State.FAILED
        if self.search.lost(number, state, why):
            self.warn(f"trial {number} lost its worker and is tried again: {why}")
        self.retention.sweep(self.search.trials)

    def end_silent(self) -> None:
        """End the workers that have reported nothing for too long; Ray then tells that they are lost."""
        overdue = self.watchdog.overdue()
        for trial in self.ray_trials if overdue else ():
            silent_for = overdue.get(trial.trial_id)
            number = self._numbers.get(trial.trial_id)
            if silent_for is None or number is None or trial.trial_id in self._silent:
                continue
            stack = stack_file(self.task.stacks, number, self.search.trials[number].attempt)
            dumped = stack.is_file() and stack.stat().st_size > 0
            if not dumped and silent_for < self.watchdog.limit + STACK_GRACE_SECONDS:
                continue
            where = f"its stacks are in {stack.parent.name}/{stack.name}" if dumped else "it could not dump its stacks"
            self._silent[trial.trial_id] = f"no report for {silent_for:.0f} s; {where}"
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)

    def check_room(self) -> None:
        """Raise EnvironmentFault if trials wait and none has found a place for long: the node that had room is gone."""
        idle = self.watchdog.idle()
        if idle <= max(ROOM_SECONDS, self.watchdog.limit):
            return
        if any(not trial.is_finished() for trial in self.ray_trials) and self.alone():
            raise EnvironmentFault(f"no node has had room for a trial for {idle:.0f} s; the search can be resumed")

    def _restart(self, trial: Trial) -> EpochRow | None:
        row, faults = checkpoints.newest(self.task.shelf, trial)
        if faults:
            goes_on = f"from epoch {row.number}" if row else "from the beginning"
            self.warn(f"{faults}; trial {trial.number} goes on {goes_on}")
        self.search.restart(trial, row)
        return row

    def abandon(self) -> None:
        """End the workers in the middle of an epoch; Tune would wait ten seconds for them to come to a report."""
        for trial in self.ray_trials:
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)
        self.ray_trials = []

    def guarded(self, call: Callable[[], Any], otherwise: Any) -> Any:
        """`call()`; an error ends the run and is raised from `run`, since Tune would wrap it or swallow it."""
        if self.fault is not None:
            return otherwise
        try:
            return call()
        except BaseException as error:
            self.fault = error
            return otherwise


class _Stateless:
    """Tune pickles its parts at the start for a restore that we never do; there is nothing to keep in them."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Suggest(_Stateless, Searcher):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def suggest(self, trial_id: str) -> Any:
        if self._engine.guarded(lambda: self._engine.full, False) and not self._engine.should_stop():
            return None
        config = self._engine.guarded(lambda: self._engine.suggest(trial_id), None)
        if config is None and self._engine.fault is None and self._engine.more:
            return None  # ask again
        return Searcher.FINISHED if config is None else config

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Ends are heard by the scheduler and the callback, with their reasons; only places are counted here."""
        self._engine.left(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""


class _Decide(_Stateless, FIFOScheduler):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        go_on = self._engine.guarded(lambda: self._engine.heard(trial.trial_id, json.loads(result["report"])), False)
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP


class _Watch(_Stateless, tune.Callback):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._engine.began(trial.trial_id)

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self._engine.ray_trials = trials
        self._engine.guarded(self._engine.end_silent, None)
        self._engine.guarded(self._engine.check_room, None)
        self._engine.guarded(self._engine.check_clock, None)
        self._engine.guarded(self._engine.tick, None)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._engine.guarded(lambda: self._engine.lost(trial.trial_id, _error_of(trial)), None)


def _error_of(trial: Any) -> str:
    """What Ray says of the end of a worker, without its advice."""
    try:
        # Tune hands the exception to nobody, and looks for its text where it is not yet.
        text = Path(trial.error_file).read_text()
    except (OSError, TypeError):
        text = "the worker process died"
    if text.startswith("Failure #"):  # and when, which the record knows
        text = text.partition("\n")[2]
    said = " ".join(text.partition("Some common causes include")[0].split())
    return said[max(0, said.find("The actor is dead because")) :][:500]


class _Stop(_Stateless, tune.Stopper):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, trial_id: str, result: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        stop = self._engine.fault is not None or bool(self._engine.should_stop())
        if stop and not self._engine.unreachable():
            self._engine.abandon()
        return stop
