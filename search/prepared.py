"""A search that is ready to begin or to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.record.events import Event
from search.record.header import Header
from search.settings import Settings
from spaces.study import Study
from trainables import datasets
from trainables.data import Data


@dataclass(frozen=True)
class Prepared:
    """All that could be checked before Ray starts."""

    study: Study
    settings: Settings
    source: datasets.Source
    data: Data
    header: Header
    past: tuple[Event, ...] = ()
    """What the record of a search that goes on says so far."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What is otherwise from now on than `past` says."""
    runs_code: bool = True
    """Whether this process may run the study's code."""
