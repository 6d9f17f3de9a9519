"""What the user chose for one search, checked before anything starts."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.errors import BadInput

CONFIRM_SEEDS = 3
"""Fresh seeds for each setting that is confirmed, if nothing else is asked for."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Settings:
    """Budgets in trials and seconds, resources per trial, places. None means the study's default or all there is."""

    name: str | None = None
    runs: Path = Path("runs")
    data: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    time_budget: float | None = None
    concurrent: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    also_cpus: bool = False
    seed: int = 0
    sampler: str | None = None
    scheduler: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    stand_in: bool = True
    tracking_uri: str | None = None
    ray_address: str | None = None
    trial_timeout: float | None = None
    wait_for_resources: float | None = None
    checkpoint_budget: int | None = None
    confirm: int | None = None
    confirm_seeds: int | None = None
    warm_start: tuple[str, ...] = ()
    audit: float = 0.0
    until_settled: bool = False
    published: bool = False
    """Whether the study's published settings are trained, before all else."""
    command: str = ""
    dry_run: bool = False
    """Whether only to plan: then nothing is downloaded or written."""

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        for option in ("trials", "epochs", "concurrent", "seed", "confirm", "confirm_seeds"):
            value = getattr(self, option)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise BadInput(f"--{option.replace('_', '-')} must be a whole number, but got {value!r}")
        if self.confirm_seeds is not None and self.confirm is None:
            raise BadInput("--confirm-seeds says how often --confirm trains a setting again; give --confirm too")
        for option in ("cpus", "gpus", "audit"):
            value = getattr(self, option)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise BadInput(f"--{option} must be a number, but got {value!r}")
        for option in ("trials", "epochs", "concurrent", "confirm", "confirm_seeds"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise BadInput(f"--{option.replace('_', '-')} must be at least 1, but got {value}")
        if not (self.cpus >= 0 and self.gpus >= 0 and self.cpus + self.gpus > 0):  # so NaN is refused too
            raise BadInput(f"--cpus and --gpus must not be negative or both 0, but got {self.cpus:g} and {self.gpus:g}")
        if self.also_cpus and not (self.gpus > 0 and self.cpus > 0):
            raise BadInput(
                "--also-cpus lets trials for which no GPU is free train on CPUs and takes --gpus and --cpus above 0, "
                f"but got {self.gpus:g} and {self.cpus:g}"
            )
        if not 0 <= self.audit <= 1:
            raise BadInput(f"--audit is a share of the trials that are stopped, 0 to 1, but got {self.audit:g}")
        if self.seed < 0:
            raise BadInput(f"--seed must be 0 or more, but got {self.seed}")

    @property
    def tracking(self) -> str:
        """MLflow's tracking URI: as given, else a SQLite file beside the runs folder."""
        if self.tracking_uri:
            return self.tracking_uri
        return f"sqlite:///{self.runs.resolve().parent / 'mlflow.db'}"


def check_name(name: str) -> None:
    """Raise BadInput unless `name` can be a folder and an MLflow run."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"--name must be up to 100 letters, digits, '.', '_' and '-', but got {name[:120]!r}")


def seconds(text: str | float, option: str = "--time-budget") -> float:
    """Read a duration: 90, 90s, 10m, 1.5h or 1d, or a number of seconds. Raises BadInput."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 < text < math.inf:
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text) if isinstance(text, str) else None
    if match is None or not 0 < float(match[1]) < math.inf:
        raise BadInput(f"{option} must be a time such as 90s, 10m or 2h, but got {text!r}")
    return float(match[1]) * UNITS[match[2] or "s"]


def size(text: str | int) -> int:
    """Read a number of bytes: 500KB, 200MB, 1.5GB or 1TB, in powers of 1000. Raises BadInput."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", str(text), re.IGNORECASE)
    if match is None or not 1 <= float(match[1]) * SIZES[match[2].upper()] < math.inf:
        raise BadInput(f"--checkpoint-budget must be a size such as 500MB or 2GB, but got {text!r}")
    return int(float(match[1]) * SIZES[match[2].upper()])


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
