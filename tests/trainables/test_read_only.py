"""What all trials of a machine share cannot be changed by one of them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainables.data import Data, Split
from trainables.read_only import ReadOnly, read_only


@pytest.fixture
def shared(tiny_data: Data) -> Data:
    """Float images, as points are, in memory that must stay as it is."""
    return replace(tiny_data, train=Split(tiny_data.train.images.float(), tiny_data.train.labels))


def assigned(images: Tensor) -> None:
    images[0] = 1.0


def added(images: Tensor) -> None:
    images += 1


def replaced(images: Tensor) -> None:
    images.data = torch.zeros(3)


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "an item": assigned,
    "+=": added,
    "data": replaced,
    "mul_": lambda images: images.mul_(2),
    "a view": lambda images: images[0].add_(1),
    "a flat view": lambda images: images.view(-1)[2:5].zero_(),
    "a part": lambda images: images.split(8)[1].copy_(torch.ones(8, 1, 8, 8)),
    "an iteration": lambda images: [each.mul_(2) for each in images],
    "out=": lambda images: torch.add(images, 1, out=images),
    "relu_": torch.relu_,
    "inplace=True": lambda images: F.relu(images, inplace=True),
    "a module in place": nn.ReLU(inplace=True),
    "detach": lambda images: images.detach().sub_(1),
    "many at once": lambda images: torch._foreach_mul_([images], 2),
    "an initialiser": nn.init.zeros_,
    "its array": lambda images: images.numpy().__imul__(2),
    "an array of it": lambda images: np.asarray(images).__imul__(2),
}


@pytest.mark.parametrize("write", WRITES)
def test_to_change_shared_data_in_place_is_an_error_of_the_trial_that_does_it(shared: Data, write: str) -> None:
    before = shared.train.images.clone()
    with pytest.raises((RuntimeError, ValueError), match=r"shared by all trials and cannot be changed|read-only"):
        WRITES[write](read_only(shared).train.images)
    assert torch.equal(shared.train.images, before)


@pytest.mark.parametrize(
    "copied",
    [
        lambda images: images.clone(),
        lambda images: images + 0,
        lambda images: images[torch.arange(3)],
        lambda images: images.to(torch.float64),
        lambda images: F.relu(images),
        copy.deepcopy,
        lambda images: pickle.loads(pickle.dumps(images)),
    ],
    ids=["clone", "sum", "batch", "other type", "function", "deepcopy", "pickle"],
)
def test_what_is_made_of_them_is_a_plain_tensor_to_do_anything_with(shared: Data, copied: Any) -> None:
    made = copied(read_only(shared).train.images)
    assert type(made) is Tensor
    made.mul_(2)


def test_reading_batching_and_training_are_as_ever(shared: Data) -> None:
    data = read_only(shared)
    layer = nn.Linear(64, 4)
    for images, labels in DataLoader(TensorDataset(data.train.images, data.train.labels), batch_size=16, shuffle=True):
        F.cross_entropy(layer(images.flatten(1)), labels).backward()
    assert data.train.labels.bincount().tolist() == shared.train.labels.bincount().tolist()
    assert isinstance(data.train.images[3], ReadOnly)
    target = torch.zeros_like(shared.train.images)
    target.copy_(data.train.images)
    assert torch.equal(target, shared.train.images)


def test_who_is_given_them_has_no_way_to_the_test_part(tiny_data: Data) -> None:
    assert read_only(replace(tiny_data, test=lambda: (torch.zeros(1), torch.zeros(1)))).test is None


def test_a_compiled_network_takes_them(shared: Data) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    images = read_only(shared).train.images
    assert torch.equal(torch.compile(net, backend="eager")(images), net(images))
