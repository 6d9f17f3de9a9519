"""A sweep file as Weights & Biases has it, read as a script and its space; and what of it is not known here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spaces.ranges import Choice, Float, Int, Range
from spaces.script import Wish, study_of
from spaces.study import Study
from spaces.values import SpaceError, Value
from trainables.script import command

SAMPLERS = {"bayes": "tpe", "random": "random", "grid": "grid"}
"""What proposes, by W&B's `method`."""
MODES = {"minimize": "min", "maximize": "max"}
KEYS = ("program", "method", "metric", "parameters", "early_terminate", "command", "name", "description", "run_cap")
UNUSED = ("project", "entity")
"""Keys that name a place at W&B."""
RANGE = ("value", "values", "min", "max", "distribution", "q", "parameters")
MOST_TOLD = 5
ETA = 3
"""W&B's factor between rungs, if nothing is said."""


@dataclass(frozen=True)
class Sweep:
    """A sweep of `program` with what is wished of it; `changed` makes its study what the file says besides.

    `unknown` are the keys of the file that mean nothing here.
    """

    program: Path
    wish: Wish
    changed: Mapping[str, Any]
    unknown: Sequence[str]

    def study(self, wish: Wish, folder: Path) -> Study:
        """The study, run in `folder`; what `wish` says goes first. Raises SpaceError."""
        told = {name: value for name, value in vars(wish).items() if value and name != "changes"}
        whole = replace(self.wish, **told, changes={**self.wish.changes, **wish.changes})
        return replace(study_of(self.program, whole, folder), **self.changed)


def read(path: Path) -> Sweep:
    """The sweep in the YAML file at `path`. Raises SpaceError."""
    plain = _mapping(_loaded(path), str(path))
    if "program" not in plain:
        raise SpaceError(f"{path} names no program; a sweep file has program, method, metric and parameters")
    unknown = [name for name in plain if name not in KEYS]
    program = _found(Path(str(plain["program"])), path)
    metric = _mapping(plain.get("metric") or {}, "metric")
    unknown += [f"metric.{name}" for name in metric if name not in ("name", "goal")]
    changes: dict[str, Any] = {}
    for name, each in _mapping(plain.get("parameters") or {}, "parameters").items():
        changes |= _parameter(str(name), _mapping(each, f"parameter {name}"), unknown)
    arguments, style = _command(plain.get("command"))
    ending = plain.get("early_terminate")
    rungs: dict[str, Any] = {"scheduler": "none"}
    if ending:
        rungs = _rungs(_mapping(ending, "early_terminate"), unknown)
    wish = Wish(
        arguments=arguments,
        changes=changes,
        epochs=rungs.pop("epochs", None),
        metric=str(metric["name"]) if "name" in metric else None,
        mode=_one_of("metric.goal", metric.get("goal", "minimize"), MODES) if metric else None,
        style=style,
    )
    changed: dict[str, Any] = {"name": path.stem, **rungs}
    changed["sampler"] = _one_of("method", plain.get("method", "bayes"), SAMPLERS)
    if plain.get("description"):
        changed["about"] = str(plain["description"]).strip().partition("\n")[0]
    if plain.get("run_cap") is not None:
        changed["trials"] = _whole("run_cap", plain["run_cap"])
    return Sweep(program, wish, changed, tuple(unknown))


def is_sweep(name: str) -> bool:
    """Whether `name` is the path of a sweep file."""
    return name.endswith((".yaml", ".yml"))


def notes(sweep: Sweep) -> list[str]:
    """What the user must know of how a sweep was read, a line for each."""
    lines = []
    if sweep.unknown:
        count, shown = len(sweep.unknown), ", ".join(sweep.unknown[:MOST_TOLD])
        more = f" and {count - MOST_TOLD} more" if count > MOST_TOLD else ""
        lines.append(f"{count} key{'s' * (count > 1)} of the sweep file mean nothing here: {shown}{more}")
    return lines


def _loaded(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpaceError(f"{path} cannot be read ({error.strerror}); give the path of a sweep file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpaceError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}") from None


def _found(program: Path, sweep: Path) -> Path:
    """The program, from the working folder, else from the folder of the sweep file."""
    for place in (Path.cwd(), sweep.resolve().parent):
        if (place / program).is_file():
            return place / program
    raise SpaceError(f"no program {str(program)!r}, neither here nor beside {sweep}; give its path")


def _parameter(name: str, told: Mapping[str, Any], unknown: list[str]) -> dict[str, Range | Value]:
    """One parameter, or those below it, by name."""
    unknown += [f"parameters.{name}.{key}" for key in told if key not in RANGE]
    if "parameters" in told:
        below: dict[str, Range | Value] = {}
        for inner, each in _mapping(told["parameters"], f"parameters of {name}").items():
            below |= _parameter(f"{name}.{inner}", _mapping(each, f"parameter {name}.{inner}"), unknown)
        return below
    if "value" in told:
        return {name: _plain(told["value"])}
    if "values" in told:
        if not isinstance(told["values"], list):
            raise SpaceError(f"values of {name} must be a list, but are {told['values']!r}")
        return {name: Choice.of(map(_plain, told["values"]))}
    return {name: _range(name, told)}


def _range(name: str, told: Mapping[str, Any]) -> Range:
    if "min" not in told or "max" not in told:
        raise SpaceError(f"parameter {name} needs value, values, or min and max")
    low, high, step = (_number(f"{key} of {name}", told.get(key)) for key in ("min", "max", "q"))
    whole = isinstance(low, int) and isinstance(high, int)
    kind = told.get("distribution", "int_uniform" if whole else "uniform")
    assert low is not None
    assert high is not None
    makers: dict[str, Callable[[], Range]] = {
        "uniform": lambda: Float(float(low), float(high)),
        "int_uniform": lambda: Int(int(low), int(high)),
        "log_uniform_values": lambda: Float(float(low), float(high), log=True),
        "log_uniform": lambda: Float(math.exp(low), math.exp(high), log=True),
        "q_uniform": lambda: (
            Int(int(low), int(high), step=int(step or 1))
            if whole and isinstance(step or 1, int)
            else Float(float(low), float(high), step=float(step or 1))
        ),
    }
    if kind not in makers:
        raise SpaceError(f"distribution {kind!r} of {name} is not known here; known are {', '.join(makers)}")
    return makers[kind]()


def _command(words: Any) -> tuple[tuple[str, ...], str | None]:
    """The arguments and the style that W&B's `command` comes to. Raises SpaceError."""
    if words is None:
        return (), None
    if not isinstance(words, list) or "${program}" not in words:
        raise SpaceError("command of a sweep file must be a list with ${program} in it")
    before, after = words[: words.index("${program}")], words[words.index("${program}") + 1 :]
    for word in before:
        if word not in ("${env}", "/usr/bin/env", "${interpreter}", "python", "python3"):
            raise SpaceError(f"command has {word!r} before the program, which is run with this Python; leave it out")
    style: str | None = command.MODULE  # without any of these W&B hands over nothing
    arguments: list[str] = []
    for word in map(str, after):
        if word == "${args}":
            style = None
        elif word == "${args_no_hyphens}":
            style = command.HYDRA
        elif word == "${args_json_file}":
            arguments.append("{config.json}")
            style = command.FILE
        elif word.startswith("${envvar:") and word.endswith("}"):
            arguments.append(f"{{env:{word[9:-1]}}}")
        elif word.startswith("${"):
            raise SpaceError(
                f"command has {word}, which is not known here; known are ${{args}}, ${{args_no_hyphens}}, "
                "${args_json_file} and ${envvar:NAME}"
            )
        else:
            arguments.append(word)
    return tuple(arguments), style


def _rungs(told: Mapping[str, Any], unknown: list[str]) -> dict[str, Any]:
    """Scheduler and rungs by W&B's `early_terminate`."""
    unknown += [f"early_terminate.{key}" for key in told if key not in ("type", "min_iter", "max_iter", "eta", "s")]
    if told.get("type") != "hyperband":
        raise SpaceError(f"early_terminate of type {told.get('type')!r} is not known here; known is hyperband")
    eta = _whole("early_terminate.eta", told.get("eta", ETA))
    rungs: dict[str, Any] = {"scheduler": "asha", "reduction_factor": eta}
    if "max_iter" in told:
        rungs["epochs"] = _whole("early_terminate.max_iter", told["max_iter"])
        rungs["first_rung"] = max(1, round(rungs["epochs"] / eta ** _whole("early_terminate.s", told.get("s", 1))))
    if "min_iter" in told:
        rungs["first_rung"] = _whole("early_terminate.min_iter", told["min_iter"])
    return rungs


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpaceError(f"{what} must hold names with values, but is {str(value)[:60]!r}")
    return value


def _one_of(what: str, value: Any, known: Mapping[str, str]) -> str:
    if value not in known:
        raise SpaceError(f"{what} {value!r} is not known; known are {', '.join(known)}")
    return known[value]


def _whole(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpaceError(f"{what} must be a whole number from 1, but is {value!r}")
    return value


def _number(what: str, value: Any) -> int | float | None:
    value = _plain(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise SpaceError(f"{what} must be a number, but is {value!r}")
    return value


def _plain(value: Any) -> Any:
    """`value` as it was meant: YAML takes 1e-5 for a text, because it has no dot."""
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() and math.isfinite(float(value)) else value
        except ValueError:
            return value
    return tuple(map(_plain, value)) if isinstance(value, list) else value
