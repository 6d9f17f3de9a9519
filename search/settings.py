"""What the user chose for one search: every option is declared here once.

From a declaration follow the option of the command line, the checks, what a record keeps of it, and what a search that
goes on may be given. A new option is a field here, an argument of `search.run`, and the place where it takes effect.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.errors import BadInput
from search.options import assignments, check, declared, names, option, place, seconds, size
from search.telling import Telling

LARGEST = 1_000_000
"""Trials, or epochs of a trial, at most: what a search keeps in memory and on its screen is made for so many."""
NOTHING = "none"
"""What says of an option that takes a place that it is not to be used."""
CONFIRM_SEEDS = 3
"""Fresh seeds for each setting that is confirmed, if nothing else is asked for."""


@dataclass(frozen=True)
class Adjustable:
    """Options that a search that goes on may be given: `trials` and `time_budget` on top of what it had, others anew.

    Times are in seconds, sizes in bytes. None is the study's default, no limit, or as many as fit.
    """

    trials: int | None = option(
        "--trials",
        int,
        "At most so many trials.",
        least=1,
        most=LARGEST,
        resume_help="So many trials more.",
        reopens=True,
    )
    time_budget: float | None = option(
        "--time-budget",
        str,
        "Wall time of the whole command: 90s, 10m, 2h.",
        metavar="TIME",
        read=seconds,
        resume_help="So much time more.",
        reopens=True,
    )
    concurrent: int | None = option(
        "--concurrent",
        int,
        "At most so many trials at a time; as many as fit if left out.",
        least=1,
        most=LARGEST,
        resume_help="At most so many trials at a time from now on.",
    )
    confirm: int | None = option(
        "--confirm",
        int,
        "Train the best K again on fresh seeds; the best mean of these wins.",
        metavar="K",
        least=1,
        most=1000,
        reopens=True,
    )
    confirm_seeds: int | None = option(
        "--confirm-seeds",
        int,
        f"Fresh seeds for each of them; {CONFIRM_SEEDS}.",
        metavar="R",
        least=1,
        most=100,
        unset=CONFIRM_SEEDS,
        reopens=True,
    )
    trial_timeout: float | None = option(
        "--trial-timeout",
        str,
        "A trial silent for so long is ended, and tried once more.",
        metavar="TIME",
        read=seconds,
    )
    checkpoint_budget: int | None = option(
        "--checkpoint-budget",
        str,
        "Most bytes that all checkpoints together may take: 2GB.",
        metavar="SIZE",
        read=size,
    )


@dataclass(frozen=True)
class OfOneCommand:
    """Options that no record keeps: the record may be somebody else's, and who reads it says what it may take."""

    data_limit: int | None = option(
        "--data-limit",
        str,
        "Most bytes that data of your own may take in memory; 2GB.",
        metavar="SIZE",
        read=size,
    )


@dataclass(frozen=True)
class More(Telling, OfOneCommand, Adjustable):
    """What a search that goes on is given. Raises BadInput."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Options(Adjustable):
    """All options that stand in a record; what is not adjustable must be the same when a search goes on."""

    cpus: float = option("--cpus", float, "CPUs per trial.", default=1.0)
    gpus: float = option("--gpus", float, "GPUs per trial; fractions share one.", default=0.0)
    also_cpus: bool = option("--also-cpus", bool, "Let trials for which no GPU is free train on CPUs.", default=False)
    seed: int = option("--seed", int, "All random draws come from it.", default=0, least=0)
    audit: float = option(
        "--audit",
        float,
        "Let this share of the trials that would be stopped run on, to tell what stopping costs.",
        default=0.0,
        metavar="SHARE",
    )
    fresh_workers: bool = option(
        "--fresh-workers",
        bool,
        "A new process for each trial, for code that keeps state in its modules; costs seconds each.",
        default=False,
    )
    until_settled: bool = option(
        "--until-settled", bool, "End when going on would gain less than a seed decides.", default=False
    )


@dataclass(frozen=True)
class Settings(Telling, OfOneCommand, Options):
    """All that was chosen for a search: its options, where it lies, what changes its study, and of this command alone.

    `arguments` are those of a script, for which `report`, `style`, `test` and `model` are too. Raises BadInput.
    """

    name: str | None = None
    runs: Path = Path("runs")
    data: Path | None = None
    epochs: int | None = option("--epochs", int, "Full budget of a trial.", least=1, most=LARGEST)
    sampler: str | None = option(
        "--sampler", str, "What proposes: freeze_thaw, tpe, random, grid; the study's if left out."
    )
    scheduler: str | None = option(
        "--scheduler", str, "What pauses or stops: freeze_thaw, asha, none; the study's if left out."
    )
    folds: int | None = option(
        "--folds",
        int,
        "Judge a trial by so many networks, each by another part of the training images; 0 is none.",
        metavar="K",
        least=0,
        most=100,
    )
    weights: str | None = option(
        "--weights",
        str,
        "A file of a backbone's weights, or a folder with such files; the published ones if left out.",
        metavar="PATH",
    )
    val_as_test: bool = option(
        "--val-as-test",
        bool,
        "Take the data's validation part for the test, where it has no test part.",
        default=False,
    )
    changes: Mapping[str, str] = option(
        "--set",
        str,
        "Fix a hyperparameter, or search it in another range.",
        default={},
        metavar="NAME=VALUE",
        read=assignments,
    )
    metric: str | None = option(
        "--metric",
        str,
        "What counts as good, by its name; the study's (val_accuracy, as a rule) if left out.",
        metavar="NAME",
    )
    mode: str | None = option("--mode", str, "Whether a large value of it is good: max or min.", metavar="max|min")
    report: str | None = option(
        "--report",
        str,
        "How a script says its metrics: json, pairs, a .csv file, or a line such as 'loss {loss}, accuracy {acc}'.",
        metavar="FORM",
    )
    style: str | None = option(
        "--style",
        str,
        "How a script takes values: flags (--lr 0.1), hydra (lr=0.1), file ({config}), module (search.report).",
        metavar="STYLE",
    )
    test: str | None = option(
        "--test",
        str,
        "Arguments with which a script measures what its winner kept in {folder} on the test set, once.",
        metavar="ARGUMENTS",
    )
    model: str | None = option(
        "--model",
        str,
        "The file in {folder} that is a script's model: model.pt2, model.onnx, best.pt.",
        metavar="FILE",
    )
    warm_start: tuple[str, ...] = option(
        "--warm-start",
        str,
        "Begin with the best of the search NAME; can be given again.",
        default=(),
        metavar="NAME",
        read=names,
    )
    experience: str | None = option(
        "--experience",
        str,
        "Where searches on other data are that give start points: a folder of searches, a file, or none; the runs.",
        metavar="PATH",
        read=place,
    )
    published: bool = option(
        "--published",
        bool,
        "Train the study's published settings first, to check what they claim.",
        default=False,
    )
    image_size: int | None = option(
        "--image-size",
        int,
        "Make pictures N×N pixels; as they are if all are equal and at most 64, else the study's size or 64.",
        metavar="N",
        least=1,
        most=4096,
    )
    skip_broken: bool = option("--skip-broken", bool, "Leave out files that are no readable pictures.", default=False)
    group_by: str | None = option(
        "--group-by",
        str,
        "Keep in one part what a pattern finds alike in file names, or a column of a table.",
        metavar="PATTERN",
    )
    stand_in: bool = option("--no-stand-in", bool, "Fail if the data cannot be had.", default=True)
    wait_for_resources: float | None = option(
        "--wait-for-resources",
        str,
        "On a cluster: wait so long for a node that can hold a trial.",
        metavar="TIME",
        read=seconds,
    )
    dry_run: bool = option(
        "--dry-run", bool, "Check everything, say what it will take, start and write nothing.", default=False
    )
    arguments: tuple[str, ...] = ()
    tracking_uri: str | None = None
    ray_address: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        check(self)
        if self.confirm_seeds is not None and self.confirm is None:
            raise BadInput("--confirm-seeds says how often --confirm trains a setting again; give --confirm too")
        if not (self.cpus >= 0 and self.gpus >= 0 and self.cpus + self.gpus > 0):  # so NaN is refused too
            raise BadInput(f"--cpus and --gpus must not be negative or both 0, but got {self.cpus:g} and {self.gpus:g}")
        if self.also_cpus and not (self.gpus > 0 and self.cpus > 0):
            raise BadInput(
                "--also-cpus lets trials for which no GPU is free train on CPUs and takes --gpus and --cpus above 0, "
                f"but got {self.gpus:g} and {self.cpus:g}"
            )
        if self.mode not in (None, "max", "min"):
            raise BadInput(f"--mode is max or min, but got {self.mode!r}")
        if not 0 <= self.audit <= 1:
            raise BadInput(f"--audit is a share of the trials that are stopped, 0 to 1, but got {self.audit:g}")

    @property
    def tracking(self) -> str:
        """MLflow's tracking URI: as given, else a SQLite file beside the runs folder."""
        if self.tracking_uri:
            return self.tracking_uri
        return f"sqlite:///{self.runs.resolve().parent / 'mlflow.db'}"


ADJUSTED = tuple(name for name in declared(Adjustable) if name != "concurrent")
"""What a process that goes on says of its options; `concurrent` is said of every process, as what it found."""


def recorded(options: Options) -> dict[str, Any]:
    """`options` as a record keeps them."""
    return {
        name: each.unset if (value := getattr(options, name)) is None else value
        for name, each in declared(Options).items()
    }


def adjusted(options: Options, resumed: Mapping[str, Any]) -> Options:
    """`options` as a process goes on that was given more, by the body of its event."""
    return replace(options, **{name: resumed[name] for name in ADJUSTED if name in resumed})


def again(had: Options, more: Adjustable) -> dict[str, Any]:
    """The options of a search that had some, as a record keeps them, and goes on with `more` in their place."""
    values = {name: getattr(had, name) for name in declared(Options)}
    values |= {name: value for name in declared(Adjustable) if (value := getattr(more, name)) is not None}
    if values["confirm"] is None:  # a record tells the number of seeds all the same
        values["confirm_seeds"] = more.confirm_seeds
    return values


def check_name(name: str) -> None:
    """Raise BadInput unless `name` can be a folder and an MLflow run."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"--name must be up to 100 letters, digits, '.', '_' and '-', but got {name[:120]!r}")


def nearest(kind: str, asked: str, known: list[str]) -> str:
    """`unknown sampler 'tpee'; known are random, tpe; did you mean tpe?`"""
    near = difflib.get_close_matches(asked, known, n=1)
    return f"unknown {kind} {asked!r}; known are {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")


def masked(uri: str) -> str:
    """`uri` without user name, password and query, which may hold them too; also for a text with addresses in it."""
    if re.fullmatch(r"sqlite:///[^\s?]*", uri):
        return uri  # a path, which may well have an @ in it
    return re.sub(r"(://[^\s?]*)\?\S*", r"\1?***", re.sub(r"//\S*@", "//***@", uri))


def from_environment() -> dict[str, Any]:
    """The settings that environment variables give; a flag beats them."""
    return {
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or None,
        "ray_address": os.environ.get("RAY_ADDRESS") or None,
    }
