"""What can go wrong, each with the exit code that the command line ends with."""

from __future__ import annotations


class SearchError(Exception):
    """One line for the user: what was asked, what is allowed, how to mend it."""

    exit_code = 1


class SearchFailed(SearchError):
    """The search ran, and found nothing that can be used."""

    exit_code = 1


class BadInput(SearchError):
    """What was asked for cannot be."""

    exit_code = 2


class EnvironmentFault(SearchError):
    """Ray, MLflow, storage, data or resources are not as they must be."""

    exit_code = 3


class ClusterLost(EnvironmentFault):
    """Ray's head is gone. What Ray does at the end of a process would wait for it, and is left out."""


class RecordGone(EnvironmentFault):
    """The record of a search was deleted or moved away while the search ran."""


class NameInUse(SearchError):
    """A search of that name exists."""

    exit_code = 4


class StorageFull(SearchError):
    """No space is left; what was recorded so far is whole."""

    exit_code = 5


def shortage(free: int, needed: int) -> str:
    """How many bytes are `free`, and why they are too few for the `needed` ones, which is what is known of them."""
    if needed > free:
        return f"{free:,} bytes free, more than {needed:,} needed"
    return f"{free:,} bytes free, too few for {needed:,} and what the file system takes besides"
