"""Where on this machine is kept what can be had again from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`search` in `XDG_CACHE_HOME`, by default `~/.cache`: downloaded data sets, and mirrors of runs in buckets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "search"
