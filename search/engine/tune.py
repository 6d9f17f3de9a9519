"""Ray Tune as the executor of trials: it places them on workers and carries their reports to the engine.

Tune is stateless here: its searcher, scheduler and callback are thin adapters to one `Engine`, its snapshots are never
read, and an error in the engine ends the run instead of being logged and forgotten. Nor does Tune retry.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.engine.engine import Engine
from search.engine.ray_patches import no_secrets, one_worker_out_of_memory, untold
from search.engine.worker import as_ray_function, send_along
from search.errors import EnvironmentFault, StorageFull
from search.storage import checkpoints
from search.terminal.notebook import in_notebook


def run(engine: Engine, folder: Path) -> str:
    """Run the trials of `engine` until it has no more, or its driver names a reason to stop, which is returned.

    "" if there was nothing left to do. Trials may still be running then. Tune keeps its files in `folder`. Raises
    what the engine raised, StorageFull or EnvironmentFault for what Ray did.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it would say, we say
    send_along(engine.task.trainable)
    tuning = _Tuning(engine)
    tuner = _tuner(tuning, folder)
    # Tune prints its configuration whatever the verbosity; standard output is for the result.
    try:
        with contextlib.redirect_stdout(io.StringIO()), untold(), no_secrets(), one_worker_out_of_memory():
            tuner.fit()
    except Exception as error:
        if tuning.fault is None:
            if checkpoints.is_full(error):
                raise StorageFull(f"no space for Ray's files in {folder}; free some, then resume") from error
            # Some of its errors are whole tracebacks, as text.
            why = str(error).strip().splitlines()[-1] if "Traceback" in str(error) else str(error)
            raise EnvironmentFault(f"Ray Tune ended early: {' '.join(why.split())[:300]}") from error
    if tuning.fault is not None:
        raise tuning.fault
    return engine.driver.should_stop()


def _tuner(tuning: _Tuning, folder: Path) -> tune.Tuner:
    task = tuning.engine.task
    # Tune keeps apart what workers of different resources it has, so a trial never comes to one of the other kind.
    trainable = tune.with_resources(as_ray_function(task), lambda config: {"cpu": task.cpus, "gpu": config["gpus"]})
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_Suggest(tuning),
            scheduler=_Decide(tuning),
            num_samples=-1,
            reuse_actors=not task.fresh,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder),
            verbose=0,
            # Its own for notebooks would clear what our display shows in the cell.
            progress_reporter=tune.CLIReporter() if in_notebook() else None,
            callbacks=[_Watch(tuning)],
            stop=_Stop(tuning),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


class _Tuning:
    """One run of Tune for `engine`: the trials as Tune has them, and the first error, which ends it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fault: BaseException | None = None
        self.ray_trials: list[Any] = []

    def guarded(self, call: Callable[[], Any], otherwise: Any = None) -> Any:
        """`call()`; an error ends the run and is raised from `run`, since Tune would wrap it or swallow it."""
        if self.fault is not None:
            return otherwise
        try:
            return call()
        except BaseException as error:
            self.fault = error
            return otherwise

    def end_silent(self) -> None:
        """End the workers that have reported nothing for too long; Ray then tells that they are lost."""
        overdue = self.engine.overdue()
        for trial in self.ray_trials if overdue else ():
            if trial.trial_id in overdue:
                _kill(trial)

    def abandon(self) -> None:
        """End the workers in the middle of an epoch; Tune would wait ten seconds for them to come to a report."""
        for trial in self.ray_trials:
            _kill(trial)
        self.ray_trials = []


def _kill(trial: Any) -> None:
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


class _Stateless:
    """Tune pickles its parts at the start for a restore that we never do; there is nothing to keep in them."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Suggest(_Stateless, Searcher):
    def __init__(self, tuning: _Tuning) -> None:
        super().__init__()
        self._tuning, self._engine = tuning, tuning.engine

    def suggest(self, trial_id: str) -> Any:
        if self._tuning.guarded(lambda: self._engine.full, False) and not self._engine.driver.should_stop():
            return None
        config = self._tuning.guarded(lambda: self._engine.suggest(trial_id))
        if config is None and self._tuning.fault is None and self._engine.more:
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
    def __init__(self, tuning: _Tuning) -> None:
        super().__init__()
        self._tuning = tuning

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        heard = self._tuning.engine.heard
        go_on = self._tuning.guarded(lambda: heard(trial.trial_id, json.loads(result["report"])), False)
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP


class _Watch(_Stateless, tune.Callback):
    def __init__(self, tuning: _Tuning) -> None:
        self._tuning, self._engine = tuning, tuning.engine

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._engine.began(trial.trial_id)

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self._tuning.ray_trials = trials
        for call in (self._tuning.end_silent, self._engine.check_room, self._engine.check_clock, self._engine.tick):
            self._tuning.guarded(call)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._tuning.guarded(lambda: self._engine.lost(trial.trial_id, _error_of(trial)))


class _Stop(_Stateless, tune.Stopper):
    def __init__(self, tuning: _Tuning) -> None:
        self._tuning = tuning

    def __call__(self, trial_id: str, result: Any) -> bool:
        return False

    def stop_all(self) -> bool:
        engine = self._tuning.engine
        stop = self._tuning.fault is not None or bool(engine.driver.should_stop())
        if stop and not engine.surroundings.unreachable():
            self._tuning.abandon()
        return stop


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
