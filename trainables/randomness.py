"""The default random generators of Python, NumPy and torch: seeded, taken out, put back.

Nothing of ours draws from them but fresh weights and dropout. What a user's own code draws does, and then belongs to
its trial.
"""

from __future__ import annotations

import random
from typing import Any

import torch

States = dict[str, Any]
"""The state of each generator by name, as plain values and tensors."""


def seed(number: int) -> None:
    """Start all of them from `number` (0 or more), also those of GPUs that are used later."""
    import numpy

    random.seed(number)
    numpy.random.seed(number % 2**32)
    torch.manual_seed(number)


def states() -> States:
    """Where all of them stand; those of GPUs only where this process uses some."""
    import numpy

    found: States = {"python": random.getstate(), "numpy": numpy.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def put_back(stood: States) -> None:
    """Let all of them go on from where they `stood`."""
    import numpy

    random.setstate(stood["python"])
    numpy.random.set_state(stood["numpy"])
    torch.set_rng_state(stood["torch"])
    if "cuda" in stood and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(stood["cuda"][: torch.cuda.device_count()])
    if "mps" in stood and torch.backends.mps.is_available():
        torch.mps.set_rng_state(stood["mps"])
