"""Where a training's batches come from: the images of a data set, shuffled and augmented anew for each pass."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor, nn

from trainables.augmentation import flipped, shifted
from trainables.data import Data, Split, statistics

Batch = tuple[Tensor, Tensor]
"""Inputs of the network, and of each the label (int64) or how much it is of each class (float, `(N, classes)`)."""


class Supply(Protocol):
    """The inputs that one network is trained on, and those that it is judged by.

    `labels` int64 `(N,)` are those of the train part, of so many `classes`; `mean` and `std` are what the network's
    inputs are scaled by. `val` lies on the device once the supply was opened.
    """

    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def classes(self) -> int: ...  # noqa: D102
    @property
    def mean(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def std(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def val(self) -> Split: ...  # noqa: D102

    def open(self, device: torch.device, *, pretend: bool = False) -> None:
        """Put on `device` what is needed; inputs are noise of the same shape where they take time and we `pretend`."""

    def prime(self, model: nn.Module) -> None:
        """Give fresh weights of `model` what only the data can tell."""

    def batches(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        """One pass, drawn from `generator`: batches of `size`, without what is left at the end."""

    def folds(self, count: int, seed: int) -> Sequence[Supply]:
        """The same data in `count` ways, each part once for validation, and last all of it for training."""


WHOLE = 10**9
"""Bytes of images that are shuffled and augmented at once; of more there would be no room for two."""
PIECE = 64 * 2**20
"""Bytes that are gathered at a time of a train part with more."""


def gathered(images: Tensor, pieces: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each of `pieces`, which are rows, with its images; a thread gathers the next piece ahead."""
    if len(pieces) == 1:
        yield pieces[0], images[pieces[0]]
        return
    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(images.__getitem__, pieces[0])]
        for number, rows in enumerate(pieces):
            if number + 1 < len(pieces):
                coming.append(ahead.submit(images.__getitem__, pieces[number + 1]))
            yield rows, coming.pop(0).result()


class Images:
    """The images of `data` as they are; `flip` mirrors them at random, `shift` moves them by up to that many pixels."""

    def __init__(self, data: Data, *, flip: bool = False, shift: int = 0) -> None:
        self._data, self._flip, self._shift = data, flip, shift
        self.labels, self.classes = data.train.labels, len(data.classes)
        self.mean, self.std, self.val = data.mean, data.std, data.val

    def open(self, device: torch.device, *, pretend: bool = False) -> None:
        """The whole set goes to `device`, where it stays."""
        self._data = self._data.to(device)
        self.val = self._data.val

    def prime(self, model: nn.Module) -> None:
        """Images tell the network nothing but `mean` and `std`."""

    def batches(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        """Slices of the train part, which is shuffled and augmented whole, or in pieces if it is too large for that."""
        train = self._data.train
        order = drawn(train.labels, generator, balanced=balanced)
        at_once = len(order)
        if train.images.nbytes > WHOLE:
            at_once = max(1, PIECE // (train.images[0].nbytes * size)) * size
        left = len(order) // size
        for rows, images in gathered(train.images, order.split(at_once)):
            if self._flip:
                images = flipped(images, generator)
            if self._shift:
                images = shifted(images, self._shift, generator)
            pairs = zip(images.split(size), train.labels[rows].split(size), strict=True)
            for pair in itertools.islice(pairs, left):
                yield pair
                left -= 1

    def folds(self, count: int, seed: int) -> Sequence[Images]:
        """See `Supply.folds`."""
        train, val = self._data.train, self._data.val
        whole = Split(torch.cat([train.images, val.images]), torch.cat([train.labels, val.labels]))

        def chosen(fold: Fold) -> Images:
            first, second = (Split(whole.images[rows], whole.labels[rows]) for rows in fold)
            data = Data(first, second, self._data.classes, *statistics(first.images))
            return Images(data, flip=self._flip, shift=self._shift)

        return [chosen(fold) for fold in fold_rows(train.labels, len(val), count, seed, self._data.groups)]


def drawn(labels: Tensor, generator: torch.Generator, *, balanced: bool) -> Tensor:
    """The order of one pass: all once, or, `balanced`, as many with replacement, each class as often as any other."""
    if not balanced:
        return torch.randperm(len(labels), generator=generator, device=generator.device)
    each = (1.0 / torch.bincount(labels).float())[labels]
    return torch.multinomial(each, len(labels), replacement=True, generator=generator)


Fold = tuple[Tensor, Tensor]
"""The rows to train on, and those to judge by."""


def fold_rows(train_labels: Tensor, held_out: int, count: int, seed: int, groups: Tensor | None = None) -> list[Fold]:
    """`count` folds of a set whose first rows have `train_labels` and whose last `held_out` are the validation part.

    That part is the first fold; the rest is dealt out, class by class, into the others. So each row is judged once.
    Behind the folds comes one that trains on all rows, and is judged by the validation part that it has seen. Rows of
    one of `groups` `(N,)`, of the train part, are dealt into one fold.
    """
    if groups is None:
        hands = _dealt(train_labels, count - 1, seed)
    else:
        hands = _dealt_in_groups(train_labels, groups, count - 1, seed)
    every = torch.arange(len(train_labels) + held_out)
    parts = [every[len(train_labels) :], *(torch.tensor(sorted(hand)) for hand in hands)]
    return [*((every[~torch.isin(every, part)], part) for part in parts), (every, parts[0])]


def _dealt(labels: Tensor, count: int, seed: int) -> list[list[int]]:
    hands: list[list[int]] = [[] for _ in range(count)]
    dealt = 0
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten().tolist()
        random.Random(f"{seed}/{label}").shuffle(rows)
        for row in rows:
            hands[dealt % count].append(row)
            dealt += 1
    return hands


def _dealt_in_groups(labels: Tensor, groups: Tensor, count: int, seed: int) -> list[list[int]]:
    """The same in whole groups, the largest first: each to the hand with the fewest rows of its first row's class."""
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    order = sorted(members)
    random.Random(f"{seed}/groups").shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    hands: list[list[int]] = [[] for _ in range(count)]
    of_class = [Counter[int]() for _ in hands]
    for group in order:
        label = int(labels[members[group][0]])
        hand = min(range(count), key=lambda each: (of_class[each][label], len(hands[each])))
        hands[hand] += members[group]
        of_class[hand].update(labels[members[group]].tolist())
    return hands
