"""A trainable in the form in which Ray Tune calls it. Runs in worker processes."""

from __future__ import annotations

import contextlib
import copyreg
import faulthandler
import importlib
import json
import os
import pickle
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import spaces
from search.engine import left_behind
from search.engine.shared_data import get_data_once
from search.engine.usage import Usage
from search.engine.users_code import UsersCode
from search.errors import BadInput, EnvironmentFault
from search.record.state import FINISHED_EARLY, State
from search.storage import checkpoints, inside
from search.storage.checkpoints import Shelf
from search.storage.runs import home_of
from search.tracking.trial_run import Place, active
from trainables.script.failures import ScriptFailed, ScriptUnusable, ScriptWithoutModel
from trainables.script.script import Script

EPOCH = "Epoch(number, metrics, model=…)"


@dataclass(frozen=True)
class Task:
    """What every trial of a search shares. `data` refers to the data set in Ray's object store.

    Each has `cpus`, and `gpus` unless its place has none. `stacks` is the folder for stack traces.
    `budget` bounds the bytes of all checkpoints, None for no limit; `timeout` the seconds without a report, None for
    what the watchdog allows. In `folders` may be what a user's code imports while it runs; what it has imported before
    is sent along. In `homes` each trial of a script has a folder of its own. Each trial gets a `fresh` worker process
    if that is wanted. At `mlflow` a trial's own code finds the run of its trial; None if it is not to look for one.
    """

    trainable: Callable[..., Iterator[Any]] | UsersCode
    data: tuple[Any, ...]
    shelf: Shelf
    stacks: Path
    cpus: float
    gpus: float = 0.0
    budget: int | None = None
    timeout: float | None = None
    folders: tuple[str, ...] = ()
    homes: Path | None = None
    fresh: bool = False
    mlflow: Place | None = None

    def resolved(self) -> Callable[..., Iterator[Any]]:
        """The trainable in this process. Raises what the import of a user's code raises."""
        return self.trainable.trainable() if isinstance(self.trainable, UsersCode) else self.trainable


def send_along(trainable: Callable[..., Iterator[Any]] | UsersCode) -> None:
    """Let a trainable from a user's own file travel with its code, and that of modules beside it, which no worker has.

    One of ours needs none of that. Raises BadInput if it holds on to something that cannot be sent.
    """
    if isinstance(trainable, UsersCode) or spaces.is_ours(trainable):
        return
    from ray import cloudpickle

    modules = spaces.users_modules()
    own = sys.modules.get(spaces.code_of(trainable))
    if own is not None and own.__name__.partition(".")[0] not in sys.stdlib_module_names:
        modules.append(own)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    # With a function that says `data.classes` cloudpickle sends torch.classes, a module of a type that it cannot send.
    for kind in {type(module) for module in sys.modules.copy().values()} - {ModuleType}:
        if issubclass(kind, ModuleType):
            copyreg.pickle(kind, lambda module: (importlib.import_module, (module.__name__,)))
    try:
        cloudpickle.dumps(trainable)
    except Exception as error:  # whatever stands in the way, from any module
        raise BadInput(
            f"the trainable cannot be sent to the workers ({_last_line(error)}); let it make such a thing when called"
        ) from None


def as_ray_function(task: Task) -> Callable[[dict[str, Any]], None]:
    """The trainable of `task` for `tune.Tuner`: one report per epoch, one more if the trial ends early.

    An error of the trainable is reported, not raised: the worker process lives on, and the next trial need not wait the
    seconds that a new one takes to import torch. What kills the process is seen by Ray.
    """

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        try:
            for report in reports(task, config):
                # As text, because Tune flattens nested reports and merges its own keys into them.
                tune.report({"report": json.dumps(report)})
        finally:
            from trainables.device import release

            release()

    return trial


def import_compiler_for(trainable: Callable[..., Iterator[Any]]) -> None:
    """Import what torch's optimizers import at their first step, for a second or more; not on a trial's clock.

    Ours do without (trainables/optimizers.py).
    """
    if not spaces.is_ours(trainable):
        importlib.import_module("torch._dynamo")


def reports(task: Task, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What to report for a trial.

    `config` has its number (`trial`), `attempt`, `config`, `gpus` (how many GPUs are its own, or which part of one),
    `resume` (the name of a checkpoint, or None). `done` in it is the epoch of that checkpoint, or 0; `silence` is how
    many seconds without a report are allowed: after nine tenths of them all threads' stacks are dumped, by a thread of
    C that also runs where Python hangs.
    """
    _prepare_process(task, config["gpus"])
    data, place = get_data_once(task.data), _place()
    missing = task.shelf.missing()
    if missing:  # a node that joined late, and does not share the folder
        yield {"unfit": f"node {place['node']} {missing}"}
        return
    stacks = stack_file(task.stacks, config["trial"], config["attempt"])
    run = task.stacks.parent
    with _stack_dump(stacks, 0.9 * config["silence"]) as heard, Usage() as usage, contextlib.ExitStack() as stack:
        again = f"attempt {config['attempt']}" if config["attempt"] > 1 else ""
        stack.enter_context(left_behind.kept(run, config["trial"], again))
        note = stack.enter_context(active(task.mlflow, config["trial"]))
        try:
            resume = stack.enter_context(task.shelf.lent(config["resume"])) if config.get("resume") else None
            for epoch, seconds in _epochs(task, config, data, resume):
                yield {
                    "epoch": epoch.number,
                    "metrics": dict(epoch.metrics),
                    "seconds": seconds,
                    **_written(task, config, epoch),
                    **usage.told(),
                    "place": place,
                    **({"note": note} if note else {}),
                }
                heard()
            yield {"end": State.COMPLETE, "why": FINISHED_EARLY}
        except (Exception, SystemExit) as error:
            yield _end_by(error, place["node"], left_behind.last_line(run, config["trial"]))


def _prepare_process(task: Task, gpus: float) -> None:
    """Give this process what a trial of `task` has: its imports, its threads, its part of a device's memory."""
    import torch

    from trainables.device import keep_to

    sys.path += [folder for folder in task.folders if folder not in sys.path]
    torch.set_num_threads(max(1, int(task.cpus)))
    if 0 < gpus < 1:
        keep_to(gpus)


def _place() -> dict[str, Any]:
    """Where and since when this attempt runs."""
    place: dict[str, Any] = {"pid": os.getpid(), "node": os.uname().nodename, "began": time.time()}
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        place["gpus"] = os.environ["CUDA_VISIBLE_DEVICES"]
    return place


def _written(task: Task, config: Mapping[str, Any], epoch: Any) -> dict[str, Any]:
    """The checkpoint of `epoch`, written, as a report tells of it; without a name if the trainable keeps nothing."""
    if epoch.writer is not None:
        written = task.shelf.write(
            config["trial"], epoch.number, epoch.writer, attempt=config["attempt"], budget=task.budget
        )
        if written.files:
            return {"checkpoint": written.name, "sha256": written.sha256, "bytes": written.bytes}
        task.shelf.remove([written.name])
    return {"checkpoint": None, "sha256": None, "bytes": 0}


def _epochs(task: Task, config: Mapping[str, Any], data: Any, resume: Path | None) -> Iterator[tuple[Any, float]]:
    """Each epoch of the trainable, and the seconds it took, without what is done with it between two.

    Raises TypeError or ValueError if what it yields is no epoch, or not the next one.
    """
    from trainables.epoch import Epoch
    from trainables.started import started

    due = {1, config["done"] + 1}  # who cannot go on begins again
    trainable = _trainable(task, config["trial"])
    if isinstance(task.trainable, Script):  # what it kept may be of an epoch before the one that it had said
        due = set(range(1, config["done"] + 2))
    import_compiler_for(trainable)
    start = time.perf_counter()
    for epoch in started(trainable, config["config"], data, resume=resume):
        seconds = time.perf_counter() - start
        if not isinstance(epoch, Epoch):
            raise TypeError(f"the trainable yielded a {type(epoch).__name__}, but must yield {EPOCH}")
        if epoch.number not in due:
            wanted = " or ".join(map(str, sorted({min(due), max(due)})))
            raise ValueError(f"the trainable yielded epoch {epoch.number}, but {wanted} was due: count from 1")
        due = {epoch.number + 1}
        yield epoch, seconds
        start = time.perf_counter()
    if 1 in due and not config["done"]:
        raise ValueError(f"the trainable yielded nothing, but must yield {EPOCH} after each epoch")


def _trainable(task: Task, trial: int) -> Callable[..., Iterator[Any]]:
    """The trainable of `task`; of a script the one that has a folder for this trial.

    Raises EnvironmentFault where a link is in the way.
    """
    if not isinstance(task.trainable, Script) or task.homes is None:
        return task.resolved()
    task.homes.mkdir(exist_ok=True)
    name = home_of(trial)
    if not inside.is_own(task.homes, name):
        inside.make(task.homes, name)
    return task.trainable.at(task.homes / name)


def _end_by(error: Exception | SystemExit, node: str, said: str) -> dict[str, Any]:
    """What to report of a trial that ended by `error`, which is being handled, and last `said` that.

    Raises it where the device's context is broken for good; Ray starts a fresh process.
    """
    import torch

    from trainables.epoch import Diverged, Infeasible

    if isinstance(error, Diverged):
        return {"end": State.DIVERGED, "why": str(error)}
    if isinstance(error, Infeasible):
        return {"end": State.INFEASIBLE, "why": str(error) or "the trainable says so, without a reason"}
    if isinstance(error, ScriptFailed):
        state = State.OUT_OF_MEMORY if isinstance(error, MemoryError) else State.FAILED
        end = {"end": state, "why": str(error), "traceback": error.told}
        if isinstance(error, ScriptWithoutModel):
            return {**end, "without_model": True}
        return {**end, "unusable": True} if isinstance(error, ScriptUnusable) else end
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return {"end": State.OUT_OF_MEMORY, "why": _last_line(error)}
    if isinstance(error, EnvironmentFault):  # the storage is away
        return {"unfit": f"node {node}: {error}"}
    if isinstance(error, torch.AcceleratorError):
        raise error
    if checkpoints.is_full(error):
        return {"storage_full": _last_line(error)}
    return {"end": State.FAILED, "why": _why(error, said), "traceback": traceback.format_exc()}


def _why(error: Exception | SystemExit, said: str) -> str:
    """Why a trial failed, in one line, and how to mend what Python's own words do not tell."""
    line = _last_line(error)
    if isinstance(error, SystemExit):
        what = error.code if isinstance(error.code, str) else f"{said} (exit code {error.code or 0})"
        return f"the trainable called sys.exit: {what}"[:500]
    if isinstance(error, ValueError) and "signal only works in main thread" in line:
        return f"{line}; a trial runs in a thread of its worker, so leave out signal handlers there"
    if isinstance(error, (pickle.PicklingError, AttributeError)) and re.search(r"[Cc]an't pickle .*/", line):
        return f"{line}; the study is called like a module that exists already: rename its file, and it can be imported"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{line}; put it beside the study or into src/ there, name its folder in PYTHONPATH, or install it"
    return line


def stack_file(folder: Path, trial: int, attempt: int) -> Path:
    """Where the stacks of a silent attempt at `trial` are dumped."""
    return folder / f"trial-{trial:04d}-attempt-{attempt}.txt"


@contextlib.contextmanager
def _stack_dump(path: Path, seconds: float) -> Iterator[Callable[[], None]]:
    """Inside, all stacks go to `path` after each `seconds` in which the yielded function was not called."""
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("w")
    except OSError:  # a full disk; the trial has no need of this
        yield lambda: None
        return
    with file:

        def heard() -> None:
            faulthandler.dump_traceback_later(seconds, file=file)

        heard()
        try:
            yield heard
        finally:
            faulthandler.cancel_dump_traceback_later()
            with contextlib.suppress(FileNotFoundError):  # somebody tidied up
                if not path.stat().st_size:
                    path.unlink()


def _last_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:500]
