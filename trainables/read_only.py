"""Data that all trials of a machine share, in a form in which no trial can change them.

Workers map the data set from shared memory. torch has no tensors that cannot be written to, and what one trial changed
in place would be the data of all that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from trainables.data import Data, Split

COPIES: Mapping[str, Callable[..., Any]] = {
    "__deepcopy__": lambda plain, memo: plain.clone(),
    "__reduce_ex__": lambda plain, protocol: plain.__reduce_ex__(protocol),
}
"""What makes a plain tensor of a read-only one: who has a copy of their own may change it."""

HARMLESS = ("requires_grad_", "retain_grad", "share_memory_", "rename_", "__setstate__")
"""Methods whose names say that they write, and that leave the values alone."""


class ReadOnly(Tensor):
    """A tensor that raises RuntimeError where it, or a view of it, would be changed in place; a copy is a plain tensor.

    Its `numpy()` is an array that cannot be written to, either.
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` as for a plain tensor, unless it would write."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if _writes(name, args, kwargs):
            raise RuntimeError(  # a TypeError would make `x += 1` fall back to `x = x + 1`
                f"the data are shared by all trials and cannot be changed in place ({name.strip('_')}); "
                "clone() them first"
            )
        with torch._C.DisableTorchFunctionSubclass():  # or all that is asked here would come here again
            if name in COPIES:
                return COPIES[name](args[0].as_subclass(Tensor), *args[1:])
            result = func(*args, **kwargs)
            if name in ("numpy", "__array__"):
                result.flags.writeable = False
                return result
            return _marked(
                result, {each.untyped_storage().data_ptr() for each in _read_only([*args, *kwargs.values()])}
            )


def read_only(data: Data) -> Data:
    """`data` with images and labels that cannot be changed, which lie where they lay, and no way to the test part."""
    _leave_to_python()
    return replace(data, train=_split(data.train), val=_split(data.val), test=None)


@cache
def _leave_to_python() -> None:
    """Let `torch.compile` trace nothing of this, and run what is given such a tensor uncompiled."""
    import torch._dynamo.config as compiler  # an optimizer imports it at its first step in any case
    from torch._dynamo.eval_frame import skip_code

    compiler.nontraceable_tensor_subclasses.add(ReadOnly)
    for function in (vars(ReadOnly)["__torch_function__"].__func__, _writes, _has_read_only, _read_only, _marked):
        skip_code(function.__code__)


def _split(split: Split) -> Split:
    return replace(split, images=split.images.as_subclass(ReadOnly), labels=split.labels.as_subclass(ReadOnly))


def _writes(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if name in HARMLESS:
        return False
    if "out" in kwargs and _has_read_only([kwargs["out"]]):
        return True
    in_place = name in ("__setitem__", "__set__", "set_") or kwargs.get("inplace") is True
    in_place |= name.endswith("_") and not name.endswith("__")
    in_place |= name.startswith("__i") and name.endswith("__") and name not in ("__invert__", "__int__", "__index__")
    return in_place and _has_read_only(args[:1])


def _has_read_only(values: Sequence[Any]) -> bool:
    return next(_read_only(values), None) is not None


def _read_only(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, ReadOnly):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _read_only(value)


def _marked(result: Any, places: set[int]) -> Any:
    """`result`, read-only where it shares its memory with what is read-only, plain elsewhere."""
    if isinstance(result, Tensor):
        shares = result.layout is torch.strided and result.untyped_storage().data_ptr() in places
        wanted = ReadOnly if shares else Tensor
        return (
            result if type(result) is wanted or isinstance(result, torch.nn.Parameter) else result.as_subclass(wanted)
        )
    if type(result) in (list, tuple):
        return type(result)(_marked(each, places) for each in result)
    return result
