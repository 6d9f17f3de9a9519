"""The tuner benchmark measures what it says: its clock, its tables, its scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.decide.search import Search
from tests.benchmarks.tuner import __main__ as command
from tests.benchmarks.tuner.__main__ import EXPENSIVE, World, course, main, methods
from tests.benchmarks.tuner.answers import Continuous, Noise, Recorded
from tests.benchmarks.tuner.ours import FIRST_RUNG, Ours, study_of
from tests.benchmarks.tuner.portfolio import portfolio
from tests.benchmarks.tuner.scores import scores
from tests.benchmarks.tuner.simulation import Course, Job, simulate
from tests.benchmarks.tuner.table import Table, TableError, read

EPOCHS, ROWS = 12, 60


def stored(tasks: int = 3, rows: int = ROWS, epochs: int = EPOCHS) -> dict[str, np.ndarray]:
    """The best lr is 0.01 in every task; more units take longer."""
    chance = np.random.default_rng(0)
    lr = np.exp(chance.uniform(math.log(1e-4), 0, rows))
    units = np.round(np.exp(chance.uniform(math.log(16), math.log(512), rows)))
    final = 90 - 8 * np.abs(np.log10(lr) + 2)
    rise = 1 - 0.6 ** np.arange(1, epochs + 1)
    accuracy = np.stack([(final + task)[:, None] * rise for task in range(tasks)])
    seconds = np.arange(1, epochs + 1) * (1 + units / 256)[:, None]
    return {
        "tasks": np.array([f"task {task}" for task in range(tasks)]),
        "parameters": np.array(["learning_rate", "units"]),
        "configurations": np.stack([lr, units], axis=1).astype(np.float32),
        "val_accuracy": accuracy.astype(np.float16),
        "seconds": np.broadcast_to(seconds, accuracy.shape).astype(np.float16),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "table.npz", **stored())
    return tmp_path / "table.npz"


@pytest.fixture
def table(file: Path) -> Table:
    return read(file)[0]


class Scripted:
    """Gives out these jobs, and lets every trial go on until the epoch in `ends`."""

    def __init__(self, points: list[dict[str, Any]], ends: dict[int, int] | None = None) -> None:
        self.points, self.ends, self.asked = points, ends or {}, 0
        self.heard: list[tuple[int, int, float]] = []

    def ask(self) -> Job | None:
        self.asked += 1
        return Job(self.asked - 1, self.points[self.asked - 1]) if self.asked <= len(self.points) else None

    def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
        self.heard.append((trial, epoch, value))
        return epoch < self.ends.get(trial, 10**6)


def damaged(**changes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        np.savez(path, **{key: value for key, value in {**stored(), **changes}.items() if value is not None})

    return write


def test_a_table_may_have_hyperparameters_below_zero(tmp_path: Path) -> None:
    configurations = np.stack([np.linspace(-4.0, -1.0, ROWS), np.arange(1.0, ROWS + 1)], axis=1)
    np.savez(tmp_path / "table.npz", **{**stored(), "configurations": configurations})
    (low, _), _ = ((range_.low, range_.log) for range_ in read(tmp_path / "table.npz")[0].space.values())
    assert low == -4.0


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_bytes(b"no zip"), "is no .npz or is damaged"),
        (lambda path: None, "there is no file"),
        (damaged(seconds=None), "lacks seconds"),
        (damaged(val_accuracy=np.zeros((3, ROWS))), "val_accuracy has the shape"),
        (damaged(val_accuracy=np.full((3, ROWS, EPOCHS), np.nan)), "no finite number"),
        (damaged(configurations=np.zeros((ROWS, 3))), "configurations has the shape"),
        (damaged(seconds=-np.ones((3, ROWS, EPOCHS))), "seconds must be counted from the start"),
        (damaged(tasks=np.array([object()], dtype=object)), "is no .npz or is damaged"),
        (damaged(parameters=np.array("learning_rate")), "configurations has the shape"),
    ],
)
def test_a_table_that_is_damaged_is_refused_with_what_is_wrong(
    write: Callable[[Path], None], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.npz"
    write(path)
    with pytest.raises(TableError, match=says):
        read(path)
    assert main(["--table", str(path), "--seeds", "1"]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_table_cut_short_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 40):
        file.write_bytes(whole[:length])
        with pytest.raises(TableError):
            read(file)


@pytest.mark.parametrize("bad", [["--methods", "tpee"], ["--seeds", "0"], ["--workers", "0"], ["--processes", "0"]])
def test_options_that_cannot_be_are_refused(bad: list[str], file: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--table", str(file), *bad])
    assert refused.value.code == 2


def test_ranges_are_logarithmic_where_the_values_are(table: Table) -> None:
    rate, units = table.space["train/learning_rate"], table.space["train/units"]
    assert (rate.log, units.log) == (True, True)
    assert isinstance(units.low, int)


@given(row=st.integers(0, ROWS - 1))
def test_a_configuration_of_the_table_is_nearest_to_itself(row: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("table") / "table.npz"
    np.savez(path, **stored())
    table = read(path)[0]
    assert table.nearest(table.point(row), taken=()) == row
    other = table.nearest(table.point(row), taken={row})
    assert other is not None
    assert other != row
    assert table.nearest(table.point(row), taken=range(ROWS)) is None


def test_workers_train_at_the_same_time_and_the_clock_is_that_of_the_table(table: Table) -> None:
    points = [table.point(row) for row in range(4)]
    both = simulate(Scripted(points), table, workers=4, seconds=1e9)
    assert both.epochs == 4 * EPOCHS
    alone = simulate(Scripted(points[:1]), table, workers=1, seconds=1e9)
    assert alone.seconds == pytest.approx(table.seconds[0], abs=0.5)
    assert alone.values == pytest.approx(table.accuracy[0])


def test_no_configuration_is_trained_twice_in_a_search(table: Table) -> None:
    tuner = Scripted([table.point(0)] * 3)
    simulate(tuner, table, workers=1, seconds=1e9)
    curves = {trial: [value for t, _, value in tuner.heard if t == trial] for trial in range(3)}
    assert curves[0] != curves[1] != curves[2]


def test_a_trial_that_is_ended_makes_room_for_the_next(table: Table) -> None:
    tuner = Scripted([table.point(row) for row in range(3)], ends={0: 1, 1: 2})
    simulate(tuner, table, workers=1, seconds=1e9)
    assert [(trial, epoch) for trial, epoch, _ in tuner.heard[:4]] == [(0, 1), (1, 1), (1, 2), (2, 1)]


def test_a_trial_that_goes_on_from_a_checkpoint_trains_only_what_is_left(table: Table) -> None:
    class Pausing(Scripted):
        def ask(self) -> Job | None:
            self.asked += 1
            return [Job(0, self.points[0]), Job(0, self.points[0], 5), None][min(self.asked, 3) - 1]

    tuner = Pausing([table.point(0)], ends={0: 5})
    tuner.report = lambda trial, epoch, value, _: tuner.heard.append((trial, epoch, value)) or epoch != 5  # type: ignore[method-assign]
    course = simulate(tuner, table, workers=1, seconds=1e9)
    assert [epoch for _, epoch, _ in tuner.heard] == list(range(1, EPOCHS + 1))
    assert course.seconds[-1] == pytest.approx(table.seconds[0, -1], abs=0.5)


def test_what_a_tuner_thinks_is_counted(table: Table) -> None:
    class Slow(Scripted):
        def ask(self) -> Job | None:
            sum(i * i for i in range(300_000))
            return super().ask()

    slow = simulate(Slow([table.point(0)]), table, workers=1, seconds=1e9)
    quick = simulate(Scripted([table.point(0)]), table, workers=1, seconds=1e9)
    assert slow.thinking > quick.thinking + 0.005
    assert slow.seconds[0] > quick.seconds[0] + 0.002


def test_nothing_counts_that_is_reported_after_the_end(table: Table) -> None:
    course = simulate(Scripted([table.point(0)]), table, workers=1, seconds=float(table.seconds[0, 4]) + 0.1)
    assert course.epochs == 5
    assert course.best_at(1e9) == pytest.approx(table.accuracy[0, 4])
    assert course.best_at(0.0) == -math.inf
    assert course.reached(table.accuracy[0, 2]) == pytest.approx(table.seconds[0, 2], abs=0.5)
    assert course.reached(1e9) == math.inf


def test_our_own_search_is_what_is_measured(table: Table) -> None:
    tuner = Ours(study_of(table, [table.point(3)]), seed=0)
    assert isinstance(tuner.search, Search)
    simulate(tuner, table, workers=4, seconds=2 * table.training)
    trials = tuner.search.trials
    assert dict(trials[0].point) == table.point(3)
    assert tuner.search.scheduler.rungs == (FIRST_RUNG, 2 * FIRST_RUNG)
    assert {"complete", "paused"} <= {str(trial.state) for trial in trials}


@pytest.mark.parametrize("name", [name for name in methods() if name not in EXPENSIVE])
def test_every_method_finds_something_and_is_the_same_again(name: str, file: Path) -> None:
    tables = read(file)

    def searched() -> Course:
        return simulate(methods()[name](tables, 0, 7), tables[0], workers=2, seconds=3 * tables[0].training)

    first, again = searched(), searched()
    assert first.asks >= 3
    assert first.values[:3] == pytest.approx(again.values[:3])
    assert first.values[-1] > np.median(tables[0].worth) - 20


def test_a_portfolio_is_of_the_other_tasks_and_good_there(file: Path) -> None:
    tables = read(file)
    chosen = portfolio(tables[1:], 3)
    assert len(set(chosen)) == 3
    assert tables[1].regret(tables[1].worth[chosen].max()) < 0.1
    # What the left-out task is like changes nothing.
    strange = Table("x", tables[0].parameters, tables[0].configurations, -tables[0].accuracy, tables[0].seconds)
    for first in (tables[0], strange):
        tuner = methods()["ours"]([first, *tables[1:]], 0, 0)
        job = tuner.ask()
        assert job is not None
        assert dict(job.point) == tables[0].point(portfolio(tables[1:], 8)[0])


def of_values(values: list[float]) -> Course:
    return Course(np.arange(1.0, len(values) + 1), np.array(values), len(values), 1, 0.0)


def test_scores_are_what_they_say(table: Table) -> None:
    best, median = float(table.worth.max()), float(np.median(table.worth))
    step = 1 / table.training  # a budget that ends after so many seconds
    courses = {
        "good": {(0, 0): of_values([median, best]), (0, 1): of_values([best])},
        "bad": {(0, 0): of_values([median]), (0, 1): of_values([median])},
    }
    found = scores([table], courses, [1.5 * step, 2.5 * step])
    assert list(found["good"]["regret"].values()) == pytest.approx([0.5, 0.0])
    assert list(found["bad"]["regret"].values()) == pytest.approx([1.0, 1.0])
    assert found["good"]["mean_rank"] == pytest.approx((1.5 + 1 + 1 + 1) / 4)
    assert found["bad"]["mean_rank"] == pytest.approx((1.5 + 2 + 2 + 2) / 4)
    assert found["good"]["time_to_top1"] == pytest.approx(1.5 * step)
    assert found["bad"]["reached_top1"] == 0
    assert found["bad"]["time_to_top1"] == pytest.approx(2.5 * step)


@settings(max_examples=20)
@given(values=st.lists(st.lists(st.floats(0, 100), min_size=4, max_size=4), min_size=2, max_size=5))
def test_ranks_add_up_and_intervals_hold_the_mean(values: list[list[float]]) -> None:
    data = stored(tasks=2)
    tables = [
        Table(f"{task}", ("a", "b"), data["configurations"], data["val_accuracy"][task] * 1.0, data["seconds"][task])
        for task in range(2)
    ]
    runs = [(task, seed) for task in range(2) for seed in range(2)]
    courses = {
        f"{i}": {run: of_values([v]) for run, v in zip(runs, each, strict=True)} for i, each in enumerate(values)
    }
    found = scores(tables, courses, [1.0])
    assert sum(each["mean_rank"] for each in found.values()) == pytest.approx(len(values) * (len(values) + 1) / 2)
    for each in found.values():
        low, high = each["mean_rank_interval"]
        assert low - 1e-9 <= each["mean_rank"] <= high + 1e-9


def test_noise_changes_what_is_reported_and_not_what_counts(table: Table) -> None:
    point = table.point(3)
    noisy, again, other = (Recorded(table, Noise(0.1, 0.05), seed).training(point) for seed in (1, 1, 2))
    assert noisy is not None
    assert again is not None
    assert other is not None
    assert noisy.true == pytest.approx(table.accuracy[3])
    assert (noisy.reported != noisy.true).all()
    assert noisy.reported == pytest.approx(again.reported)
    assert (noisy.reported != other.reported).all()
    found = simulate(Scripted([point]), table, workers=1, seconds=1e9, answers=Recorded(table, Noise(0.1, 0.05), 1))
    assert set(found.values) <= set(table.accuracy[3])


def test_a_network_answers_for_the_very_point_that_is_proposed(table: Table) -> None:
    asked: list[list[float]] = []

    def curves(configuration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(configuration.tolist())
        return np.arange(1.0, EPOCHS + 1), np.arange(1.0, EPOCHS + 1)

    point = {"train/learning_rate": 0.0123, "train/units": 77}
    simulate(Scripted([point]), table, workers=1, seconds=1e9, answers=Continuous(table, curves))
    assert asked == [[0.0123, 77.0]]


def test_a_trial_that_goes_on_pays_what_that_costs_and_seconds_are_told(table: Table) -> None:
    told: list[float] = []

    class Pausing(Scripted):
        def ask(self) -> Job | None:
            self.asked += 1
            return [Job(0, self.points[0]), Job(0, self.points[0], 5), None][min(self.asked, 3) - 1]

        def report(self, trial: int, epoch: int, value: float, seconds: float) -> bool:
            told.append(seconds)
            return epoch != 5

    free, dear = (
        simulate(Pausing([table.point(0)]), table, workers=1, seconds=1e9, resume_cost=cost).seconds[-1]
        for cost in (0.0, 2.0)
    )
    epoch = float(table.seconds[0, -1]) / EPOCHS
    assert dear - free == pytest.approx(2 * epoch, rel=0.05)
    assert told[:3] == pytest.approx(np.diff(table.seconds[0], prepend=0.0)[:3])


def test_the_tasks_of_one_seed_begin_with_different_draws(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def make(tables: Any, task: int, seed: int) -> Scripted:
        seeds.append(seed)
        return Scripted([])

    monkeypatch.setattr(command, "methods", lambda: {"made up": make})
    for seed in range(2):
        for task in range(3):
            course(World(file), "made up", task, seed)
    assert len(set(seeds)) == 6


@pytest.mark.parametrize(
    ("bad", "says"), [("0.1", "noise"), ("a,b", "noise"), ("-1,0", "noise"), ("nan,0", "noise"), ("1,2,3", "noise")]
)
def test_noise_that_cannot_be_is_refused(bad: str, says: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--table", str(file), f"--noise={bad}"])
    assert refused.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("side", "says"),
    [
        (None, "must say which tasks the network knows"),
        ("{", "must say which tasks the network knows"),
        ('{"task_codes": {"other": 1}}', "is not to be asked for task task 0"),
        ('{"task_codes": {"task 0": 1, "task 1": 2, "task 2": 3}}', "is no network that onnxruntime reads"),
    ],
)
def test_a_network_that_cannot_answer_is_refused_before_anything_is_searched(
    side: str | None, says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    (file.parent / "net.onnx").write_bytes(b"no network")
    if side is not None:
        (file.parent / "net_onnx.json").write_text(side)
    assert main(["--table", str(file), "--continuous", str(file.parent / "net.onnx"), "--seeds", "1"]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.nightly
def test_the_command_prints_one_document_with_every_method_asked_for(file: Path) -> None:
    names = ["ours", "ours_without_portfolio", "random", "ray_optuna_asha"]
    command = [sys.executable, "-m", "tests.benchmarks.tuner", "--table", str(file), "--seeds", "2", "--json"]
    done = subprocess.run([*command, "--methods", *names], capture_output=True, text=True, timeout=100, check=True)
    document = json.loads(done.stdout)
    assert list(document["methods"]) == names
    for each in document["methods"].values():
        assert list(each["regret"]) == ["0.5", "1", "2", "4", "8"]
        assert 1 <= each["mean_rank"] <= len(names)
        assert each["time_to_top1"] > 0
    assert document["methods"]["ours"]["regret"]["1"] <= document["methods"]["random"]["regret"]["1"]
