"""What a job does with an order, in the folder that came with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import EnvironmentFault
from search.jobs import order, packing, result
from search.record.reader import FILE, read
from search.record.reading import header_of
from search.session.prepare import prepare
from search.settings import Settings
from search.terminal.console import Silent

STUDY = """
from dataclasses import replace
from spaces.moons_mlp import STUDY as MOONS
from beside import TRIALS

STUDY = replace(MOONS, trials=TRIALS, epochs=1)
"""


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The runs folder and the process of an order that was packed here and is carried out from its copy alone."""
    folder = tmp_path_factory.mktemp("job")
    project, runs = folder / "project", folder / "runs"
    project.mkdir()
    (project / "mine.py").write_text(STUDY)
    (project / "beside.py").write_text("TRIALS = 2\n")
    made = order.Order(
        "mine.py", Settings(name="x", seed=3, stand_in=False), str(runs), project, as_json=True, quiet=True
    )
    command = [sys.executable, "-m", "search", "run-order", order.FILE, "--job", "x-1"]
    environment = {key: text for key, text in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
    with packing.packed(made) as copy:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    return runs, done


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_the_search_of_the_order_is_run_and_its_result_said_in_one_line(
    carried_out: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    runs, done = carried_out
    assert done.returncode == 0, done.stderr
    document = result.found(done.stdout, "x-1")
    assert document is not None
    assert (document["state"], document["seed"], document["trials"]) == ("done", 3, {"complete": 2})
    assert document == json.loads((runs / "x" / "result.json").read_text())
    assert len(done.stdout.splitlines()) == 2, "an empty line and the document"


@pytest.mark.slow
@pytest.mark.nightly
def test_its_record_has_the_command_that_does_the_same(
    carried_out: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    runs, _ = carried_out
    header = header_of(read(runs / "x" / FILE))
    options = f"--seed 3 --name x --no-stand-in --runs {runs} --resume auto --quiet --json"
    assert header.command == f"python -m search mine.py {options}"


def test_runs_in_the_folder_that_came_with_a_job_are_refused_since_ray_deletes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"runtime_env": {"working_dir": "gcs://_ray_pkg_0f.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(config))
    with pytest.raises(EnvironmentFault, match="would lie in Ray's copy of the working folder"):
        prepare("digits_mlp", Settings(runs=Path("runs")), Silent())
