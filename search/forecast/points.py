"""The points of a space that are tried before a search begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from search.decide.samplers import SAMPLERS
from spaces.space import Config, Value
from spaces.study import Study, config_of
from spaces.values import config_to_plain

RANDOM_POINTS = 6

Points = Sequence[tuple[str, Config]]
"""Points of a space, each with its name: `published 0`, `start 0`, `low`, `random 0`."""


def points_of(study: Study, seed: int) -> list[tuple[str, Config]]:
    """What a probe of `study` tries, without repetition; what matters most comes first, in case that time is short."""
    corners = list(study.ranges.corners().items())
    random_sampler, drawn = SAMPLERS["random"](study, seed), []
    for number in range(RANDOM_POINTS):
        point = random_sampler.propose(number)
        assert point is not None
        random_sampler.started(number, point)
        drawn.append((f"random {number}", point))
    named = (
        *((f"published {number}", dict(each.config)) for number, each in enumerate(study.published)),
        *((f"start {number}", dict(point)) for number, point in enumerate(study.start)),
        *corners[:2],
        *drawn,
        *corners[2:],
    )
    first: dict[str, tuple[str, Config]] = {}
    for name, point in named:
        first.setdefault(key(point), (name, point))
    return list(first.values())


def key(point: Mapping[str, Value]) -> str:
    """Text that is equal for equal points only."""
    return json.dumps(config_to_plain(config_of(point)))
