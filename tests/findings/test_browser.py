"""The pages as a browser shows them: the report, and MLflow's, which scripts build."""

import html
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH"),
]


def seen(address, folder, *, wait=0):
    """The text of the page at `address` once it is drawn; `wait` is how many seconds of its own clock it gets."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/browser"]
    command += [f"--virtual-time-budget={1000 * wait}", "--timeout=120000"] if wait else []
    done = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=180)
    bare = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", done.stdout, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def seen_with(wanted, address, folder):
    """The text of a page that scripts build, as soon as it has all of `wanted`; a slow machine is asked again."""
    text = ""
    for wait in (10, 30, 60):
        text = seen(address, folder, wait=wait)
        if all(each in text for each in wanted):
            break
    return text


@pytest.fixture(scope="module")
def document(tmp_path_factory, mlflow_server):
    """The JSON document of a small search that reports to a real server."""
    folder = tmp_path_factory.mktemp("run")
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "SEARCH_DATA_DIR")}
    done = subprocess.run(
        [sys.executable, "-m", "search", "digits_cnn", "--trials", "4", "--json"],
        cwd=folder, env={**kept, "MLFLOW_TRACKING_URI": mlflow_server}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_browser_shows_the_winner_in_the_report(document, tmp_path):
    text = seen(f"file://{document['report']}", tmp_path)
    best = document["best"]
    assert f"validation accuracy {best['val_accuracy']:.4f} trial {best['trial']}, epoch {best['epoch']}" in text
    assert f"test accuracy {best['test_accuracy']:.4f}" in text
    assert "best so far" in text
    for name, value in best["config"].items():
        assert name in text
        assert (f"{value:.4g}" if isinstance(value, float) else str(value)) in text


def test_mlflows_list_of_runs_shows_the_search_and_its_trials(document, mlflow_server, tmp_path):
    place = document["mlflow"]
    text = seen_with([document["name"]], f"{mlflow_server}/#/experiments/{place['experiment_id']}/runs", tmp_path)
    assert document["name"] in text


def test_mlflows_page_of_the_search_shows_the_winners_numbers(document, mlflow_server, tmp_path):
    place, best = document["mlflow"], document["best"]
    numbers = [f"{best[name]:.4f}"[:5] for name in ("val_accuracy", "test_accuracy")]
    page = f"{mlflow_server}/#/experiments/{place['experiment_id']}/runs/{place['parent_run_id']}"
    text = seen_with(numbers, page, tmp_path)
    assert f"Winner: trial {best['trial']}" in text
    assert place["link"] == f"{page}?workflowType=machine_learning"
    shown = seen_with(numbers, place["link"], tmp_path)
    assert "Playground" in text, "a new browser is shown the pages of language models by now, too: is the link needed?"
    assert "Playground" not in shown
    for number in numbers:
        assert number in text
    shown = seen_with(["report.html"], f"{page}/artifacts", tmp_path)
    assert "report.html" in shown
