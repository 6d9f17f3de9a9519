"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature, unwrap
from math import cos, pi
from typing import Any

import torch
from torch import nn, optim
from torch.optim import Optimizer

from trainables.layers import at_least

Groups = list[dict[str, Any]]


def _uncompiled(kind: type[Optimizer]) -> Any:
    """`kind` without what torch wraps around its methods to keep `torch.compile` out of them.

    At their first call the wrappers import the whole compiler for that: a second and 75 MB in every process, for
    nothing, since nothing is compiled here. What they wrap is left as it is.
    """
    methods = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    plain = {name: unwrap(getattr(kind, name)) for name in methods}
    return type(kind.__name__, (kind,), {**plain, "step": torch.no_grad()(unwrap(kind.step))})


SGD, Adam, AdamW, RMSprop = map(_uncompiled, (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop))


def _sgd(groups: Groups, *, momentum: float = 0.9, nesterov: bool = True, **common: Any) -> Optimizer:
    return SGD(groups, momentum=momentum, nesterov=nesterov and momentum > 0, **common)


def _adam(groups: Groups, *, beta1: float = 0.9, beta2: float = 0.999, **common: Any) -> Optimizer:
    return Adam(groups, betas=(float(beta1), float(beta2)), **common)


def _adamw(groups: Groups, *, beta1: float = 0.9, beta2: float = 0.999, **common: Any) -> Optimizer:
    return AdamW(groups, betas=(float(beta1), float(beta2)), **common)


def _rmsprop(groups: Groups, *, momentum: float = 0.0, alpha: float = 0.99, **common: Any) -> Optimizer:
    return RMSprop(groups, momentum=momentum, alpha=alpha, **common)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for an unknown optimizer `name`, TypeError for one of `options` that it does not have."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown train/optimizer {name!r}; known are {', '.join(OPTIMIZERS)}")
    known = [key for key, kind in signature(OPTIMIZERS[name]).parameters.items() if kind.kind is kind.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(f"train/{option} is unknown under train/optimizer={name}, which has {', '.join(known)}")
        if option != "nesterov":
            at_least(f"train/{option}", options[option], 0, 0.99999)


def make_optimizer(
    name: str,
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    graph: bool = False,
    slower: Mapping[str, float] | None = None,
    **options: Any,
) -> Optimizer:
    """The optimizer `name` over the parameters of `model` that are to be trained.

    `weight_decay` is L2 regularisation, except for adamw, where it is decoupled (Loshchilov & Hutter 2019). It acts on
    matrices and kernels only, not on biases and batch norm. Parameters whose names begin with a key of `slower` learn
    so many times as fast as the others. With `graph` the learning rate lives on the device and all state with it, as a
    captured CUDA graph needs. Raises as `check_options` does.
    """
    check_options(name, options)
    factors: dict[float, list[nn.Parameter]] = {}
    for path, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((value for prefix, value in (slower or {}).items() if path.startswith(prefix)), 1.0)
            factors.setdefault(factor, []).append(parameter)
    groups: Groups = []
    for factor, parameters in factors.items():
        rate: Any = lr * factor
        if graph:
            rate = torch.tensor(rate, device=parameters[0].device)
        decayed = [p for p in parameters if p.ndim >= 2]
        plain = [p for p in parameters if p.ndim < 2]
        for chosen, decay in ((decayed, weight_decay), (plain, 0.0)):
            groups.append({"params": chosen, "weight_decay": decay, "lr": rate, "factor": factor})
    common: dict[str, Any] = {"lr": lr, "foreach": True}
    if graph:
        common = {"capturable": True, "foreach": True} if name != "sgd" else {"fused": True}
        common["lr"] = next(group["lr"] for group in groups)
    return OPTIMIZERS[name]([group for group in groups if group["params"]], **common, **options)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Use `lr` from the next step on, times the group's own factor; in place where a captured graph holds it."""
    written: list[torch.Tensor] = []
    for group in optimizer.param_groups:
        rate = lr * group["factor"]
        if not isinstance(group["lr"], torch.Tensor):
            group["lr"] = rate
        elif not any(group["lr"] is each for each in written):  # one tensor for all groups of a factor
            written.append(group["lr"].fill_(rate))


def _one_cycle(progress: float, rise: float = 0.3) -> float:
    start = 1 / 25
    if progress < rise:
        return start + (1 - start) * (1 - cos(pi * progress / rise)) / 2
    return (1 + cos(pi * (progress - rise) / (1 - rise))) / 2


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "step": lambda progress: 0.1 ** sum(progress >= mark for mark in (0.5, 0.75)),
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: (1 + cos(pi * progress)) / 2,
    "one_cycle": _one_cycle,
}
"""Factor on the peak learning rate after `progress`, the share of all steps done, in [0, 1).

`one_cycle` rises for the first 30 % and falls to zero (Smith & Topin 2018; two half cosines, as in
torch's OneCycleLR); `step` divides by ten at a half and at three quarters.
"""


def learning_rates(*, schedule: str, lr: float, steps: int, warmup: float = 0.0) -> Callable[[int], float]:
    """The learning rate of each step `0 .. steps - 1`.

    `lr` is the peak. The first `warmup` (share of all steps, in [0, 1)) rise to it linearly, and the schedule spans the
    rest; `one_cycle` has a rise of its own, whose length `warmup` sets.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; known are {', '.join(SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"train/warmup must be a share from 0 to below 1, but got {warmup}")
    factor, rising = SCHEDULES[schedule], round(warmup * steps)
    if schedule == "one_cycle" and warmup:
        factor, rising = partial(_one_cycle, rise=warmup), 0

    def rate(step: int) -> float:
        if step < rising:
            return lr * (step + 1) / rising
        return lr * factor((step - rising) / max(1, steps - rising))

    return rate


def state_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state, flat: `{"0/momentum_buffer": tensor, …}`, by position of the parameter."""
    return {
        f"{position}/{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for position, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def load_state_tensors(optimizer: Optimizer, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Put back what `state_tensors` took out; learning rates are set by the schedule at every step."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors:
        position, name = key.split("/", 1)
        state.setdefault(int(position), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                # Files hold the plain memory order; fused kernels want that of the weights.
                values[name] = torch.empty_like(parameter).copy_(value)
