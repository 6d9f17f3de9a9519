"""What the winner of a script is worth on its test set: its program is run once more, and says so."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainables.script.failures import ScriptFailed
from trainables.script.folder import Home
from trainables.script.metrics import NUMBER, Added, JsonLines, Metrics, Pairs, form_of, tidy
from trainables.script.process import death
from trainables.script.run import LOOK_SECONDS
from trainables.script.script import Script

ACCURACY = ("accuracy", "acc")
"""Under these names, with `test_` before them, an accuracy is said."""
IN_WORDS = re.compile(rf"\btest[ _/-]+([^\W\d]\w*)\s*[=:]?\s*({NUMBER})(?![\w.])", re.IGNORECASE)
"""`test accuracy 0.93`, in any form of a script: it says this once, and as people read it."""
OF_TEST = re.compile(r"test[ _/.-]+", re.IGNORECASE)
OF_VALIDATION = re.compile(r"(val|valid|validation|dev|eval)[ _/.-]+", re.IGNORECASE)


@dataclass(frozen=True)
class Measured:
    """What a program says of its test set: `metrics` by their names without `test_`, of so many `images` if it says.

    `note` is what has to be said of how it was read, "" if nothing has.
    """

    metrics: Mapping[str, float]
    images: int | None
    note: str

    @property
    def accuracy(self) -> float | None:
        """The accuracy among them, as the program counts it; None if there is none."""
        return next((self.metrics[name] for name in ACCURACY if name in self.metrics), None)


def measured(script: Script, config: Mapping[str, Any], place: Path, checkpoint: Path | None) -> Measured:
    """Run `script` once more, for `config`, to measure what it has kept in `checkpoint`; its folder is made in `place`.

    Raises ScriptFailed if it ends badly, or says no number of its test set. ValueError as `Script.words`.
    """
    tester, home = replace(script.tester(), test=None), Home(place.absolute())
    home.hand_out(checkpoint)
    heard: Metrics = {}
    reports, taken = Added(home.reports), 0
    with tester.started(config, home, testing=True) as process:
        while True:
            lines = process.lines(LOOK_SECONDS)
            over = process.code is not None
            for line in lines:
                heard |= _numbers(line, script.report)
            own = [json.loads(line) for line in reports.lines(whole=over)]
            for each in own:
                heard |= each
            if own:  # one that trains once more waits for each epoch to be taken
                taken += len(own)
                home.take(taken)
            if over:
                break
        told = "\n".join([*process.said, *process.complained])
        if process.code:
            complaint = next(reversed(process.complained), "it printed no error").strip()[:300]
            raise ScriptFailed(f"{tester.name} ended with {death(process.code)}: {complaint}", told)
    try:
        return _read(heard, tidy(script.metric))
    except ValueError as error:
        raise ScriptFailed(f"{tester.name} {error}", told) from None


def name_of(metric: str) -> str:
    """What a test calls what is `metric` in validation: `val_accuracy` is `test_accuracy`."""
    return f"test_{OF_VALIDATION.sub('', metric, count=1) if OF_VALIDATION.match(metric) else metric}"


def _numbers(line: str, report: str) -> Metrics:
    """All numbers of `line`, in the form that was stated and in those that anybody understands."""
    said: Metrics = {}
    for form in (Pairs(), JsonLines(), form_of(report)):
        said |= form.numbers(line)
    return said | {f"test_{name.lower()}": float(value) for name, value in IN_WORDS.findall(line)}


def _read(heard: Mapping[str, float], metric: str) -> Measured:
    """What was `heard`, of a script whose objective is `metric`. Raises ValueError."""
    said = {OF_TEST.sub("", name, count=1).lower(): value for name, value in heard.items() if OF_TEST.match(name)}
    images, note = said.pop("images", None), ""
    if not said and metric in heard and not OF_VALIDATION.match(metric):
        said = {metric: heard[metric]}
        note = f"it says {metric}, which is taken for {name_of(metric)}, as this run is the test"
    if not said:
        raise ValueError(f"said no {name_of(metric)}, or test_accuracy; {_instead(heard)}")
    _check(said, images)
    return Measured(said, None if images is None else int(images), note)


def _check(said: Mapping[str, float], images: float | None) -> None:
    odd = next((name for name, value in said.items() if not math.isfinite(value)), None)
    if odd is not None:
        raise ValueError(f"said that test_{odd} is {said[odd]}, which is no result")
    if images is not None and not (images >= 1 and images == int(images)):
        raise ValueError(f"said that test_images is {images:g}, which is no number of images")


def _instead(heard: Iterable[str]) -> str:
    names: Sequence[str] = sorted(heard)[:10]
    return f"what it said is {', '.join(names)}" if names else "it said no number at all"
