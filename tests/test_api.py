"""`from search import run, load`: a search from Python is that of the command line, and its result has tables."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

import search
from search.api import Result
from search.errors import BadInput, EnvironmentFault, NameInUse, SearchError, SearchFailed
from search.options import declared
from search.record.events import EpochReport
from search.record.reader import FILE, read
from search.record.record import Record
from search.settings import Settings
from search.signals import SIGNALS
from search.storage import lock
from spaces.ranges import Choice
from spaces.study import Study
from tests.simulated import begun, kept
from trainables.classifier import WEIGHTS

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "optuna", "mlflow", "pandas", "matplotlib", "numpy", "rich")


@pytest.fixture
def result(tiny_study: Study, tmp_path: Path) -> Result:
    """A search of twelve trials that is done."""
    kept(tmp_path / "runs", tiny_study, trials=12)
    return search.load("tiny-1", tmp_path / "runs")


# What it costs


@pytest.mark.parametrize("what", ["import search", "from search import load, run"])
def test_the_import_loads_nothing_heavy(what: str) -> None:
    code = f"import sys\n{what}\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="module 'search' has no attribute 'runn'"):
        search.runn  # noqa: B018


# The result


def test_a_result_says_what_the_json_document_says(result: Result, tmp_path: Path) -> None:
    assert (result.name, result.state) == ("tiny-1", "done")
    assert result.best == result.summary["best"]
    shown = subprocess.run(
        [sys.executable, "-m", "search", "show", "tiny-1", "--json", "--runs", str(tmp_path / "runs")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    document = json.loads(shown.stdout)
    del document["leaderboard"]
    assert json.loads(json.dumps(result.summary)) == document


def test_trials_are_a_table_by_number_with_the_best_first(result: Result, tiny_study: Study) -> None:
    table, best = result.trials, result.best
    assert best is not None
    assert table.index.name == "trial"
    assert list(table.columns) == ["state", "why", "origin", "epochs", "value", *sorted(tiny_study.space)]
    assert sorted(table.index) == list(range(12))
    assert table.index[0] == best["trial"]
    assert table["value"].iloc[0] == best["val_accuracy"]
    assert table.loc[0, "train/momentum"] == 0.9
    assert table["epochs"].sum() == result.summary["epochs"]


def test_curves_are_a_table_with_a_row_per_epoch(result: Result, tmp_path: Path) -> None:
    table = result.curves
    recorded = [
        (event.trial, event.body["epoch"], event.body["metrics"]["val_accuracy"])
        for event in read(tmp_path / "runs" / "tiny-1" / FILE)
        if event.kind == "epoch"
    ]
    assert {"trial", "epoch", "seconds", "val_accuracy", "val_loss"} == set(table.columns)
    assert list(zip(table["trial"], table["epoch"], table["val_accuracy"].map(str), strict=True)) == sorted(
        (trial, epoch, str(value)) for trial, epoch, value in recorded
    )


def test_the_model_is_the_winners(result: Result, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = result.model()
    assert model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 4)
    assert not model.training
    weights = load_file(next(tmp_path.rglob(WEIGHTS)))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_a_damaged_checkpoint_gives_no_model(result: Result, tmp_path: Path) -> None:
    next(tmp_path.rglob(WEIGHTS)).write_bytes(b"damaged")
    with pytest.raises(EnvironmentFault, match="is damaged: its SHA-256 is not the recorded one"):
        result.model()


def test_the_model_of_a_search_that_runs_may_be_superseded(tiny_study: Study, tmp_path: Path) -> None:
    folder, _ = kept(tmp_path / "runs", tiny_study, steps=9, end=None)
    with lock.held(folder):
        result = search.load("tiny-1", tmp_path / "runs")
        next(tmp_path.rglob(WEIGHTS)).write_bytes(b"damaged")
        with pytest.raises(EnvironmentFault, match="load it again"):
            result.model()


def test_a_search_without_a_result_has_empty_tables_no_model_and_no_winner(tiny_study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny-1"
    folder.mkdir(parents=True)
    with Record(folder / FILE, create=True) as record:
        begun(tiny_study, record, space=dict.fromkeys(tiny_study.space, ""), rungs=[1, 3])
    result = search.load("tiny-1", tmp_path / "runs")
    assert result.best is None
    assert (len(result.trials), len(result.curves)) == (0, 0)
    assert "no result" in repr(result)
    assert "<table>" in result._repr_html_()
    assert isinstance(result.plot(), Figure)
    with pytest.raises(SearchFailed, match="tiny-1 has no result yet; it is interrupted"):
        result.model()


def test_a_result_is_what_was_recorded_when_it_was_loaded(tiny_study: Study, tmp_path: Path) -> None:
    folder, running = kept(tmp_path / "runs", tiny_study, steps=9, end=None)
    with lock.held(folder):
        before = search.load("tiny-1", tmp_path / "runs")
        assert before.state == "running"
        epochs = len(before.curves)
        with Record(folder / FILE) as record:
            running.record = record
            trial = running.trials.running()[0]
            running.report(trial.number, EpochReport(len(trial.epochs) + 1, {"val_accuracy": 0.5}, 1.0))
        assert len(before.curves) == epochs
        assert len(search.load("tiny-1", tmp_path / "runs").curves) == epochs + 1


def test_a_plot_shows_every_trial_with_a_value_every_curve_and_every_rung(result: Result) -> None:
    figure = result.plot()
    history, curves = figure.axes
    ranked = result.trials.loc[lambda table: ~table["state"].isin(["failed", "diverged", "out of memory"])]
    points = [line for line in history.lines if line.get_marker() in ("o", "v")]  # some far below all others
    assert sum(len(line.get_xdata()) for line in points) == ranked["value"].notna().sum()
    best = list(history.lines[1].get_ydata())
    assert best == sorted(best)
    vertical = [line for line in curves.lines if list(line.get_ydata()) == [0, 1] and line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in vertical] == [1, 3]
    assert len(curves.lines) == len(vertical) + 12
    assert figure._repr_png_().startswith(b"\x89PNG"), "a notebook would not show it"


def test_a_notebook_shows_a_short_table_in_which_nothing_is_markup(tiny_study: Study, tmp_path: Path) -> None:
    optimizers = Choice("sgd", "adam", "<script>alert(1)</script>")
    kept(tmp_path / "runs", replace(tiny_study, space={**tiny_study.space, "train/optimizer": optimizers}), trials=20)
    folder = tmp_path / "runs" / "tiny-1"
    with Record(folder / FILE) as record:
        point = {**tiny_study.start[1], "train/optimizer": "<script>alert(1)</script>"}
        record.append(("asked", 20, {"point": point, "origin": "sampler"}))
        metrics = {"val_accuracy": 2.0, "val_loss": 0.0}
        saved = {"checkpoint": None, "sha256": None}
        record.append(*(("epoch", 20, {"epoch": n, "metrics": metrics, "seconds": 1, **saved}) for n in range(1, 10)))
        record.append(("ended", 20, {"state": "complete", "why": ""}))
    page = search.load("tiny-1", tmp_path / "runs")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 11
    assert "and 11 more" in page


def test_a_result_is_told_in_one_line(result: Result) -> None:
    best = result.best
    assert best is not None
    assert repr(result) == (
        f"<search tiny-1: done, 12 trials, val_accuracy {best['val_accuracy']:.4f} (trial {best['trial']})>"
    )


def test_the_report_is_there_if_one_was_made(result: Result, tmp_path: Path) -> None:
    assert result.report is None
    page = tmp_path / "runs" / "tiny-1" / "report.html"
    page.write_text("<html>")
    assert result.report == page


def test_a_result_is_found_from_any_folder(tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path / "runs", tiny_study)
    monkeypatch.chdir(tmp_path)
    result = search.load("tiny-1")
    monkeypatch.chdir("/")
    assert result.model()


def test_an_unknown_search_is_refused_with_the_nearest_name(result: Result, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"unknown search 'tiny-2'; known are tiny-1; did you mean tiny-1\?"):
        search.load("tiny-2", tmp_path / "runs")


def test_a_damaged_record_is_refused(result: Result, tmp_path: Path) -> None:
    (tmp_path / "runs" / "tiny-1" / FILE).write_bytes(b"no record\n" * 20)
    with pytest.raises(EnvironmentFault, match="cannot be opened"):
        search.load("tiny-1", tmp_path / "runs")


# What can be asked for


def test_the_arguments_of_run_are_the_options_that_are_declared_with_their_defaults() -> None:
    arguments = {name: each.default for name, each in inspect.signature(search.run).parameters.items()}
    of_the_call = {"study", "arguments", "name", "data", "runs", "resume", "quiet"}
    options = {each.keyword: each.default for each in declared(Settings).values()}
    only_commands = {"wait_for_resources", "dry_run"}
    assert arguments.keys() - of_the_call == options.keys() - only_commands
    for name in options.keys() - only_commands:
        assert arguments[name] == (options[name] if options[name] != {} else None), name


# What is refused before anything starts


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`offered("digits_mlp", trials=0)` calls `run` where Ray cannot be started and nothing may be written."""
    import ray

    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ray was started")

    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SEARCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: search.run(*arguments, **{"quiet": True, **options})


@pytest.mark.parametrize(
    ("study", "options", "message"),
    [
        ("digits_mpl", {}, r"no study named 'digits_mpl'.*did you mean digits_mlp\?"),
        (5, {}, r"study must be a name or the path of a study file, but got a int"),
        ("nowhere.py", {}, r"no study file 'nowhere.py'"),
        (Path("nowhere.py"), {}, r"no study file 'nowhere.py'"),
        ("digits_mlp", {"trials": 0}, r"--trials must be at least 1, but got 0"),
        ("digits_mlp", {"trials": "5"}, r"--trials must be a whole number, but got '5'"),
        ("digits_mlp", {"epochs": 2.5}, r"--epochs must be a whole number, but got 2.5"),
        ("digits_mlp", {"seed": True}, r"--seed must be a whole number, but got True"),
        ("digits_mlp", {"cpus": "2"}, r"--cpus must be a number, but got '2'"),
        ("digits_mlp", {"time_budget": "soon"}, r"--time-budget must be a time such as 90s, 10m or 2h, but got 'soon'"),
        ("digits_mlp", {"time_budget": -5}, r"--time-budget must be a time"),
        ("digits_mlp", {"time_budget": float("inf")}, r"--time-budget must be a time"),
        ("digits_mlp", {"trial_timeout": 0}, r"--trial-timeout must be a time"),
        ("digits_mlp", {"checkpoint_budget": "much"}, r"--checkpoint-budget must be a size"),
        ("digits_mlp", {"sampler": "tpee"}, r"unknown sampler 'tpee'.*did you mean tpe\?"),
        ("digits_mlp", {"name": "a/b"}, r"--name must be up to 100 letters"),
        ("digits_mlp", {"set": {"lr": 0.1}}, r"unknown hyperparameter lr; sections are model, train"),
        ("digits_mlp", {"set": {"train/lr": "log(0, 1)"}}, r"log needs low above 0"),
        ("digits_mlp", {"set": {"train/lr": [0.1, 0.2]}}, r"train/lr must be a finite number above 0, but got"),
        ("digits_mlp", {"set": {"train/lr": None}}, r"train/lr must be a finite number above 0, but got None"),
        ("digits_mlp", {"set": {"train/lr": float("nan")}}, r"cannot read 'nan'"),
    ],
)
def test_what_cannot_be_is_refused_as_on_the_command_line(
    offered: Callable[..., Any], tmp_path: Path, study: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        offered(study, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_study_object_is_refused_with_what_to_do_instead(
    offered: Callable[..., Any], tiny_study: Study, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"but got a Study: .* write STUDY = Study\(…\) into a file and give its path"):
        offered(tiny_study)
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_use_is_refused(offered: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(NameInUse, match="a search named mine exists in runs"):
        offered("digits_mlp", name="mine")


def test_signals_are_handled_as_before_after_a_refusal(offered: Callable[..., Any]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(SearchError):
        offered("digits_mlp", sampler="tpee")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_process_that_uses_ray_already_is_told_so(
    offered: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(EnvironmentFault, match=r"this process uses Ray already.*ray\.shutdown\(\)"):
        offered("digits_mlp", trials=1)
    assert list(tmp_path.rglob(FILE)) == []


# Whole searches

slow = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
nightly = [*slow, pytest.mark.nightly]

SCRIPT = """
import json, os, signal
import mlflow
import numpy as np
from search import run, load

mlflow.set_experiment("mine")
def mlflow_points_to():
    return mlflow.get_tracking_uri(), {name: os.environ[name] for name in os.environ if name.startswith("MLFLOW_T")}

mlflow_before = mlflow_points_to()
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
first = run("digits_mlp", trials=np.int64(2), epochs=2, quiet=True, set={"train/lr": np.float64(0.05)})
again = run("digits_mlp", trials=2, epochs=2, quiet=True, set={"train/lr": 0.05}, resume=True)
second = run("digits_mlp", trials=2, epochs=2, seed=1, name="second", time_budget="4m", quiet=True)
after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
print(json.dumps({
    "first": first.summary, "again": again.summary, "second": second.summary,
    "handlers": before == after,
    "mlflow": mlflow_before == mlflow_points_to(),
    "experiment": mlflow.get_experiment(mlflow.start_run().info.experiment_id).name,
    "fixed": first.best["config"]["train/lr"], "loaded": load("second").summary == second.summary,
}))
"""


def environment() -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SEARCH_DATA_DIR")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A script that searches twice and goes on once, all at its top level: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


class TestScript:
    pytestmark = nightly

    def test_a_script_searches_at_its_top_level_twice_in_one_process(self, script: Any) -> None:
        folder, said = script
        assert (said["first"]["name"], said["second"]["name"]) == ("digits_mlp-1", "second")
        for each in (said["first"], said["second"]):
            assert each["state"] == "done"
            assert sum(each["trials"].values()) == 2
            assert each["best"]["test_accuracy"] > 0.5
            assert each["mlflow"]["model_uri"]
            assert (folder / "runs" / each["name"] / FILE).is_file()
        assert said["first"]["mlflow"]["parent_run_id"] != said["second"]["mlflow"]["parent_run_id"]
        assert said["loaded"]

    def test_the_time_of_the_second_search_counts_from_its_own_start(self, script: Any) -> None:
        _, said = script
        events = read(script[0] / "runs" / "second" / FILE)
        assert events[0].body["after_s"] < said["first"]["wall_s"] + said["second"]["wall_s"]
        assert said["second"]["first_trial_s"] < said["second"]["wall_s"]

    def test_a_finished_search_that_is_resumed_is_given_back_as_it_is(self, script: Any) -> None:
        _, said = script
        assert said["again"] == said["first"]

    def test_numbers_of_numpy_are_taken_and_the_call_is_recorded(self, script: Any) -> None:
        _, said = script
        assert said["fixed"] == 0.05
        call = "search.run('digits_mlp', trials=2, epochs=2, set={'train/lr': 0.05}, quiet=True)"
        assert said["first"]["command"] == call

    def test_signals_are_handled_as_before_after_a_search(self, script: Any) -> None:
        assert script[1]["handlers"]

    def test_runs_of_the_users_own_go_where_they_went_before(self, script: Any) -> None:
        assert script[1]["mlflow"]
        assert script[1]["experiment"] == "mine"


INTERRUPTED = """
import signal, sys
from search import run, load

def mine(number, frame):
    raise SystemExit("the handler was given back")

signal.signal(signal.SIGTERM, mine)
try:
    run("digits_mlp", trials=1000, name="long", quiet=True)
except KeyboardInterrupt as error:
    print(error)
result = load("long")
print(result.state, len(result.trials) >= 3, result.model() is not None)
print(signal.getsignal(signal.SIGTERM) is mine, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_ctrl_c_closes_the_record_raises_keyboard_interrupt_and_leaves_a_search_to_be_resumed(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Tests may run in the background, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    record, deadline = tmp_path / "runs" / "long" / FILE, time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        if record.exists() and sum(event.kind == "ended" for event in read(record)) >= 3:
            break
        time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    told, found, handlers = out.splitlines()
    assert told.startswith("interrupted by SIGINT; `python -m search resume long` goes on with it")
    assert found == "interrupted True True"
    assert handlers == "True True"
    events = read(record)
    assert (events[-1].kind, events[-1].body["state"]) == ("finished", "interrupted")
    done = subprocess.run(
        [sys.executable, "-m", "search", "resume", "long", "--time-budget", "1s", "--json"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sessions"] == 2


THREAD = """
import threading
from search import run
found = []
thread = threading.Thread(target=lambda: found.append(run("digits_mlp", trials=2, epochs=1, quiet=True)))
thread.start()
thread.join()
print(found[0].state, len(found[0].trials))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_a_search_on_another_thread_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREAD], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert done.stdout.splitlines()[-1:] == ["done 2"], done.stderr


BROKEN = """
from spaces.study import Float, Study

def train(config, data, *, resume=None):
    raise RuntimeError("x is too large")
    yield

STUDY = Study(trainable=train, dataset="digits", space={"model/x": Float(0, 1)}, epochs=3, trials=12)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_a_search_that_fails_raises_what_the_command_line_says(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    code = "from pathlib import Path\nfrom search import run\nrun(Path('broken.py'), quiet=True)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("search.errors.SearchFailed: "), done.stderr
    assert "x is too large" in last
    assert search.load("broken-1", tmp_path / "runs").state == "failed"
