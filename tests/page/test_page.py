"""The page's server: what it tells of searches, and that it goes on from what it knew."""

import json
import math
import re
import subprocess
import sys
import time

import pytest

from search.findings.figures import interactive
from search.findings.figures.course import Curve, Curves, History, Point
from search.record.events import EpochReport, Finished
from search.record.reader import FILE, Follower
from search.record.state import State
from tests.findings.made_up import begun, searched
from tests.page.asking import Browser


@pytest.fixture
def runs(tmp_path, tiny_study):
    searched(tmp_path / "one-1", tiny_study, seed=1)
    searched(tmp_path / "two-1", tiny_study, seed=2)
    return tmp_path


@pytest.fixture
def browser(runs):
    return Browser(runs)


def test_home_tells_of_all_searches_and_what_is_wrong_with_a_damaged_one(browser, runs):
    (runs / "broken-1").mkdir()
    (runs / "broken-1" / FILE).write_text("no record")
    told = {each["name"]: each for each in browser.get("/api/searches").plain}
    assert set(told) == {"one-1", "two-1", "broken-1"}
    assert told["one-1"]["state"] == "done"
    assert (told["one-1"]["ended"], told["one-1"]["trials"]) == (8, 8)
    assert "record" in told["broken-1"]["fault"]


def test_a_search_is_told_with_all_its_trials_once_and_then_with_what_is_new(tmp_path, tiny_study):
    search = begun(tmp_path / "tiny-1", tiny_study)
    browser = Browser(tmp_path)
    trial = search.ask()
    search.ask()
    search.report(trial.number, EpochReport(1, {"val_accuracy": 0.5}, 1.0))
    first = browser.get("/api/searches/tiny-1").plain
    assert [row["trial"] for row in first["rows"]] == [0, 1]
    assert first["full"]
    search.report(trial.number, EpochReport(2, {"val_accuracy": 0.75}, 1.0))
    then = browser.get(f"/api/searches/tiny-1?after={first['event']}").plain
    assert [(row["trial"], row["value"]) for row in then["rows"]] == [(0, 0.75)]
    assert not then["full"]
    assert browser.get(f"/api/searches/tiny-1?after={then['event']}").plain["rows"] == []
    search.note(Finished("done", "", 1.0))
    last = browser.get(f"/api/searches/tiny-1?after={then['event']}").plain
    assert {row["trial"]: row["state"] for row in last["rows"]} == {0: "interrupted", 1: "interrupted"}


def test_what_is_followed_is_what_is_read_anew_also_where_another_record_takes_its_place(tmp_path, tiny_study):
    search = begun(tmp_path / "tiny-1", tiny_study)
    follower = Follower(tmp_path / "tiny-1" / FILE)
    assert [event.kind for event in follower.news()[0]] == ["search"]
    assert follower.news() == ([], False)
    search.ask()
    fresh, anew = follower.news()
    assert ([event.kind for event in fresh], anew) == (["asked"], False)
    search.record.close()
    for file in (tmp_path / "tiny-1").iterdir():
        file.unlink()
    begun(tmp_path / "tiny-1", tiny_study, seed=5)
    fresh, anew = follower.news()
    assert ([event.kind for event in fresh], anew) == (["search"], True)
    assert follower.events == list(fresh)


def test_a_value_that_is_no_number_reaches_the_browser_as_null(tmp_path, tiny_study):
    search = begun(tmp_path / "tiny-1", tiny_study)
    number = search.ask().number
    search.report(number, EpochReport(1, {"val_accuracy": 0.5, "val_loss": math.inf}, 1.0))
    told = Browser(tmp_path).get("/api/searches/tiny-1/trials/0")
    assert told.plain["epochs"][0]["metrics"] == {"val_accuracy": 0.5, "val_loss": None}


def test_a_trial_tells_its_setting_its_rungs_and_what_it_left_behind(browser, runs):
    (runs / "one-1" / "stacks").mkdir()
    (runs / "one-1" / "stacks" / "trial-0000-attempt-1.txt").write_text("in train_mlp")
    told = browser.get("/api/searches/one-1/trials/0").plain
    assert {each["name"]: each["value"] for each in told["config"]}["train/batch_size"] == 16
    assert told["origin"] == "start point 0"
    assert [each["rung"] for each in told["decisions"]] == [1, 3]
    assert "in train_mlp" in told["stacks"]
    assert next(iter(told["plots"])) == "val_accuracy"


def test_what_a_trial_left_behind_is_read_through_no_link(browser, runs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a key")
    (runs / "one-1" / "stacks").mkdir()
    (runs / "one-1" / "stacks" / "trial-0000-attempt-1.txt").symlink_to(secret)
    assert browser.get("/api/searches/one-1/trials/0").plain["stacks"] == ""


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("/api/searches/on-1", 404, "did you mean one-1?"),
        ("/api/searches/..%2Fone-1", 404, ""),
        ("/api/searches/one-1/trials/99", 404, "has no trial 99; it has 8"),
        ("/api/searches/one-1?after=x", 404, "after must be a whole number"),
        ("/api/searches/one-1/sections?rung=2", 404, "has no rung at epoch 2; it has [1, 3, 9]"),
        ("/api/compare", 404, "compare 1 to 8 searches, but got 0"),
        ("/static/../app.py", 404, ""),
        ("/static/page.html", 404, "no such file"),
    ],
)
def test_what_is_not_there_is_one_line(browser, path, status, line):
    answer = browser.get(path)
    assert answer.status == status
    assert line in answer.text


def test_searches_side_by_side_tell_how_they_came_to_their_best_and_in_what_they_differ(browser):
    told = browser.get("/api/compare?name=one-1&name=two-1").plain
    assert [head["name"] for head in told["heads"]] == ["one-1", "two-1"]
    lines = told["plots"]["epochs"]["data"]
    assert [line["name"] for line in lines] == ["one-1", "two-1"]
    for line in lines:
        assert line["y"] == sorted(line["y"])
    assert {name: differs for name, _, differs in told["settings"]}["study"] is False
    assert "train/lr" in [name for name, _, _ in told["winners"]]


def test_the_sections_are_those_of_the_report_with_plots_in_place_of_pictures(browser, runs):
    page = browser.get("/api/searches/one-1/sections").text
    assert 'id="hyperparameters"' in page
    assert 'id="course"' not in page
    at = browser.get("/api/searches/one-1/sections?rung=1").text
    assert "epoch 1</strong>, which 8 of 8 reached" in at
    plots = [json.loads(found.replace("&#34;", '"')) for found in re.findall(r'data-plot="([^"]*)"', at)]
    assert plots
    assert all({"data", "layout"} == set(plot) for plot in plots)


def test_no_name_or_message_of_others_becomes_markup(tmp_path, tiny_study):
    bad = "<img src=x onerror=alert(1)>"
    search = begun(tmp_path / "tiny-1", tiny_study, about=bad, dataset=bad, classes=[bad, "b"])
    search.ask()
    search.end(0, State.FAILED, bad)
    search.note(Finished("failed", bad, 1.0))
    browser = Browser(tmp_path)
    assert "<img" not in browser.get("/api/searches/tiny-1/sections").text
    drawn = interactive.plot(Curves([Curve(bad, [0.5], "winner", 0)], [], bad, "max"))
    assert "<img" not in json.dumps(drawn)
    for path in ("/api/searches", "/api/searches/tiny-1", "/api/searches/tiny-1/trials/0"):
        assert browser.get(path).headers["content-type"] == "application/json"


def test_a_thousand_curves_are_drawn_as_one_line_with_gaps():
    lines = [Curve(f"trial {n}", [0.1, math.nan, 0.3], "other", n) for n in range(1000)]
    drawn = interactive.plot(Curves([*lines, Curve("winner", [0.5], "winner", 1000)], [1], "accuracy", "max"))
    assert [trace["name"] for trace in drawn["data"]] == ["other trials", "winner"]
    assert len(drawn["data"][0]["x"]) == 4000


def test_a_trial_without_a_value_lies_at_the_edge():
    drawn = interactive.plot(History([Point(0, 0.5, "complete"), Point(1, math.nan, "failed")], [], "m", "max"))
    assert drawn["data"][-1]["x"] == [1]
    assert drawn["data"][-1]["y"] == [drawn["layout"]["yaxis"]["range"][0]]


def test_every_number_of_an_answer_is_one_that_javascript_reads(browser):
    for path in ("/api/searches", "/api/searches/one-1", "/api/searches/one-1/trials/0"):
        json.loads(browser.get(path).text, parse_constant=lambda word: pytest.fail(word))


def test_who_watches_a_search_waits_for_no_torch(runs):
    code = """
import pathlib, sys
from tests.page.asking import Browser
browser = Browser(pathlib.Path(sys.argv[1]))
asked = ("", "/one-1", "/one-1/trials/0")
print([browser.get("/api/searches" + each).status for each in asked], "torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[200, 200, 200] False\n", ended.stderr


@pytest.mark.nightly
def test_a_refresh_of_a_thousand_trials_takes_less_than_200_ms_of_the_processor(tmp_path, tiny_study):
    search = begun(tmp_path / "big-1", tiny_study, trials=1000)
    browser = Browser(tmp_path)
    for number in range(1000):
        search.ask()
        search.report(number, EpochReport(1, {"val_accuracy": number / 2000}, 1.0))
        if number != 999:
            search.end(number, State.DIVERGED, "made up")
    event = browser.get("/api/searches/big-1").plain["event"]
    taken = []
    for epoch in range(2, 7):
        search.report(999, EpochReport(epoch, {"val_accuracy": 0.6}, 1.0))
        began = time.process_time()
        event = browser.get(f"/api/searches/big-1?after={event}").plain["event"]
        taken.append(time.process_time() - began)
    assert min(taken) < 0.2, taken
