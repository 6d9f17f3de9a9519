"""Losses: what is compared with what, by torch's own functions and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.layers import LogisticHead
from trainables.losses import LOSSES, ON_PROBABILITIES, loss_function

TORCHS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
shares = st.floats(0, 0.99)


def batch(seed: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(17, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (17,), generator=generator)


def test_every_loss_on_probabilities_is_compared_with_torchs_own() -> None:
    assert TORCHS.keys() == ON_PROBABILITIES.keys()
    assert set(LOSSES) == {"cross_entropy", *TORCHS}


@pytest.mark.parametrize("name", TORCHS)
@given(seed=st.integers(0, 999), classes=st.integers(2, 12))
def test_a_loss_on_probabilities_is_torchs_own_between_softmax_and_one_hot(name: str, seed: int, classes: int) -> None:
    logits, labels = batch(seed, classes)
    expected = TORCHS[name](logits.softmax(1), F.one_hot(labels, classes).double())
    torch.testing.assert_close(loss_function(name)(logits, labels), expected)


@pytest.mark.parametrize("name", TORCHS)
@given(seed=st.integers(0, 999), classes=st.integers(2, 12), smoothing=shares)
def test_label_smoothing_spreads_its_share_of_each_label_over_all_classes(
    name: str, seed: int, classes: int, smoothing: float
) -> None:
    logits, labels = batch(seed, classes)
    wanted = F.one_hot(labels, classes).double() * (1 - smoothing) + smoothing / classes
    torch.testing.assert_close(wanted.sum(1), torch.ones(17, dtype=torch.float64))
    expected = TORCHS[name](logits.softmax(1), wanted)
    torch.testing.assert_close(loss_function(name, smoothing)(logits, labels), expected)


@given(seed=st.integers(0, 999), classes=st.integers(2, 12), smoothing=shares)
def test_cross_entropy_is_torchs_own(seed: int, classes: int, smoothing: float) -> None:
    logits, labels = batch(seed, classes)
    wanted = F.one_hot(labels, classes).double() * (1 - smoothing) + smoothing / classes
    torch.testing.assert_close(
        loss_function("cross_entropy", smoothing)(logits, labels), -(wanted * logits.log_softmax(1)).sum(1).mean()
    )


@given(seed=st.integers(0, 999))
def test_mse_with_a_logistic_head_is_the_squared_error_of_the_probability(seed: int) -> None:
    torch.manual_seed(seed)
    head, features, labels = LogisticHead(5), torch.randn(17, 5), torch.arange(17) % 2
    probability = torch.sigmoid(head.linear(features).squeeze(1))
    torch.testing.assert_close(loss_function("mse")(head(features), labels), ((probability - labels) ** 2).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_less_the_surer_the_right_class_and_nothing_where_it_is_certain(name: str) -> None:
    measure: Callable[[Tensor, Tensor], Tensor] = loss_function(name)
    labels = torch.tensor([2, 0])
    losses = [measure(sure * F.one_hot(labels, 3).float(), labels).item() for sure in (-5.0, 0.0, 1.0, 5.0, 200.0)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5
    assert losses[-1] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_makes_a_loss_less(name: str) -> None:
    logits, labels = batch(1, 4)
    logits.requires_grad_()
    before = loss_function(name, 0.1)(logits, labels)
    before.backward()
    assert logits.grad is not None
    with torch.no_grad():
        assert loss_function(name, 0.1)(logits - 0.1 * logits.grad, labels) < before


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown train/loss 'l2'; known are cross_entropy, mse, l1, huber"):
        loss_function("l2")
