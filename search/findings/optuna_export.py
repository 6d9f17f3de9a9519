"""A search as a study file of Optuna's, for its dashboard and for programs that read studies."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.decide.samplers.optuna_sampler import distribution, told
from search.errors import EnvironmentFault, StorageFull
from search.record.events import Event
from search.record.reading import header_of, objective_of, space_of
from search.record.state import State
from search.record.trial import Trial
from search.record.trials import replayed
from spaces.space import Space


def write_study(path: Path, events: Sequence[Event], *, running: bool) -> None:
    """Write the search that `events` record into a new SQLite file at `path`, as a study of the search's name.

    A complete trial is COMPLETE with its value; a stopped, timed out or preempted one is PRUNED, and both keep the best
    value up to every epoch; a diverged or infeasible one, or one out of memory, is PRUNED without values, a failed one
    is FAIL. A trial that has not ended is RUNNING if the search is `running` at this moment; else it was interrupted,
    and is FAIL with the values that it had: nobody works on it, and Optuna's timeline would let it run on. So is a
    confirmation, of which no sampler hears. A trial began when it was asked for, and ended when it did, or when its
    search was left.

    What a point holds that the space does not is no parameter of Optuna's; it is the user attribute `fixed/NAME`, of
    the trial, and of the study for what was fixed in all trials. Raises StorageFull or EnvironmentFault if the file
    cannot be written.
    """
    header, objective = header_of(events), objective_of(events)
    space = space_of(events)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # By a function, because in an address a path is cut at its first `?`. A file that fails is thrown away as a whole,
    # so nothing needs to be on disk after each of the dozen statements that a trial takes.
    storage = None
    try:
        storage = RDBStorage("sqlite:///optuna.db", {"creator": lambda: _connected(path)})
        study = optuna.create_study(
            storage=storage,
            study_name=header.name,
            direction="maximize" if objective.mode == "max" else "minimize",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.metric])
        fixed = {f"fixed/{name}": value for name, value in sorted(header.fixed.items())}
        for name, value in {**{key: getattr(header, key) for key in ("study", "dataset", "command")}, **fixed}.items():
            study.set_user_attr(name, value)
        for trial in replayed(events, objective):
            if trial.state is State.RUNNING and not running:
                trial.state, trial.why, trial.ended = State.INTERRUPTED, "its search died", events[-1].at
            study.add_trial(_frozen(trial, trial.best_so_far(objective), space))
    except (optuna.exceptions.OptunaError, SQLAlchemyError, sqlite3.Error) as error:
        why = " ".join(f"{error.__cause__ or error}".split())[:200]
        kind = StorageFull if "full" in why else EnvironmentFault
        raise kind(f"Optuna's study file cannot be written ({why}); free some space, or give another folder") from error
    finally:
        optuna.logging.set_verbosity(verbosity)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _ended(state: State, values: Sequence[float]) -> tuple[TrialState, Sequence[float]]:
    """What Optuna calls the end `state` of a trial, and which of its `values` up to each epoch it hears of."""
    kept = values if state in (State.COMPLETE, State.STOPPED, State.PAUSED, State.TIMED_OUT, State.PREEMPTED) else ()
    if state is State.COMPLETE and values:
        return TrialState.COMPLETE, kept
    if state in (State.FAILED, State.COMPLETE) or (state is State.PREEMPTED and not values):
        return TrialState.FAIL, kept
    return TrialState.PRUNED, kept


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def _frozen(trial: Trial, values: Sequence[float], space: Space) -> FrozenTrial:
    """`trial` as Optuna keeps it, `values` being what it was worth after each of its epochs."""
    inside = {name: value for name, value in trial.point.items() if name in space and value in space[name]}
    params = {name: told(space[name], value) for name, value in inside.items()}
    others = {f"fixed/{name}": value for name, value in trial.point.items() if name not in params}
    if trial.state is State.RUNNING:
        state, kept = TrialState.RUNNING, values
    elif trial.state is State.INTERRUPTED or trial.confirms is not None:
        state, kept = TrialState.FAIL, values
    else:
        state, kept = _ended(trial.state, values)
    ended = trial.ended if trial.ended is not None else trial.began
    attributes: dict[str, Any] = {
        "trial": trial.number,
        "origin": trial.origin,
        "state": str(trial.state),
        "why": trial.why,
        "epochs": len(trial.epochs),
        **others,
    }
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=state,
        # As Optuna's own `tell` has it, a pruned trial is worth its last value.
        value=kept[-1] if kept and state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=datetime.fromtimestamp(trial.began),
        datetime_complete=None if state is TrialState.RUNNING else datetime.fromtimestamp(ended),
        params=params,
        distributions={name: distribution(space[name]) for name in params},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=dict(enumerate(kept, start=1)),
    )
