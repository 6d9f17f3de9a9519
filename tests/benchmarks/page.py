"""What an open page costs the search that it shows: the same search with and without it, in turns, for a set time.

`python -m tests.benchmarks.page [--seconds 60] [--pairs 3] [--json]`

The page is in a headless Chromium on the same machine, the worst case: trials have all cores. And epochs are short,
so the page has much to draw. Server and browser are there before the search begins, as with somebody who works; then
the page is opened, and stays open to the end. Needs `chromium` on the path.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.report import show, spread

NAME = "shown"
LINE = ("digits_cnn", "--scheduler", "none", "--trials", "2000", "--epochs", "20", "--sampler", "random")


@contextlib.contextmanager
def browser_on(folder: Path) -> Iterator[Callable[[], None]]:
    """Inside, a browser has the list of searches in `folder` open; yields what opens the search NAME."""
    from playwright.sync_api import sync_playwright

    (folder / "runs").mkdir()
    line = [sys.executable, "-m", "search", "watch"]
    server = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        link = server.stderr.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()

            def show(path: str) -> None:
                page.goto(f"{link}&to={path}")
                page.wait_for_selector("body[data-drawn]", timeout=60_000)

            show("/")
            yield lambda: show(f"/search/{NAME}")
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)


def searched(seconds: int, *, shown: bool) -> dict[str, Any]:
    """The document of a search of so many `seconds`, with the page open or without."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        show_it = stack.enter_context(browser_on(folder)) if shown else lambda: None
        line = [sys.executable, "-m", "search", *LINE, "--name", NAME, "--time-budget", f"{seconds}s"]
        with (folder / "out").open("w") as out:
            running = subprocess.Popen([*line, "--json", "--quiet"], cwd=folder, stdout=out, stderr=subprocess.DEVNULL)
            while not (folder / "runs" / NAME / "record.db").exists():
                if running.poll() is not None:
                    raise SystemExit(f"{' '.join(line)} ended with {running.returncode} before it began")
                time.sleep(0.05)
            show_it()
            running.wait()
        document: dict[str, Any] = json.loads((folder / "out").read_text())
        return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    epochs, busy = [], []
    for _ in range(arguments.pairs):
        without, with_page = (searched(arguments.seconds, shown=shown) for shown in (False, True))
        epochs.append(with_page["epochs"] / without["epochs"])
        busy.append(with_page["utilisation"] / without["utilisation"])
    show(
        "page",
        [
            ("epochs with the page ÷ without", spread(epochs), ""),
            ("utilisation with the page ÷ without", spread(busy), "at least 0.98"),
        ],
        {"epochs": epochs, "utilisation": busy, "seconds": arguments.seconds},
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
