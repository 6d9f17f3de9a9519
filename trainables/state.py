"""The state of a trial of a user's own in a checkpoint: weights, optimizer, schedule, random generators.

`weights.safetensors` has the network's weights by the names of its `state_dict`, as anybody reads them. All else is in
`state.json`, which names its tensors in `state.safetensors`. No pickle is written or read.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainables import randomness
from trainables.classifier import WEIGHTS

STATE = "state.json"
TENSORS = "state.safetensors"

SEQUENCES: Mapping[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "Size": torch.Size,
}
MAPPINGS: Mapping[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "mappingproxy": dict,
}


def save(folder: Path, number: int, random: randomness.States, **parts: Any) -> None:
    """Write the state after epoch `number` into `folder`, which exists.

    `parts` are `model`, a module, and what else has a state: objects with a `state_dict` (optimizers, schedules,
    scalers) or a `get_state` (generators), None, or lists, tuples and dicts of them. `random` is where the default
    random generators stood. Raises TypeError for a state that no such file can hold; the message names the place.
    """
    model = plain(parts.pop("model"))
    weights, others = weights_of(model)
    tensors: dict[str, Tensor] = {}
    states = {name: _state_of(part) for name, part in parts.items()}
    document = _packed({"epoch": number, "parts": states, "random": random, "others": others}, tensors, "")
    write_tensors(weights, folder / WEIGHTS)
    write_tensors(tensors, folder / TENSORS)
    (folder / STATE).write_text(json.dumps(document))


def restore(folder: Path, **parts: Any) -> int:
    """Put the state in `folder` back into `parts`, which are those that `save` got; return the number of its epoch.

    The default random generators go on from where they stood. Raises ValueError for a checkpoint that has another
    make, or whose parts are others.
    """
    whole = _read(folder)
    _load(plain(parts.pop("model")), folder, whole["others"])
    states: Mapping[str, Any] = whole["parts"]
    for name in sorted({*states, *parts}):
        if (states.get(name) is None) != (parts.get(name) is None):
            has, lacks = ("the checkpoint", "restore") if parts.get(name) is None else ("restore", "the checkpoint")
            raise ValueError(f"{has} has the state of a {name}, {lacks} has none; name the same parts in both")
        _put_into(parts.get(name), states.get(name))
    randomness.put_back(whole["random"])
    return int(whole["epoch"])


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / STATE).is_file():
        raise ValueError(f"{folder} has no {STATE}: it was not written by Epoch(number, metrics, model=…)")
    whole: dict[str, Any] = _unpacked(json.loads((folder / STATE).read_text()), read_tensors(folder / TENSORS))
    return whole


def plain(model: nn.Module) -> nn.Module:
    """The network itself, without what `torch.compile` and data parallelism wrap around it."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, "_modules", {}).get(name)
        if isinstance(inner, nn.Module) and (name == "_orig_mod" or type(model).__module__.startswith("torch.nn.")):
            return plain(inner)
    return model


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put what `folder` has of a network into `model`. Raises ValueError if it is that of another one."""
    _load(model, folder, _read(folder)["others"])


def _load(model: nn.Module, folder: Path, others: Mapping[str, Any]) -> None:
    try:
        model.load_state_dict({**read_tensors(folder / WEIGHTS), **others})
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"the weights in {folder} are those of another network ({why})") from None


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write `tensors` to a file of safetensors; those that are one and the same are written once.

    They lie in the plain memory order there, so any reader gets the same file.
    """
    from safetensors.torch import save_file

    kept: dict[str, Tensor] = {}
    first: dict[Any, str] = {}
    same: dict[str, str] = {}
    for name, tensor in tensors.items():
        detached = tensor.detach()
        place = (detached.data_ptr(), tuple(detached.shape), detached.stride(), detached.dtype, str(detached.device))
        known = first.setdefault(place, name) if detached.numel() else name
        if known != name:
            same[name] = known
        else:
            whole = detached.untyped_storage().nbytes() == detached.numel() * detached.element_size()
            kept[name] = detached.contiguous() if whole else detached.clone(memory_format=torch.contiguous_format)
    save_file(kept, path, metadata={"same": json.dumps(same)} if same else None)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What `write_tensors` wrote, on the CPU."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = load_file(path)
    with safe_open(path, framework="pt") as file:
        same: dict[str, str] = json.loads((file.metadata() or {}).get("same", "{}"))
    return {**tensors, **{name: tensors[known] for name, known in same.items()}}


def weights_of(model: nn.Module, *, lazy: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a network's state, and what else its modules keep (`get_extra_state`).

    Raises TypeError for layers that take their shape from a first call they have not had; `lazy` passes them over.
    """
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    waiting = [name for name, value in tensors.items() if is_lazy(value)]
    if waiting and not lazy:
        raise TypeError(f"the model's {waiting[0]} is not initialised yet: call the model before it is saved")
    others = {name: value for name, value in state.items() if name not in tensors}
    return {name: value for name, value in tensors.items() if name not in waiting}, others


def _state_of(part: Any) -> Any:
    if part is None:
        return None
    if hasattr(part, "state_dict"):
        return dict(part.state_dict())
    if hasattr(part, "get_state"):
        return part.get_state()
    if isinstance(part, Mapping):
        return {name: _state_of(each) for name, each in part.items()}
    return [_state_of(each) for each in part]


def _put_into(part: Any, state: Any) -> None:
    if part is None:
        return
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    elif hasattr(part, "set_state"):
        part.set_state(state)
    elif isinstance(part, Mapping):
        for name, each in part.items():
            _put_into(each, state[name])
    else:
        for each, one in zip(part, state, strict=True):
            _put_into(each, one)


def _packed(value: Any, tensors: dict[str, Tensor], path: str) -> Any:
    """`value` as JSON; plain values are themselves, all others an object of one key that says what they are."""
    import numpy

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, numpy.ndarray):
        tensors[path] = torch.from_numpy(value.copy())
        return {"array": path}
    if isinstance(value, numpy.generic):
        return _packed(value.item(), tensors, path)
    kind = "dict" if isinstance(value, defaultdict) else type(value).__name__
    if kind in MAPPINGS and isinstance(value, Mapping):
        if all(isinstance(name, str) for name in value) and kind == "dict":
            return {"dict": {name: _packed(each, tensors, f"{path}/{name}") for name, each in value.items()}}
        pairs = [[_packed(name, tensors, f"{path}/key"), _packed(each, tensors, f"{path}/{name}")]
                 for name, each in value.items()]  # fmt: skip
        return {kind: pairs}
    if kind in SEQUENCES:
        return {kind: [_packed(each, tensors, f"{path}/{place}") for place, each in enumerate(value)]}
    where = path.removeprefix("/parts").removeprefix("/") or "the state"
    raise TypeError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold; leave that part out, or give save="
    )


def _unpacked(stored: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(stored, dict):
        return stored
    [(kind, inner)] = stored.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "array":
        return tensors[inner].numpy()
    if kind == "dict" and isinstance(inner, dict):
        return {name: _unpacked(each, tensors) for name, each in inner.items()}
    if kind in MAPPINGS:
        return MAPPINGS[kind]([(_unpacked(name, tensors), _unpacked(each, tensors)) for name, each in inner])
    return SEQUENCES[kind]([_unpacked(each, tensors) for each in inner])
