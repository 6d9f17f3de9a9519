"""The parting into train and validation images, and the statistics that normalise them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.data import part, statistics

FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
SEEDS = st.integers(0, 2**63)


def numbered(count: int) -> Tensor:
    """Images of 1x1x2 that hold their own number."""
    numbers = torch.arange(count)
    return torch.stack([numbers // 256, numbers % 256], dim=1).view(count, 1, 1, 2).to(torch.uint8)


def numbers_in(images: Tensor) -> list[int]:
    high, low = images.flatten(1).long().unbind(1)
    return (high * 256 + low).tolist()


@given(count=st.integers(2, 700), fraction=FRACTIONS, seed=SEEDS)
def test_every_image_is_in_exactly_one_part_with_its_own_label(count: int, fraction: float, seed: int) -> None:
    data = part(numbered(count), torch.arange(count), ["a"], val_fraction=fraction, seed=seed)
    train, val = numbers_in(data.train.images), numbers_in(data.val.images)
    assert sorted(train + val) == list(range(count))
    assert data.train.labels.tolist() == train
    assert data.val.labels.tolist() == val


@given(count=st.integers(2, 700), fraction=FRACTIONS, seed=SEEDS)
def test_the_validation_part_has_the_asked_share_but_is_never_empty_and_never_all(
    count: int, fraction: float, seed: int
) -> None:
    data = part(numbered(count), torch.arange(count), ["a"], val_fraction=fraction, seed=seed)
    assert 1 <= len(data.val) < count
    assert len(data.val) in (round(fraction * count), 1, count - 1)


@given(count=st.integers(2, 300), fraction=FRACTIONS, seed=SEEDS)
def test_the_same_seed_parts_the_same(count: int, fraction: float, seed: int) -> None:
    torch.manual_seed(count)
    first, second = (
        part(numbered(count), torch.arange(count), ["a"], val_fraction=fraction, seed=seed) for _ in range(2)
    )
    assert torch.equal(first.val.images, second.val.images)
    assert torch.equal(first.train.images, second.train.images)


def test_another_seed_parts_differently() -> None:
    first, second = (part(numbered(100), torch.arange(100), ["a"], val_fraction=0.2, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.val.images, second.val.images)


def test_the_parting_is_the_same_on_every_machine() -> None:
    # Written down once: searches on different machines and versions must be judged on the same images.
    data = part(numbered(20), torch.arange(20), ["a"], val_fraction=0.25, seed=0)
    assert data.val.labels.tolist() == [0, 10, 14, 16, 18]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_that_leaves_nothing_to_part_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="val_fraction must lie between 0 and 1, but got"):
        part(numbered(10), torch.arange(10), ["a"], val_fraction=fraction, seed=0)


def test_one_image_cannot_be_parted() -> None:
    with pytest.raises(ValueError, match=r"at least 2 images are needed .* but got 1"):
        part(numbered(1), torch.arange(1), ["a"], val_fraction=0.5, seed=0)


@given(seed=SEEDS, channels=st.sampled_from([1, 3]), fraction=FRACTIONS)
def test_statistics_come_from_the_train_part_alone(seed: int, channels: int, fraction: float) -> None:
    generator = torch.Generator().manual_seed(seed % 2**32)
    images = torch.randint(0, 256, (30, channels, 4, 5), generator=generator).to(torch.uint8)
    data = part(images, torch.zeros(30, dtype=torch.int64), ["a"], val_fraction=fraction, seed=seed)
    exact = data.train.images.double()
    assert data.mean == pytest.approx(exact.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert data.std == pytest.approx(exact.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_statistics_of_many_bright_images_do_not_lose_digits() -> None:
    # A sum of so many grey levels no longer fits float32; the exact answer is known.
    images = torch.full((4000, 1, 28, 28), 255, dtype=torch.uint8)
    images[::2] = 254
    assert statistics(images) == ((254.5,), (0.5,))


def test_a_channel_without_variation_has_deviation_one() -> None:
    images = torch.randint(0, 256, (10, 2, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images[:, 1] = 7
    mean, std = statistics(images)
    assert mean[1] == 7
    assert std[1] == 1
    assert std[0] > 1


def test_the_shape_is_that_of_one_image() -> None:
    data = part(numbered(4), torch.arange(4), ["a", "b"], val_fraction=0.5, seed=0)
    assert data.shape == (1, 1, 2)
    assert data.classes == ("a", "b")


@given(seed=SEEDS, features=st.integers(1, 4), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_statistics_of_points_are_in_their_own_units(seed: int, features: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed % 2**32)
    points = scale * torch.randn(50, features, 1, 1, generator=generator) + 7
    mean, std = statistics(points)
    exact = points.double()
    assert mean == pytest.approx(exact.mean((0, 2, 3)).tolist(), rel=1e-9)
    assert std == pytest.approx(exact.std((0, 2, 3), correction=0).tolist(), rel=1e-9)


def test_statistics_of_points_do_not_lose_digits_far_from_zero() -> None:
    points = torch.full((1000, 1, 1, 1), 1e6)
    points[::2] += 1
    assert statistics(points) == ((1e6 + 0.5,), (0.5,))


def test_grey_levels_have_the_same_statistics_as_bytes_and_as_real_numbers() -> None:
    images = torch.randint(0, 256, (30, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    as_bytes, as_numbers = statistics(images), statistics(images.float())
    assert as_numbers[0] == pytest.approx(as_bytes[0], rel=1e-12)
    assert as_numbers[1] == pytest.approx(as_bytes[1], rel=1e-12)


def test_a_coordinate_without_variation_has_deviation_one() -> None:
    points = torch.stack([torch.linspace(0, 1, 9), torch.full((9,), -2.5)], dim=1).view(9, 2, 1, 1)
    mean, std = statistics(points)
    assert (mean[1], std[1]) == (-2.5, 1.0)
    assert 0 < std[0] < 1


def test_points_are_parted_as_they_are() -> None:
    points = torch.randn(20, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    data = part(points, torch.arange(20), ["a"], val_fraction=0.25, seed=0)
    assert data.shape == (2, 1, 1)
    assert data.train.images.dtype == torch.float32
    assert torch.equal(data.train.images, points[data.train.labels])
    assert torch.equal(data.val.images, points[data.val.labels])
    assert (data.mean, data.std) == statistics(data.train.images)
