"""What to try next. Each sampler is one file, and one line below."""

from __future__ import annotations

from collections.abc import Callable

from search.decide.samplers.freeze_thaw import FreezeThaw
from search.decide.samplers.grid import Grid
from search.decide.samplers.optuna_sampler import OptunaSampler, random_draws, tpe
from search.decide.samplers.sampler import Sampler
from spaces.study import Study

SAMPLERS: dict[str, Callable[[Study, int], Sampler]] = {
    "tpe": lambda study, seed: OptunaSampler(study, seed, tpe),
    "random": lambda study, seed: OptunaSampler(study, seed, random_draws),
    "grid": Grid,
    "freeze_thaw": FreezeThaw,
}
"""Every sampler by its name on the command line, as a function of study and seed."""
