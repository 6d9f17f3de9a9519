"""Data sets that scikit-learn makes or brings: the digits, and the two moons."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

import torch

from trainables.datasets.source import Part, Source


def digits() -> Source:
    """scikit-learn's 1,797 digits of 8x8 pixels, grey levels 0 to 16; every fifth image, shuffled, is the test part."""
    return Source(
        "digits", "scikit-learn", tuple("0123456789"), partial(digits_part, "train"), partial(digits_part, "test")
    )


def moons() -> Source:
    """Two interleaving half circles: 1,000 points in the plane with noise of 0.5, of which 200 are the test part.

    Made by scikit-learn's make_moons with seed 0; images of one pixel, whose channels are the coordinates.
    """
    return Source(
        "moons", "scikit-learn's make_moons", ("upper", "lower"), partial(_moons, "train"), partial(_moons, "test")
    )


GENERATED: Mapping[str, Callable[[], Source]] = {"digits": digits, "moons": moons}
"""Data sets that need no file."""


def digits_part(which: str) -> Part:
    """The train or the test part of the digits: uint8 `(N, 1, 8, 8)`, labels."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(raw.target).to(torch.int64)
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    held_out = len(order) // 5
    chosen = sorted(order[:held_out] if which == "test" else order[held_out:])
    return images[chosen], labels[chosen]


def _moons(which: str) -> Part:
    from sklearn.datasets import make_moons

    points, classes = make_moons(1000, noise=0.5, random_state=0)
    chosen = slice(800, None) if which == "test" else slice(800)
    images = torch.from_numpy(points[chosen]).float().view(-1, 2, 1, 1)
    return images.contiguous(), torch.from_numpy(classes[chosen]).to(torch.int64)
