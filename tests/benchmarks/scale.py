"""What the driver does per event, as trials become many: does the ten-thousandth cost what the first did?

`python -m tests.benchmarks.scale [--trials 10000] [--concurrent 64] [--sampler tpe] [--json]`

The search, its record on disk, checkpoints' retention, and MLflow's writer on its thread, as in a run; workers are
played in this process, so that what is measured is the driver, and not how many processes the machine can hold.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from search.record.events import EpochReport
from search.record.reader import FILE
from search.record.record import Record
from search.settings import Settings
from search.storage.checkpoints import Retention, Shelf
from search.tracking.tracker import Tracker
from spaces import load
from tests.simulated import first_event, searching

MLFLOW_SECONDS = 30
"""So long MLflow may take for the rest."""
MARKS = (100, 1000, 3000, 10000, 30000)


def played(folder: Path, trials: int, concurrent: int, sampler: str, study: str = "digits_cnn") -> dict[str, Any]:
    """Milliseconds per suggestion and per report up to each mark, events per second, MB, and how far MLflow got."""
    (folder / "checkpoints").mkdir(parents=True)
    kind, draw = load(study), random.Random(0)
    with Record(folder / FILE, create=True) as record:
        past = record.append(first_event(kind, trials=trials, sampler=sampler))
        search = searching(kind, record, past)
        retention = Retention(Shelf(folder / "checkpoints"))
        tracker = Tracker(
            record.path, Settings(runs=folder / "runs").tracking, lambda text: print(text, file=sys.stderr)
        )
        tracker.start()
        live: list[tuple[int, int]] = []
        rows, asked, asking, reports, reporting, since = [], 0, 0.0, 0, 0.0, time.perf_counter()
        while True:
            while len(live) < concurrent:
                start = time.perf_counter()
                trial = search.ask()
                asking += time.perf_counter() - start
                if trial is None:
                    break
                asked += 1
                live.append((trial.number, 0))
            if not live:
                break
            number, epoch = live.pop(draw.randrange(len(live)))
            name = f"trial-{number:04d}/attempt-1/epoch-{epoch + 1:04d}"
            start = time.perf_counter()
            retention.added(name)
            value = 0.5 + 0.4 * draw.random()
            goes_on = search.report(
                number, EpochReport(epoch + 1, {"val_accuracy": value}, 0.1, checkpoint=name, sha256="0", bytes=1)
            )
            retention.sweep(search.trials)
            search.trials.running()
            reporting += time.perf_counter() - start
            reports += 1
            if goes_on:
                live.append((number, epoch + 1))
            if asked in MARKS or asked == trials:
                took = time.perf_counter() - since
                if asked >= 100 and (not rows or rows[-1]["trials"] != asked):
                    rows.append(
                        {
                            "trials": asked,
                            "ask_ms": round(1000 * asking / max(1, asked - (rows[-1]["trials"] if rows else 0)), 2),
                            "report_ms": round(1000 * reporting / max(1, reports), 2),
                            "reports_per_s": round(reports / took, 1),
                            "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                            "mlflow_behind": record.last_id() - (tracker._runs.cursor if tracker._runs else 0),
                        }
                    )
                    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), file=sys.stderr, flush=True)
                    asking, reports, reporting, since = 0.0, 0, 0.0, time.perf_counter()
        start = time.perf_counter()
        done = tracker.finish(MLFLOW_SECONDS)
        return {"rows": rows, "mlflow_done": done, "mlflow_after_s": round(time.perf_counter() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10000)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        told = played(Path(folder, "scale"), arguments.trials, arguments.concurrent, arguments.sampler)
    if arguments.json:
        json.dump(told, sys.stdout, indent=1)
        return
    print(f"MLflow had all {told['mlflow_after_s']} s after the last report: {told['mlflow_done']}")


if __name__ == "__main__":
    main()
