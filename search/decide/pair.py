"""Which sampler and which scheduler, where one of them or both are left to the search."""

from __future__ import annotations

LEARNS = ("freeze_thaw", "freeze_thaw")
"""Pauses trials and goes on with what promises most: ahead of all others that were measured (docs/benchmarks.md)."""
COMPARES = ("tpe", "asha")
"""Stops trials for good, so it needs no checkpoint of theirs."""


def paired(sampler: str, scheduler: str, *, saves: bool) -> tuple[str, str]:
    """The names of both; what is "" is chosen. `saves` says whether trials are sure to leave a checkpoint.

    A trial without one cannot be paused, so a search of such trials would train all of them to the end.
    """
    if not (sampler or scheduler):
        return LEARNS if saves else COMPARES
    partners = LEARNS if sampler == LEARNS[0] or scheduler == LEARNS[1] else COMPARES
    return sampler or partners[0], scheduler or partners[1]
