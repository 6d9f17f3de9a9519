"""All combinations, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.decide.samplers.sampler import identity
from search.record.state import State
from spaces.space import Choice, Config, Float, Range, Space, SpaceError, Value
from spaces.study import Study


class Grid:
    """Every combination of the values of a space without real numbers, each once; the first names change fastest.

    For comparisons rather than for searches: put `train/seed` last, and every seed sees all settings before the next.
    Start points count as tried. Raises SpaceError for a space with a Float.
    """

    def __init__(self, study: Study, seed: int) -> None:
        self._tried: set[object] = set()
        self._points = grid(study.ranges)

    def propose(self, number: int) -> Config | None:
        """See `Sampler.propose`."""
        return next((point for point in self._points if identity(point) not in self._tried), None)

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""
        self._tried.add(identity(point))

    def heard(self, number: int, values: Sequence[float], seconds: float = 0.0) -> None:
        """See `Sampler.heard`."""

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""


def grid(space: Space) -> list[Config]:
    """All points of `space`, in the order in which `Grid` tries them. Raises SpaceError if there is a Float in it."""
    points: list[Config] = [{}]
    for name, range_ in space.items():
        if isinstance(range_, Float) and range_.step is None:
            raise SpaceError(
                f"a grid needs values to try, but {name} is {range_}; give it a step, a Choice, or another sampler"
            )
        # Values outside and points inside, so that what stands first changes fastest.
        there = [(point, _values(space.at(name, point))) for point in points if space.active(name, point)]
        absent = [point for point in points if not space.active(name, point)]
        most = max((len(values) for _, values in there), default=0)
        drawn = [{**point, name: values[i]} for i in range(most) for point, values in there if i < len(values)]
        points = [*absent, *drawn]
    return points


def _values(range_: Range) -> Sequence[Value]:
    """All values of `range_`, the least first."""
    if isinstance(range_, Choice):
        return range_.values
    step = 1 if range_.step is None else range_.step
    return [range_.nearest(range_.low + number * step) for number in range(range_.count)]
