"""What the service adds: seconds per trial that does nothing, and seconds until the first step.

`python -m tests.benchmarks.overhead [--repeats 3] [--json]`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.report import search, show, spread

NULL = Path(__file__).with_name("null_study.py")
BARE = "import torch, ray; ray.init()"


def per_trial(folder: Path, few: int = 20, many: int = 220) -> float:
    """Added milliseconds per trial: record, Optuna, Ray and MLflow, everything on; the start cancels out."""
    walls = {}
    for trials in (few, many):
        start = time.monotonic()
        search(str(NULL), "--trials", str(trials), "--concurrent", "1", cwd=folder)
        walls[trials] = time.monotonic() - start
    return 1000 * (walls[many] - walls[few]) / (many - few)


def cold_start(folder: Path) -> tuple[float, float]:
    """Seconds from the command to the first optimizer step, and of `import torch; ray.init()` right after it."""
    first = search("digits_cnn", "--trials", "1", "--epochs", "1", cwd=folder)["first_trial_s"]
    start = time.monotonic()
    # Without the shutdown, which belongs to no start: the clock is read when init has returned.
    script = f"import time; {BARE}; print(time.monotonic())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return first, float(done.stdout.split()[-1]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    added, starts, bares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            added.append(per_trial(Path(folder)))
            ours, bare = cold_start(Path(folder))
            starts.append(ours)
            bares.append(bare)
    ratios = [ours / bare for ours, bare in zip(starts, bares, strict=True)]
    show(
        "overhead",
        [
            ("added wall per null trial, ms", spread(added), "at most 150"),
            ("command to first step, s", spread(starts), ""),
            ("import torch + ray.init(), s", spread(bares), ""),
            ("ratio", spread(ratios), "at most 2"),
        ],
        {"added_ms": added, "first_step_s": starts, "bare_s": bares, "ratio": ratios},
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
