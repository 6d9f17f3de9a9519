"""Which trials go on and which stop: pure decisions, without Ray. Each scheduler is one file, and one line below."""

from __future__ import annotations

from collections.abc import Callable

from search.decide.schedulers.asha import Asha
from search.decide.schedulers.freeze_thaw import FreezeThaw
from search.decide.schedulers.no_stopping import NoStopping
from search.decide.schedulers.scheduler import Scheduler
from spaces.study import Study

SCHEDULERS: dict[str, Callable[[Study], Scheduler]] = {"asha": Asha, "none": NoStopping, "freeze_thaw": FreezeThaw}
"""Every scheduler by its name on the command line, as a function of the study."""
