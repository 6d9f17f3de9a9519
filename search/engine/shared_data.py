"""The data set as all workers of a node share it: in Ray's object store, or in files that each of them maps.

Nothing of it is copied. Only on the machine of this process can files be mapped that lie in its user's cache.
"""

from __future__ import annotations

import warnings
from typing import Any

_FETCHED: dict[str, Any] = {}
"""The data set of the search this process works for, by its object's id."""


def put_data(data: Any, *, here: bool = False) -> tuple[Any, ...]:
    """Put train and validation part into Ray's object store, from which the workers of a node map them uncopied.

    Of parts that are mapped from files only the place is put there, if all workers run `here`, on this machine.
    Returns the reference in a tuple: a bare one among the arguments of a task Ray would replace by what it refers to.
    """
    import ray

    stored = {"classes": data.classes, "mean": data.mean, "std": data.std, "groups": data.groups}
    for name, split in (("train", data.train), ("val", data.val)):
        stored[f"y_{name}"] = split.labels.numpy()
        mapped = here and split.file is not None
        stored[f"x_{name}"] = (split.file, tuple(split.images.shape)) if mapped else split.images.numpy()
    return (ray.put(stored),)


def get_data(data: tuple[Any, ...]) -> Any:
    """The data set that `put_data` put away: tensors over Ray's shared memory, not copied."""
    import ray
    import torch

    from trainables.data import Data, Split

    stored = ray.get(data[0])

    def tensor(array: Any) -> torch.Tensor:
        if isinstance(array, tuple):
            import numpy as np

            file, shape = array
            array = np.memmap(file.path, np.uint8, "r", file.offset, shape)
        # Ray's arrays are read-only, which torch tells once and does not heed; `trainables.read_only` does.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(array)

    train, val = (Split(tensor(stored[f"x_{part}"]), tensor(stored[f"y_{part}"])) for part in ("train", "val"))
    return Data(train, val, stored["classes"], stored["mean"], stored["std"], groups=stored["groups"])


def get_data_once(data: tuple[Any, ...]) -> Any:
    """The same; a process fetches it once, and uses it trial after trial."""
    key = data[0].hex()
    if key not in _FETCHED:
        _FETCHED.clear()
        _FETCHED[key] = get_data(data)
    return _FETCHED[key]
