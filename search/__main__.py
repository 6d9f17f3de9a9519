"""`python -m search`."""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if __name__ == "__main__" and sys.path[0] not in ("", ROOT) and sys.path[0] == os.getcwd():
    # `python -m` looks into the working folder before all others, so that a study there called json.py would be what
    # everybody gets who imports json.
    sys.path.append(sys.path.pop(0))

# ruff: noqa: E402
from search import unsupported

if unsupported.why():
    print(f"error: {unsupported.why()}", file=sys.stderr)
    sys.exit(3)
from search.cli.clock import BEGAN as BEGAN
from search.cli.group import main

if __name__ == "__main__":
    main()
