"""The study of a script: made from a command, without running the script."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spaces.objective import Objective, mode_of
from spaces.ranges import Choice, Float, Int, Range
from spaces.study import Study
from spaces.values import SpaceError, Value
from trainables.script import command
from trainables.script.metrics import tidy
from trainables.script.script import Script

ENDLESS = 1000
"""The full budget in epochs of a script of which nobody says how long it trains."""
MODEL = "model.pt2"
"""What `search.report.model` writes."""
PARSERS = {"hydra": command.HYDRA, "omegaconf": command.HYDRA}
"""Modules by which a script is known to take values otherwise than as flags."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a script besides its space; None or empty leaves it to what the script looks like."""

    arguments: Sequence[str] = ()
    changes: Mapping[str, Range | Value] = field(default_factory=dict)
    epochs: int | None = None
    metric: str | None = None
    mode: str | None = None
    report: str | None = None
    style: str | None = None
    test: Sequence[str] = ()
    model: str | None = None


def study_of(program: Path, wish: Wish, folder: Path) -> Study:
    """The study of the script `program`, which runs in `folder`: its space and fixed values are the wish's changes.

    The file is looked at and not run. Raises SpaceError for what cannot be searched, and for a wish that leaves open
    what counts as good.
    """
    space = {name: each for name, each in wish.changes.items() if isinstance(each, (Float, Int, Choice))}
    if not space:
        raise SpaceError(
            f"{program} defines no STUDY = Study(…), so it is a script, and nothing of it is searched: name a "
            "hyperparameter and its range, as in --set lr='log(1e-4, 1e-1)'"
        )
    text = _text(program)
    arguments, base = _base(wish.arguments, folder)
    metric = wish.metric or Objective().metric
    script = _checked(
        program=str(program.resolve()),
        folder=str(folder.resolve()),
        arguments=arguments,
        style=wish.style or style_of(text, arguments),
        metric=metric,
        report=wish.report or "json",
        base=base,
        endless=wish.epochs is None,
        test=wish.test or (() if _calls(text, "testing") else None),
        model=wish.model or (MODEL if _calls(text, "model") else ""),
    )
    try:
        command.check([*script.arguments, *wish.test], wish.changes)
    except ValueError as error:
        raise SpaceError(str(error)) from None
    if script.endless and any("{epochs}" in each for each in (*script.arguments, json.dumps(base))):
        raise SpaceError("{epochs} is how many epochs a trial trains at most; say so with --epochs N")
    return Study(
        trainable=script,
        dataset="",
        space=space,
        fixed={name: each for name, each in wish.changes.items() if name not in space},  # type: ignore[misc]
        epochs=wish.epochs or ENDLESS,
        objective=Objective(tidy(metric), wish.mode or mode_of(metric)),
        name=program.stem,
        about=about(text) or f"the script {program.name}",
    )


def is_study(path: Path) -> bool:
    """Whether the Python file at `path` binds a name STUDY; it is read and not run. So is what Python cannot read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True
    return _binds_study(tree.body)


def style_of(text: str, arguments: Sequence[str] = ()) -> str:
    """How a script takes values, by its arguments and by what its `text` imports."""
    if any(match["config"] for each in arguments for match in command.PLACEHOLDER.finditer(each)):
        return command.FILE
    if _calls(text, "config"):
        return command.MODULE
    imported = imports(text)
    return next((style for name, style in PARSERS.items() if name in imported), command.FLAGS)


def imports(text: str) -> set[str]:
    """What a Python `text` imports anywhere: modules, their packages, and names as `module.name`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names} | {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, node.module.partition(".")[0], *(f"{node.module}.{n.name}" for n in node.names)}
    return found


def about(text: str) -> str:
    """The first line of the docstring of a Python `text`, "" without one."""
    try:
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    except (SyntaxError, ValueError, RecursionError):
        return ""


def _calls(text: str, name: str) -> bool:
    """Whether a Python `text` imports the function `name` of `search.report`, or calls it as one of that module."""
    imported = imports(text)
    return f"search.report.{name}" in imported or ("search.report" in imported and f"report.{name}(" in text)


def _text(program: Path) -> str:
    try:
        return program.read_text(errors="replace") if program.suffix == ".py" else ""
    except OSError as error:
        raise SpaceError(f"{program} cannot be read ({error.strerror}); give the path of a script") from None


def _binds_study(body: Sequence[ast.stmt]) -> bool:
    """Whether one of the statements binds STUDY when a module is imported."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store) and each.id == "STUDY":
                return True
            if isinstance(each, (ast.Import, ast.ImportFrom)) and any(
                (name.asname or name.name) == "STUDY" for name in each.names
            ):
                return True
    return False


def _base(arguments: Sequence[str], folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """`arguments`, and what the file holds that `{config:FILE}` in them names. Raises SpaceError."""
    named = {
        match["base"] for each in arguments for match in command.PLACEHOLDER.finditer(each) if match["base"] is not None
    }
    if len(named) > 1:
        raise SpaceError(f"{{config:…}} names {len(named)} files ({', '.join(sorted(named))}), but a trial has one")
    for name in named:
        path = folder / name
        try:
            text = path.read_text()
            if path.suffix == ".json":
                base = json.loads(text)
            else:
                import yaml

                base = yaml.safe_load(text)
        except OSError as error:
            raise SpaceError(f"{path} cannot be read ({error.strerror}), which {{config:…}} names") from None
        except Exception as error:  # of the parser of YAML, or of JSON
            raise SpaceError(f"{path} is no YAML or JSON: {' '.join(str(error).split())[:200]}") from None
        if not isinstance(base, dict):
            raise SpaceError(f"{path} must hold names with values, but holds a {type(base).__name__}")
        try:
            return tuple(arguments), json.loads(json.dumps(base))
        except (TypeError, ValueError) as error:
            raise SpaceError(f"{path} holds what no record can keep: {error}") from None
    return tuple(arguments), {}


def _checked(**asked: Any) -> Script:
    try:
        return Script(**asked)
    except ValueError as error:
        raise SpaceError(str(error)) from None
