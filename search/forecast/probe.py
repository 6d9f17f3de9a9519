"""Configurations tried for a moment, apart from all else: how fast they train here, and what memory they need.

A host process (probe_host.py) forks one child per configuration, so nothing that it does (asks for too much memory,
hangs, dies) reaches the process that wants to know. The host is ended with all that it started, by its process group.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MB = 10**6
GRACE_SECONDS = 1.0
"""So much later than asked for the host is ended if it has not ended itself."""
LATE = "not measured: the time for it was up"
DIED = "not measured: the process that was to do it ended at once"
NO_MEMORY = "out of memory"
BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from search.forecast.probe_host import serve; serve()"


@dataclass(frozen=True)
class Request:
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
    # A process on a GPU reserves far more addresses than it uses, so there only the device sets limits.
    memory = 0 if gpus else room // lanes
    name, trainable = (source, b"") if isinstance(source, str) else (None, source)
    with (
        tempfile.TemporaryDirectory(prefix="search-probe-", ignore_cleanup_errors=True) as scratch,
        _host(began + seconds + GRACE_SECONDS, gpus=bool(gpus)) as (orders, answers),
        contextlib.suppress(BrokenPipeError),
    ):
        pickle.dump(Request(name, data, configs, max(1, int(cpus)), lanes, seconds, memory, gpus, scratch), orders)
        orders.write(trainable)
        orders.close()
        for line in answers:
            answer = json.loads(line)
            if "base" in answer:
                start, base = time.monotonic() - began, answer["base"]
            else:
                results[answer["index"]] = Measured(**answer["measured"])
        if start == seconds and time.monotonic() < began + seconds:  # as where it cannot import the trainable
            results = [Measured(fault=DIED)] * len(configs)
    return Probe(results, start, base, room)


@contextmanager
def _host(deadline: float, *, gpus: bool) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The standard input and output of a host, which is ended on leaving, or at `deadline` on the monotonic clock."""
    # -P: what lies in the working folder must not be what Python's own modules get where they import json.
    host = subprocess.Popen(
        [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which then ends the host
        env={**os.environ, **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})},
    )
    assert host.stdin is not None
    assert host.stdout is not None
    alarm = threading.Timer(max(0.0, deadline - time.monotonic()), _kill, [host])
    alarm.daemon = True
    try:
        alarm.start()
        yield host.stdin, host.stdout
    finally:
        alarm.cancel()
        alarm.join()
        _kill(host)
        host.wait()
        host.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            host.stdin.close()


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
