"""How fast MLflow's SQLite takes the runs of a search that is recorded: trials per second, all of it, as `sync` does.

`python -m tests.benchmarks.tracking [--trials 300] [--repeats 3] [--logs] [--json]`

Each trial has five epochs of six metrics and ten hyperparameters. The record is written first; then it is projected in
this process, so that nothing else is in the time. With `--logs` each trial has printed something.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from search.record.events import Asked, Ended, EpochReport, Finished
from search.record.reader import FILE
from search.record.record import Record
from search.record.state import State
from search.record.trial import PROPOSED
from search.storage.runs import log_file
from search.tracking.runs import Runs
from tests.benchmarks.report import show, spread
from tests.simulated import header

EPOCHS = 5


def recorded(folder: Path, trials: int, *, logs: bool) -> Path:
    """A search of so many trials, whose record is in `folder`."""
    config = {f"train/h{number}": 0.1 * number for number in range(6)}
    fixed = {f"model/f{number}": number for number in range(4)}
    space = dict.fromkeys(config, "0 … 1")
    with Record(folder / FILE, create=True) as record:
        record.append(
            ("search", None, header(space=space, fixed=fixed, epochs=EPOCHS, trials=trials, classes=["a", "b"]))
        )
        for trial in range(trials):
            events = [Asked(config, PROPOSED).entry(trial)]
            for epoch in range(1, EPOCHS + 1):
                value = 0.5 + 0.4 * trial / trials + epoch / 100
                names = ("val_accuracy", "val_loss", "train_loss", "val_macro_f1", "val_balanced_accuracy")
                metrics = {**dict.fromkeys(names, value), "parameters": 1000.0}
                events.append(EpochReport(epoch, metrics, 0.1).entry(trial))
            events.append(Ended(State.COMPLETE, "reached the full budget").entry(trial))
            record.append(*events)
            if logs:
                log_file(folder, trial).parent.mkdir(exist_ok=True)
                log_file(folder, trial).write_text("printed\n")
        record.append(Finished("done", "", 1.0).entry())
    return folder / FILE


def rate(trials: int, *, logs: bool) -> float:
    """Trials per second, without the import of MLflow and the making of its tables."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "runs", "s-1")
        folder.mkdir(parents=True)
        with Record(recorded(folder, trials, logs=logs)) as record:
            events = list(record.events())
        runs = Runs(f"sqlite:///{place}/mlflow.db", events, folder=folder)
        start = time.perf_counter()
        runs.write(events)
        return trials / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--logs", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rates = [rate(arguments.trials, logs=arguments.logs) for _ in range(arguments.repeats)]
    rows = [("trials/s into MLflow's SQLite", spread(rates), "at least 300")]
    show("tracking", rows, {"trials": arguments.trials, "per_second": rates}, as_json=arguments.json)


if __name__ == "__main__":
    main()
