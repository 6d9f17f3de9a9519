"""The run that MLflow keeps of a trial, as the active one of its own code: what that logs itself lands in it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.settings import masked
from search.tracking.store import ENVIRONMENT, connect

FIND_SECONDS = 20.0
"""A trial waits so long for its run, which is made when the trial is recorded."""
AGAIN_SECONDS = 1.0
"""The next one in the same process waits so long only, where a trial has waited in vain."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Place:
    """Where the runs of the search with the id `search` are: MLflow's `uri`, and the name of their `experiment`."""

    uri: str
    experiment: str
    search: str


_IN_VAIN: set[Place] = set()
"""Where a trial of this process has found no run."""


@contextlib.contextmanager
def active(place: Place | None, trial: int, seconds: float = FIND_SECONDS) -> Iterator[str]:
    """Inside, MLflow's calls in this process and in those that it starts go to the run of `trial`.

    Yields why they do not, or "": after so many `seconds` no more is asked of MLflow, and no trial fails for it.
    Without a `place` all is as it was.
    """
    if place is None:
        yield ""
        return
    run, experiment, why = "", "", ""
    try:
        with _undisturbed():
            run, experiment = _found(place, trial, min(seconds, AGAIN_SECONDS) if place in _IN_VAIN else seconds)
        _IN_VAIN.discard(place)
    except LookupError as error:
        _IN_VAIN.add(place)
        why = f"what trials log to MLflow themselves does not reach their runs: {error.args[0]}"
    if why:
        yield why
        return
    # All three: a model that is logged goes to the experiment, whatever the run's is.
    with _set({"MLFLOW_TRACKING_URI": place.uri, "MLFLOW_EXPERIMENT_ID": experiment, "MLFLOW_RUN_ID": run}):
        yield ""


def _found(place: Place, trial: int, seconds: float) -> tuple[str, str]:
    """The ids of the run of `trial` and of its experiment. Raises LookupError, with the reason, after so many seconds.

    Whoever writes the record's runs makes it: nobody else does, so that a trial has one.
    """
    deadline, why = time.monotonic() + seconds, "none is there yet"
    while True:
        try:
            found = _look(place, trial)
            if found is not None:
                return found
        except Exception as error:  # whatever MLflow raises
            why = masked(" ".join(str(error).split()))[:200] or type(error).__name__
        if time.monotonic() > deadline:
            raise LookupError(why)
        time.sleep(LOOK_SECONDS)


def _look(place: Place, trial: int) -> tuple[str, str] | None:
    if place.uri.startswith("sqlite:///") and not Path(place.uri.removeprefix("sqlite:///")).exists():
        return None  # to connect would make it
    client = connect(place.uri)
    experiment = client.get_experiment_by_name(place.experiment)
    if experiment is None:
        return None
    wanted = f"tags.`search.trial_id` = '{place.search}/{trial}'"
    runs = sorted(str(run.info.run_id) for run in client.search_runs([experiment.experiment_id], filter_string=wanted))
    return (runs[0], str(experiment.experiment_id)) if runs else None


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, MLflow is as impatient as we need it; what the trial's own code finds is as before."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
