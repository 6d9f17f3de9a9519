"""Metrics beside accuracy are scikit-learn's."""

from __future__ import annotations

import math

import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from trainables.metrics import beyond_accuracy, class_weights, confusion, recalls, roc_auc

answers = st.integers(2, 6).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60),
    )
)


@given(answers)
@pytest.mark.filterwarnings("ignore")
def test_balanced_accuracy_and_macro_f1_are_those_of_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    labels, predicted = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = beyond_accuracy(labels, predicted, classes)
    assert found["balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, predicted))
    expected = sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0]), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_that_of_scikit_learn_ties_and_all(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = roc_auc(scores, positive)
    if positive.all() or not positive.any():
        assert found is None
    else:
        assert found == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores))


def test_a_class_without_images_has_no_recall_and_does_not_count() -> None:
    counts = confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), 3)
    assert recalls(counts)[:2].tolist() == [0.5, 1.0]
    assert math.isnan(recalls(counts)[2])
    assert beyond_accuracy(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), 3)["balanced_accuracy"] == 0.75


def test_always_the_largest_class_is_worth_nothing_where_accuracy_says_ninety_nine_percent() -> None:
    labels = torch.tensor([0] * 99 + [1])
    found = beyond_accuracy(labels, torch.zeros(100, dtype=torch.int64), 2, scores=torch.zeros(100))
    assert found == {"balanced_accuracy": 0.5, "macro_f1": pytest.approx(0.497, abs=1e-3), "roc_auc": 0.5}


def test_weights_of_classes_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    expected = compute_class_weight("balanced", classes=torch.arange(3).numpy(), y=labels.numpy())
    assert class_weights(labels, 3).tolist() == pytest.approx(list(expected))
    assert class_weights(labels, 4).tolist()[3] == 1.0
