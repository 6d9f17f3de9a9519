"""Whole searches on real data: wall time, test accuracy, and how much of the machine trained.

`SEARCH_DATA_DIR=… python -m tests.benchmarks.studies [--only NAME …] [--peers DIR --root DIR] [--runs DIR] [--json]`

The published setting of a study is trained alone (`--published --trials 1`), and then the study searched with its
defaults.

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

from search.record.reader import FILE, read
from tests.benchmarks.report import search, show

RUNS = {
    "fashion_softmax, published setting": (("fashion_softmax", "--published", "--trials", "1"), ""),
    "fashion_softmax": (("fashion_softmax",), "at least 0.84"),
    "fashion_mlp, published setting": (("fashion_mlp", "--published", "--trials", "1"), "0.8760 is published"),
    "fashion_mlp": (("fashion_mlp",), "at most 240 s, at least 0.905"),
    "fashion_cnn, published setting": (("fashion_cnn", "--published", "--trials", "1"), "0.9153 is published"),
    "fashion_cnn": (("fashion_cnn",), "at most 600 s, at least 0.935"),
    "fashion_cnn --time-budget 5m": (("fashion_cnn", "--time-budget", "5m"), "at least 0.930"),
    "mnist_mlp, published setting": (("mnist_mlp", "--published", "--trials", "1"), "0.9745 is published"),
    "mnist_mlp": (("mnist_mlp",), "at least 0.983"),
    "moons_mlp, published setting": (
        ("moons_mlp", "--published", "--trials", "1"),
        "0.775 is published, for other points",
    ),
    "moons_mlp": (("moons_mlp",), "at least 0.775"),
    "cifar2_cnn": (("cifar2_cnn",), "at least 0.88"),
    "mnist_activation": (("mnist_activation",), "a comparison"),
}


def seconds_to(accuracy: float, run_dir: str) -> float | None:
    """From the command until the first epoch was reported whose validation accuracy is so high; None if none was."""
    events = read(Path(run_dir) / FILE)
    began = events[0].body["started_at"]
    reached = (
        event.at for event in events if event.kind == "epoch" and event.body["metrics"]["val_accuracy"] >= accuracy
    )
    return next((at - began for at in reached), None)


def peer_seconds_to(accuracy: float, out: Path) -> float | None:
    """The same of Ray Tune's script, from the results that it keeps; its clock starts with its first result's trial."""
    rows = [json.loads(line) for file in out.rglob("result.json") for line in file.read_text().splitlines() if line]
    if not rows:
        return None
    began = min(row["timestamp"] - row["time_total_s"] for row in rows)
    reached = [row["timestamp"] - began for row in rows if row["val_accuracy"] >= accuracy]
    return min(reached, default=None)


def peer(script: Path, root: Path, folder: Path) -> dict:
    """Five minutes of a stock script."""
    out = folder / script.stem
    command = [sys.executable, str(script), "--root", str(root), "--trials", "40", "--epochs", "8"]
    command += ["--time-budget", "300", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "seconds_to_91": peer_seconds_to(0.91, out)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--runs", type=Path, help="keep the searches in this folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows, documents = [], {}
    kept = ("--runs", str(arguments.runs.resolve())) if arguments.runs else ()
    with tempfile.TemporaryDirectory() as folder:
        for what, (command, aim) in RUNS.items():
            if what in arguments.only:
                start = time.monotonic()
                found = search(*command, "--seed", str(arguments.seed), "--no-stand-in", *kept, cwd=Path(folder))
                wall = time.monotonic() - start
                early = seconds_to(0.91, found["run_dir"])
                documents[what] = {**found, "measured_wall_s": wall, "seconds_to_91": early}
                best = found["best"]
                trials = sum(found["trials"].values())
                told = f"{wall:.0f} s, test {best['test_accuracy']:.4f}, trial {best['trial']} of {trials}"
                told += f", 0.91 in validation after {early:.0f} s" if early else ""
                rows.append((what, f"{told}, utilisation {found['utilisation']:.2f}", aim))
        if arguments.peers:
            for name in ("ray_tune_tutorial.py", "optuna_tutorial.py"):
                found = peer((arguments.peers / name).resolve(), arguments.root.resolve(), Path(folder))
                documents[name] = found
                rows.append((name, f"{found['wall_s']:.0f} s, test {found['test']:.4f}", "300 s"))
    show("studies", rows, documents, as_json=arguments.json)


if __name__ == "__main__":
    main()
