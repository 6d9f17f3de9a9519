"""What surrounds a search while its trials run: one machine with a Ray of our own, or a cluster that others use too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from search.engine import places
from search.engine.node_check import NodeChecker
from search.engine.places import Places
from search.settings import Settings
from search.signals import Stop


class Surroundings(Protocol):
    """Where trials can run, and who else is there."""

    def places(self) -> Places:
        """How many trials may run at a time by now."""

    def alone(self) -> bool:
        """Whether no other search wants places."""

    def some_gone(self) -> bool:
        """Whether a node cannot be reached that Ray still counts."""

    def unreachable(self) -> bool:
        """Whether Ray itself no longer answers, so that nothing can be asked of it."""

    def check_newcomers(self) -> None:
        """Look at nodes that have joined. Raises EnvironmentFault if one cannot do our work."""


class OneMachine:
    """A Ray of our own, for this search alone: its places are counted once, since nothing of it can change."""

    def __init__(self, settings: Settings, stop: Stop) -> None:
        # Not asked again and again: its head may be gone.
        self._places, self._stop = places.places(settings), stop

    def places(self) -> Places:
        """See `Surroundings`."""
        return self._places

    def alone(self) -> bool:
        """Always."""
        return True

    def some_gone(self) -> bool:
        """Never: the one node is gone with Ray itself."""
        return False

    def unreachable(self) -> bool:
        """See `Surroundings`."""
        return bool(self._stop.lost)

    def check_newcomers(self) -> None:
        """Nothing: nobody joins."""


class Cluster:
    """A Ray that was there before: nodes come and go, and other searches begin and end."""

    def __init__(self, settings: Settings, stop: Stop, checker: NodeChecker) -> None:
        self._settings, self._stop, self._checker = settings, stop, checker

    def places(self) -> Places:
        """See `Surroundings`."""
        return places.places(self._settings)

    def alone(self) -> bool:
        """See `Surroundings`."""
        return not places.other_searches()

    def some_gone(self) -> bool:
        """See `Surroundings`."""
        return places.some_gone()

    def unreachable(self) -> bool:
        """See `Surroundings`."""
        return bool(self._stop.lost)

    def check_newcomers(self) -> None:
        """See `Surroundings`."""
        self._checker.check_newcomers()


@contextmanager
def open_surroundings(settings: Settings, stop: Stop) -> Iterator[Surroundings]:
    """What surrounds this process, which Ray serves; all nodes of a cluster are looked at before.

    Raises EnvironmentFault if one cannot do our work.
    """
    if not settings.ray_address:
        yield OneMachine(settings, stop)
        return
    with closing(NodeChecker(settings)) as checker:
        checker.check()
        yield Cluster(settings, stop, checker)
