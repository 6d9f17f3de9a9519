"""A setting as a command: placeholders replaced, and the other values written as the program takes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS, HYDRA, FILE, MODULE = "flags", "hydra", "file", "module"
STYLES = (FLAGS, HYDRA, FILE, MODULE)
"""How a program takes values: `--lr 0.1`; `lr=0.1`; in the file `{config}`; by asking `search.report.config`."""
GIVEN = ("epochs", "seed", "folder")
"""Placeholders that stand for something in every trial; besides them the names of hyperparameters do."""
RESERVED = ("train/epochs", "train/seed", "train/device")
"""What a trial's configuration has besides hyperparameters of the program."""
NAME = r"[^\W\d][\w./-]*"
PLACEHOLDER = re.compile(
    rf"(?P<literal>\{{\{{{NAME}\}}\}})"
    r"|(?P<config>\{config(?P<suffix>\.json|\.ya?ml)?(?::(?P<base>[^{}]+))?\})"
    r"|\{env:(?P<env>[A-Za-z_]\w*)\}"
    rf"|\{{(?P<name>{NAME})\}}"
)
"""Twice in braces: the letters themselves. `{config}` is a file with the values, made from nothing or from the file
after a colon; `{env:X}` a variable where the program runs, which no record keeps; another name is GIVEN or a value's.
Other text in braces, such as JSON, is left alone."""


@dataclass(frozen=True)
class Given:
    """What placeholders stand for in one trial; `folder` is kept for it, `config` is the file with its values."""

    epochs: int
    seed: int
    folder: str
    config: str


def check(arguments: Sequence[str], names: Collection[str]) -> None:
    """Raise ValueError if a placeholder in `arguments` is neither GIVEN, nor a file, nor one of the `names`."""
    for word in _places(arguments):
        if word not in GIVEN and word not in names:
            known = ", ".join(f"{{{each}}}" for each in (*GIVEN, "config", *names))
            raise ValueError(
                f"{{{word}}} stands for nothing in the arguments of the program; what does is {known}, and "
                f"{{env:NAME}}; write {{{{{word}}}}} for these letters themselves"
            )


def words(
    arguments: Sequence[str], values: Mapping[str, Any], given: Given, *, style: str, switches: Collection[str] = ()
) -> list[str]:
    """The arguments of the program for a trial with `values`.

    Placeholders are replaced. Values without one of their own follow in `style`. `switches` are options that take no
    value: `--nesterov` (left out if false) or `--nesterov/--no-nesterov`. Raises ValueError for an environment variable
    that is not set.
    """
    named = {name: _text(value) for name, value in values.items()}
    named |= {"epochs": str(given.epochs), "seed": str(given.seed), "folder": given.folder}
    placed = [_filled(argument, named, given.config) for argument in arguments]
    used = {*_places(arguments)}
    open_ = {name: value for name, value in values.items() if name not in used}
    if style == HYDRA:
        return [*placed, *(f"{name}={hydra(value)}" for name, value in open_.items())]
    if style == FLAGS:
        return [*placed, *(word for name, value in open_.items() for word in flag(name, value, switches))]
    return placed


def filled(arguments: Sequence[str], values: Mapping[str, Any], given: Given) -> list[str]:
    """`arguments` with their placeholders replaced, and nothing after them. Raises as `words`."""
    return words(arguments, values, given, style=MODULE)


def flag(name: str, value: Any, switches: Collection[str] = ()) -> list[str]:
    """`--lr 0.1`; a switch without its value; nothing for None."""
    option = f"-{name}" if f"-{name}" in switches else f"--{name}"
    if value is None:
        return []
    if isinstance(value, bool):
        both = next((each.split("/") for each in switches if each.split("/")[0] == option and "/" in each), None)
        if both is not None:
            return [both[0 if value else 1]]
        return ([option] if value else []) if option in switches else [option, str(value)]
    if isinstance(value, (tuple, list)):
        return [option, *map(_text, value)]
    text = _text(value)
    # What begins with a dash would be taken for an option.
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


def hydra(value: Any) -> str:
    """A value as Hydra's overrides write it."""
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(hydra, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else _text(value)


def written(path: Path, base: Mapping[str, Any], values: Mapping[str, Any], given: Given) -> None:
    """Write the file of `{config}`: what `base` has, with `values` at their names (`model.lr` is `lr` in `model`)."""
    whole = _replaced(base, given)
    for name, value in values.items():
        at, *steps = whole, *name.split(".")
        for step in steps[:-1]:
            if not isinstance(at.get(step), dict):
                at[step] = {}
            at = at[step]
        at[steps[-1]] = list(value) if isinstance(value, tuple) else value
    if path.suffix == ".json":
        path.write_text(json.dumps(whole, indent=1) + "\n")
    else:
        import yaml

        path.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))


def _replaced(value: Any, given: Given) -> Any:
    """`value` with placeholders replaced; a text that is nothing but one becomes a number where it stands for one."""
    if isinstance(value, Mapping):
        return {key: _replaced(each, given) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(each, given) for each in value]
    if not isinstance(value, str):
        return value
    whole: dict[str, Any] = {"{epochs}": given.epochs, "{seed}": given.seed}
    if value in whole:
        return whole[value]
    return _filled(value, {"epochs": str(given.epochs), "seed": str(given.seed), "folder": given.folder}, given.config)


def _filled(text: str, named: Mapping[str, str], config: str) -> str:
    """`text` with its placeholders replaced. Raises ValueError for a variable that is not set."""

    def meant(match: re.Match[str]) -> str:
        if match["literal"]:
            return match["literal"][1:-1]
        if match["env"] is None:
            return config if match["config"] else named.get(match["name"], match[0])
        if match["env"] not in os.environ:
            raise ValueError(f"the environment variable {match['env']} is not set where the program runs")
        return os.environ[match["env"]]

    return PLACEHOLDER.sub(meant, text)


def _places(arguments: Sequence[str]) -> list[str]:
    """The names that stand in braces in `arguments`, but for files, variables and what is meant as it is."""
    return [match["name"] for each in arguments for match in PLACEHOLDER.finditer(each) if match["name"]]


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)
