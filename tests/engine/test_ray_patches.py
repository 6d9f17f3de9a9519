"""What is changed of Ray's insides, tried on the Ray that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.engine.ray_patches import one_worker_out_of_memory, swapped
from tests.chaos.command import FOREIGN

NEEDED = {"gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::IDLE"}
"""The processes of a Ray that has just run a task; the last are workers."""

pytestmark = pytest.mark.filterwarnings("ignore")

STARTED = """
import os
from pathlib import Path
from search.engine import ray_session
from search.settings import Settings
from tests.chaos import checker

with ray_session.ray_running(Settings(), meanwhile=lambda: None):
    import ray
    ray_session.run_a_task()
    told = ray._private.worker._global_node.get_session_dir_path()
    [port] = [int(file.read_text()) for file in Path(told).glob("dashboard_agent_listen_port_*")]
    print(port)
    print(*sorted(name.split()[0] for name in checker.processes_of(Path(os.environ["CHAOS_FOLDER"])).values()))
    print("end", flush=True)
    input()
"""

COUNTED = """
import sys
from ray import tune
from ray.air._internal import usage
from search.engine.ray_patches import untold

with untold():
    usage.tag_callbacks([tune.Callback()])
print("mlflow" in sys.modules)
"""


def script(text: str, folder: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    ours = {"PYTHONPATH": str(Path(__file__).parents[2]), "CHAOS_FOLDER": str(folder), "SPT_NOENV": "1"}
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", text], cwd=folder, env={**kept, **ours}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.nightly
def test_two_searches_on_one_machine_start_no_more_processes_than_they_need_and_take_no_port_from_each_other(tmp_path):
    both = [script(STARTED, tmp_path / name) for name in ("first", "second")]
    told = [[line.strip() for line in takewhile("end\n".__ne__, running.stdout)] for running in both]
    ends = [running.communicate("\n", timeout=60) for running in both]
    assert [running.returncode for running in both] == [0, 0], ends
    for port, processes in told:
        assert int(port) > 0
        assert {Path(name).name for name in processes.split()} == NEEDED
    assert told[0][0] != told[1][0]


def test_tune_does_not_import_mlflow_to_count_callbacks(tmp_path):
    out, err = script(COUNTED, tmp_path / "counted").communicate(timeout=60)
    assert out == "False\n", err


def test_a_worker_that_the_memory_monitor_ends_before_its_first_word_is_not_the_end_of_all(monkeypatch):
    """Tune asks for that word where it tells of the error."""
    import ray
    from ray.tune.experiment import Trial

    def killed(reference):
        raise ray.exceptions.OutOfMemoryError("3 worker(s) were killed due to the node running low on memory")

    monkeypatch.setattr(ray, "get", killed)
    trial = object.__new__(Trial)
    trial._default_result_or_future = ray.ObjectRef(b"0" * 28, skip_adding_local_ref=True)
    with one_worker_out_of_memory():
        assert trial._get_default_result_or_future() is None
    assert trial._default_result_or_future is None


def test_what_was_swapped_is_given_back_and_what_is_not_there_is_left_alone():
    owner = SimpleNamespace(known=1)
    seen = []
    with pytest.raises(KeyError), swapped(owner, "known", 2), swapped(owner, "unknown", 3):
        raise KeyError(seen.append(dict(vars(owner))))
    assert (seen, vars(owner)) == ([{"known": 2}], {"known": 1})
