"""A generator's state in a checkpoint: saved by the Epoch that it yields, put back by `restore`, bit for bit."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.optim import lr_scheduler

from trainables import randomness, state
from trainables.data import Data
from trainables.epoch import Epoch, restore
from trainables.started import started

OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, nesterov=True),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.01, amsgrad=True),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, lr=0.01, momentum=0.5),
    "adagrad": lambda weights: torch.optim.Adagrad(weights, lr=0.1),
}
SCHEDULERS: Mapping[str, Callable[[torch.optim.Optimizer], Any]] = {
    "none": lambda optimizer: None,
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 6),
    "steps": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4]),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=7),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
    "warm": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.8)],
        milestones=[2],
    ),
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(4)
    )


def generator(optimizer: str, scheduler: str) -> Any:
    """What people write: nothing is seeded, and draws come from all the default generators."""

    def train(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        net = network()
        net(data.val.images[:2].float())
        steps = OPTIMIZERS[optimizer](net.parameters())
        schedule = SCHEDULERS[scheduler](steps)
        first = restore(resume, model=net, optimizer=steps, scheduler=schedule)
        for number in range(first, config["train/epochs"] + 1):
            net.train()
            loss = torch.zeros(())
            for batch in torch.randperm(len(data.train)).split(16):
                images = data.train.images[batch].float() + np.random.randn() + random.random()
                loss = nn.functional.cross_entropy(net(images), data.train.labels[batch])
                steps.zero_grad()
                loss.backward()
                steps.step()
            if schedule is not None:
                schedule.step(*([loss.item()] if scheduler == "plateau" else []))
            yield Epoch(number, {"loss": loss}, model=net, optimizer=steps, scheduler=schedule)

    return train


PAIRS = [*(("adamw", scheduler) for scheduler in SCHEDULERS), *((optimizer, "cosine") for optimizer in OPTIMIZERS)]


@pytest.mark.parametrize(("optimizer", "scheduler"), dict.fromkeys(PAIRS))
def test_a_generator_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(
    tmp_path: Path, tiny_data: Data, optimizer: str, scheduler: str
) -> None:
    train, config = generator(optimizer, scheduler), {"train/epochs": 6, "train/seed": 3}
    whole = []
    for epoch in started(train, config, tiny_data):
        whole.append(dict(epoch.metrics))
        if epoch.number == 3:
            torch.rand(5)  # in between others draw too, and that is nothing to the trial
            assert epoch.writer is not None
            epoch.writer(tmp_path)
    random.random()
    later = [dict(epoch.metrics) for epoch in started(train, config, tiny_data, resume=tmp_path)]
    assert later == whole[3:]
    assert len({repr(metrics) for metrics in whole}) > 2


def test_a_trial_draws_from_its_own_seed_and_leaves_the_generators_of_its_process_as_they_were(tiny_data: Data) -> None:
    def draws(seed: int) -> list[Mapping[str, float]]:
        return [
            e.metrics for e in started(generator("sgd", "none"), {"train/epochs": 2, "train/seed": seed}, tiny_data)
        ]

    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    one = draws(1)
    assert (torch.rand(1), random.random()) == expected
    assert draws(1) == one != draws(2)


def test_the_weights_in_a_checkpoint_are_safetensors_by_the_names_of_the_network(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    Epoch(1, {}, model=net).writer(tmp_path)  # type: ignore[misc]
    weights = load_file(tmp_path / "weights.safetensors")
    assert set(weights) == {"weight", "bias"}
    assert torch.equal(weights["weight"], net.weight)
    assert not any(b"cbuiltin" in file.read_bytes() or file.suffix == ".pt" for file in tmp_path.iterdir())


def test_weights_that_two_layers_share_are_written_once_and_put_back_into_both(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        net[2].weight = net[0].weight
        return net

    net, other = tied(), tied()
    Epoch(1, {}, model=net).writer(tmp_path)  # type: ignore[misc]
    assert restore(tmp_path, model=other) == 2
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_compiled_network_is_saved_under_the_names_of_the_plain_one(tmp_path: Path) -> None:
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    Epoch(1, {}, model=torch.compile(net)).writer(tmp_path)  # type: ignore[misc, arg-type]
    restore(tmp_path, model=other)
    assert torch.equal(net.weight, other.weight)


def test_several_optimizers_and_a_generator_of_ones_own_are_put_back(tmp_path: Path) -> None:
    def parts() -> tuple[nn.Module, dict[str, Any]]:
        net = nn.Linear(2, 2)
        return net, {"optimizer": [torch.optim.Adam(net.parameters()), torch.optim.SGD(net.parameters(), lr=0.1)],
                     "scheduler": {"draws": torch.Generator().manual_seed(1)}}  # fmt: skip

    net, mine = parts()
    torch.rand(3, generator=mine["scheduler"]["draws"])
    Epoch(4, {}, model=net, **mine).writer(tmp_path)  # type: ignore[misc]
    expected = torch.rand(1, generator=mine["scheduler"]["draws"])
    other, again = parts()
    assert restore(tmp_path, model=other, **again) == 5
    assert torch.rand(1, generator=again["scheduler"]["draws"]) == expected


def test_a_checkpoint_of_other_parts_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    Epoch(1, {}, model=net, optimizer=torch.optim.Adam(net.parameters())).writer(tmp_path)  # type: ignore[misc]
    with pytest.raises(ValueError, match="the checkpoint has the state of a optimizer, restore has none"):
        restore(tmp_path, model=net)
    with pytest.raises(ValueError, match="those of another network"):
        restore(tmp_path, model=nn.Linear(3, 2), optimizer=torch.optim.Adam(net.parameters()))
    (tmp_path / "own").mkdir()
    with pytest.raises(ValueError, match=r"not written by Epoch\(number, metrics, model=…\)"):
        restore(tmp_path / "own", model=net)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1)}, "needs model= too"),
        ({"model": "resnet"}, "model must be a torch module, but is a str"),
        ({"model": nn.Linear(1, 1), "scheduler": 3}, "scheduler must have a state_dict"),
    ],
)
def test_an_epoch_says_at_once_what_cannot_be_saved(wrong: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        Epoch(1, {}, **wrong)


def test_a_state_that_no_file_can_hold_is_refused_by_its_place(tmp_path: Path) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"inner": [object()]}

        def load_state_dict(self, state: Any) -> None: ...

    with pytest.raises(TypeError, match="scheduler/inner/0 is a object, which a checkpoint cannot hold"):
        Epoch(1, {}, model=nn.Linear(1, 1), scheduler=Odd()).writer(tmp_path)  # type: ignore[misc]


def test_a_lazy_network_that_was_never_called_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="is not initialised yet"):
        Epoch(1, {}, model=nn.LazyLinear(2)).writer(tmp_path)  # type: ignore[misc]


def test_without_a_checkpoint_the_first_epoch_is_due() -> None:
    assert restore(None, model=nn.Linear(1, 1)) == 1


plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.text(max_size=4) | st.integers(0, 9)


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(children, max_size=3)
    mapped = st.dictionaries(keys, children, max_size=3)
    return many | many.map(tuple) | mapped | mapped.map(OrderedDict) | mapped.map(lambda d: defaultdict(list, d))


@given(st.recursive(plain, nested, max_leaves=12))
def test_whatever_a_state_consists_of_comes_back_as_it_was(value: Any) -> None:
    tensors: dict[str, torch.Tensor] = {}
    import json

    again = state._unpacked(json.loads(json.dumps(state._packed(value, tensors, ""))), tensors)
    assert again == value
    if not isinstance(value, defaultdict):
        assert type(again) is type(value)


def test_counters_arrays_sets_and_numbers_of_numpy_come_back_too() -> None:
    tensors: dict[str, torch.Tensor] = {}
    value = {"a": Counter({3: 2}), "b": np.arange(3), "c": {1, 2}, "d": np.float64(0.5), 5: torch.Size([2, 3])}
    again = state._unpacked(state._packed(value, tensors, ""), tensors)
    assert again["a"][3] == 2
    assert again["a"][4] == 0
    assert again["b"].tolist() == [0, 1, 2]
    assert (again["c"], again["d"], again[5]) == ({1, 2}, 0.5, torch.Size([2, 3]))


def test_the_generators_go_on_from_where_they_stood() -> None:
    randomness.seed(4)
    stood = randomness.states()
    drawn = random.random(), float(np.random.rand()), float(torch.rand(1))
    randomness.put_back(stood)
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == drawn
