"""The winner's hyperparameters."""

from __future__ import annotations

from search.findings.snapshot import Snapshot
from search.findings.text import short


def build(search: Snapshot) -> list[tuple[str, str]]:
    """Every hyperparameter of the winner with its value as text, the searched ones first; empty without a winner."""
    if search.winner is None:
        return []
    config = search.header.full_config(search.winner.point)
    return [(name, short(config[name])) for name in sorted(config, key=lambda name: (name not in search.space, name))]
