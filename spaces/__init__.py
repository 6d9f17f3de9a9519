"""What to search: one file per study, and its name is the file's name.

A study is found by `load`, listed by `names`; nothing is registered anywhere.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spaces.study import Study

_NOT_STUDIES = {"__init__", "space", "study"}


class UnknownStudy(LookupError):
    """No study of that name, or a file that defines none; the message offers the nearest, or says what is wrong."""


def names() -> list[str]:
    """The names of all studies, sorted."""
    return sorted(file.stem for file in _folder().glob("*.py") if file.stem not in _NOT_STUDIES)


def describe(name: str) -> str:
    """The first line of the study's docstring, read without importing the study (and with it torch)."""
    doc = ast.get_docstring(ast.parse((_folder() / f"{name}.py").read_text())) or ""
    return doc.partition("\n")[0]


def load(name: str) -> Study:
    """The study called `name`, or the one in the file whose path `name` is.

    Raises UnknownStudy if there is none, SpaceError (a ValueError) for one that cannot be searched.
    """
    if name.endswith(".py") or "/" in name:
        return _load_file(Path(name))
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownStudy(f"no study named {name!r}; there are {', '.join(names())}{hint}")
    study: Study = importlib.import_module(f"spaces.{name}").STUDY
    return replace(study, name=name, about=describe(name))


def source(name: str) -> str:
    """What `load` finds the study by from any working folder: its name, or the absolute path of its file."""
    return str(Path(name).resolve()) if name.endswith(".py") or "/" in name else name


def _load_file(path: Path) -> Study:
    from spaces.study import Study

    if not path.is_file():
        raise UnknownStudy(f"no study file {str(path)!r}; give a name ({', '.join(names())}) or the path of a .py file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UnknownStudy(f"{path} is no .py file, so it is no study")
    module = importlib.util.module_from_spec(spec)
    # Registered under its name, so that functions defined in it can be sent to other processes.
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UnknownStudy(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        raise UnknownStudy(f"{path}, line {lines[-1] if lines else '?'}: {type(error).__name__}: {error}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UnknownStudy(f"{path} defines no STUDY = Study(…)")
    return replace(study, name=path.stem, about=(module.__doc__ or "").strip().partition("\n")[0])


def _folder() -> Path:
    return Path(__file__).parent
