"""What a program says of its epochs, read as metrics: JSON lines, `name=value`, lines of a stated form, rows of a CSV.

Whatever the form, the text that has the objective's metric ends an epoch; the numbers said since the epoch before it
belong to it too.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

JSON, PAIRS = "json", "pairs"
FORMS = f"{JSON}, {PAIRS}, a .csv file, or a line with names in braces such as 'epoch {{epoch}}: loss {{val_loss}}'"
"""What `form_of` understands, for people."""
EPOCH = "epoch"
"""The name under which a program numbers its epochs, in whatever way; it is no metric."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|NaN|inf|Infinity|Inf)\b"
PAIR = re.compile(
    rf"([^\W\d][\w./()@-]*)['\"]?\s*[=:]\s*['\"]?(?:(?:np\.float\d+|tensor)\()?({NUMBER})(?![\w:]|\.\w|,\d)"
)
"""Also as Python prints a dict, and NumPy and torch a number. `1,234` and `0,91` are left alone: nobody knows which."""
FIELD = re.compile(r"\{([^{}]*)\}")
UNUSUAL = re.compile(r"[^\w \-./]")
"""What MLflow takes in no name."""

Metrics = dict[str, float]


class Form(Protocol):
    """How numbers are said."""

    def numbers(self, line: str) -> Metrics:
        """The numbers in `line` by name; none if it has none."""


@dataclass(frozen=True)
class JsonLines:
    """A line that is one JSON object; names of objects within are joined with `/`."""

    def numbers(self, line: str) -> Metrics:
        """See `Form`."""
        text = line.strip().lstrip("\ufeff")
        if not (text.startswith("{") and text.endswith("}")):
            return {}
        try:
            return dict(_flat(json.loads(text)))
        except (ValueError, RecursionError):
            return {}


@dataclass(frozen=True)
class Pairs:
    """`name=0.93` or `name: 0.93` anywhere in a line."""

    def numbers(self, line: str) -> Metrics:
        """See `Form`."""
        return {tidy(name): float(value) for name, value in PAIR.findall(line)}


@dataclass(frozen=True)
class Pattern:
    """A line with the words of `text`; what stands in braces there is a name, and a number takes its place.

    `{_}` is a word of no interest. Any space matches any other. Raises ValueError for a text without names.
    """

    text: str
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = FIELD.split(self.text)
        named = [name.strip() for name in parts[1::2]]
        if not [name for name in named if name != "_"]:
            raise ValueError(f"{self.text!r} names no metric in braces; known forms are {FORMS}")
        if len({*named} - {"_"}) < len([name for name in named if name != "_"]) or "" in named:
            raise ValueError(f"{self.text!r} names a metric twice, or not at all")
        regex = _words(parts[0])
        for name, words in zip(named, parts[2::2], strict=True):
            regex += (r"\S+?" if name == "_" else f"({NUMBER})") + _words(words)
        object.__setattr__(self, "_regex", re.compile(regex + r"(?![\w.])" * self.text.endswith("}")))
        object.__setattr__(self, "_names", tuple(tidy(name) for name in named if name != "_"))

    def numbers(self, line: str) -> Metrics:
        """See `Form`."""
        found = self._regex.search(line[:10_000])
        return dict(zip(self._names, map(float, found.groups()), strict=True)) if found else {}


@dataclass(frozen=True)
class Csv:
    """Rows of the file `path`, which may have placeholders of a command; no line on standard output has any."""

    path: str

    def numbers(self, line: str) -> Metrics:
        """None."""
        return {}


def form_of(text: str) -> JsonLines | Pairs | Pattern | Csv:
    """The form that `text` names. Raises ValueError if it is none of FORMS."""
    if text == JSON:
        return JsonLines()
    if text == PAIRS:
        return Pairs()
    if text.endswith(".csv"):
        return Csv(text)
    return Pattern(text)


class Added:
    """The lines of the file at `path` as they are added; one that is written anew is read anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self.anew = True
        """Whether the next lines are the first."""

    def lines(self, *, whole: bool = False) -> list[str]:
        """What has been added since the last call; with `whole` also a last line without an end."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, io.SEEK_END) < self._read:
                    self._read, self.anew = 0, True
                file.seek(self._read)
                text = file.read()
        except OSError:  # not there yet
            return []
        text = text if whole else text[: text.rfind(b"\n") + 1]
        self._read += len(text)
        return text.decode(errors="replace").splitlines()


class Rows:
    """The rows of the CSV file at `path` as they are added: a head of names, then a row an epoch."""

    def __init__(self, path: Path) -> None:
        self._added, self._head = Added(path), list[str]()

    def added(self, *, whole: bool = False) -> list[Metrics]:
        """What has been added since the last call; with `whole` also a last row without an end of line."""
        anew, rows = self._added.anew, list(csv.reader(self._added.lines(whole=whole), skipinitialspace=True))
        if anew and rows:
            self._head, self._added.anew = [name.strip() for name in rows.pop(0)], False
        return [
            {tidy(name): float(cell) for name, cell in zip(self._head, row, strict=False) if _is_number(cell)}
            for row in rows
        ]


class Epochs:
    """Numbers as they are said, gathered into epochs: one ends where `metric` is said."""

    def __init__(self, metric: str) -> None:
        self._metric, self._open = metric, dict[str, float]()
        self.seen: set[str] = set()
        """The names of all numbers that were said."""

    def heard(self, said: Iterable[Metrics]) -> list[Metrics]:
        """The epochs that end with what was `said`, with their numbering as the program has it under EPOCH, if any."""
        ended = []
        for numbers in said:
            self.seen |= numbers.keys()
            self._open |= numbers
            if self._metric in numbers:
                ended.append(self._open)
                self._open = {}
        return ended


def tidy(name: str) -> str:
    """`name` as a metric is called here: what MLflow does not take becomes `_`, so `mAP50-95(B)` is `mAP50-95_B_`."""
    return UNUSUAL.sub("_", name.strip())[:250]


def _words(text: str) -> str:
    return r"\s+".join(re.escape(part) for part in re.split(r"\s+", text))


def _is_number(cell: str) -> bool:
    return re.fullmatch(NUMBER, cell.strip()) is not None


def _flat(value: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, float]]:
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{above}{name}/")
        elif isinstance(each, (int, float)) and not isinstance(each, bool):
            try:
                yield tidy(f"{above}{name}"), float(each)
            except OverflowError:
                continue
