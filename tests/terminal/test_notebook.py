"""A search in a notebook: the plan stays, one table is drawn anew, and nothing looks like an error."""

import os
import re
from pathlib import Path

import pytest

from search.findings.progress import progress
from search.terminal import notebook
from tests.simulated import Curves, Memory, begun, work

ROOT = Path(__file__).parents[2]


def test_the_table_of_a_cell_shows_names_as_they_are(tiny_study):
    search = begun(tiny_study, Memory(), trials=6)
    work(search, Curves(1), workers=2, steps=20)
    bad = "<script>alert(1)</script>"
    search.trials[0].point = {**search.trials[0].point, "train/optimizer": bad}
    drawn = notebook.table(search, progress(search.trials, 6, 60.0, None))
    assert "<script" not in drawn
    assert "of 6 trials" in drawn
    assert re.search("<th>lr</th>", drawn)


def test_no_process_but_a_kernel_is_taken_for_a_notebook():
    assert not notebook.in_notebook()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_search_in_a_real_notebook_keeps_its_plan_and_draws_one_table(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [
        "from search import run, load\nresult = run('digits_cnn', trials=2, epochs=2)",
        "result",
        "result.plot()",
        "print(load(result.name).watch())",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = nbclient.NotebookClient(
        book, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env={**os.environ})
    first, shown, plot, link = (cell["outputs"] for cell in book.cells)
    assert [out["text"] for out in first if out.get("name") == "stderr"] == []
    tables = [out for out in first if out["output_type"] == "display_data"]
    assert len(tables) == 1
    assert "2 of 2 trials" in tables[0]["data"]["text/html"]
    assert "budget" in "".join(out.get("text", "") for out in first)
    assert "text/html" in shown[0]["data"]
    assert "image/png" in plot[0]["data"]
    assert re.match(r"http://127.0.0.1:\d+/\?token=", link[0]["text"])
