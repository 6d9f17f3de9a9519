"""Searches of photos on a folder whose validation part is taken for the test: `python -m tests.benchmarks.photos DIR`.

Prints a line of JSON per seed: seconds to the first result and in all, and the accuracies. What is computed once goes
into a new cache for each seed, so that each begins as on a fresh machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def searched(data: Path, seed: int, budget: str | None) -> dict[str, object]:
    """What a search with `seed` comes to, within `budget` or the study's own."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "search", "photos", "--data", str(data), "--val-as-test", "--skip-broken"]
        line += ["--seed", str(seed), "--json", *(["--time-budget", budget] if budget else [])]
        place = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "MLFLOW_TRACKING_URI": ""}
        ended = subprocess.run(line, cwd=folder, env=place, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(ended.stdout)
    best = found["best"]
    return {
        "seed": seed,
        "budget": budget,
        "load": round(os.getloadavg()[0], 1),
        **{key: found[key] for key in ("first_trial_s", "wall_s", "training_s", "epochs", "trials")},
        **{key: best[key] for key in ("trial", "epoch", "val_accuracy", "test_accuracy", "test_images")},
    }


def main() -> None:
    """Search once per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-budget")
    asked = parser.parse_args()
    for seed in range(asked.seeds):
        print(json.dumps(searched(asked.data.resolve(), seed, asked.time_budget)), flush=True)


if __name__ == "__main__":
    main()
