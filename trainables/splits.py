"""Which images of a train part are held out for validation: at random, class by class, or by groups.

All draws come from Python's own generator, which promises the same on every version and platform; torch's does not.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

KINDS = ("shuffled", "stratified", "by groups")
"""How a train part can be parted. Each search records its kind, and keeps it."""


def held_out(
    labels: Sequence[int], groups: Sequence[int] | None, *, kind: str, val_fraction: float, seed: int
) -> list[int]:
    """The indices, rising, of the images that are held out: `round(val_fraction * N)`, at least one and never all.

    `labels` and `groups` have an entry for each of N images, 2 or more. "shuffled" draws from all images. "stratified"
    draws from each class its share, and leaves each class one image to train on. "by groups" draws whole groups, so the
    share is met as nearly as they allow. Raises ValueError if that leaves nothing to train on or to validate on.
    """
    if kind not in KINDS:
        raise ValueError(f"a train part is parted in one of the ways {', '.join(KINDS)}, but got {kind!r}")
    if not 0.0 < val_fraction < 1.0:
        raise ValueError(f"val_fraction must lie between 0 and 1, but got {val_fraction}")
    count = len(labels)
    if count < 2:
        raise ValueError(f"at least 2 images are needed to split off a validation part, but got {count}")
    wanted = min(max(1, round(val_fraction * count)), count - 1)
    drawn = random.Random(seed)
    if kind == "stratified":
        return _stratified(labels, wanted, drawn)
    if kind == "by groups" and groups is not None:
        return _by_groups(labels, groups, wanted, drawn)
    order = list(range(count))
    drawn.shuffle(order)
    return sorted(order[:wanted])


def _stratified(labels: Sequence[int], wanted: int, drawn: random.Random) -> list[int]:
    """`wanted` images: one of each class that has two or more, the larger classes first, then each class its share."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    of_several = sorted((label for label in members if len(members[label]) > 1), key=lambda label: -len(members[label]))
    taken = dict.fromkeys(of_several[:wanted], 1)
    # A heap of what each class still lacks of its share, the most first.
    lacks = [(taken.get(label, 0) - wanted * len(members[label]) / len(labels), label) for label in of_several]
    heapq.heapify(lacks)
    left = wanted - sum(taken.values())
    while left and lacks:  # a class that is down to the image that it trains on leaves the heap
        lack, label = heapq.heappop(lacks)
        if taken.get(label, 0) < len(members[label]) - 1:
            taken[label] = taken.get(label, 0) + 1
            left -= 1
            heapq.heappush(lacks, (lack + 1, label))
    chosen: list[int] = []
    for label in sorted(members):
        drawn.shuffle(members[label])
        chosen += members[label][: taken.get(label, 0)]
    return sorted(chosen)


def _by_groups(labels: Sequence[int], groups: Sequence[int], wanted: int, drawn: random.Random) -> list[int]:
    """Whole groups, each taken if the classes' shares are met better with it than without, in an order drawn at random.

    A group that holds all images of a class stays in the train part.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    totals, taken = Counter(labels), Counter[int]()
    goal = {label: wanted * total / len(labels) for label, total in totals.items()}
    order = sorted(members)
    drawn.shuffle(order)
    order.sort(key=lambda group: -len(members[group]))  # large ones first, small ones fill what is left
    chosen: list[int] = []
    for group in order:
        has = Counter(labels[index] for index in members[group])
        if any(taken[label] + count >= totals[label] for label, count in has.items()):
            continue
        gain = sum(
            abs(goal[label] - taken[label]) - abs(goal[label] - taken[label] - count) for label, count in has.items()
        )
        if gain > 0:
            chosen += members[group]
            taken += has
    if not chosen:  # no group is small enough: the smallest that leaves each class something
        for group in sorted(order, key=lambda each: len(members[each])):
            has = Counter(labels[index] for index in members[group])
            if all(count < totals[label] for label, count in has.items()):
                return sorted(members[group])
        raise ValueError("no group can be held out for validation: each holds all images of a class; add more groups")
    return sorted(chosen)
