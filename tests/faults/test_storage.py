"""No room: on a small file system, in the budget for checkpoints, or to write at all."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.chaos import command
from tests.faults.stage import ends, look, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

WEIGHTS = 400_000
GO_ON = f"python -m search resume {command.NAME}"


def mounted(place: Path, options: str) -> bool:
    """A file system in memory at `place`; False where one may not."""
    place.mkdir(parents=True, exist_ok=True)
    command_ = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    return subprocess.run(command_, capture_output=True).returncode == 0


@staged
def full(folder: Path) -> SimpleNamespace:
    """The runs folder fills up; room is made; the search goes on. Without the right to mount, the trial says it is."""
    runs = folder / "runs"
    small = mounted(runs, "size=3m")
    try:
        script = "report x; report x; report x" if small else "report x; report x; once enospc 100; report x"
        if small:
            (runs / "ballast").write_bytes(bytes(1_900_000))
        env = {"CHAOS_EPOCHS": 5, "CHAOS_WEIGHTS": WEIGHTS}
        running = command.start([script, script], "--concurrent", "1", "--scheduler", "none", folder=folder, env=env)
        first = look(folder, command.finish(running, 120), 5)
        (runs / "ballast").unlink(missing_ok=True)
        second = look(folder, command.finish(command.launch("resume", command.NAME, folder=folder), 120), 0)
    finally:
        if small:
            subprocess.run(["umount", "-l", str(runs)], check=True)
    return SimpleNamespace(first=first, second=second, small=small)


def test_a_full_disk_ends_the_search_with_what_is_free_and_what_is_needed(full):
    assert full.first.faults == []
    free, needed = re.search(r"([\d,]+) bytes free, (?:more than|too few for) ([\d,]+)", full.first.stderr).groups()
    assert int(needed.replace(",", "")) > 0
    if full.small:
        assert int(free.replace(",", "")) < WEIGHTS


def test_the_last_line_names_the_command_that_goes_on(full):
    assert full.first.stderr.splitlines()[-1].endswith(f"free some or give more, then resume: {GO_ON}")


def test_with_room_again_the_search_goes_on_to_its_end(full):
    assert full.second.faults == []
    assert {state for state, _ in ends(full.second.events).values()} == {"complete"}


@staged
def shared(folder: Path) -> SimpleNamespace:
    """All is on one small file system, MLflow's store too, and it fills up."""
    place = folder / "small"  # what is printed goes elsewhere
    if not mounted(place, "size=2300k"):  # 950 kB are empty tables of MLflow
        pytest.skip("a file system in memory cannot be mounted here")
    try:
        env = {"CHAOS_EPOCHS": 40, "CHAOS_WEIGHTS": 40_000}
        options = ("--concurrent", "1", "--scheduler", "none", "--runs", str(place / "runs"))
        running = command.start(["report x"] * 8, *options, folder=folder, env=env)
        ended = command.finish(running, 300)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return SimpleNamespace(code=ended.code, lines=ended.stderr.splitlines())


def test_a_disk_that_fills_up_beside_mlflows_store_costs_one_warning_and_one_line(shared):
    assert shared.code == 5, shared.lines[-20:]
    assert not [line for line in shared.lines if "Traceback" in line or "sqlalchemy" in line.lower()]
    assert len([line for line in shared.lines if "MLflow" in line and "warning" in line]) <= 1
    assert len(shared.lines) < 100
    assert GO_ON in shared.lines[-1]


@staged
def cramped(folder: Path) -> SimpleNamespace:
    """A budget for checkpoints that is less than two of them."""
    env = {"CHAOS_EPOCHS": 3, "CHAOS_WEIGHTS": WEIGHTS}
    running = command.start(["report x"], "--checkpoint-budget", "600KB", folder=folder, env=env)
    return look(folder, command.finish(running, 120), 5)


def test_a_checkpoint_budget_that_cannot_be_kept_ends_the_search_resumable(cramped):
    assert cramped.faults == []
    last = cramped.stderr.splitlines()[-1]
    assert "600,000 bytes of --checkpoint-budget" in last
    assert "resume" in last


def test_a_runs_folder_that_cannot_be_written_is_refused(chaos_folder):
    runs = chaos_folder / "runs"
    if not mounted(runs, "size=1m,ro"):
        runs.chmod(0o500)  # enough for all but root, who may mount
    try:
        ended = command.finish(command.start(["report x"], folder=chaos_folder), 60)
    finally:
        subprocess.run(["umount", str(runs)], capture_output=True)
    assert ended.code == 3
    assert "no runs can be kept" in ended.stderr.splitlines()[-1]
