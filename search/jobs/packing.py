"""What travels to a cluster with an order: our packages, and the user's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import BadInput
from search.jobs.order import FILE, Order
from search.provenance import ROOT
from spaces import OURS

MAX_BYTES = 100 * 10**6
"""So many bytes may travel; Ray's head keeps them in memory and sends them to every node."""
EXCLUDED = ("runs", "mlflow.db*", "mlruns", "*.egg-info", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
"""What never travels, besides what .gitignore and .rayignore name and what Ray leaves out (.git, .venv)."""


@contextmanager
def packed(order: Order) -> Iterator[Path]:
    """A folder of all that travels: the order, our three packages, and the user's folder but for what .gitignore names.

    Equal orders of equal files give equal folders, which Ray then keeps once. Raises BadInput if it is more than
    MAX_BYTES.
    """
    with tempfile.TemporaryDirectory(prefix="search-submit-") as scratch:
        whole = Path(scratch, "whole")
        whole.mkdir()
        if order.folder is not None:
            _copy(order.folder, whole, scratch)
        for package in OURS:
            shutil.rmtree(whole / package, ignore_errors=True)
            shutil.copytree(ROOT / package, whole / package, ignore=shutil.ignore_patterns("__pycache__"))
        whole.joinpath(FILE).write_text(order.text())
        size = _size(whole)
        if size > MAX_BYTES:
            raise _too_large(order.folder or ROOT, size)
        yield whole


def _copy(folder: Path, whole: Path, scratch: str) -> None:
    """Copy into `whole` what Ray would take of `folder`, by way of an archive in `scratch`. Raises BadInput."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    size = _size(folder)
    if size > 20 * MAX_BYTES:  # a home folder; to pack it first would take minutes
        raise _too_large(folder, size)
    archive = Path(scratch, "folder.zip")
    excluded = [*get_runtime_env_default_excludes(), *EXCLUDED]
    create_package(str(folder), archive, True, excludes=excluded, logger=_quiet())
    with zipfile.ZipFile(archive) as file:
        file.extractall(whole)
    for ignore in (".gitignore", ".rayignore"):  # they have had their say; ours is not to be left out
        whole.joinpath(ignore).unlink(missing_ok=True)


def _too_large(folder: Path, size: int) -> BadInput:
    return BadInput(
        f"{folder} would travel with {size / 1e6:,.0f} MB, and at most {MAX_BYTES / 1e6:,.0f} MB do; name in "
        ".gitignore what can stay, and put large data where the cluster finds them (SEARCH_DATA_DIR there)"
    )


def _size(folder: Path) -> int:
    """The bytes of all files in `folder`, or of so many that it is too large in any case."""
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".venv", "venv", "__pycache__")]
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
        if total > 50 * MAX_BYTES:
            break
    return total


def _quiet() -> logging.Logger:
    logger = logging.getLogger("search.packing")
    logger.setLevel(logging.CRITICAL)
    return logger
