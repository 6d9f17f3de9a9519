"""The host of a probe, a process of its own: it forks a child per configuration, and writes a line for each result.

It imports torch and gets the data once, so a child begins at once. On a GPU, whose start takes a process seconds, a
child tries one after the other, and another one goes on where it died. The kernel's timer ends every child, wherever it
hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import spaces
from search.engine.worker import import_compiler_for
from search.forecast.probe import GRACE_SECONDS, LATE, NO_MEMORY, Measured, Request

STEP_SECONDS = 0.2
"""At most so long are steps taken of one configuration; less where there are many and time is short."""
LEAST_SECONDS = 3.0
"""A configuration that is begun has so long, if there is so much time left."""

Batch = list[tuple[int, Mapping[str, Any]]]
"""Configurations, each with its number among all."""


def serve() -> None:
    """Be the host: read a request on standard input, and write a line of JSON per result."""
    began = time.monotonic()
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a trainable prints is no result
    request: Request = pickle.load(sys.stdin.buffer)
    _end_after(request.seconds + GRACE_SECONDS)
    # On a GPU, neither this nor anything else here may begin to use it: CUDA does not outlive a fork.
    trainable = pickle.load(sys.stdin.buffer) if request.source is None else spaces.load(request.source).trainable
    import_compiler_for(trainable)
    tell.write(json.dumps({"base": _peak()}) + "\n")
    waiting = list(enumerate(request.configs))
    running: dict[int, tuple[Batch, int, float]] = {}
    took = [0.1]
    while waiting or running:
        left = began + request.seconds - time.monotonic()
        if waiting and len(running) < request.lanes and left > min(took[1:] or took):
            batch = waiting[:: request.lanes - len(running)] if request.gpus else waiting[:1]
            step_seconds = min(STEP_SECONDS, 0.4 * left * request.lanes / len(waiting))
            waiting = [each for each in waiting if each not in batch]
            read, write = os.pipe()
            child = os.fork()
            if not child:
                _child(trainable, request, batch, began + request.seconds, step_seconds, tell.fileno(), write)
            os.close(write)
            running[child] = batch, read, time.monotonic()
        elif running:
            child, status = os.wait()
            batch, read, since = running.pop(child)
            with os.fdopen(read) as pipe:
                done = len(pipe.read())
            if not done or (status and done < len(batch)):
                tell.write(_line(batch[done][0], Measured(fault=_death(status))))
                done += 1
            took.append((time.monotonic() - since) / done)
            waiting = sorted([*waiting, *batch[done:]], key=lambda each: each[0])
        else:
            return


def _line(index: int, measured: Measured) -> str:
    return json.dumps({"index": index, "measured": asdict(measured)}) + "\n"


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) == signal.SIGALRM:
            return "came to no end in the time for it"
        if os.WTERMSIG(status) == signal.SIGKILL:
            return "was killed, as the system does to a process that takes too much memory"
        return f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"


def _child(
    trainable: Any, request: Request, batch: Batch, until: float, step_seconds: float, tell: int, done: int
) -> None:
    """Measure a `batch`, one by one until time `until`, and end here.

    What came of each is written to the file `tell` at once, as a line, and then a byte to `done`, which is counted.
    """
    try:
        from trainables.device import release

        with contextlib.suppress(OSError):  # where there is one, the kernel is to take this process before others
            Path("/proc/self/oom_score_adj").write_text("1000")
        if request.memory:
            _limit_memory(request.memory)
        took: list[float] = []
        for index, config in batch:
            begin = time.monotonic()
            left = until - begin
            # The first one had the start of CUDA in it, which tells nothing of the others.
            if took and left <= min(took[1:] or [0.1]):
                result = Measured(fault=LATE)
            else:
                # As a rule half of what is left, so that one that hangs leaves time for others.
                _end_after(min(left, max(left / 2, LEAST_SECONDS)))
                result = _tried(trainable, request, config, step_seconds)
                took.append(time.monotonic() - begin)
            _end_after(left + GRACE_SECONDS)
            os.write(tell, _line(index, result).encode())
            os.write(done, b".")
            try:
                release()
            except Exception:  # the device is of no more use to this process; a fresh one goes on
                break
    except BaseException:
        os._exit(1)
    os._exit(0)


def _tried(trainable: Any, request: Request, config: Mapping[str, Any], step_seconds: float) -> Measured:
    import torch

    from search.storage import checkpoints
    from trainables.device import keep_to
    from trainables.epoch import Diverged, Infeasible
    from trainables.script.script import Script
    from trainables.started import started
    from trainables.training import Training

    torch.set_num_threads(request.threads)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    before, by, waiting = _peak(), "", 0.0
    write: Callable[[Path], None] | None
    try:
        if 0 < request.gpus < 1:
            keep_to(request.gpus)
        epochs = started(trainable, config, request.data)
        if isinstance(epochs, Training):
            by, pace = "steps", epochs.pace(step_seconds)
            seconds, waiting, write = pace.seconds, pace.waiting, pace.save
        else:
            by, begin = "epochs", time.perf_counter()
            write = next(epochs).writer
            seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        if write is not None:
            checkpoints.Shelf(Path(request.scratch)).write(os.getpid(), 1, write, patience=0.0)
        seconds += time.perf_counter() - begin
    except (Diverged, Infeasible) as error:  # as trials do now and then; nothing is known of its speed
        return Measured(by=by, memory=_memory(before), fault=str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Measured(by=by, fault=f"{NO_MEMORY}: {_short(error)}")
    except Exception as error:  # whatever a user's code does
        # PyTorch's allocator on the CPU raises a plain RuntimeError, as does what CUDA's libraries take for themselves.
        scarce = "allocate|enough memory|ALLOC_FAILED|CUDA error: out of memory"
        what = NO_MEMORY if re.search(scarce, str(error)) else type(error).__name__
        return Measured(by=by, fault=f"{what}: {_short(error)}")
    # What a script takes, its own processes do.
    return Measured(seconds, waiting, None if isinstance(trainable, Script) else _memory(before), by)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _memory(before: int) -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return _peak() - before


def _peak() -> int:
    """The most memory in bytes that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes of memory more, where the system can be told so."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        has = 1024 * int(next(line for line in lines if line.startswith("VmData:")).split()[1])
        resource.setrlimit(resource.RLIMIT_DATA, (has + more, has + more))


def _end_after(seconds: float) -> None:
    """Have the kernel end this process then, whatever it does; not in a handler, which would wait for Python."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
