"""What the numbers of a search depend on besides its settings: code, versions, machine."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import stat
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy")
ROOT = Path(__file__).parents[1]
LARGEST_STUDY = 10**7
"""Bytes of the largest file that is taken for a study."""
LONGEST_DIFF = 100_000
"""Characters of changes to a user's code that a record keeps."""
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Here Ray tells a job what it was given."""


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def code(study: str) -> dict[str, Any]:
    """Versions, platform, commit and digests of all code that trains `study`: a name, or the path of its file."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "commit": commit(),
        "code": code_digest(),
        "study_code": _digest_of_study(study),
    }


def _digest_of_study(path: str) -> str | None:
    """SHA-256 of the study file at `path`; None if there is no such file, or one that is no study's.

    The path may be one that a record names: a pipe, or a file without end, is not waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    with open(descriptor, "rb", buffering=0) as file:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode) or told.st_size > LARGEST_STUDY:
            return None
        try:
            return hashlib.sha256(file.read(LARGEST_STUDY) or b"").hexdigest()
        except OSError:
            return None


def code_digest() -> str:
    """SHA-256 over the source of our three packages."""
    whole = hashlib.sha256()
    for folder in ("search", "spaces", "trainables"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            whole.update(str(file.relative_to(ROOT)).encode())
            whole.update(file.read_bytes())
    return whole.hexdigest()


def commit() -> str:
    """The commit of the checkout this code runs from, with `+` if it was changed since, or "" outside of one."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def users_code(file: str) -> dict[str, Any]:
    """Commit of the checkout in which a user's study `file` lies, with `+` if it was changed since, and the changes.

    Both are "" outside of a checkout. Git runs there, which runs what the checkout's own settings say: only ask this of
    a file whose code is to run anyway.
    """
    folder = Path(file).parent
    try:
        commit = _git("rev-parse", "HEAD", folder=folder)
        known = _git("ls-files", "--", Path(file).name, folder=folder)
        changes = _git("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", folder=folder)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {"study_commit": "", "study_diff": ""}
    if len(changes) > LONGEST_DIFF:
        changes = f"{changes[:LONGEST_DIFF]}\n… ({len(changes):,} characters in all)"
    return {"study_commit": commit + ("" if known and not changes else "+"), "study_diff": changes}


def in_job() -> bool:
    """Whether this process was started by the job server of a Ray cluster."""
    return JOB_CONFIG in os.environ


def job_folder() -> Path | None:
    """The folder that came with this job, where it begins: Ray unpacks it for the job, and deletes it afterwards.

    None outside of a job, and in one that came without a folder or begins in one that the nodes have.
    """
    config = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    uri = config.get("runtime_env", {}).get("working_dir", "local://")
    return None if uri.startswith("local://") else Path.cwd()


def user() -> str:
    """The name of the user, as MLflow shows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _git(*arguments: str, folder: Path = ROOT) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=5
    ).stdout.strip()
