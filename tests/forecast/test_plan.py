"""A dry run tells what a search will take, before anything is spent, and whatever the configurations do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.decide.schedulers import SCHEDULERS
from search.decide.schedulers.scheduler import Decision, Scheduler
from search.forecast.plan import plan, text
from search.forecast.probe import LATE
from search.forecast.simulation import Course, Scenario, Seconds, simulate
from search.record.header import Header
from search.session.prepare import prepare
from search.settings import Settings
from search.terminal.console import Silent
from spaces.study import Published, Study
from tests.simulated import Curves, Memory, begun, work

ROOT = Path(__file__).parents[2]


def told(
    study: Study,
    scheduler: str | Callable[[Study], Any] = "asha",
    *,
    trials: int = 12,
    seed: int = 0,
    concurrent: int = 2,
    **changes: Any,
) -> list[Course]:
    make = SCHEDULERS[scheduler] if isinstance(scheduler, str) else scheduler
    return simulate(Scenario(study, make, Settings(trials=trials, seed=seed), concurrent, **changes))


def between(values: list[float]) -> tuple[float, float]:
    """From the 10th to the 90th percentile."""
    ordered = sorted(values)
    return ordered[round(0.1 * (len(ordered) - 1))], ordered[round(0.9 * (len(ordered) - 1))]


# Playing the search through


def simulated_epochs(study: Study, seed: int, trials: int, workers: int) -> int:
    search = begun(study, Memory(), trials=trials, seed=seed)
    work(search, Curves(seed, ends=0.0), workers=workers, order=seed)
    return search.trials.epochs


@pytest.mark.parametrize(("trials", "workers"), [(12, 1), (24, 2), (40, 4)])
def test_most_searches_take_as_many_epochs_as_foretold(tiny_study: Study, trials: int, workers: int) -> None:
    low, high = between([course.epochs for course in told(tiny_study, trials=trials, concurrent=workers)])
    assert trials < low < high < trials * tiny_study.epochs
    truth = [simulated_epochs(tiny_study, seed, trials, workers) for seed in range(30)]
    within = sum(low <= epochs <= high for epochs in truth)
    assert within >= 20, (low, high, sorted(truth))


def test_without_a_scheduler_the_epochs_are_known(tiny_study: Study) -> None:
    assert {(c.trials, c.epochs) for c in told(tiny_study, "none")} == {(12, 12 * tiny_study.epochs)}


class StopsAll(Scheduler):
    rungs = (1,)

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        return Decision(go_on=False, rung=1, cutoff=2.0)


def test_a_published_setting_has_its_own_epochs_and_is_never_stopped(tiny_study: Study) -> None:
    published = replace(tiny_study, published=[Published({"train/epochs": 5})])
    # Start points are trained in full as well, and the nine others are stopped after their first epoch.
    assert {course.epochs for course in told(published, lambda study: StopsAll())} == {5 + 2 * 9 + 9}


def test_the_same_seed_foretells_the_same_and_another_something_else(tiny_study: Study) -> None:
    assert told(tiny_study) == told(tiny_study)
    assert told(tiny_study) != told(tiny_study, seed=1)


def test_a_time_budget_that_is_too_short_ends_the_search_before_its_trials(tiny_study: Study) -> None:
    seconds = Seconds(drawn=[(10.0, 10.0)])
    short = told(tiny_study, "none", seconds=seconds, limit=200.0)
    assert all(course.out_of_time and course.trials < 12 and course.seconds <= 200 for course in short)
    # Two workers, 185 s until trials end, about 10 s an epoch.
    assert all(30 <= course.epochs <= 40 for course in short)
    assert all(course.busy == pytest.approx(2 * 185, abs=1) for course in short)
    assert not any(course.out_of_time for course in told(tiny_study, "none", seconds=seconds, limit=2000.0))


def test_more_workers_take_less_time_for_the_same_work(tiny_study: Study) -> None:
    seconds = Seconds(drawn=[(10.0, 10.0)])
    alone, four = (told(tiny_study, "none", concurrent=n, seconds=seconds) for n in (1, 4))
    assert max(course.seconds for course in four) < 0.5 * min(course.seconds for course in alone)
    assert sum(c.busy for c in four) / len(four) == pytest.approx(sum(c.busy for c in alone) / len(alone), rel=0.05)


def test_a_busy_machine_widens_the_range(tiny_study: Study) -> None:
    low, high = between([c.seconds for c in told(tiny_study, "none", seconds=Seconds(drawn=[(5.0, 10.0)]))])
    assert high > 1.3 * low


@pytest.mark.nightly
def test_the_largest_search_is_foretold_soon_and_as_a_large_one_would_go(tiny_study: Study) -> None:
    began = time.monotonic()
    whole = told(tiny_study, trials=1_000_000, concurrent=4)
    assert time.monotonic() - began < 30
    assert {course.trials for course in whole} == {1_000_000}
    alike = told(tiny_study, trials=2000, concurrent=4)
    share = sum(course.epochs for course in whole) / len(whole) / 1_000_000
    assert share == pytest.approx(sum(course.epochs for course in alike) / len(alike) / 2000, rel=0.2)


def test_epochs_without_number_are_foretold_soon(tiny_study: Study) -> None:
    endless = replace(tiny_study, epochs=1_000_000)
    assert {course.epochs for course in told(endless, "none", trials=12)} == {12_000_000}


@pytest.mark.parametrize("limit", [1e4, 1e6])
def test_the_largest_search_ends_with_its_time_like_any_other(tiny_study: Study, limit: float) -> None:
    seconds = Seconds(drawn=[(10.0, 10.0)])
    for course in told(tiny_study, "none", trials=1_000_000, seconds=seconds, limit=limit):
        assert course.out_of_time
        assert course.seconds <= limit
        assert course.epochs == pytest.approx(2 * limit / 10, rel=0.05)


@pytest.mark.parametrize("steps", [1, 20, 60])
def test_what_is_left_of_a_search_is_foretold_from_where_it_stands(tiny_study: Study, steps: int) -> None:
    record = Memory()
    search = begun(tiny_study, record, trials=12, scheduler="none")
    work(search, Curves(0, ends=0.0), workers=2, steps=steps)
    left = 12 * tiny_study.epochs - search.trials.epochs
    assert {course.epochs for course in told(tiny_study, "none", past=record.events)} == {left}


# Measuring

OWN = """
    import os, signal, time
    from pathlib import Path

    import torch

    from search.forecast.probe import available_memory
    from spaces.study import Choice, Study
    from trainables.epoch import Epoch

    def train(config, data, *, resume=None):
        kind = config["model/kind"]
        print("noise on standard output")
        if kind == "greedy":
            # Never touched; with two at a time it is more than a trial's share of what there is.
            torch.empty(int((0.8 if os.cpu_count() > 1 else 4) * available_memory()), dtype=torch.uint8)
        elif kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "raises":
            raise ValueError("made up")
        elif kind == "hangs":
            Path({pid!r}).write_text(str(os.getpid()))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(1)
        held = torch.ones(50_000_000, dtype=torch.uint8)
        for number in range(1, config["train/epochs"] + 1):
            time.sleep(0.05)
            yield Epoch(number, {{"val_accuracy": held[0].item()}}, lambda folder: None)

    STUDY = Study(
        trainable=train,
        dataset="digits",
        epochs=4,
        space={{"model/kind": Choice("well", "greedy", "killed", "raises", "hangs")}},
        start=[{{"model/kind": "well"}}],
        trials=4,
        sampler="random",
    )
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Header, float, int]:
    """The plan of a study whose trainable does all that it should not, what it is about, its seconds, who hung."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "mine.py").write_text(textwrap.dedent(OWN).format(pid=str(folder / "pid")))
    prepared = prepare(str(folder / "mine.py"), Settings(runs=folder / "runs", dry_run=True), Silent())
    began = time.monotonic()
    made = plan(prepared, probe_seconds=12.0)
    return made, prepared.header, time.monotonic() - began, int((folder / "pid").read_text())


def faults(made: dict[str, Any]) -> dict[str, str]:
    return {row["point"]["model/kind"]: row["fault"] for row in made["probe"]}


def test_a_corner_that_asks_for_absurd_memory_is_told_and_ends_nothing_else(bad: Any) -> None:
    assert faults(bad[0])["greedy"].startswith("out of memory: ")
    assert bad[0]["fits"]["memory"] is False


def test_a_corner_that_the_system_kills_is_told(bad: Any) -> None:
    assert "too much memory" in faults(bad[0])["killed"]


def test_a_corner_that_raises_is_told_with_its_configuration(bad: Any) -> None:
    assert faults(bad[0])["raises"] == "ValueError: made up"
    line = next(line for line in text(bad[0], bad[1]).splitlines() if "made up" in line)
    assert "kind=raises" in line


def test_a_corner_that_hangs_is_ended_for_sure(bad: Any) -> None:
    made, _, seconds, pid = bad
    assert "came to no end" in faults(made)["hangs"]
    assert seconds < 15
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_trainable_of_a_users_own_is_measured_by_its_first_epoch_and_that_is_said(bad: Any) -> None:
    row = bad[0]["probe"][0]
    assert (row["what"], row["by"], row["fault"]) == ("start 0", "epochs", "")
    assert 0.05 <= row["seconds_per_epoch"] < 3
    assert 45 < row["memory_mb"] < 500
    assert "a whole epoch" in text(bad[0], bad[1])


# The command


def dry(cwd: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache")}
    command = [sys.executable, "-m", "search", *options, "--dry-run"]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


def test_a_dry_run_tells_everything_in_numbers_and_writes_nothing(tmp_path: Path) -> None:
    done = dry(tmp_path, "digits_mlp", "--json", "--cpus", "1", "--concurrent", "2")
    assert done.returncode == 0, done.stderr
    written = [path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()]
    assert set(written) <= {("cache", "search", "modes")}, "but what the machine is fastest in"
    document = json.loads(done.stdout)
    assert {"study", "dataset", "digest", "rungs", "space", "trials", "definition"} <= set(document)
    made = document["plan"]
    for name in ("trials", "epochs", "seconds", "cpu_hours"):
        assert 0 < made[name]["low"] <= made[name]["expected"] <= made[name]["high"], name
    assert made["trials"]["expected"] == document["trials"] == 24
    assert (made["ends_by"], made["data"], made["rungs"]) == ("trials", "at hand", [1, 3])
    assert made["fits"]["memory"] is True
    assert {"start 0", "start 1", "low", "high", "random 0"} <= {row["what"] for row in made["probe"]}
    measured = [row for row in made["probe"] if row["fault"] != LATE]
    assert measured
    assert all(row["fault"] == "" and row["by"] == "steps" and row["seconds_per_epoch"] > 0 for row in measured)
    assert set(made["memory_mb"]) == {row["what"] for row in measured}


@pytest.mark.nightly
def test_a_dry_run_says_that_time_comes_before_trials(tmp_path: Path) -> None:
    done = dry(tmp_path, "digits_mlp", "--json", "--time-budget", "60s", "--trials", "5000", "--probe", "6s")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["plan"]
    assert made["ends_by"] == "time budget"
    assert made["fits"]["time_budget"] is False
    assert made["trials"]["high"] < 5000
    assert made["seconds"]["high"] <= 60


@pytest.mark.nightly
def test_without_a_probe_epochs_are_told_and_nothing_is_measured(tmp_path: Path) -> None:
    done = dry(tmp_path, "digits_mlp", "--json", "--probe", "0", "--scheduler", "none", "--time-budget", "60s")
    made = json.loads(done.stdout)["plan"]
    assert made["epochs"]["expected"] == 24 * 9
    assert (made["seconds"], made["cpu_hours"], made["memory_mb"], made["ends_by"]) == (None, None, {}, None)


def test_a_probe_is_refused_where_nothing_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "search", "digits_mlp", "--probe", "5s"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--probe is for --dry-run" in done.stderr
