"""When the command began, and who takes its signals."""

from __future__ import annotations

import time
from typing import Any

BEGAN = time.monotonic()
"""Time budgets count from here, before anything heavy is imported."""


def on_signals() -> Any:
    """The clock of one command, which takes the signals from now on."""
    from search.signals import Stop

    stop = Stop(BEGAN)
    stop.install()
    return stop
