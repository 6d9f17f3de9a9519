"""A script of one's own: its study from the command, and what it says of its arguments before anything is searched."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from search.errors import BadInput
from search.secrets import hidden
from search.settings import Settings
from search.terminal.console import Display
from spaces import script, sweep
from spaces.ranges import Choice, Range
from spaces.script import Wish, imports
from spaces.study import Study
from spaces.values import Value
from trainables.script import command
from trainables.script.folder import Home
from trainables.script.process import death
from trainables.script.script import Script

PATIENCE_SECONDS = 60.0
"""A script may take so long to say what arguments it takes: it may import torch for that."""
PARSERS = ("argparse", "click", "typer")
"""What a script is known by that answers `--help`. Another may begin to train."""
USAGE = 2
"""The exit code of all of them for an argument that they do not take."""
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w.-]*")
BOXES = "│┃|"


def study_of(name: str, settings: Settings, changes: Mapping[str, Range | Value]) -> Study:
    """The study of the script, or the sweep file, whose path `name` is, as the `settings` ask. Raises SpaceError."""
    wish = Wish(
        arguments=settings.arguments,
        changes=changes,
        epochs=settings.epochs,
        metric=settings.metric,
        mode=settings.mode,
        report=settings.report,
        style=settings.style,
        test=_test_words(settings.test),
        model=settings.model,
    )
    if sweep.is_sweep(name):
        return sweep.read(Path(name)).study(wish, Path.cwd())
    return script.study_of(Path(name), wish, Path.cwd())


def _test_words(text: str | None) -> list[str]:
    """The words of --test. Raises BadInput, also for a secret, which would stand in the record."""
    try:
        words = shlex.split(text or "")
    except ValueError as error:
        raise BadInput(f"--test takes arguments as a shell does, but got {text!r} ({error})") from None
    if text is not None and not words:
        raise BadInput("--test is empty; give the arguments that make the script measure its test set")
    if hidden(words)[1]:
        raise BadInput("--test holds a secret, which the record would keep; give it as {env:NAME}, and set NAME")
    return words


def runnable(mine: Script) -> Script:
    """The recorded script. Raises BadInput if a variable is not set that stands among its arguments."""
    words = [*mine.arguments, *(mine.test or ())]
    named = [match["env"] for each in words for match in command.PLACEHOLDER.finditer(each) if match["env"]]
    unset = [name for name in named if name not in os.environ]
    if unset:
        raise BadInput(f"{mine.name} needs the environment variable {', '.join(unset)}, whose value no record keeps")
    return mine


def notes(name: str) -> list[str]:
    """What the user must know of how the file `name` was read, a line for each."""
    return sweep.notes(sweep.read(Path(name))) if sweep.is_sweep(name) else []


def asked(study: Study, display: Display) -> Study:
    """`study`, with what its script says of its arguments, if it is of one that can be asked; else as it is.

    A script that parses its arguments is run once, with those of a trial and `--help` (of Hydra `--cfg job`) at their
    end. Raises BadInput if it does not know one of them, or cannot be run at all.
    """
    mine = study.trainable
    if not isinstance(mine, Script) or not mine.program.endswith(".py"):
        return study
    known = imports(Path(mine.program).read_text(errors="replace"))
    if mine.style == command.HYDRA and "hydra" in known:
        _answer(study, mine, ["--cfg", "job"], display)
    elif mine.style != command.HYDRA and not known.isdisjoint(PARSERS):
        told = _answer(study, mine, ["--help"], display)
        if told:
            _check_test(mine, _Help.read(told))
        if told and mine.style == command.FLAGS:
            return replace(study, trainable=_matched(study, mine, _Help.read(told), display))
    return study


def _answer(study: Study, mine: Script, question: Sequence[str], display: Display) -> str:
    """What the script prints, asked with the arguments of a trial; "" if it does not say. Raises BadInput."""
    config, lines = study.full_config(study.ranges.corner(high=False), seed=0), list[str]()
    with tempfile.TemporaryDirectory(prefix="search-script-") as scratch:
        deadline = time.monotonic() + PATIENCE_SECONDS
        home = Home(Path(scratch))
        home.begin(None)
        with replace(mine, more=question).started(config, home) as process:
            while process.code is None and time.monotonic() < deadline:
                lines += process.lines(0.1)
            code, complaint = process.code, next(reversed(process.complained), "").strip()[:300]
    asked_with = f"{mine.name} {' '.join(question)}"
    if code is None:
        display.warn(f"{asked_with} said nothing for {PATIENCE_SECONDS:.0f} s, so its arguments are not checked")
    elif code == USAGE and "--help" in complaint:  # a parser without it
        display.warn(f"{asked_with}: {complaint}; its arguments are not checked")
    elif code:
        raise BadInput(f"{mine.name} cannot be run ({death(code)}): {complaint or 'it printed no error'}")
    else:
        return "\n".join(lines)
    return ""


@dataclass(frozen=True)
class _Help:
    """What a page of help tells: all `options`, and the `switches` among them, which take no value."""

    options: Collection[str]
    switches: Collection[str]

    @classmethod
    def read(cls, text: str) -> _Help:
        """Read a page as argparse, click or typer print it."""
        switches = set()
        for line in text.splitlines():
            boxed = line.strip()[:1] in BOXES and line.strip() != ""
            spec, _, rest = line.strip().strip(BOXES).strip().partition("  ")
            if not spec.startswith("-"):
                continue
            last = re.split(r", | / |\|", spec)[-1]
            if re.search(r"[\s=\[]", last.strip()) or (boxed and re.match(r"\s*[A-Z]{2,}\b", rest)):
                continue
            names = OPTION.findall(spec)
            no = next((name for name in names if name.startswith("--no-")), None)
            yes = [name for name in names if name != no]
            switches |= {f"{name}/{no}" if no else name for name in yes}
        return cls(set(OPTION.findall(text)), switches)


def _check_test(mine: Script, told: _Help) -> None:
    """Raise BadInput if the script is asked for its test with an option that it does not take."""
    tester = mine.tester()
    if tester.program != mine.program:  # it has a page of help of its own
        return
    for word in tester.more:
        option = word.partition("=")[0]
        if OPTION.fullmatch(option) and not any(each.startswith(option) for each in told.options):
            near = difflib.get_close_matches(option, sorted(told.options), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadInput(f"--test: {mine.name} takes no {option}; it takes {', '.join(sorted(told.options))}{hint}")


def _matched(study: Study, mine: Script, told: _Help, display: Display) -> Script:
    """The script with its switches. Raises BadInput for a hyperparameter that is no option of it."""
    switches: list[str] = []
    placed = {match["name"] for each in mine.arguments for match in command.PLACEHOLDER.finditer(each)}
    for name in [*study.space, *study.fixed]:
        if name in placed:
            continue
        option = f"--{name}"
        if option not in told.options and f"-{name}" in told.options:
            switches.append(f"-{name}")
        elif not any(each.startswith(option) for each in told.options):
            near = difflib.get_close_matches(option, sorted(told.options), n=1)
            hint = f"; did you mean {near[0].lstrip('-')}?" if near else ""
            raise BadInput(f"{mine.name} takes no {option}; it takes {', '.join(sorted(told.options))}{hint}")
        here = [each for each in told.switches if each.partition("/")[0] == option]
        switches += here
        range_ = study.space.get(name)
        values = range_.values if isinstance(range_, Choice) else (study.fixed.get(name),)
        if not here and any(isinstance(each, bool) for each in values):
            display.warn(
                f"{option} of {mine.name} takes a value, and gets True or False: a type=bool takes both for true"
            )
    return replace(mine, switches=tuple(switches))
