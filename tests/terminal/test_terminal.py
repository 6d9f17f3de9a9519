"""What the user sees, drawn from the same trials as everything else."""

import io
import math

import pytest
from rich.console import Console

from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.search import Search
from search.findings import text
from search.findings.progress import progress
from search.findings.summary import summarize
from search.record.events import Continued, EpochReport, InMLflow
from search.record.record import Record
from search.record.state import State
from search.record.steering import Request
from search.settings import Settings
from search.terminal import drawing, messages, screen
from tests.simulated import begun, kept, note


@pytest.fixture
def search(tiny_study, tmp_path):
    """A search in which one trial is complete, one diverged, and one runs."""
    made = Search(
        tiny_study,
        Record(tmp_path / "record.db", create=True),
        SAMPLERS["random"](tiny_study, 0),
        SCHEDULERS["none"](tiny_study),
        Settings(seed=0, trials=9),
    )
    note(made, "search", {})
    for _ in range(3):
        made.ask()
    for epoch in range(1, tiny_study.epochs + 1):
        made.report(0, EpochReport(epoch, {"val_accuracy": 0.5 + epoch / 100}, 1.0))
    made.report(1, EpochReport(1, {"val_accuracy": math.nan}, 1.0))
    made.report(2, EpochReport(1, {"val_accuracy": 0.25}, 1.0))
    yield made
    made.record.close()


def drawn(search, *, width=120, spent=60.0, budget=None):
    console = Console(width=width, record=True, file=io.StringIO())
    far = progress(search.trials, 9, spent, budget)
    console.print(drawing.screen(search, far, width))
    return console.export_text()


def test_the_screen_shows_how_far_the_search_is_its_best_its_running_trials_and_counts(search):
    text = drawn(search, budget=240.0)
    best = 0.5 + search.study.epochs / 100
    assert f"best {best:.4f} (trial 0)" in text
    assert "1 running, 1 complete, 1 diverged" in text
    assert "2 of 9 trials, 25 % of the time, about 3:00 left" in text
    assert "0.2500" in text
    assert text.count("tiny") == 1


def test_without_a_limit_of_time_what_is_left_follows_from_the_epochs_so_far(search):
    # Two trials have ended after five epochs on average; seven more are to come, of which one has had an epoch.
    assert "2 of 9 trials in 1:00, about 3:05 left" in " ".join(drawn(search).split())


@pytest.mark.parametrize("width", [80, 200])
def test_what_varies_has_columns_of_its_own_the_learning_rate_first_and_no_line_is_too_long(search, width):
    text = drawn(search, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    head = next(line for line in text.splitlines() if "curve" in line)
    assert head.split()[6] == "lr"
    assert ("optimizer" in head) == (width == 200)


def test_the_scale_of_the_curves_is_set_by_the_first_trials_and_moves_with_the_best_only(search):
    before = drawing.scale(list(search.trials), search)
    for number in range(3, 8):
        search.ask()
        search.report(number, EpochReport(1, {"val_accuracy": 0.01 * number}, 1.0))
    assert drawing.scale(list(search.trials), search)[1] == before[1]
    first = drawing.scale(list(search.trials)[:4], search)
    assert drawing.scale(list(search.trials), search) == first


def test_a_search_that_somebody_paused_says_so(search):
    search.steer(Request("pause", who="ana@here"))
    assert "PAUSED by ana@here" in drawn(search)


def test_a_value_that_is_no_number_is_drawn_as_a_cross():
    assert text.sparkline([0.0, math.nan, 1.0, math.inf], 0.0, 1.0) == "▁×█×"


def test_lines_tell_each_end_once_and_none_of_an_earlier_process(search, capsys):
    lines = screen.Lines()
    lines.begin(search, lambda: None)
    lines.tick()
    for _ in range(2):
        search.ask()
    for epoch in range(1, search.study.epochs + 1):
        search.report(3, EpochReport(epoch, {"val_accuracy": 0.7 + epoch / 100}, 1.0))
    search.end(4, State.FAILED, "made up")
    lines.tick()
    lines.tick()
    lines.end()
    told = capsys.readouterr()
    assert told.out == ""
    ends = [line.split()[1:3] for line in told.err.splitlines() if line.startswith("trial")]
    assert ends == [["3", "complete"], ["4", "failed"]]
    assert "*best*" in told.err


def test_paused_trials_count_as_tried_and_are_told_of_at_the_end(tiny_study, tmp_path, capsys):
    with Record(tmp_path / "paused.db", create=True) as record:
        search = begun(tiny_study, record, sampler="freeze_thaw", scheduler="freeze_thaw", trials=6)
        lines = screen.Lines()
        lines.begin(search, lambda: None)
        for epochs in (1, 1, 2):
            trial = search.ask()
            for epoch in range(1, epochs + 1):
                search.report(trial.number, EpochReport(epoch, {"val_accuracy": 0.5}, 1.0, "kept"))
                if epoch < epochs:
                    search.note(Continued(at_once=True), trial.number)
        assert str(progress(search.trials, 6, 60.0, None)).startswith("3 of 6 trials")
        lines.end()
    assert "paused trials: 3, after epoch 1 to 2;" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "written"), [(0, "0:00"), (75, "1:15"), (3675, "1:01:15"), (59.7, "1:00")])
def test_a_clock_reads_as_people_write_it(seconds, written):
    assert text.clock(seconds) == written


def published(folder, uri, experiment):
    with Record(folder / "record.db") as record:
        record.append(InMLflow(uri, experiment, "0f").entry())


@pytest.mark.parametrize(("runs", "told"), [("runs", ""), ("other runs", " --runs '{}'")])
def test_the_result_says_how_mlflow_is_opened_also_for_runs_elsewhere(tiny_study, tmp_path, monkeypatch, runs, told):
    monkeypatch.chdir(tmp_path)
    folder, _ = kept(tmp_path / runs, tiny_study)
    published(folder, "sqlite:///mlflow.db", "1")
    lines = messages.result(summarize(folder)).splitlines()
    at = lines.index(f"MLflow   python -m search ui tiny-1{told.format(tmp_path / runs)}")
    assert lines[at + 1].strip() == "http://127.0.0.1:5000/#/experiments/1/runs/0f?workflowType=machine_learning"


SERVERS = ["https://ml.example/flow", "https://***@ml.example/flow/", "https://ml.example/flow?***"]


@pytest.mark.parametrize("server", SERVERS)
def test_the_link_to_a_server_is_whole_and_opens_model_training(tiny_study, tmp_path, server):
    folder, _ = kept(tmp_path / "runs", tiny_study)
    published(folder, server, "3")
    link = "https://ml.example/flow/#/experiments/3/runs/0f?workflowType=machine_learning"
    assert summarize(folder)["mlflow"]["link"] == link
    assert f"MLflow   {link}" in messages.result(summarize(folder)).splitlines()
