"""Spaces and points for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from spaces.ranges import Choice, Float, Int, Range, with_when
from spaces.space import Space
from spaces.values import Config, Value, identity

NAMES = ("model/depth", "model/width", "train/lr", "train/optimizer", "train/momentum")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-99, 99),
    st.floats(-1e9, 1e9),
    st.sampled_from(["sgd", "a b", "null", "it's"]),
)


def values_of_any_kind() -> st.SearchStrategy[Value]:
    """Scalars, and tuples and lists of them in one another."""
    return st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)),
        max_leaves=6,
    )


CHOICES = ["sgd", "adam", 1, 2, 0.5, True, False, None, (64, 128), [64, 128], ("sgd", None)]


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """A range that depends on nothing; a third of the numeric ones are logarithmic, a third have steps."""
    kind = draw(st.sampled_from(["float", "int", "choice"]))
    if kind == "choice":
        return Choice.of(draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=4, unique_by=identity)))
    scale = draw(st.sampled_from(["even", "log", "steps"]))
    lowest = 1e-9 if scale == "log" else -1e9
    bounds = st.integers(1 if scale == "log" else -99, 99) if kind == "int" else st.floats(lowest, 1e9)
    if scale == "steps" and kind == "float":
        bounds = st.integers(-999, 999).map(lambda number: number / 100)
    low, high = sorted([draw(bounds), draw(bounds)])
    if kind == "int":
        return Int(low, high, scale == "log", step=draw(st.integers(1, 40)) if scale == "steps" else None)
    return Float(
        low, high, scale == "log", step=draw(st.sampled_from([0.01, 0.05, 0.1, 3])) if scale == "steps" else None
    )


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A space that can be, in which about half of the ranges depend on those before them, by condition or by bound."""
    made: dict[str, Range] = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        range_ = draw(ranges())
        parents = [parent for parent, values in made.items() if isinstance(values, Choice)]
        bounds = [parent for parent, values in made.items() if isinstance(values, Int) and not values.bounds]
        how = draw(st.sampled_from(["condition", "bound", "alone"]))
        if bounds and how == "bound":
            parent = draw(st.sampled_from(bounds))
            low, high = int(made[parent].low), int(made[parent].high)  # type: ignore[union-attr]
            kind = draw(st.sampled_from([Float, Int]))
            made[name] = draw(
                st.sampled_from([kind(low - 3, parent), kind(parent, high + 3), kind(low, parent, step=2)])
            )
        elif parents and how == "condition":
            parent = draw(st.sampled_from(parents))
            values = made[parent]
            assert isinstance(values, Choice)
            wanted = draw(st.sampled_from([values.values[:1], values.values[:2]]))
            made[name] = with_when(range_, {parent: wanted})
        else:
            made[name] = range_
    return Space(made)


@st.composite
def points(draw: st.DrawFn, space: Space) -> Config:
    """A point of `space`."""
    point: Config = {}
    for name in space:
        if space.active(name, point):
            range_ = space.at(name, point)
            if isinstance(range_, Choice):
                point[name] = draw(st.sampled_from(range_.values))
            elif range_.step is not None or isinstance(range_, Int):
                point[name] = range_.nearest(range_.low + (range_.step or 1) * draw(st.integers(0, range_.count - 1)))
            else:
                point[name] = draw(st.floats(range_.low + 0.0, range_.high + 0.0))  # -0.0 becomes 0.0
    return point


@st.composite
def spaces_with_points(draw: st.DrawFn) -> tuple[Space, Config]:
    """A space, and a point of it."""
    space = draw(spaces())
    return space, draw(points(space))
