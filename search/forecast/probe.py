"""Configurations tried for a moment, apart from all else: how fast they train here, and what memory they need.

A host process imports torch, gets the data, and forks one child per configuration, so that a child begins at once and
nothing that it does (asks for too much memory, hangs, dies) reaches the process that wants to know. On a GPU, whose
start takes a process seconds, a child tries one after the other, and another one goes on where it died. Every child is
ended by the kernel's timer, wherever it hangs, and the host with all that it started by its process group.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import spaces
from search.engine.worker import import_compiler_for

MB = 10**6
STEP_SECONDS = 0.2
"""At most so long are steps taken of one configuration; less where there are many and time is short."""
LEAST_SECONDS = 3.0
"""A configuration that is begun has so long, if there is so much time left."""
GRACE_SECONDS = 1.0
"""So much later than asked for the host is ended if it has not ended itself."""
LATE = "not measured: the time for it was up"
DIED = "not measured: the process that was to do it ended at once"
NO_MEMORY = "out of memory"
Batch = list[tuple[int, Mapping[str, Any]]]
"""Configurations, each with its number among all."""
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from search.forecast.probe import serve; serve()"


@dataclass(frozen=True)
class Asked:
    """What the host is to do. `source` names the study, `lanes` is how many configurations run at once.

    Where `source` is None, the trainable itself follows as a pickle of its own. `seconds` is the time for all, counted
    from the start of the host; `memory` is what each may take in bytes, of `gpus` less than one GPU that part.
    """

    source: str | None
    data: Any
    configs: Sequence[Mapping[str, Any]]
    threads: int
    lanes: int
    seconds: float
    memory: int
    gpus: float
    scratch: str


@dataclass(frozen=True)
class Measured:
    """What one configuration came to. `seconds` is for an epoch, its validation and its checkpoint; None if unknown.

    In the share `waiting` (0 to 1) of that time other work had the processor. `memory` is by how many bytes the process
    grew at most, or the most that tensors took on a GPU. `by` says what was seen: "steps", or "epochs" of a trainable
    that is not made of our steps. `fault` is "" if all went well.
    """

    seconds: float | None = None
    waiting: float = 0.0
    memory: int | None = None
    by: str = ""
    fault: str = ""

    @property
    def out_of_memory(self) -> bool:
        """Whether it asked for more memory than it was given."""
        return self.fault.startswith(NO_MEMORY)


@dataclass(frozen=True)
class Probe:
    """`results` has an entry per configuration; `start` is how many seconds a process takes to import torch here.

    `base` is the memory in bytes of a process that has done no more than that, 0 if unknown; `room` is the memory in
    bytes that is free on this machine.
    """

    results: Sequence[Measured]
    start: float
    base: int
    room: int


def measure(
    source: str | bytes,
    data: Any,
    configs: Sequence[Mapping[str, Any]],
    *,
    cpus: float,
    gpus: float,
    lanes: int,
    seconds: float,
) -> Probe:
    """Try each of `configs` of the study `source`, `lanes` at a time, in about `seconds` altogether.

    `source` is its name or path, or its trainable as cloudpickle made bytes of it: a path is one machine's own. With a
    part of a GPU (0 < `gpus` < 1) each keeps to that part of the device's memory, as a trial does.
    Those that come first are sure to have their turn. Whatever happens to one of them is told in its result; nothing
    is raised, and no process is left behind.
    """
    began, room = time.monotonic(), available_memory()
    results, start, base = [Measured(fault=LATE)] * len(configs), seconds, 0
    environment = {**os.environ, **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})}
    with tempfile.TemporaryDirectory(prefix="search-probe-", ignore_cleanup_errors=True) as scratch:
        # -P: what lies in the working folder must not be what Python's own modules get where they import json.
        host = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the host
            env=environment,
        )
        assert host.stdin is not None
        assert host.stdout is not None
        # A process on a GPU reserves far more addresses than it uses, so there only the device sets limits.
        memory = 0 if gpus else room // lanes
        known, sent = (source, b"") if isinstance(source, str) else (None, source)
        asked = Asked(known, data, configs, max(1, int(cpus)), lanes, seconds, memory, gpus, scratch)
        ends_host = _Alarm(host, began + seconds + GRACE_SECONDS)
        try:
            with ends_host, contextlib.suppress(BrokenPipeError):
                pickle.dump(asked, host.stdin)
                host.stdin.write(sent)
                host.stdin.close()
                for line in host.stdout:
                    told = json.loads(line)
                    if "base" in told:
                        start, base = time.monotonic() - began, told["base"]
                    else:
                        results[told["index"]] = Measured(**told["measured"])
                if start == seconds and time.monotonic() < began + seconds:  # as where it cannot import the trainable
                    results = [Measured(fault=DIED)] * len(configs)
        finally:
            _kill(host)
            host.wait()
            host.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                host.stdin.close()
    return Probe(results, start, base, room)


class _Alarm:
    """Inside, the process group of `host` is killed at `deadline` on the monotonic clock."""

    def __init__(self, host: subprocess.Popen[bytes], deadline: float) -> None:
        import threading

        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), _kill, [host])
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _kill(host: subprocess.Popen[bytes]) -> None:
    """End `host` and all that it started; nothing once it was waited for, because then its number may be another's."""
    if host.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(host.pid, signal.SIGKILL)


def available_memory() -> int:
    """Bytes of memory that processes may still take here: what the kernel offers, or the container if that is less."""
    room = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        room = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with contextlib.suppress(OSError, ValueError, StopIteration):  # no limit reads "max"
        group = Path("/sys/fs/cgroup")
        cached = next(x for x in (group / "memory.stat").read_text().splitlines() if x.startswith("inactive_file "))
        used = int((group / "memory.current").read_text()) - int(cached.split()[1])
        room = min(room, int((group / "memory.max").read_text()) - used)
    if room == math.inf:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(0, int(room))


def serve() -> None:
    """Be the host: read what is asked on standard input, and write a line of JSON per result."""
    began = time.monotonic()
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a trainable prints is no result
    asked: Asked = pickle.load(sys.stdin.buffer)
    _end_after(asked.seconds + GRACE_SECONDS)
    # On a GPU, neither this nor anything else here may begin to use it: CUDA does not outlive a fork.
    trainable = pickle.load(sys.stdin.buffer) if asked.source is None else spaces.load(asked.source).trainable
    import_compiler_for(trainable)
    tell.write(json.dumps({"base": _peak()}) + "\n")
    waiting = list(enumerate(asked.configs))
    running: dict[int, tuple[Batch, int, float]] = {}
    took = [0.1]
    while waiting or running:
        left = began + asked.seconds - time.monotonic()
        if waiting and len(running) < asked.lanes and left > min(took[1:] or took):
            batch = waiting[:: asked.lanes - len(running)] if asked.gpus else waiting[:1]
            share = min(STEP_SECONDS, 0.4 * left * asked.lanes / len(waiting))
            waiting = [each for each in waiting if each not in batch]
            read, write = os.pipe()
            child = os.fork()
            if not child:
                _child(trainable, asked, batch, began + asked.seconds, share, tell.fileno(), write)
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


def _child(trainable: Any, asked: Asked, batch: Batch, until: float, share: float, tell: int, done: int) -> None:
    """Measure a `batch`, one by one until time `until`, and end here.

    What came of each is written to the file `tell` at once, as a line, and then a byte to `done`, which is counted.
    """
    try:
        from trainables.device import release

        with contextlib.suppress(OSError):  # where there is one, the kernel is to take this process before others
            Path("/proc/self/oom_score_adj").write_text("1000")
        if asked.memory:
            _limit_memory(asked.memory)
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
                result = _tried(trainable, asked, config, share)
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


def _tried(trainable: Any, asked: Asked, config: Mapping[str, Any], share: float) -> Measured:
    import torch

    from search.storage import checkpoints
    from trainables.device import keep_to
    from trainables.epoch import Diverged
    from trainables.training import Training

    torch.set_num_threads(asked.threads)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    before, by, waiting = _peak(), "", 0.0
    try:
        if 0 < asked.gpus < 1:
            keep_to(asked.gpus)
        epochs = trainable(config, asked.data)
        if isinstance(epochs, Training):
            by, pace = "steps", epochs.pace(share)
            seconds, waiting, save = pace.seconds, pace.waiting, pace.save
        else:
            by, begin = "epochs", time.perf_counter()
            save = next(epochs).save
            seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        checkpoints.Shelf(Path(asked.scratch)).write(os.getpid(), 1, save, patience=0.0)
        seconds += time.perf_counter() - begin
    except Diverged as error:  # as trials do now and then; nothing is known of its speed
        return Measured(by=by, memory=_memory(before), fault=str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Measured(by=by, fault=f"{NO_MEMORY}: {_short(error)}")
    except Exception as error:  # whatever a user's code does
        # PyTorch's allocator on the CPU raises a plain RuntimeError, as does what CUDA's libraries take for themselves.
        scarce = "allocate|enough memory|ALLOC_FAILED|CUDA error: out of memory"
        what = NO_MEMORY if re.search(scarce, str(error)) else type(error).__name__
        return Measured(by=by, fault=f"{what}: {_short(error)}")
    return Measured(seconds, waiting, _memory(before), by)


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
