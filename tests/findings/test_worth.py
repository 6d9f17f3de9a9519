"""A model is worth something if it beats the one that always says the largest class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.findings.intervals import mean_share_interval
from search.findings.worth import against_the_largest_class

RARE = torch.tensor([0] * 990 + [1] * 10)


@pytest.mark.parametrize("metric", ["val_accuracy", "val_balanced_accuracy", "val_loss"])
def test_always_the_largest_class_beats_nothing(metric: str) -> None:
    low, chance = against_the_largest_class(metric, RARE, torch.zeros_like(RARE))
    assert low <= chance


@pytest.mark.parametrize("metric", ["val_accuracy", "val_balanced_accuracy"])
def test_a_model_that_knows_all_beats_it(metric: str) -> None:
    low, chance = against_the_largest_class(metric, RARE, RARE)
    assert low > chance


def test_what_finds_the_rare_class_is_worth_something_only_where_classes_count_alike() -> None:
    predicted = torch.tensor([0] * 900 + [1] * 90 + [1] * 10)
    low, chance = against_the_largest_class("val_accuracy", RARE, predicted)
    assert low < chance == 0.99
    low, chance = against_the_largest_class("val_balanced_accuracy", RARE, predicted)
    assert low > chance == 0.5


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_the_interval_of_a_mean_share_holds_the_mean_and_stays_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    rights, counts = [right for right, _ in pairs], [right + wrong + 1 for right, wrong in pairs]
    low, high = mean_share_interval(rights, counts)
    mean = sum(right / count for right, count in zip(rights, counts, strict=True)) / len(pairs)
    assert 0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1
