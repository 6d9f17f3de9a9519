"""Trials that do what a script says: report, die, hang, lose their memory.

A study file like any other, `python -m search tests/chaos/study.py`, told what to do by environment variables:

| variable | meaning |
|---|---|
| `CHAOS_SCRIPTS` | JSON list of scripts, one trial and one start point each; without it six trials of a formula |
| `CHAOS_EPOCHS`, `CHAOS_FIRST_RUNG`, `CHAOS_REDUCTION_FACTOR`, `CHAOS_MODE` | the study's (4, 1, 3, max) |
| `CHAOS_FOLDER` | where `log.jsonl` and the markers of `once` and `await` lie |
| `CHAOS_WEIGHTS` | bytes of weights in a checkpoint (1024) |

A script is a list of steps, separated by `;`. Where it ends before the epochs do, its last value is reported on.

| step | what the trial does |
|---|---|
| `report VALUE` | ends an epoch: a number, `nan`, `inf`, `-inf`; `x`, the formula; `nothing`, without the metric |
| `sleep SECONDS` | waits for a time |
| `await NAME [SECONDS]` | waits until a file `NAME` is in the folder, or no longer than so |
| `raise TEXT`, `memory_error`, `return` | raises RuntimeError or MemoryError, or is over before its last epoch |
| `exit CODE`, `sigkill`, `segfault` | its process exits without clean-up, is killed, crashes |
| `stop` | its process stands still (SIGSTOP) until somebody sends SIGCONT |
| `hang`, `spin` | sleeps for ever; computes for ever and never lets another thread run |
| `allocate MB`, `fork` | takes memory and keeps it; leaves a process behind, whose pid is logged |
| `enospc [N]` | its next N checkpoints (1) fail half written, for want of space |
| `linger SECONDS` | its next checkpoint stays half written for so long |
| `damage` | flips a bit in its newest checkpoint |
| `once STEP` | only the first time that this trial comes here, not when it is tried again |
| `repeat N STEP, STEP` | the steps, N times over |

Everything but time depends on the configuration alone, so an epoch that is trained again leaves the same checkpoint.
The file imports nothing of ours but what every study does: it is sent to the workers, which know no `tests`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spaces.study import Choice, Float, Objective, Study
from trainables.epoch import Epoch

# Read once, in the driver: values of a module travel to the workers with its functions, variables may not.
SCRIPTS: list[str] = json.loads(os.environ.get("CHAOS_SCRIPTS", "[]"))
FOLDER = Path(os.environ["CHAOS_FOLDER"]).absolute() if os.environ.get("CHAOS_FOLDER") else None
WEIGHTS = int(os.environ.get("CHAOS_WEIGHTS", "1024"))


def word(text: str) -> str:
    if not text:
        raise ValueError("it takes a text")
    return text


def value(text: str) -> str:
    if text not in ("x", "nothing"):
        float(text)
    return text


ARGUMENTS: dict[str, Callable[[str], object] | None] = {
    "report": value,
    "sleep": float,
    "await": lambda text: word(text) and float(text.partition(" ")[2] or 0),
    "raise": word,
    "memory_error": None,
    "return": None,
    "exit": int,
    "sigkill": None,
    "segfault": None,
    "stop": None,
    "hang": None,
    "spin": None,
    "allocate": float,
    "fork": None,
    "enospc": lambda text: int(text or 1),
    "linger": float,
    "damage": None,
}
"""What each step takes; None where it takes nothing."""


class Step(NamedTuple):
    verb: str
    argument: str = ""
    once: bool = False


def parse(script: str) -> list[Step]:
    """The steps of `script`, in the order in which they are taken; a place in this list stands for a moment of a trial.

    Raises ValueError for what is no step.
    """
    return [step for text in script.split(";") if text.strip() for step in _steps(text.strip(), once=False)]


def _steps(text: str, *, once: bool) -> list[Step]:
    verb, _, argument = (part.strip() for part in text.partition(" "))
    if verb == "once":
        return _steps(argument, once=True)
    if verb == "repeat":
        count, _, repeated = argument.partition(" ")
        if not count.isdigit() or not repeated.strip():
            raise ValueError(f"{text!r} is no step: repeat takes a number and steps")
        return [step for part in repeated.split(",") for step in _steps(part.strip(), once=once)] * int(count)
    if verb not in ARGUMENTS:
        raise ValueError(f"{text!r} is no step; there are {', '.join(ARGUMENTS)}, once, repeat")
    if once and verb == "report":
        raise ValueError(f"{text!r}: an epoch that comes only once would number all later ones anew")
    check = ARGUMENTS[verb]
    if check is None and argument:
        raise ValueError(f"{text!r} is no step: {verb} takes nothing")
    try:
        if check is not None:
            check(argument)
    except ValueError as error:
        raise ValueError(f"{text!r} is no step: {error}") from None
    return [Step(verb, argument, once)]


def formula(x: float, epoch: int) -> float:
    """A curve that rises towards `x`, so that the order of trials is that of their `x` at every rung."""
    return x * epoch / (epoch + 1)


def weights(seed: int, epoch: int, size: int) -> bytes:
    """What the trial with this seed has learned after so many epochs."""
    return random.Random(f"{seed}/{epoch}").randbytes(size)


class Trial:
    """One attempt of a trial: where it is in its script, and what it holds."""

    def __init__(self, config: Mapping[str, Any], resume: Path | None) -> None:
        self.script, self.x = config.get("chaos/script", ""), config["chaos/x"]
        self.seed, self.last_epoch = config["train/seed"], config["train/epochs"]
        self.steps = parse(self.script)
        self.epoch = self.position = 0
        self.full, self.linger = 0, 0.0
        self.newest = resume
        self.memory: list[bytes] = []
        if resume is not None:
            self._go_on_from(resume)
        self.note("start", resumed=resume is not None, devices=os.environ.get("CUDA_VISIBLE_DEVICES"))

    def epochs(self) -> Iterator[Epoch]:
        for position in range(self.position, len(self.steps)):
            step = self.steps[position]
            if step.once and not self._first_time(position):
                continue
            if step.verb == "report":
                yield self._report(step.argument, position + 1)
            elif step.verb == "return":
                return
            else:
                self._take(step)
        reports = [step.argument for step in self.steps if step.verb == "report"] or ["x"]
        while self.epoch < self.last_epoch:
            yield self._report(reports[-1], len(self.steps))

    def note(self, what: str, **told: Any) -> None:
        """Add a line to the log: one write, so that the lines of many processes do not mix."""
        if FOLDER is not None:
            row = {"what": what, "pid": os.getpid(), "seed": self.seed, "script": self.script, "x": self.x}
            row |= {"epoch": self.epoch, "time": time.time(), **told}
            with (FOLDER / "log.jsonl").open("ab", buffering=0) as log:
                log.write(json.dumps(row).encode() + b"\n")

    def _go_on_from(self, checkpoint: Path) -> None:
        progress = json.loads((checkpoint / "progress.json").read_text())
        if progress["seed"] != self.seed:
            raise ValueError(f"{checkpoint} is that of another trial")
        learned = (checkpoint / "weights").read_bytes()
        # A damaged checkpoint must never get here; this is where it would be noticed.
        if learned != weights(self.seed, progress["epoch"], len(learned)):
            raise ValueError(f"the weights in {checkpoint} are not those of epoch {progress['epoch']}")
        self.epoch, self.position = progress["epoch"], progress["position"]

    def _first_time(self, position: int) -> bool:
        assert FOLDER is not None
        try:
            (FOLDER / f"once-{self.seed}-{position}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _report(self, argument: str, position: int) -> Epoch:
        self.epoch += 1
        epoch = self.epoch
        metric = formula(self.x, epoch) if argument == "x" else math.nan if argument == "nothing" else float(argument)
        self.note("report", value=metric)
        metrics = {"other": float(epoch)} if argument == "nothing" else {"val_accuracy": metric}

        def save(folder: Path) -> None:
            learned = weights(self.seed, epoch, WEIGHTS)
            self.newest = folder
            if self.full:
                self.full -= 1
                (folder / "weights").write_bytes(learned[: len(learned) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "weights"))
            (folder / "weights").write_bytes(learned)
            if self.linger:
                self.note("lingers")
                self.linger = time.sleep(self.linger) or 0.0
            progress = {"seed": self.seed, "epoch": epoch, "position": position, "value": metric}
            (folder / "progress.json").write_text(json.dumps(progress))

        return Epoch(epoch, metrics, save)

    def _take(self, step: Step) -> None:
        argument = step.argument
        if step.verb not in ("sleep", "await", "fork"):
            self.note(step.verb)
        match step.verb:
            case "sleep":
                time.sleep(float(argument))
            case "await":
                assert FOLDER is not None
                name, _, seconds = argument.partition(" ")
                deadline = time.monotonic() + float(seconds or math.inf)
                while not (FOLDER / name).exists() and time.monotonic() < deadline:
                    time.sleep(0.02)
            case "raise":
                raise RuntimeError(argument)
            case "memory_error":
                raise MemoryError("as the script says")
            case "exit":
                os._exit(int(argument))
            case "sigkill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                while True:
                    time.sleep(3600)
            case "spin":
                # Threads take turns every 5 ms otherwise, and a heartbeat in another one would live on.
                sys.setswitchinterval(3600)
                while True:
                    pass
            case "allocate":
                # Ones, because the kernel gives no page to zeros that nobody wrote.
                self.memory.append(b"\x01" * int(float(argument) * 2**20))
            case "fork":
                nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
                child = os.posix_spawnp("sleep", ["sleep", "3600"], os.environ, file_actions=nowhere)
                self.note("fork", child=child)
            case "enospc":
                self.full = int(argument or 1)
            case "linger":
                self.linger = float(argument)
            case "damage":
                self._damage()

    def _damage(self) -> None:
        if self.newest is None:
            raise RuntimeError("there is no checkpoint to damage yet")
        # `save` is given a folder that gets its name when it is whole, beside those of earlier epochs.
        whole = [folder for folder in self.newest.parent.glob("epoch-*") if folder.suffix != ".part"]
        file = max(whole) / "weights"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def scripted(config: Mapping[str, Any], data: Any, *, resume: Path | None = None) -> Iterator[Epoch]:
    """Take the steps of the trial's script. A generator, so a rehearsal that only calls it does nothing."""
    yield from Trial(config, resume).epochs()


def study_of(scripts: list[str]) -> Study:
    """One trial per script. Equal scripts are told apart by their `chaos/x`; so is every trial in the log."""
    for script in scripts:
        steps = parse(script)
        if FOLDER is None and any(step.once or step.verb == "await" for step in steps):
            raise ValueError(f"{script!r} needs a CHAOS_FOLDER for its markers")
    x = Float(0.0, 1.0)
    start: list[dict[str, Any]] = [{"chaos/x": each} for each in (0.9, 0.5, 0.1)]
    if scripts:
        spread = [(number + 1) / (len(scripts) + 1) for number in range(len(scripts))]
        start = [{"chaos/script": script, "chaos/x": each} for script, each in zip(scripts, spread, strict=True)]
    return Study(
        trainable=scripted,
        dataset="digits",
        objective=Objective(mode=os.environ.get("CHAOS_MODE", "max")),
        space={"chaos/script": Choice(*dict.fromkeys(scripts)), "chaos/x": x} if scripts else {"chaos/x": x},
        epochs=int(os.environ.get("CHAOS_EPOCHS", "4")),
        start=start,
        trials=len(scripts) or 6,
        first_rung=int(os.environ.get("CHAOS_FIRST_RUNG", "1")),
        reduction_factor=int(os.environ.get("CHAOS_REDUCTION_FACTOR", "3")),
    )


STUDY = study_of(SCRIPTS)
