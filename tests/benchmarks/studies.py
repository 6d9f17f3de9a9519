"""Whole searches on real data: wall time, test accuracy, and how much of the machine trained.

`SEARCH_DATA_DIR=… python -m tests.benchmarks.studies [--peers DIR --root DIR] [--json]`

With `--peers`, a folder with `ray_tune_tutorial.py` and `optuna_tutorial.py`, and `--root`, torchvision's layout of the
same images, the two scripts run for five minutes each beside our five-minute search.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.report import search, show

RUNS = {
    "fashion_cnn, defaults": (("fashion_cnn",), "at most 600 s, at least 0.930"),
    "fashion_cnn --time-budget 5m": (("fashion_cnn", "--time-budget", "5m"), "at least 0.925"),
    "fashion_mlp, defaults": (("fashion_mlp",), "at most 240 s, at least 0.900"),
}


def peer(script: Path, root: Path, folder: Path) -> dict:
    """Five minutes of a stock script."""
    out = folder / script.stem
    command = [sys.executable, str(script), "--root", str(root), "--trials", "40", "--epochs", "8"]
    command += ["--time-budget", "300", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--only", choices=list(RUNS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows, documents = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for what, (command, aim) in RUNS.items():
            if arguments.only in (None, what):
                start = time.monotonic()
                found = search(*command, "--seed", str(arguments.seed), "--no-stand-in", cwd=Path(folder))
                wall = time.monotonic() - start
                documents[what] = {**found, "measured_wall_s": wall}
                trained = f"{wall:.0f} s, test {found['best']['test_accuracy']:.4f}"
                rows.append((what, f"{trained}, utilisation {found['training_s'] / (2 * wall):.2f}", aim))
        if arguments.peers:
            for name in ("ray_tune_tutorial.py", "optuna_tutorial.py"):
                found = peer((arguments.peers / name).resolve(), arguments.root.resolve(), Path(folder))
                documents[name] = found
                rows.append((name, f"{found['wall_s']:.0f} s, test {found['test']:.4f}", "300 s"))
    show("studies", rows, documents, as_json=arguments.json)


if __name__ == "__main__":
    main()
