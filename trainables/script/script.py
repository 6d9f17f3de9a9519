"""A script as a trainable: how it is called, how it says its metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from trainables.epoch import Epoch
from trainables.script import command
from trainables.script.command import Given
from trainables.script.failures import ScriptAhead
from trainables.script.folder import Home
from trainables.script.metrics import form_of
from trainables.script.process import Process
from trainables.script.run import Run

HOME_VARIABLE = "SEARCH_TRIAL"
"""In the environment of a script: the folder by which `search.report` finds what it needs."""
LATER = ("test", "model", "more")
"""Fields that a record has of some scripts only, or of none."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Script:
    """A program of the user's own, as a trainable.

    `program` is the absolute path of a Python file, or of another file that can be executed; it runs in the working
    folder `folder` with `arguments`, in which placeholders stand for values (`command.PLACEHOLDER`), and with the
    values that have none of their own, in `style`. `switches` are its options that take no value. `base` is what the
    file of `{config}` holds besides values. Its epochs end where it says `metric`, in the form `report`
    (`metrics.FORMS`), or with `search.report`. If it is `endless`, nobody has said how many epochs it trains, and it is
    not told. With the words `test` besides, it measures what it has kept on its test set; where the first of them is a
    file, that is the program which does, with the others. None is for one that is not asked for that, and none at all
    for one that asks `search.report`. `model` is the file in its folder that is its model, "" if nobody says. `more`
    are words that come last; they are of one run, and no record has them.

    Raises ValueError at birth for what cannot be.
    """

    program: str
    folder: str
    arguments: Sequence[str] = ()
    style: str = command.FLAGS
    switches: Sequence[str] = ()
    metric: str = "val_accuracy"
    report: str = "json"
    base: Mapping[str, Any] = field(default_factory=dict)
    endless: bool = False
    test: Sequence[str] | None = None
    model: str = ""
    more: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("arguments", "switches", "more", *(() if self.test is None else ("test",))):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"{name} of a script must be words, but are {value!r}")
            object.__setattr__(self, name, tuple(value))
        for name in ("program", "folder", "metric", "report", "model"):
            if not isinstance(getattr(self, name), str) or "\0" in getattr(self, name):
                raise ValueError(f"{name} of a script must be a text, but is {getattr(self, name)!r}")
        if self.style not in command.STYLES:
            raise ValueError(f"a script takes values as {', '.join(command.STYLES)}, but not as {self.style!r}")
        if not isinstance(self.base, Mapping):
            raise ValueError(f"the base of a script's file must be an object, but is a {type(self.base).__name__}")
        form_of(self.report)
        if self.model and (Path(self.model).is_absolute() or ".." in Path(self.model).parts):
            raise ValueError(f"the model of a script is a file in its {{folder}}, and not {self.model!r}")

    @property
    def name(self) -> str:
        """The program's file name."""
        return Path(self.program).name

    @property
    def file(self) -> str:
        """What the file with the values is called."""
        found = [match for each in self.arguments for match in command.PLACEHOLDER.finditer(each) if match["config"]]
        suffix = [match["suffix"] or Path(match["base"] or "").suffix for match in found]
        return f"values{suffix[0] if suffix and suffix[0] in ('.json', '.yml') else '.yaml'}"

    def is_told(self, name: str) -> bool:
        """Whether the program hears of its `epochs`, `seed` or `folder`, or may ask for it."""
        if name == "epochs" and self.endless:
            return False
        texts = [*self.arguments, json.dumps(self.base)]
        return self.style == command.MODULE or any(f"{{{name}}}" in each for each in texts)

    def to_plain(self) -> dict[str, Any]:
        """All but where the program is, as JSON can hold it."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("program", *LATER)}
        plain |= {"arguments": list(self.arguments), "switches": list(self.switches), "base": dict(self.base)}
        # Left out where there is none, so that records of other scripts stay as they were.
        plain |= {"test": list(self.test)} if self.test is not None else {}
        return plain | ({"model": self.model} if self.model else {})

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Script:
        """Read what `to_plain` gave, and the `program`. Raises ValueError or TypeError."""
        return cls(**{each.name: plain[each.name] for each in fields(cls) if each.name in plain})

    def words(self, config: Mapping[str, Any], folder: str, file: str) -> list[str]:
        """The arguments for a trial of `config`, with `{folder}` and the file of `{config}`. Raises ValueError."""
        given, values = _given(config, folder, file), _values(config)
        own = command.words(self.arguments, values, given, style=self.style, switches=self.switches)
        return [*own, *command.filled(self.more, values, given)]

    def shown(self, config: Mapping[str, Any], *, folder: str, file: str) -> str:
        """The command for `config`, as one types it in the working folder; variables stay their names."""
        own, more = (
            [command.PLACEHOLDER.sub(_as_shell_variable, each) for each in words]
            for words in (self.arguments, self.more)
        )
        words = replace(self, arguments=own, more=more).words(config, folder, file)
        here = Path(self.program).is_relative_to(self.folder)
        program = str(Path(self.program).relative_to(self.folder)) if here else self.program
        start = ["python", program] if program.endswith(".py") else [f"./{program}" if here else program]
        return " ".join(word if word.startswith("$") else shlex.quote(word) for word in [*start, *words])

    def tester(self) -> Script:
        """The program that measures on the test set, as a script: this one with more words, or another with its own.

        Its own are given no values but where a placeholder stands for one.
        """
        test = tuple(self.test or ())
        program = Path(self.folder, test[0] if test else "")
        if not program.is_file() or not (program.suffix == ".py" or os.access(program, os.X_OK)):
            return replace(self, more=test)
        return replace(self, program=str(program), arguments=test[1:], style=command.MODULE)

    def at(self, home: Path) -> Placed:
        """This script, run with `home` as the folder of its trial."""
        return Placed(self, home)

    def __call__(self, config: Mapping[str, Any], data: Any, *, resume: Path | None = None) -> Iterator[Epoch]:
        """Run the program with a folder that is gone afterwards, and yield an epoch whenever it says one.

        Raises ValueError at once for values that make no command, ScriptFailed for a program that ends badly or says no
        metric.
        """
        self.words(config, "", "")
        return self.epochs(config, resume, None)

    def epochs(self, config: Mapping[str, Any], resume: Path | None, place: Path | None) -> Iterator[Epoch]:
        """See `__call__` and `at`; without a `place` the trial has a folder that is gone afterwards."""
        with contextlib.ExitStack() as stack:
            if place is None:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="search-script-")))
            home = Home(place.absolute())
            past = home.begin(resume)
            try:
                with self.started(config, home) as process:
                    yield from Run(self, home, past, process).epochs(config["train/epochs"])
                return
            except ScriptAhead as error:
                why = str(error)
            past = home.begin(None)
            with self.started(config, home) as process:
                process.note(f"it {why}; so it has begun again, with an empty folder")
                yield from Run(self, home, past, process).epochs(config["train/epochs"])

    def started(self, config: Mapping[str, Any], home: Home, *, testing: bool = False) -> Process:
        """The program, run for `config` with the files in `home`, which is made; `search.report` hears of `testing`."""
        values, file = _values(config), home.path / self.file
        given = _given(config, str(home.files), str(file))
        command.written(file, self.base, values, given)
        asked = {"values": values, "seed": given.seed, **({} if self.endless else {"epochs": given.epochs})}
        home.asked.write_text(json.dumps({**asked, **({"testing": True} if testing else {})}))
        words = self.words(config, given.folder, given.config)
        process = Process(
            [*([sys.executable] if self.program.endswith(".py") else []), self.program, *words],
            folder=Path(self.folder),
            env=_environment(home),
            log=home.log,
            lock=home.lock,
        )
        process.note(self.shown(config, folder=given.folder, file=given.config))
        return process


@dataclass(frozen=True)
class Placed:
    """The trainable `script` with the folder `home` for its trial."""

    script: Script
    home: Path

    def __call__(self, config: Mapping[str, Any], data: Any, *, resume: Path | None = None) -> Iterator[Epoch]:
        """See `Script.__call__`."""
        self.script.words(config, "", "")
        return self.script.epochs(config, resume, self.home)


def _values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of the program."""
    return {name: value for name, value in config.items() if name not in command.RESERVED}


def _given(config: Mapping[str, Any], folder: str, file: str) -> Given:
    return Given(config["train/epochs"], config.get("train/seed", 0), folder, file)


def _environment(home: Home) -> dict[str, str]:
    """The environment of a script: this one, what `search.report` needs, and as many threads as this process has."""
    paths = [path for path in (os.environ.get("PYTHONPATH"), str(ROOT)) if path]
    told = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(paths), HOME_VARIABLE: str(home.path)}
    if "torch" in sys.modules:
        told["OMP_NUM_THREADS"] = str(sys.modules["torch"].get_num_threads())
    return {**os.environ, **told}


def _as_shell_variable(match: re.Match[str]) -> str:
    return f"${match['env']}" if match["env"] else match[0]
