"""Whether this system can run searches at all; asked before anything is imported that needs one that can."""

from __future__ import annotations

import importlib.util
import signal


def why() -> str:
    """What this system lacks, and what to do, in one line; "" if it has all."""
    there = {"fork and SIGHUP": hasattr(signal, "SIGHUP"), "fcntl": _has_fcntl()}
    lacks = [name for name, found in there.items() if not found]
    if not lacks:
        return ""
    return f"search runs on Linux and macOS; this system lacks {' and '.join(lacks)}: on Windows, use it within WSL"


def _has_fcntl() -> bool:
    try:
        return importlib.util.find_spec("fcntl") is not None
    except ValueError:  # somebody has put something else in its place
        return False
