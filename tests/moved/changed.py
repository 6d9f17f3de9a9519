"""How many lines of a script are changed to bring it here: those that are new or other, those that are gone."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path


def changed(before: str, after: str) -> tuple[int, int]:
    """Lines of `after` that are not in `before`, and lines of `before` that are gone; blank ones do not count."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    told = [line for line in lines if line[1:].strip() and not line.startswith(("+++", "---", "@@"))]
    return sum(line.startswith("+") for line in told), sum(line.startswith("-") for line in told)


if __name__ == "__main__":
    first, *others = (Path(name) for name in sys.argv[1:])
    for other in others:
        print(other, *changed(first.read_text(), other.read_text()))
