"""What to search: one file per study, and its name is the file's name.

A study is found by `load`, listed by `names`; nothing is registered anywhere.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spaces.study import Study

EXPERIENCE = Path(__file__).parent / "experience"
"""Here lies what searches on other data have found out for a study, a file each, if any was shipped with it."""

OURS = ("search", "spaces", "trainables")
"""Our packages, which every process can import."""

_NOT_STUDIES = {"__init__", "objective", "ranges", "script", "space", "study", "sweep", "values", "written"}
_PLACES: list[str] = []
"""Where the study file that was loaded last may import from: its folder, the working folder then, `src` in these."""
_ADDED: set[str] = set()
"""Those of these folders that got into `sys.path` for that file."""
_BROUGHT: set[str] = set()
"""The names of the modules that this file has brought: itself, and those that it imported from `_PLACES`."""


class UnknownStudy(LookupError):
    """No study of that name, or a file that defines none; the message offers the nearest, or says what is wrong."""


def names() -> list[str]:
    """The names of all studies, sorted."""
    return sorted(file.stem for file in _folder().glob("*.py") if file.stem not in _NOT_STUDIES)


def describe(name: str) -> str:
    """The first line of the study's docstring, read without importing the study (and with it torch)."""
    doc = ast.get_docstring(ast.parse((_folder() / f"{name}.py").read_text())) or ""
    return doc.partition("\n")[0]


def load(name: str, places: Sequence[str] = ()) -> Study:
    """The study called `name`, or the one in the file whose path `name` is, which may import from `places` too.

    Raises UnknownStudy if there is none, SpaceError (a ValueError) for one that cannot be searched.
    """
    if is_file(name):
        return _load_file(Path(name), places)
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownStudy(f"no study named {name!r}; there are {', '.join(names())}{hint}")
    study: Study = importlib.import_module(f"spaces.{name}").STUDY
    return replace(study, name=name, about=describe(name))


def source(name: str) -> str:
    """What `load` finds the study by from any working folder: its name, or the absolute path of its file.

    Of a sweep file that is its program. Raises SpaceError for one that names none.
    """
    from spaces import sweep

    if sweep.is_sweep(name):
        return str(sweep.read(Path(name)).program.resolve())
    return str(Path(name).resolve()) if is_file(name) else name


def is_file(name: str) -> bool:
    """Whether a study called `name` is one of a user's in a file of that path, and not one of ours."""
    return name.endswith((".py", ".sh", ".yaml", ".yml")) or "/" in name


def is_script(name: str) -> bool:
    """Whether `name` is the path of a file that holds no study, and so is a script; it is read and not run."""
    from spaces.script import is_study

    path = Path(name)
    return is_file(name) and path.is_file() and (path.suffix != ".py" or not is_study(path))


def users_modules() -> list[ModuleType]:
    """The modules of the study file that was loaded last: itself, and those beside it or in the working folder.

    Other processes may not be able to import any of them: what is defined there has to be sent.
    """
    return [sys.modules[name] for name in sorted(_BROUGHT | _in_places()) if name in sys.modules]


def users_folders() -> list[str]:
    """Where this study's code may import modules from, besides those that are installed."""
    return list(_PLACES)


def _load_file(path: Path, places: Sequence[str]) -> Study:
    from spaces.study import Study

    if not path.is_file():
        raise UnknownStudy(f"no study file {str(path)!r}; give a name ({', '.join(names())}) or the path of a .py file")
    full = str(path.resolve())
    root, name = _root_and_name(Path(full))
    _make_way(root, places)
    if not _free(name, root):
        name = full
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise UnknownStudy(f"{path} is no .py file, so it is no study")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    try:
        if spec.parent and name != full:
            importlib.import_module(spec.parent)
        sys.modules[name] = module  # dataclasses look for it there
        spec.loader.exec_module(module)
    except SyntaxError as error:
        file = path if error.filename in (full, None) else error.filename
        line = "" if error.lineno is None else f", line {error.lineno}"  # of zero bytes nobody says where
        raise UnknownStudy(f"{file}{line}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == full]
        mend = ""
        if isinstance(error, ModuleNotFoundError):
            mend = "; put it beside the study or into src/ there, name its folder in PYTHONPATH, or install it"
        what = f"{type(error).__name__}: {error}{mend}"
        raise UnknownStudy(f"{path}, line {lines[-1] if lines else '?'}: {what}") from error
    finally:
        _BROUGHT.update({name}, _in_places() - before)
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        found = "" if study is None else f", but a STUDY that is {type(study).__name__}"
        raise UnknownStudy(f"{path} defines no STUDY = Study(…){found}")
    return replace(study, name=path.stem, about=(module.__doc__ or "").strip().partition("\n")[0])


def is_ours(trainable: object) -> bool:
    """Whether a trainable is one of this project's, and not a user's."""
    return code_of(trainable).partition(".")[0] in OURS


def code_of(trainable: object) -> str:
    """The module that a trainable is written in; of a network that our loop trains, the module that builds it."""
    return getattr(getattr(trainable, "build", trainable), "__module__", "") or ""


def trained_by(trainable: object) -> str:
    """Whose code trains, as "trainables.cnn.train_cnn": what has the same is trained alike, wherever its file lies."""
    code = getattr(trainable, "build", trainable)
    module = code_of(trainable)
    if "/" in module:  # a study file whose name another module has
        module = Path(module).stem
    own = getattr(trainable, "name", None) or getattr(code, "__qualname__", type(code).__name__)
    return f"{module}.{own}"


def _root_and_name(path: Path) -> tuple[str, str]:
    """From which folder a study file is imported, and by which name: of one in a package, with the package's."""
    folder, parts = path.parent, [path.stem.replace(".", "-")]  # a.b.py is no module b of a package a
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return str(folder), ".".join(parts)


def _free(name: str, root: str) -> bool:
    """Whether a study imported from `root` may have this name: nobody else who imports it then gets the study.

    One called json.py may not. It is named by its path, so other processes cannot import what it defines.
    """
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")) or top in {*sys.stdlib_module_names, *OURS}:
        return False
    try:
        known = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    where = [] if known is None else [known.origin or "", *(known.submodule_search_locations or ())]
    return known is None or any(Path(each).is_relative_to(root) for each in where if each)


def _make_way(folder: str, places: Sequence[str] = ()) -> None:
    """Forget the modules of the study file before, and let those in `folder` and `places` be imported."""
    for name in _BROUGHT:
        sys.modules.pop(name, None)
    _BROUGHT.clear()
    sys.path[:] = [entry for entry in sys.path if entry not in _ADDED]
    _ADDED.clear()
    bases = [folder, str(Path.cwd()), *places]
    _PLACES[:] = dict.fromkeys([*bases, *(src for base in bases if os.path.isdir(src := os.path.join(base, "src")))])
    importlib.invalidate_caches()
    # At the end: a study called queue.py must not be what Python's own modules get where they import queue.
    for place in _PLACES:
        if place not in sys.path and (place == folder or place in places or place.endswith("src")):
            sys.path.append(place)
            _ADDED.add(place)


def _in_places() -> set[str]:
    """The names of all imported modules that lie, themselves or their package, directly in one of `_PLACES`."""

    def homes(package: ModuleType) -> set[str]:
        # Not by getattr, which makes some packages import more.
        known = vars(package)
        files = known.get("__path__") or [known.get("__file__") or ""]
        return {str(Path(file).parent) for file in files}

    there = sys.modules.copy()  # other threads import meanwhile
    tops = {name: module for name, module in there.items() if "." not in name and name not in {*OURS, "__main__"}}
    own = {name for name, module in tops.items() if isinstance(module, ModuleType) and homes(module) & {*_PLACES}}
    return {name for name in there if name.partition(".")[0] in own}


def _folder() -> Path:
    return Path(__file__).parent
