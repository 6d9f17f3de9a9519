"""Which images are held out: by class, by groups, and never all of anything."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from trainables.data import part
from trainables.splits import KINDS, held_out

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=200)
FRACTIONS = st.floats(0.01, 0.9)
SEEDS = st.integers(0, 2**32)


@given(labels=LABELS, fraction=FRACTIONS, seed=SEEDS)
def test_a_stratified_split_leaves_every_class_an_image_to_train_on(
    labels: list[int], fraction: float, seed: int
) -> None:
    chosen = held_out(labels, None, kind="stratified", val_fraction=fraction, seed=seed)
    assert chosen == sorted(set(chosen))
    left = Counter(label for index, label in enumerate(labels) if index not in set(chosen))
    assert left.keys() == set(labels)


@given(sizes=st.lists(st.integers(2, 60), min_size=2, max_size=6), fraction=FRACTIONS, seed=SEEDS)
def test_a_stratified_split_takes_its_share_of_every_class(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    wanted = min(max(1, round(fraction * len(labels))), len(labels) - 1)
    chosen = held_out(labels, None, kind="stratified", val_fraction=fraction, seed=seed)
    assert len(chosen) == min(wanted, len(labels) - len(sizes))
    taken = Counter(labels[index] for index in chosen)
    for label, size in enumerate(sizes):
        share = wanted * size / len(labels)
        assert share - len(sizes) < taken[label] < share + len(sizes) or taken[label] == size - 1
    if wanted >= len(sizes):
        assert all(taken[label] for label in range(len(sizes)))


def test_a_split_is_the_same_on_every_machine_and_another_for_another_seed() -> None:
    labels = [0] * 12 + [1] * 6 + [2] * 2
    first = held_out(labels, None, kind="stratified", val_fraction=0.25, seed=0)
    assert first == [1, 8, 9, 17, 18]
    assert first != held_out(labels, None, kind="stratified", val_fraction=0.25, seed=1)


@given(groups=st.lists(st.integers(0, 12), min_size=4, max_size=120), fraction=FRACTIONS, seed=SEEDS, data=st.data())
def test_a_group_lies_in_one_part_and_every_class_is_trained_on(
    groups: list[int], fraction: float, seed: int, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups)))
    of_class = {label: {group for group, each in zip(groups, labels, strict=True) if each == label} for label in labels}
    try:
        chosen = set(held_out(labels, groups, kind="by groups", val_fraction=fraction, seed=seed))
    except ValueError:
        assert any(len(of) == 1 for of in of_class.values())
        return
    assert chosen
    held = {groups[index] for index in chosen}
    assert not held & {group for index, group in enumerate(groups) if index not in chosen}
    assert {label for index, label in enumerate(labels) if index not in chosen} == set(labels)


def test_groups_meet_the_share_nearly() -> None:
    groups = [index // 5 for index in range(1000)]
    labels = [index % 2 for index in range(1000)]
    for seed in range(5):
        assert 80 <= len(held_out(labels, groups, kind="by groups", val_fraction=0.1, seed=seed)) <= 110


@given(count=st.integers(2, 100), fraction=FRACTIONS, seed=SEEDS)
def test_of_a_class_with_one_image_none_is_held_out(count: int, fraction: float, seed: int) -> None:
    assume(count > 2)
    labels = [0] * (count - 1) + [1]
    assert count - 1 not in held_out(labels, None, kind="stratified", val_fraction=fraction, seed=seed)


def test_an_unknown_kind_and_parts_without_images_are_refused() -> None:
    with pytest.raises(ValueError, match=f"one of the ways {', '.join(KINDS)}"):
        held_out([0, 1], None, kind="sorted", val_fraction=0.5, seed=0)
    with pytest.raises(ValueError, match="train and validation part need images"):
        part(torch.zeros(2, 1, 1, 1), torch.arange(2), ["a", "b"], val_fraction=0.5, seed=0, kind="stratified")
