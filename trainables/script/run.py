"""One run of a script: what it says, gathered into epochs, and how it ended."""

from __future__ import annotations

import itertools
import json
import math
import re
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from trainables.epoch import Epoch
from trainables.script.failures import (
    ScriptAhead,
    ScriptFailed,
    ScriptOutOfMemory,
    ScriptUnusable,
    ScriptWithoutModel,
)
from trainables.script.folder import QUIET_SECONDS, Home, Past
from trainables.script.guard import NOT_STARTED
from trainables.script.metrics import (
    EPOCH,
    FORMS,
    JSON,
    PAIRS,
    Added,
    Csv,
    Epochs,
    JsonLines,
    Metrics,
    Pairs,
    Rows,
    form_of,
    tidy,
)
from trainables.script.process import Process, death

LOOK_SECONDS = 0.05
"""Files are looked at so often."""
USAGE = 2
"""The exit code of argparse, click and others for arguments that they do not take."""
MOST_NAMED = 5
"""So many files are named where another one is missing."""
SETTLED = 0.05
"""Who prints an epoch before it saves it has so large a part of an epoch to begin with that, SETTLE_SECONDS at most."""
SETTLE_SECONDS = 1.0
OUT_OF_MEMORY = re.compile(r"OutOfMemory|MemoryError|out of memory")


class Program(Protocol):
    """What is run, as far as it matters here; `script.Script` is one."""

    @property
    def name(self) -> str:
        """Its file name."""

    @property
    def folder(self) -> str:
        """The working folder."""

    @property
    def metric(self) -> str:
        """What ends an epoch when it is said."""

    @property
    def report(self) -> str:
        """In which form it is said."""

    @property
    def model(self) -> str:
        """The file in its folder that is its model, "" if nobody says."""

    def is_told(self, name: str) -> bool:
        """Whether the program hears of its `epochs`."""


class Run:
    """One run of a script: what it says, gathered into epochs."""

    def __init__(self, script: Program, home: Home, past: Past, process: Process) -> None:
        self._script, self._home, self._process, self._past = script, home, process, past
        self._numbers = Numbers(past.numbers)
        self._form = form_of(script.report)
        self._gathered = Epochs(tidy(script.metric))
        self._waiting: deque[Metrics] = deque()
        """The epochs that it has said and that nobody has taken yet."""
        self._reports, self._reported = Added(home.reports), 0
        """What `search.report` has written, and how many epochs of it were read."""
        self._said_at = time.monotonic()
        self._rows = Rows(self._csv(self._form.path)) if isinstance(self._form, Csv) else None

    def epochs(self, last: int) -> Iterator[Epoch]:
        """Yield the epochs as they come, up to the `last`. Raises ScriptFailed.

        A program that is told how many there are has ended when the last one is yielded, or is ended if it says more.
        """
        heard = self._joined()
        for metrics in heard:
            epoch = self._epoch(metrics)
            if epoch.number == last and self._script.is_told("epochs"):
                self._take()
                if next(heard, None) is not None:
                    self._process.note(f"it was to end after {last} epochs, says more, and is ended")
                    self._process.end()
                self._check_model()
            yield epoch
            self._take()
        self._check_model()

    def _joined(self) -> Iterator[Metrics]:
        """The epochs of this run, after those that the run before had said, up to where this one goes on.

        Raises ScriptFailed; ScriptAhead if there are epochs between, which nobody has heard of.
        """
        heard, ahead = self._heard(), self._past.ahead
        first = next(heard, None)
        if first is None:  # what it kept was of its end
            yield from ahead
            return
        if EPOCH in first:
            known = [each for each in ahead if each.get(EPOCH, math.inf) < first[EPOCH]]
            before = [*self._past.numbers, *(each[EPOCH] for each in known)]
            if before and first[EPOCH] - before[-1] > _step(before):
                raise ScriptAhead(f"goes on with epoch {first[EPOCH]:g}, the last that it had said is {before[-1]:g}")
            yield from known
        yield first
        yield from heard

    def _heard(self) -> Iterator[Metrics]:
        """The metrics of each epoch that the program says, until it ends. Raises ScriptFailed."""
        while True:
            over = self._listen(LOOK_SECONDS)
            while self._waiting:
                yield self._waiting.popleft()
            if over:
                self._check_end()
                return

    def _listen(self, seconds: float) -> bool:
        """Hear what the program has said, waiting so long for the first of it; return whether that is all."""
        lines = self._process.lines(seconds)
        over = self._process.code is not None
        own = [json.loads(line) for line in self._reports.lines(whole=over)]
        self._reported += len(own)
        self._waiting.extend(own)
        if not self._reported:  # who calls search.report may print what they like
            rows = self._rows.added(whole=over) if self._rows else []
            self._waiting.extend(self._gathered.heard([*map(self._form.numbers, lines), *rows]))
        return over

    def _epoch(self, metrics: Metrics) -> Epoch:
        said = metrics.pop(EPOCH, None)
        try:
            number = self._numbers.number(said)
        except ValueError as error:
            raise ScriptFailed(f"{self._script.name} {error}", self._last_words()) from None
        known, now = self._numbers.said, time.monotonic()
        settled = now + min(SETTLE_SECONDS, SETTLED * (now - self._said_at))
        self._said_at = now

        def ahead() -> list[Metrics]:
            if not self._reported:  # who calls search.report waits
                self._listen(0.0)
            return list(self._waiting)

        def save(into: Path) -> None:
            if not self._reported and self._process.code is None:
                time.sleep(max(0.0, settled - time.monotonic()))
            writing = self._home.save(into, known, guard=None if self._reported else self._process.guard, ahead=ahead)
            if writing:
                self._process.note(f"{writing} was still written {QUIET_SECONDS:.0f} s after epoch {number}")
            self._take()

        return Epoch(number, metrics, save)

    def _take(self) -> None:
        """Let `search.report` go on."""
        if self._reported:
            self._home.take(self._reported)

    def _csv(self, path: str) -> Path:
        return Path(self._script.folder, path.replace("{folder}", str(self._home.files)))

    def _check_model(self) -> None:
        """Raise ScriptWithoutModel if the program has come to its end, and its folder lacks the model."""
        name, files = self._script.model, self._home.files
        if not name or (files / name).is_file():
            return
        there = sorted(str(path.relative_to(files)) for path in files.rglob("*") if path.is_file())
        wrote = f"it wrote {', '.join(there[:MOST_NAMED])}: name one with --model" if there else "it wrote nothing"
        raise ScriptWithoutModel(
            f"{self._script.name} ended without {name} in {{folder}}, which is to be its model; {wrote}",
            self._last_words(),
        )

    def _check_end(self) -> None:
        """Raise ScriptFailed if the program ended badly, or has said no epoch."""
        name, code, told = self._script.name, self._process.code or 0, self._last_words()
        anything = self._numbers.any
        if code:
            complaint = next(reversed(self._process.complained), "it printed no error")
            why = f"{name} ended with {death(code)}: {complaint.strip()[:300]}"
            if code == 128 + signal.SIGKILL:
                why = f"{name} was killed, as the system does to a process that takes too much memory"
            if code == 128 + signal.SIGKILL or OUT_OF_MEMORY.search(complaint):
                raise ScriptOutOfMemory(why, told)
            usage = code == USAGE and any(line.lower().startswith("usage:") for line in self._process.complained)
            raise (ScriptUnusable if not anything and (usage or code == NOT_STARTED) else ScriptFailed)(why, told)
        if not anything and self._past.numbers:
            if not self._past.ahead:
                raise ScriptAhead(f"ended at once, the last epoch that it had said is {self._past.numbers[-1]:g}", told)
        elif not anything:
            raise ScriptUnusable(f"{name} ended without saying {self._script.metric}; {self._instead()}", told)

    def _instead(self) -> str:
        """What the program said instead of the metric, and what may be meant."""
        metric, form, lines = tidy(self._script.metric), self._script.report, list(self._process.said)
        for other, reads in ((JSON, JsonLines()), (PAIRS, Pairs())):
            if other != form and any(metric in reads.numbers(line) for line in lines):
                return f"--report {form} does not find it, but --report {other} does"
        if self._gathered.seen:
            return f"what it says is {', '.join(sorted(self._gathered.seen)[:10])}: name one with --metric"
        numbers = {name for line in lines for name in (*JsonLines().numbers(line), *Pairs().numbers(line))}
        if numbers:
            return (
                f"its last lines name {', '.join(sorted(numbers)[:10])}: say which with --metric, and how its lines "
                f"look with --report ({FORMS})"
            )
        complained = list(self._process.complained)
        if any(metric in reads.numbers(line) for line in complained for reads in (JsonLines(), Pairs())):
            return "it says so on standard error, which is not read: print it, or log it to sys.stdout"
        if not lines and complained:
            return f"it printed nothing but errors, the last {complained[-1].strip()[:100]!r}"
        if not lines:
            return "it printed nothing"
        return f"its last line was {lines[-1].strip()[:100]!r}; --report says how its lines look ({FORMS})"

    def _last_words(self) -> str:
        return "\n".join([*self._process.said, *self._process.complained])


def _step(numbers: Sequence[float]) -> float:
    """How far apart epochs are that are numbered so, at most: by what they were, or as they are counted from 0 or 1."""
    apart = [after - before for before, after in itertools.pairwise(numbers)]
    return max(apart, default=max(1.0, numbers[0]))


class Numbers:
    """The numbers of epochs, from 1 without gaps, of a program that numbers them in its way, or not at all.

    `before` is how it numbered those before this run. It may go on after them, or with one of them again.
    """

    def __init__(self, before: Sequence[float]) -> None:
        self._said: list[float | None] = list(before)
        self.any = False
        """Whether it has said any in this run."""

    @property
    def said(self) -> tuple[float, ...]:
        """How it has numbered them up to now; nothing if it does not."""
        return tuple(each for each in self._said if each is not None) if None not in self._said else ()

    def number(self, said: float | None) -> int:
        """The number of the next epoch, for which the program has `said` a number, or none. Raises ValueError."""
        said = said if said is not None and math.isfinite(said) else None
        if not self.any:
            self._said = self._said[: self._goes_on_after(said)]
        self.any = True
        self._said.append(said)
        return len(self._said)

    def _goes_on_after(self, said: float | None) -> int:
        """How many of the epochs before this run hold, if the first one now is called `said`."""
        before = [each for each in self._said if each is not None]
        if said is None or not before:
            return 0
        if said > before[-1]:
            return len(before)
        if said not in before:
            told = ", ".join(f"{each:g}" for each in before[-3:])
            raise ValueError(f"goes on with epoch {said:g}, but the epochs that it had said are … {told}")
        return before.index(said)
