"""How to search, and where it is written: the record, Optuna, ASHA, Ray Tune and MLflow.

A search is a record of events; sampler, scheduler, tracking and display are projections of it. From Python:
`from search import run, load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import Result, load, run

__all__ = ["Result", "load", "run"]


def __getattr__(name: str) -> Any:
    # At first use: the command line and the workers import this package too, and need none of it.
    if name in __all__:
        from search import unsupported

        if unsupported.why():
            from search.errors import EnvironmentFault

            raise EnvironmentFault(unsupported.why())
        from search import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
