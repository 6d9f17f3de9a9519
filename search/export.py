"""A search as plain files, for people and programs that know nothing of us."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search import checkpoints
from search.errors import BadInput
from search.record import FILE, read
from search.summary import leaderboard, objective_of, summarize
from search.trials import replayed
from trainables.classifier import ARCHITECTURE, WEIGHTS


def export_search(run: Path, folder: Path) -> list[Path]:
    """Write the search in `run` into `folder`, which must be new or empty, and return the files.

    `summary.json`; `trials.csv`, one row per trial; `curves.csv`, one row per epoch; and, if there is a winner,
    `config.json` and `model/` with its weights (safetensors) and architecture (JSON).
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists and is not empty; give the name of a new folder")
    events = read(run / FILE)
    summary, trials = summarize(run, events), replayed(events, objective_of(events))
    best, checkpoint = summary["best"], None
    if best:
        row = trials[best["trial"]].best_epoch(trials.objective)
        if row.checkpoint and row.sha256:
            checkpoint = checkpoints.verified(run / "checkpoints", row.checkpoint, row.sha256)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}); give another folder") from None
    rows = leaderboard(events)
    names = list(events[0].body["space"])
    fields = ["trial", "state", "why", "origin", "epochs", "value"]
    _write_csv(folder / "trials.csv", [*fields, *names], ({**row, **row["point"]} for row in rows))
    metrics = sorted({name for trial in trials for row in trial.epochs for name in row.metrics})
    _write_csv(
        folder / "curves.csv",
        ["trial", "epoch", "seconds", *metrics],
        (
            {"trial": trial.number, "epoch": row.number, "seconds": row.seconds, **row.metrics}
            for trial in trials
            for row in trial.epochs
        ),
    )
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    if best:
        (folder / "config.json").write_text(json.dumps(best["config"], indent=1))
    if checkpoint and (checkpoint / ARCHITECTURE).is_file():
        (folder / "model").mkdir()
        for name in (WEIGHTS, ARCHITECTURE):
            shutil.copy(checkpoint / name, folder / "model" / name)
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _write_csv(path: Path, fields: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
