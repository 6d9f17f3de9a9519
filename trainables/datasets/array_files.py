"""Files of arrays, read without running what is in them: `.npz`, `.npy`, `.safetensors`, what `torch.save` wrote."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.datasets.files import is_pointer
from trainables.datasets.source import DataError

SUFFIXES = (".npz", ".npy", ".pt", ".pth", ".safetensors")


def load(path: Path, limit: int) -> dict[str, Any]:
    """The arrays in a file by their names; a lone array is named after the file.

    Raises DataError for a file that is damaged, holds objects of Python's, or would take more than `limit` bytes.
    """
    if path.suffix.lower() == ".npz":
        return _npz(path, limit)
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path, limit)
    return {path.stem: _npy(path, limit)} if path.suffix.lower() == ".npy" else _torch(path, limit)


def _npz(path: Path, limit: int) -> dict[str, Any]:
    import numpy as np

    _check_heads(path, limit)
    try:
        # Opened here, because np.load leaves a file that is no archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with archive:
                return {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile alone raises seven kinds for damaged files
        raise _unreadable(path, ".npz", error) from None


def _check_heads(path: Path, limit: int) -> None:
    """Raise DataError if what the heads of an `.npz` announce is too large, or has more labels than images.

    A thousand bytes can unpack to gigabytes, so this comes before anything is unpacked.
    """
    told: dict[str, tuple[int, ...]] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    shape, dtype = _announced(file)
                told[member.filename.removesuffix(".npy")] = shape
                total += max(math.prod(shape) * dtype.itemsize, member.file_size)
    except Exception:  # damaged, or no archive: who reads it says so
        return
    if total > limit:
        raise too_large(path, total, limit)
    for part in ("train", "test"):
        images, labels = told.get(f"x_{part}"), told.get(f"y_{part}")
        if images and labels and len(images) > 2 and len(labels) == 1 and images[0] != labels[0]:
            raise DataError(f"{path}: x_{part} has {images[0]} images for {labels[0]} labels")


def _announced(file: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of the array that `file` says that it holds."""
    from numpy.lib import format as npy

    first = npy.read_magic(file) == (1, 0)
    shape, _, dtype = npy.read_array_header_1_0(file) if first else npy.read_array_header_2_0(file)
    return shape, dtype


def _npy(path: Path, limit: int) -> Any:
    """A lone array, mapped: it takes memory only where it is looked at."""
    import numpy as np

    try:
        with path.open("rb") as file:
            shape, dtype = _announced(file)
        if math.prod(shape) * dtype.itemsize > limit:
            raise too_large(path, math.prod(shape) * dtype.itemsize, limit)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, ".npy", error) from None


def _safetensors(path: Path, limit: int) -> dict[str, Any]:
    from safetensors.torch import load_file

    total = path.stat().st_size
    if total > limit:
        raise too_large(path, total, limit)
    try:
        stored = load_file(path)
    except Exception as error:
        raise _unreadable(path, ".safetensors", error) from None
    return {name: _array(each) for name, each in stored.items()}


def _torch(path: Path, limit: int) -> dict[str, Any]:
    """Tensors that `torch.save` wrote: by name, as a pair of images and labels, or as such pairs for several parts."""
    import torch

    try:
        stored = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception:  # whose text tells how to run what is in the file
        raise DataError(
            f"{path} cannot be read as tensors; save a dictionary of tensors x_train and y_train, or a pair of them, "
            "and nothing else"
        ) from None
    named = _named(stored)
    if not named:
        raise DataError(f"{path} holds no tensors for images and labels; save a dictionary with x_train and y_train")
    total = sum(each.nbytes for each in named.values())
    if total > limit:
        raise too_large(path, total, limit)
    return {name: _array(each) for name, each in named.items()}


def _array(tensor: Any) -> Any:
    """A tensor as an array; a list of numbers or texts is one already."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        return tensor
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).detach().numpy()


def _named(stored: Any) -> dict[str, Any]:
    """The tensors in `stored` by the names that arrays have; labels and names of classes may be plain lists."""
    import numpy as np
    import torch

    if isinstance(stored, Mapping):
        named: dict[str, Any] = {str(key): value for key, value in stored.items() if isinstance(value, torch.Tensor)}
        for key, value in stored.items():
            if isinstance(value, (tuple, list)) and value and {type(each) for each in value} in ({int}, {str}):
                named[str(key)] = np.array(value)
            elif isinstance(value, (tuple, list, Mapping)):
                named |= {f"{inner}_{key}": tensor for inner, tensor in _named(value).items()}
        return named
    if not isinstance(stored, (tuple, list)):
        return {}
    if len(stored) == 2 and all(isinstance(each, torch.Tensor) for each in stored):
        return {"x": stored[0], "y": stored[1]}
    if len(stored) in (4, 6) and all(isinstance(each, torch.Tensor) for each in stored):
        parts = ("train", "test") if len(stored) == 4 else ("train", "val", "test")
        images = [each for each in stored if each.ndim > 1]
        labels = [each for each in stored if each.ndim <= 1]
        if len(images) != len(labels):  # labels (N, 1): by their order
            images, labels = list(stored[0::2]), list(stored[1::2])
        return {
            f"{kind}_{part}": each
            for kind, of in (("x", images), ("y", labels))
            for part, each in zip(parts, of, strict=True)
        }
    if len(stored) in (2, 3) and all(isinstance(each, (tuple, list, Mapping)) for each in stored):
        parts = ("train", "test") if len(stored) == 2 else ("train", "val", "test")
        return {
            f"{name}_{part}": tensor
            for part, each in zip(parts, stored, strict=True)
            for name, tensor in _named(each).items()
        }
    return {}


def too_large(path: Path, total: int, limit: int) -> DataError:
    """What is said of a file that would take `total` bytes."""
    return DataError(
        f"{path} would take {total:,} bytes in memory, and {limit:,} are allowed; --data-limit allows more, if the "
        "machine has them"
    )


def _unreadable(path: Path, kind: str, error: Exception) -> DataError:
    if is_pointer(path):
        return DataError(f"{path} is a pointer of Git LFS; `git lfs pull` fetches the file")
    why = " ".join(str(error).split())[:200] or type(error).__name__
    if "pickle" in why or "Python objects" in why:  # whose text tells how to run what is in the file
        why = "it holds objects of Python's; save numbers or text"
    return DataError(f"{path} cannot be read as {kind} ({why}); copy or save it again")
