"""Why a trial goes on that the scheduler would stop or pause."""

from __future__ import annotations

import random

from search.record.events import EpochReport
from search.record.trial import AUDIT, START, UNSAVED, Trial
from search.settings import Options


def why_spared(trial: Trial, report: EpochReport, rules: Options, *, paused: bool) -> str | None:
    """Why `trial` goes on all the same after the epoch in `report`, or None if it does not.

    Points that were given are known to be good elsewhere, and a first epoch is little against that, unless the trial is
    only `paused`; one without a checkpoint could not go on later. A share of the others, drawn by their numbers, shows
    what stopping costs.
    """
    if paused and report.checkpoint is None:
        return UNSAVED
    if trial.given and not paused:
        return START
    chance = random.Random(f"{rules.seed}/{trial.number}/audit").random()
    return AUDIT if chance < rules.audit else None
