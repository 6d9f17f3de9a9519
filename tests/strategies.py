"""Spaces and points for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from spaces.space import Choice, Config, Float, Int, Range, Space

NAMES = ("model/depth", "model/width", "train/lr", "train/optimizer", "train/momentum")


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """A range that can be; half of the numeric ones are logarithmic."""
    kind = draw(st.sampled_from(["float", "int", "choice"]))
    if kind == "choice":
        return Choice(
            *draw(st.lists(st.sampled_from(["sgd", "adam", 1, 2, 0.5, True, False]), min_size=1, unique=True))
        )
    log = draw(st.booleans())
    lowest = 1e-9 if log else -1e9
    bounds = st.integers(1 if log else -99, 99) if kind == "int" else st.floats(lowest, 1e9)
    low, high = sorted([draw(bounds), draw(bounds)])
    return Int(low, high, log) if kind == "int" else Float(low, high, log)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A space that can be, in which about half of the ranges depend on those before them."""
    made: dict[str, Range] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        range_ = draw(ranges())
        parents = [parent for parent, values in made.items() if isinstance(values, Choice)]
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            values = made[parent]
            assert isinstance(values, Choice)
            wanted = draw(st.sampled_from([values.values[0], values.values[:2]]))
            made[name] = with_condition(range_, {parent: wanted})
        else:
            made[name] = range_
    return Space(made)


def with_condition(range_: Range, when: dict[str, Any]) -> Range:
    if isinstance(range_, Choice):
        return Choice(*range_.values, when=when)
    return type(range_)(range_.low, range_.high, range_.log, when)  # type: ignore[arg-type]


@st.composite
def points(draw: st.DrawFn, space: Space) -> Config:
    """A point of `space`."""
    point: Config = {}
    for name, range_ in space.items():
        if space.active(name, point):
            if isinstance(range_, Choice):
                point[name] = draw(st.sampled_from(range_.values))
            elif isinstance(range_, Int):
                point[name] = draw(st.integers(range_.low, range_.high))
            else:
                point[name] = draw(st.floats(range_.low + 0.0, range_.high + 0.0))  # -0.0 becomes 0.0
    return point


@st.composite
def spaces_with_points(draw: st.DrawFn) -> tuple[Space, Config]:
    """A space, and a point of it."""
    space = draw(spaces())
    return space, draw(points(space))
