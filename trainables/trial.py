"""What a trainable may ask about the trial that it runs in."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = "SEARCH_TRIAL_FOLDER"
"""The environment variable that names the folder of the trial that runs in this process."""


def folder() -> Path:
    """A folder for files of this trial, made when it is asked for: `runs/NAME/trials/trial-0003`.

    It is kept, and a trial that goes on elsewhere finds it again where the runs folder is shared. Outside of a search
    it is a new temporary one each time.
    """
    named = os.environ.get(FOLDER)
    if named is None:
        return Path(tempfile.mkdtemp(prefix="trial-"))
    place = Path(named)
    place.mkdir(parents=True, exist_ok=True)
    return place
