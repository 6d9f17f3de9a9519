"""Workers die, hang, stand still, run out of memory, report nonsense: what becomes of each trial, and of the rest."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.chaos import command
from tests.faults.stage import count, ends, look, of, staged

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

TIMEOUT = 25
"""Seconds; five workers that start at once on two busy cores take up to 20 to come to their first report."""
SCRIPTS = {
    "killed once": "report x; once sigkill; report x",
    "crashed once": "report x; once segfault; report x",
    "exited once, before its first epoch": "once exit 7; report x",
    "killed always": "report x; sigkill",
    "hangs": "report x; hang",
    "spins": "report x; spin",
    "stood still once": "report x; once stop; report x",
    "python's memory": "report x; memory_error",
    "an exception": "report x; raise out of luck",
    "nan": "report x; report nan",
    "inf": "report inf",
    "without the metric": "report x; report nothing",
    "returns early": "report x; return",
    "a full disk for a moment": "report x; enospc 2; report x",
    "its last checkpoint is damaged": "report x; report x; damage; once sigkill; report x",
    "leaves a process behind": "report x; fork; report x",
}
NUMBERS = {name: number for number, name in enumerate(SCRIPTS)}


@staged
def misbehaving(folder: Path) -> SimpleNamespace:
    """All of them in one search, five at a time."""
    options = ("--cpus", "0.4", "--scheduler", "none", "--trial-timeout", f"{TIMEOUT}s", "--json")
    running = command.start(list(SCRIPTS.values()), *options, folder=folder, env={"CHAOS_EPOCHS": 3})
    ended = command.finish(running, 400)
    seen = look(folder, ended, 0)
    seen.folder, seen.executed = folder, command.executed(folder, seen.events)
    seen.ends = {name: ends(seen.events)[number] for name, number in NUMBERS.items()}
    return seen


def test_a_search_full_of_faulty_trials_ends_well_and_all_that_it_keeps_agrees(misbehaving):
    assert misbehaving.faults == []


@pytest.mark.parametrize(
    "name",
    ["killed once", "crashed once", "exited once, before its first epoch", "stood still once",
     "its last checkpoint is damaged", "a full disk for a moment", "leaves a process behind"],
)  # fmt: skip
def test_a_trial_that_lost_its_worker_once_is_completed(misbehaving, name):
    assert misbehaving.ends[name][0] == "complete"


@pytest.mark.parametrize("name", ["killed once", "crashed once", "stood still once"])
def test_it_goes_on_from_its_last_checkpoint(misbehaving, name):
    number = NUMBERS[name]
    [restart] = of(misbehaving.events, "restarted", number)
    assert (restart["attempt"], restart["epoch"]) == (2, 1)
    assert misbehaving.executed[number, 1] == 1


def test_it_starts_again_where_it_had_none(misbehaving):
    [restart] = of(misbehaving.events, "restarted", NUMBERS["exited once, before its first epoch"])
    assert (restart["epoch"], restart["checkpoint"]) == (0, None)


def test_it_goes_on_from_the_one_before_where_the_last_is_damaged_and_that_is_said(misbehaving):
    number = NUMBERS["its last checkpoint is damaged"]
    [restart] = of(misbehaving.events, "restarted", number)
    assert restart["epoch"] == 1
    assert [misbehaving.executed[number, epoch] for epoch in (1, 2, 3)] == [1, 2, 1]
    assert count("repeated", number)(misbehaving.events) == 1
    assert f"trial {number} goes on from epoch 1" in misbehaving.stderr
    assert "is damaged" in misbehaving.stderr


def test_a_worker_that_always_dies_is_given_up_after_three_attempts(misbehaving):
    state, why = misbehaving.ends["killed always"]
    assert state == "failed"
    assert "3 attempts" in why
    assert count("lost", NUMBERS["killed always"])(misbehaving.events) == 2


@pytest.mark.parametrize("name", ["hangs", "spins"])
def test_a_trial_that_hangs_is_tried_once_more_then_timed_out_and_its_stacks_are_kept(misbehaving, name):
    number = NUMBERS[name]
    state, why = misbehaving.ends[name]
    assert state == "timed out"
    assert "no report for" in why
    assert count("lost", number)(misbehaving.events) == 1
    for attempt in (1, 2):
        stacks = misbehaving.folder / "runs" / "chaos" / "stacks" / f"trial-{number:04d}-attempt-{attempt}.txt"
        assert "in _take" in stacks.read_text(), "the stacks do not show where it hangs"


def test_a_trial_that_was_never_silent_leaves_no_stacks(misbehaving):
    kept = list((misbehaving.folder / "runs" / "chaos" / "stacks").glob("*"))
    assert all(path.stat().st_size for path in kept)
    fast = [f"trial-{NUMBERS[name]:04d}" for name in ("killed always", "an exception", "nan")]
    assert [path.name for path in kept if path.name.startswith(tuple(fast))] == []


@pytest.mark.parametrize(
    ("name", "state", "why"),
    [
        ("python's memory", "out of memory", "as the script says"),
        ("an exception", "failed", "out of luck"),
        ("nan", "diverged", "val_accuracy is nan after epoch 2"),
        ("inf", "diverged", "val_accuracy is inf after epoch 1"),
        ("without the metric", "complete", "reached the full budget"),
        ("returns early", "complete", "finished early, after 1 of"),
    ],
)
def test_what_the_trainable_does_itself_is_an_end_at_once_with_its_reason(misbehaving, name, state, why):
    assert misbehaving.ends[name][0] == state
    assert why in misbehaving.ends[name][1]
    assert count("restarted", NUMBERS[name])(misbehaving.events) == 0


def test_the_best_is_a_trial_with_finite_values(misbehaving):
    """`inf` is the largest of all, and would be best for who compares numbers only."""
    from search.findings.summary import summarize

    best = summarize(misbehaving.folder / "runs" / "chaos")["best"]
    assert best["trial"] == NUMBERS["leaves a process behind"]


def memory(name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@staged
def exhausted(folder: Path) -> SimpleNamespace:
    """A trial that takes all memory that Ray's monitor allows, then five whose code is wrong, then more of them."""
    total, available = (memory(name) for name in ("MemTotal", "MemAvailable"))
    allowed = total - available + 5 * 2**30
    scripts = [f"report x; allocate {8 * 2**10}; report x", *["report x; raise out of luck"] * 7]
    env = {"CHAOS_EPOCHS": 3, "RAY_memory_usage_threshold": allowed / total}
    running = command.start(scripts, "--concurrent", "1", "--scheduler", "none", folder=folder, env=env)
    seen = look(folder, command.finish(running, 240), 1)
    seen.document = json.loads(command.finish(command.launch("show", "chaos", "--json", folder=folder)).stdout)
    return seen


def test_rays_memory_monitor_ends_a_trial_after_one_retry_as_out_of_memory(exhausted):
    assert exhausted.faults == []
    state, why = ends(exhausted.events)[0]
    assert state == "out of memory"
    assert "memory" in why
    assert count("lost", 0)(exhausted.events) == 1


def test_five_equal_errors_in_a_row_end_the_search_with_that_error(exhausted):
    assert count("asked")(exhausted.events) == 6
    # Not simply the last line: Ray's own code writes of memory to standard error when it likes.
    (error,) = [line for line in exhausted.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: the last trials all failed")
    assert "out of luck" in error
    assert exhausted.document["state"] == "failed"
