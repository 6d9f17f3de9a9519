"""Two processes want one search; what it wrote is damaged after a kill: refused, then mended, then gone on with."""

import pickle
import re
import shutil
import signal
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.record.reader import FILE
from tests.chaos import checker, command
from tests.faults.stage import count, ends, events, look, of, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

TRIALS = ("newest cut", "newest a pickle", "all gone", "unrecorded")
"""What becomes of the checkpoints of each trial. The record loses the end of the last one."""


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def whole(folder: Path) -> dict[str, bytes]:
    """Every file of the search in `folder`, but its lock, which names the last holder, and what SQLite opens beside."""
    apart = ("lock", f"{FILE}-wal", f"{FILE}-shm")
    files = (path for path in (folder / "runs").rglob("*") if path.is_file() and path.name not in apart)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused_copies(folder: Path) -> dict[str, tuple[command.Ended, bool]]:
    """How a resume ends with the record damaged in each way, in copies; and whether it left all files as they were."""
    running = {}
    for name in ("cut", "flipped", "emptied", "deleted"):
        copy = folder.with_name(f"{folder.name}-{name}")
        shutil.copytree(folder, copy)
        file = command.record_of(copy)
        for old in file.parent.glob(f"{FILE}*"):  # the log would mend it
            old.unlink()
        if name != "deleted":
            shutil.copy(folded(folder), file)
        if name == "cut":
            checker.corrupted(file, length=file.stat().st_size * 2 // 3)
        elif name == "flipped":
            checker.corrupted(file)
        elif name == "emptied":
            file.write_bytes(b"")
        before = whole(copy)
        running[name] = (command.launch("resume", command.NAME, folder=copy), before, copy)
    return {
        name: (command.finish(process, 60), whole(copy) == before) for name, (process, before, copy) in running.items()
    }


def folded(folder: Path) -> Path:
    """A copy of the record of a killed driver with its log folded in."""
    place = folder.with_name(f"{folder.name}-folded")
    if not place.exists():
        place.mkdir()
        for file in command.record_of(folder).parent.glob(f"{FILE}*"):
            shutil.copy(file, place)
        sqlite3.connect(place / FILE).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    return place / FILE


@staged
def damaged(folder: Path) -> SimpleNamespace:
    script = "repeat 3 report x; await go; report x"
    scripts = [script] * (len(TRIALS) - 1) + [f"await last; {script}"]
    options = ("--cpus", "0.5", "--scheduler", "none")
    running = command.start(scripts, *options, folder=folder, env={"CHAOS_EPOCHS": 4})
    record = command.record_of(folder)
    command.wait_for(record, lambda now: count("epoch")(now) == 9, process=running)
    command.let_go(folder, "last")
    command.wait_for(record, lambda now: count("epoch")(now) == 12, process=running)

    # Two processes, one name; the holder at work, then standing still, then dead.
    attempts = [(str(command.STUDY), "--name", command.NAME), ("resume", command.NAME)]
    second = [command.launch(*arguments, folder=folder) for arguments in attempts]
    second = [command.finish(each, 60) for each in second]
    running.send_signal(signal.SIGSTOP)
    attempts = [("resume", command.NAME), ("doctor", command.NAME, "--repair")]
    stopped = [command.launch(*arguments, folder=folder) for arguments in attempts]
    second += [command.finish(each, 60) for each in stopped]
    before = command.kill(running)
    killed = look(folder, before, -9, uri=None, closed=False)
    refused = refused_copies(folder)

    # The record loses its end, MLflow's store is gone; then the checkpoints are damaged, and the store anew.
    shutil.copy(folded(folder), record)
    for log in ("-wal", "-shm"):
        record.with_name(record.name + log).unlink(missing_ok=True)
    content = record.read_bytes()
    checker.corrupted(record, bit=8 * content.rindex(killed.events[-1].body["sha256"].encode()))
    (folder / "mlflow.db").unlink()
    doctor = [
        command.finish(command.launch("doctor", command.NAME, *more, folder=folder), 60) for more in ((), ("--repair",))
    ]
    kept = events(folder)
    root = record.parent / "checkpoints"
    newest = [root / f"trial-{trial:04d}" / "attempt-1" / "epoch-0003" for trial in range(len(TRIALS))]
    checker.corrupted(newest[0] / "weights", length=100)
    bomb = folder / "exploded"
    for name in ("weights", "data.pkl"):
        (newest[1] / name).write_bytes(pickle.dumps(Bomb(bomb)))
    shutil.rmtree(newest[2].parent)
    (folder / "mlflow.db").write_bytes(b"not a database, and long enough to be taken for one")
    store = command.finish(command.launch("resume", command.NAME, folder=folder), 60)
    (folder / "mlflow.db").unlink()
    command.let_go(folder, "go")
    ended = command.finish(command.launch("resume", command.NAME, folder=folder), 120)
    seen = look(folder, ended, 0)
    told = {"second": second, "killed": killed, "refused": refused, "store": store, "doctor": doctor}
    return SimpleNamespace(**vars(seen), **told, kept=kept, bomb=bomb, folder=folder)


def test_a_second_process_is_refused_with_who_holds_the_search_also_while_the_holder_stands_still(damaged):
    assert [ended.code for ended in damaged.second] == [4, 4, 4, 4]
    for ended in damaged.second:
        assert checker.faults_of_the_end(ended.code, (4,), ended.stderr) == []
    assert "is running (process" in damaged.second[1].stderr


def test_a_killed_holder_leaves_no_lock_and_no_process(damaged):
    assert damaged.killed.faults == []
    assert damaged.faults == []


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "deleted"])
def test_a_damaged_record_is_refused_and_left_as_it_is(damaged, how):
    ended, untouched = damaged.refused[how]
    assert ended.code == (2 if how == "deleted" else 3)  # without a record there is no search
    assert checker.faults_of_the_end(ended.code, (2, 3), ended.stderr) == []
    assert untouched


def test_doctor_names_the_damage_and_repair_keeps_what_was_before_it_and_says_so(damaged):
    looked, repaired = damaged.doctor
    recorded = len(damaged.killed.events)
    assert (looked.code, repaired.code) == (3, 0)
    assert f"is damaged at event {recorded}" in looked.stdout
    assert "doctor" in looked.stderr or "--repair" in looked.stderr
    saved = int(re.search(r"its first (\d+) events are whole", repaired.stdout)[1])
    assert recorded - 2 <= saved < recorded
    assert damaged.kept[:saved] == damaged.killed.events[:saved]


def test_what_the_record_lost_is_trained_again_and_the_search_ends_well(damaged):
    assert {state for state, _ in ends(damaged.events).values()} == {"complete"}
    assert damaged.events[: len(damaged.kept)] == damaged.kept


@pytest.mark.parametrize(("trial", "epoch"), [(0, 2), (1, 2), (2, 0)], ids=TRIALS[:3])
def test_a_trial_goes_on_from_the_last_whole_checkpoint_and_says_so(damaged, trial, epoch):
    assert of(damaged.events, "restarted", trial)[-1]["epoch"] == epoch
    goes_on = f"from epoch {epoch}" if epoch else "from the beginning"
    assert f"trial {trial} goes on {goes_on}" in damaged.stderr


def test_no_file_of_a_search_is_unpickled(damaged):
    assert not damaged.bomb.exists()


def test_an_mlflow_store_that_is_no_database_is_refused(damaged):
    assert damaged.store.code == 3
    assert "MLflow's store" in damaged.store.stderr


def test_an_mlflow_store_that_was_deleted_is_written_again_from_the_record(damaged):
    assert damaged.faults == []
    assert (damaged.folder / "mlflow.db").stat().st_size > 10_000
