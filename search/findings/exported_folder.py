"""A winner in a folder that `export` wrote, read back."""

from __future__ import annotations

from pathlib import Path

import yaml

from search.errors import BadInput
from search.findings.answers import Model
from search.findings.winner_model import FILE as GRAPH

CONFIG = "config.yaml"
"""What the folder says of its model: classes, shape (C, H, W), brightest grey level, hyperparameters."""
MODEL = "model"


def model_in(folder: Path) -> Model:
    """The model in `folder`. Raises BadInput if there is none that `export` wrote."""
    from trainables import exported
    from trainables.classifier import ARCHITECTURE, WEIGHTS, load_classifier
    from trainables.request import Intake

    where = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (where / WEIGHTS).is_file():
        raise BadInput(f"{folder} is no search in the runs folder, and holds no model; `export` writes such a folder")
    try:
        told = yaml.safe_load((where / CONFIG).read_text()) if (where / CONFIG).is_file() else {}
        if (where / ARCHITECTURE).is_file():
            architecture, network = load_classifier(where)
            intake = Intake(architecture.shape, told.get("brightest", 255))
            return Model(str(folder), network, intake, architecture.classes)
        channels, height, width = told["shape"]
        graph = exported.load(where / GRAPH)[0].eval()
        return Model(str(folder), graph, Intake((channels, height, width), told["brightest"]), tuple(told["classes"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())[:200]
        raise BadInput(f"the model in {folder} cannot be read ({why}); export it again with --force") from None
