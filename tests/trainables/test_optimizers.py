"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainables.optimizers import OPTIMIZERS, SCHEDULES, learning_rates, make_optimizer, set_learning_rate

ENDING_AT_ZERO = ("linear", "cosine", "one_cycle")

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
schedules = st.sampled_from(sorted(SCHEDULES))


@every_optimizer
def test_every_optimizer_goes_down_a_quadratic(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = make_optimizer(name, model, lr=0.02)
    losses = []
    for _ in range(60):
        loss = sum(parameter.square().sum() for parameter in model.parameters())
        assert isinstance(loss, torch.Tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


TRAINED = """
import sys
import torch
from torch import nn
from trainables.optimizers import OPTIMIZERS, load_state_tensors, make_optimizer, state_tensors

for name in OPTIMIZERS:
    model = nn.Linear(4, 3)
    optimizer = make_optimizer(name, model, lr=0.1)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    load_state_tensors(optimizer, state_tensors(optimizer).items())
print("torch._dynamo" in sys.modules)
"""


def test_no_optimizer_imports_the_compiler_which_takes_a_second() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


@every_optimizer
def test_every_optimizer_steps_as_torchs_own_bit_for_bit(name: str) -> None:
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    one = make_optimizer(name, ours, lr=0.1, weight_decay=0.01)
    # The groups tell all that theirs needs, in its own words.
    kind: Any = type(one).__mro__[1]
    assert kind.__module__.startswith("torch.optim")
    known = [{**group, "params": [theirs.weight if p.ndim > 1 else theirs.bias for p in group["params"]]}
             for group in one.param_groups]  # fmt: skip
    other = kind(known)
    for number in range(5):
        for model, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            model(torch.full((2, 4), number + 1.0)).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@every_optimizer
def test_weight_decay_moves_matrices_but_not_biases_and_batch_norm(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    optimizer = make_optimizer(name, model, lr=1e-3, weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == {"0.weight", "3.weight"}
    assert all(model.get_parameter(key).norm() < before[key].norm() for key in moved)


@every_optimizer
def test_no_weight_decay_means_that_no_gradient_moves_nothing(name: str) -> None:
    model = nn.Linear(4, 3)
    before = model.weight.clone()
    optimizer = make_optimizer(name, model, lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {"momentum": 0.0}),
        ("sgd", {"momentum": 0.9, "nesterov": False}),
        ("adam", {"beta1": 0.8, "beta2": 0.99}),
        ("adamw", {"beta1": 0.8, "beta2": 0.99}),
        ("rmsprop", {"momentum": 0.5, "alpha": 0.9}),
    ],
    ids=str,
)
def test_the_options_of_an_optimizer_are_taken(name: str, options: dict[str, Any]) -> None:
    group = make_optimizer(name, nn.Linear(2, 2), lr=0.1, **options).param_groups[0]
    known = {**group, **dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))}
    assert {key: known[key] for key in options} == options


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown train/optimizer 'sdg'; known are sgd, adam"):
        make_optimizer("sdg", nn.Linear(2, 2), lr=0.1)


@pytest.mark.parametrize(("name", "option"), [("adam", "momentum"), ("sgd", "beta1"), ("rmsprop", "nesterov")])
def test_an_option_of_another_optimizer_is_refused(name: str, option: str) -> None:
    with pytest.raises(TypeError, match=f"train/{option} is unknown under train/optimizer={name}, which has"):
        make_optimizer(name, nn.Linear(2, 2), lr=0.1, **{option: 0.5})


@every_optimizer
def test_a_learning_rate_holds_for_all_parameters_from_the_next_step_on(name: str) -> None:
    model = nn.Linear(4, 3)
    optimizer = make_optimizer(name, model, lr=0.1)
    set_learning_rate(optimizer, 0.0)
    before = [parameter.clone() for parameter in model.parameters()]
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))


def rates_of(schedule: str, steps: int, warmup: float = 0.0, lr: float = 0.5) -> list[float]:
    rate = learning_rates(schedule=schedule, lr=lr, steps=steps, warmup=warmup)
    return [rate(step) for step in range(steps)]


@given(schedule=schedules, steps=st.integers(1, 400), warmup=st.floats(0, 1, exclude_max=True), lr=st.floats(1e-6, 10))
def test_a_learning_rate_is_never_negative_and_never_above_its_peak(
    schedule: str, steps: int, warmup: float, lr: float
) -> None:
    rates = rates_of(schedule, steps, warmup, lr)
    assert all(math.isfinite(rate) and 0 <= rate <= lr * (1 + 1e-9) for rate in rates)


@given(schedule=schedules.filter("one_cycle".__ne__), steps=st.integers(2, 400), warmup=st.floats(0, 0.9))
def test_a_warmup_rises_evenly_to_the_peak(schedule: str, steps: int, warmup: float) -> None:
    rising = round(warmup * steps)
    expected = [0.5 * (step + 1) / rising for step in range(rising)]
    assert rates_of(schedule, steps, warmup)[:rising] == pytest.approx(expected)


@given(schedule=schedules.filter("one_cycle".__ne__), steps=st.integers(1, 400), warmup=st.floats(0, 0.9))
def test_what_follows_the_warmup_starts_at_the_peak_and_never_rises(schedule: str, steps: int, warmup: float) -> None:
    rest = rates_of(schedule, steps, warmup)[round(warmup * steps) :]
    assert rest[:1] in ([0.5], [])
    assert rest == sorted(rest, reverse=True)


@given(steps=st.integers(100, 400), warmup=st.floats(0.1, 0.9))
def test_the_warmup_of_one_cycle_is_how_long_it_rises(steps: int, warmup: float) -> None:
    rates = rates_of("one_cycle", steps, warmup)
    peak = rates.index(max(rates))
    assert peak == pytest.approx(warmup * steps, abs=2)
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)


@given(steps=st.integers(10, 400))
def test_one_cycle_rises_for_three_tenths_and_then_falls(steps: int) -> None:
    rates = rates_of("one_cycle", steps)
    peak = rates.index(max(rates))
    assert abs(peak - 0.3 * steps) <= 1
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(0.5 / 25)


@given(schedule=st.sampled_from(ENDING_AT_ZERO), steps=st.integers(50, 400), warmup=st.floats(0, 0.5))
def test_schedules_that_fall_end_near_zero(schedule: str, steps: int, warmup: float) -> None:
    assert rates_of(schedule, steps, warmup)[-1] < 0.05 * 0.5


def test_steps_divide_by_ten_twice() -> None:
    rates = rates_of("step", 100, lr=1.0)
    assert rates == pytest.approx([1.0] * 50 + [0.1] * 25 + [0.01] * 25)


def test_one_cycle_has_the_shape_of_torchs() -> None:
    steps = 1000
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=steps, pct_start=0.3)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if len(expected) < steps else None
    # Torch counts phases from step to step, we the share of all steps: at most two steps apart.
    assert rates_of("one_cycle", steps) == pytest.approx(expected, abs=0.5 * 0.01)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown schedule 'cosin'; known are constant, .*cosine"):
        learning_rates(schedule="cosin", lr=0.1, steps=10)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 2.0, float("nan")])
def test_a_warmup_that_leaves_no_steps_is_refused(warmup: float) -> None:
    with pytest.raises(ValueError, match="train/warmup must be a share from 0 to below 1, but got"):
        learning_rates(schedule="cosine", lr=0.1, steps=10, warmup=warmup)
