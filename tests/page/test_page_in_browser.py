"""The live page in a real browser, of a real search: curves move, a trial is stopped, trials are added, it finishes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.findings.made_up import searched

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH"),
]
PATIENCE = 120_000
"""Milliseconds that a busy machine may take for what takes one on an idle one."""


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def served(request, tmp_path):
    """The link of a page on `tmp_path / "runs"`."""
    server = subprocess.Popen(
        [sys.executable, "-m", "search", "watch", "--port", "18790", *getattr(request, "param", ())],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    link = server.stderr.readline().strip()
    assert re.match(r"http://127.0.0.1:18790/\?token=", link), link
    yield link
    server.send_signal(signal.SIGINT)
    server.wait(timeout=30)


def opened(chromium, link, path, **settings):
    page = chromium.new_context(**settings).new_page()
    page.set_default_timeout(PATIENCE)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
    page.goto(f"{link}&to={path}")
    page.wait_for_selector("body[data-drawn]")
    return page


def test_a_running_search_is_watched_and_steered_from_the_page(chromium, served, tmp_path):
    # It lasts until it is ended here.
    search = subprocess.Popen(
        [sys.executable, "-m", "search", "digits_cnn", "--epochs", "243", "--trials", "200",
         "--name", "tried", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    while not (tmp_path / "runs" / "tried" / "record.db").exists():
        assert search.poll() is None
        time.sleep(0.2)
    page = opened(chromium, served, "/search/tried")
    # Curves move.
    page.wait_for_selector("#running tbody tr .spark circle")
    page.wait_for_selector("#course .js-plotly-plot")
    first = page.locator("#running tbody tr progress").first.get_attribute("value")
    deadline = time.monotonic() + 120
    while page.locator("#running tbody tr progress").first.get_attribute("value") == first:
        assert time.monotonic() < deadline, "no curve has moved"
        page.keyboard.press("Shift")  # a page that nobody touches rests long on a busy machine
        time.sleep(0.2)
    # Pause and go on.
    page.locator("#steer-pause").click()
    page.get_by_text(", paused by").wait_for()
    page.locator("#steer-pause").click()
    page.locator("#steer-pause", has_text="pause").wait_for()
    # A trial is stopped, with the keyboard alone.
    stop = page.locator("#running button").first
    number = stop.get_attribute("id").removeprefix("stop-")
    stop.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.locator(".log li", has_text=f"stop trial {number}").wait_for()
    # Trials are added, and a configuration.
    page.locator("#steer-trials").fill("3")
    page.locator("#steer-trials").press("Enter")
    page.locator(".log li", has_text="3 trials more").wait_for()
    page.locator("#steer-add").fill("lr=0.05")
    page.locator("#steer-add").press("Enter")
    page.locator(".log li", has_text="try next lr=0.05").wait_for()
    page.locator(".tiles dd .number", has_text="of 204").wait_for()
    page.locator("#steer-add").fill("lr=5")
    page.locator("#steer-add").press("Enter")
    page.locator(".log li", has_text="lies outside").wait_for()
    # It finishes.
    page.locator("#steer-finish").click()
    page.locator("#steer-finish").click()
    page.locator("header .state.done").wait_for()
    out, _ = search.communicate(timeout=120)
    assert search.returncode == 0, out
    assert page.faults == []
    replay = subprocess.run(
        [sys.executable, "-m", "search", "replay", "tried"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "all as recorded" in replay.stdout, replay.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_every_page_fits_its_window_and_says_nothing_to_the_console(
    chromium, served, tmp_path, tiny_study, scheme, width
):
    for number in (1, 2):
        searched(tmp_path / "runs" / f"tiny-{number}", tiny_study, seed=number)
    for path in ("/", "/search/tiny-1", "/search/tiny-1/trial/0", "/compare?name=tiny-1%26name=tiny-2"):
        page = opened(chromium, served, path, color_scheme=scheme, viewport={"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.faults == []
        page.context.close()


def test_the_table_sorts_and_filters_and_the_plots_follow(chromium, served, tmp_path, tiny_study):
    searched(tmp_path / "runs" / "tiny-1", tiny_study, trials=40, ends=0.0)
    page = opened(chromium, served, "/search/tiny-1")
    page.wait_for_selector("#course .js-plotly-plot")
    page.locator("#sort-trial").click()
    assert page.locator("table.trials tbody th").first.inner_text() == "0"
    page.locator("#sort-trial").click()
    assert page.locator("table.trials tbody th").first.inner_text() == "39"
    page.locator("#trials-filter").fill("optimizer=adam lr<0.01")
    shown = page.locator("table.trials tbody tr")
    assert 0 < shown.count() < 40
    assert all("adam" in text for text in shown.all_inner_texts())
    page.locator("details#found > summary").click()
    page.wait_for_selector("#hyperparameters .js-plotly-plot")
    assert page.faults == []


def test_a_thousand_trials_are_drawn_within_a_second(chromium, served, tmp_path, tiny_study):
    searched(tmp_path / "runs" / "big-1", tiny_study, trials=1000, ends=0.0)
    page = opened(chromium, served, "/search/big-1")
    page.wait_for_selector("#course .js-plotly-plot")
    # The second time, as in a refresh: scripts are there, and the search is read.
    taken = min(drawn(page) for _ in range(3))
    assert taken < 1000, taken


def drawn(page):
    """Milliseconds from the start of the page to its first whole drawing."""
    page.reload()
    page.wait_for_selector("body[data-drawn]")
    page.wait_for_selector("#course .js-plotly-plot .main-svg")
    return page.evaluate("Number(document.body.dataset.drawn) - performance.timeOrigin")
