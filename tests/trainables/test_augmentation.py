"""Random flips and shifts of whole epochs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.augmentation import flipped, shifted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey(count: int, channels: int = 1, height: int = 5, width: int = 6) -> Tensor:
    # From 1 on, so that what is filled in with 0 can be told from what was there.
    return torch.randint(1, 256, (count, channels, height, width), generator=generator(9)).to(torch.uint8)


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """`images` moved, pixel by pixel, with 0 for what comes in."""
    height, width = images.shape[2:]
    result = torch.zeros_like(images)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[:, :, y, x] = images[:, :, y - down, x - right]
    return result


@given(seed=st.integers(0, 2**32), channels=st.sampled_from([1, 3]))
def test_each_image_stays_or_is_mirrored_left_to_right(seed: int, channels: int) -> None:
    images = grey(20, channels)
    for before, after in zip(images, flipped(images, generator(seed)), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def test_about_half_are_mirrored() -> None:
    images = grey(1000)
    changed = (flipped(images, generator()) != images).flatten(1).any(1).sum()
    assert 440 < changed < 560


@pytest.mark.parametrize("pixels", [1, 2])
def test_images_move_by_every_offset_evenly_and_zeros_come_in(pixels: int) -> None:
    images, span = grey(1000 * pixels), range(-pixels, pixels + 1)
    results = shifted(images, pixels, generator())
    counts = [int((results == moved(images, down, right)).flatten(1).all(1).sum()) for down in span for right in span]
    mean = len(images) / len(counts)
    assert sum(counts) == len(images)
    assert all(0.6 * mean < count < 1.4 * mean for count in counts)


@given(seed=st.integers(0, 2**32), pixels=st.integers(0, 4))
def test_a_shifted_image_is_the_image_moved(seed: int, pixels: int) -> None:
    image = grey(1, 3)
    result = shifted(image, pixels, generator(seed))
    span = range(-pixels, pixels + 1)
    assert any(torch.equal(result, moved(image, down, right)) for down in span for right in span)


@pytest.mark.parametrize("change", [flipped, lambda images, g: shifted(images, 2, g)], ids=["flip", "shift"])
class TestEveryAugmentation:
    def test_the_generator_alone_decides(self, change) -> None:
        torch.manual_seed(1)
        first = change(grey(50), generator(3))
        torch.manual_seed(2)
        assert torch.equal(change(grey(50), generator(3)), first)
        assert not torch.equal(change(grey(50), generator(4)), first)

    def test_the_images_given_stay_as_they_are(self, change) -> None:
        images = grey(50)
        before = images.clone()
        change(images, generator())
        assert torch.equal(images, before)

    def test_shape_and_type_stay(self, change) -> None:
        result = change(grey(3, 3), generator())
        assert result.shape == (3, 3, 5, 6)
        assert result.dtype == torch.uint8

    def test_no_images_are_no_problem(self, change) -> None:
        assert len(change(grey(0), generator())) == 0
