"""`python -m search digits_cnn` for real: Ray, Optuna, MLflow's server, and a fresh process for the model."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search.record.reader import FILE, read
from search.tracking.served import model_at

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]


def environment(**changes):
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    kept.pop("SEARCH_DATA_DIR", None)
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", **changes}


def search(*arguments, cwd, **changes):
    return subprocess.run(
        [sys.executable, "-m", "search", *arguments],
        cwd=cwd, env=environment(**changes), capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, mlflow_server):
    """One whole search against the server: its folder, its JSON document, its standard error."""
    folder = tmp_path_factory.mktemp("run")
    tell = ("--notify-command", "cat > told.json # hush")
    done = search("digits_cnn", "--seed", "1", "--json", *tell, cwd=folder, MLFLOW_TRACKING_URI=mlflow_server)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def runs(finished, mlflow_server):
    """The parent run and the children by trial number."""
    _, document, _ = finished
    client = MlflowClient(tracking_uri=mlflow_server)
    experiment = document["mlflow"]["experiment_id"]
    everything = client.search_runs([experiment])
    parents = [run for run in everything if "mlflow.parentRunId" not in run.data.tags]
    children = {int(run.data.tags["search.trial"]): run for run in everything if "mlflow.parentRunId" in run.data.tags}
    assert len(children) == len(everything) - len(parents), "two runs for one trial"
    return client, parents, children


def test_the_document_has_the_promised_keys(finished):
    _, document, _ = finished
    assert {"name", "study", "state", "dataset", "stand_in", "seed", "trials", "epochs"} <= set(document)
    assert {"wall_s", "best", "run_dir", "mlflow", "resume"} <= set(document)
    assert {"trial", "epoch", "config", "val_accuracy", "test_accuracy"} <= set(document["best"])
    assert {"tracking_uri", "experiment_id", "parent_run_id", "model_uri"} <= set(document["mlflow"])
    assert document["state"] == "done"
    assert document["stand_in"] is False
    assert sum(document["trials"].values()) == 16


def test_the_document_lies_beside_the_record(finished):
    folder, document, _ = finished
    assert json.loads((folder / "runs" / document["name"] / "result.json").read_text()) == document


def test_the_record_tells_the_whole_story(finished):
    folder, document, _ = finished
    events = read(folder / "runs" / document["name"] / FILE)
    kinds = [event.kind for event in events]
    assert kinds[0] == "search"
    assert kinds[-1] == "finished"
    assert kinds.count("asked") == kinds.count("ended") == 16
    assert kinds.count("epoch") == document["epochs"]
    assert kinds.count("tested") == 1, "the test set was not opened exactly once"
    assert kinds.index("tested") > max(i for i, kind in enumerate(kinds) if kind == "ended")


def test_mlflow_has_one_parent_and_one_child_per_trial_with_true_statuses(finished, runs):
    folder, document, _ = finished
    _, parents, children = runs
    assert [run.info.run_id for run in parents] == [document["mlflow"]["parent_run_id"]]
    assert parents[0].info.status == "FINISHED"
    ends = {e.trial: e.body["state"] for e in read(folder / "runs" / document["name"] / FILE) if e.kind == "ended"}
    assert set(children) == set(ends)
    truth = {"complete": "FINISHED", "stopped": "KILLED", "diverged": "FAILED"}
    for number, run in children.items():
        assert run.info.status == truth[ends[number]]
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id


def test_curves_in_mlflow_equal_the_record_value_by_value(finished, runs):
    folder, document, _ = finished
    client, _, children = runs
    recorded: dict = {}
    for event in read(folder / "runs" / document["name"] / FILE):
        if event.kind == "epoch":
            for name, value in event.body["metrics"].items():
                recorded.setdefault((event.trial, name), []).append((event.body["epoch"], value))
    assert recorded
    for (trial, name), curve in recorded.items():
        if name == "parameters":  # the same in each epoch, and so no curve
            assert children[trial].data.params[name] == str(int(curve[0][1]))
            continue
        history = client.get_metric_history(children[trial].info.run_id, name)
        assert sorted((metric.step, metric.value) for metric in history) == curve


def test_parameters_and_the_parent_say_what_was_found(finished, runs):
    _, document, _ = finished
    _, parents, children = runs
    best = document["best"]
    shown = children[best["trial"]].data.params
    assert {name: str(value) for name, value in best["config"].items()} == {
        name: value for name, value in shown.items() if name != "parameters"
    }
    parent = parents[0].data
    assert parent.metrics["best_val_accuracy"] == best["val_accuracy"]
    assert parent.metrics["test_accuracy"] == best["test_accuracy"]
    assert document["command"] in parent.tags["mlflow.note.content"]


def test_the_best_is_the_best_of_the_complete_trials(finished):
    folder, document, _ = finished
    events = read(folder / "runs" / document["name"] / FILE)
    complete = {e.trial for e in events if e.kind == "ended" and e.body["state"] == "complete"}
    values = [e.body["metrics"]["val_accuracy"] for e in events if e.kind == "epoch" and e.trial in complete]
    assert document["best"]["val_accuracy"] == max(values)


def test_the_end_is_told_by_a_command_that_is_written_nowhere(finished, runs):
    folder, document, _ = finished
    told = json.loads((folder / "told.json").read_text())
    assert told["text"].startswith(f"{document['name']}: done after ")
    assert document["mlflow"]["link"] in told["text"]
    assert told["search"]["best"]["val_accuracy"] == document["best"]["val_accuracy"]
    assert "hush" not in json.dumps([event.body for event in read(folder / "runs" / document["name"] / FILE)])
    assert "hush" not in json.dumps([{**run.data.tags, **run.data.params} for run in runs[1]])


def test_the_logged_model_belongs_to_the_winning_trial_and_has_a_card(finished, runs, tmp_path):
    _, document, _ = finished
    client, parents, children = runs
    best, winner = document["best"], children[document["best"]["trial"]]
    (model,) = client.search_logged_models([document["mlflow"]["experiment_id"]])
    assert model.source_run_id == winner.info.run_id
    assert model.name == f"{document['name']}-trial-{best['trial']:03d}-epoch-{best['epoch']}"
    assert model.params == winner.data.params
    shown = {metric.key: metric for metric in model.metrics}
    assert all(name.startswith(("train_", "val_", "test_")) for name in shown), "how long it took is not of the model"
    assert shown["val_accuracy"].value == best["val_accuracy"]
    assert shown["test_accuracy"].value == best["test_accuracy"]
    assert {metric.dataset_digest for metric in model.metrics} == {winner.inputs.dataset_inputs[0].dataset.digest}
    assert [shown[name].dataset_name for name in ("val_accuracy", "test_accuracy")] == [
        "digits (validation)",
        "digits (test)",
    ]
    assert [each.model_id for each in parents[0].outputs.model_outputs] == [model.model_id]
    assert len(client.get_metric_history(winner.info.run_id, "test_accuracy")) == 1, "a point was written twice"

    registered = client.get_registered_model("digits_cnn")
    version = client.get_model_version("digits_cnn", document["mlflow"]["model_version"])
    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)  # an argument of that name does not reach the registry
    address = f"models:/digits_cnn/{version.version}/README.md"
    card = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(tmp_path))).read_text()
    assert card.startswith("# digits_cnn: a classifier of 10 classes")
    assert f"| test accuracy | {best['test_accuracy']:.4f} |" in card
    assert registered.description == version.description
    assert len(version.description) <= 5000
    assert version.description.startswith("# digits_cnn: a classifier of 10 classes")


def test_checkpoints_that_are_not_needed_are_gone(finished):
    folder, document, _ = finished
    root = folder / "runs" / document["name"] / "checkpoints"
    assert [str(kept.relative_to(root)) for kept in root.glob("*/*/*")] == [document["best"]["checkpoint"]]


LOADER = """
import json, sys
class Hidden:  # our packages must come from the model itself, not from this checkout
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('search', 'spaces'):
            raise ImportError(name)
sys.meta_path.insert(0, Hidden())
sys.path[:] = [entry for entry in sys.path if entry not in ('', sys.argv[1])]
import mlflow, numpy as np
from sklearn.datasets import load_digits
model = mlflow.pyfunc.load_model('models:/digits_cnn@champion')
images = load_digits().images.astype('uint8')
shapes = [list(model.predict(images[:n]).shape) for n in (1, 2, 7)]
import trainables
held_out = np.array(json.loads(sys.argv[2]))
right = (model.predict(images[held_out]).argmax(1) == load_digits().target[held_out]).mean()
print(json.dumps({'shapes': shapes, 'right': right, 'trainables': trainables.__file__}))
"""


def validation_part():
    """Which of scikit-learn's images `digits_cnn` validates on, found by comparing pixels."""
    import torch
    from sklearn.datasets import load_digits

    import spaces
    from trainables import datasets
    from trainables.data import part

    study = spaces.load("digits_cnn")
    source = datasets.digits()
    val = part(*source.train(), source.classes, val_fraction=study.val_fraction, seed=study.split_seed).val
    whole = torch.from_numpy(load_digits().images).to(torch.uint8).flatten(1)
    return [(whole == image.flatten()).all(1).nonzero()[0].item() for image in val.images]


@pytest.mark.nightly
def test_the_champion_loads_in_a_fresh_process_and_shows_the_recorded_accuracy(finished, mlflow_server, tmp_path):
    _, document, _ = finished
    arguments = [sys.executable, "-c", LOADER, str(ROOT), json.dumps(validation_part())]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environment(MLFLOW_TRACKING_URI=mlflow_server), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shapes"] == [[1, 10], [2, 10], [7, 10]]
    assert math.isclose(found["right"], document["best"]["val_accuracy"], abs_tol=2 / 288)
    assert not found["trainables"].startswith(str(ROOT)), "the model leaned on our checkout"


def test_the_registered_model_holds_weights_in_safetensors_and_no_pickle(finished, runs, tmp_path, mlflow_server):
    _, document, _ = finished
    client = runs[0]
    version = client.get_model_version_by_alias("digits_cnn", "champion")
    assert client.get_model_version_by_alias("digits_cnn", "candidate").version == version.version
    assert version.tags["test_accuracy"] == repr(document["best"]["test_accuracy"])
    import mlflow

    mlflow.set_tracking_uri(mlflow_server)
    folder = Path(mlflow.artifacts.download_artifacts(document["mlflow"]["model_uri"], dst_path=str(tmp_path)))
    files = {file.name for file in folder.rglob("*") if file.is_file()}
    assert "weights.safetensors" in files
    assert not {name for name in files if name.endswith((".pkl", ".pt", ".pth", ".pickle"))}


def test_the_registered_model_knows_how_bright_its_pictures_are(finished, mlflow_server):
    """The digits have levels up to 16: shares of 1 are then no shares of 255."""
    model = model_at(finished[1]["mlflow"]["model_uri"], mlflow_server)
    assert (model.intake.shape, model.intake.brightest) == ((1, 8, 8), 16)


@pytest.mark.nightly
def test_a_second_search_becomes_champion_only_if_it_is_better(finished, runs, mlflow_server):
    folder, first, _ = finished
    client = runs[0]
    done = search(
        "digits_cnn", "--trials", "1", "--epochs", "1", "--name", "weak", "--json", "--set", "train/lr=0.0001",
        cwd=folder, MLFLOW_TRACKING_URI=mlflow_server,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)
    assert second["best"]["test_accuracy"] < first["best"]["test_accuracy"]
    champion = client.get_model_version_by_alias("digits_cnn", "champion")
    candidate = client.get_model_version_by_alias("digits_cnn", "candidate")
    assert champion.tags["search"] == first["name"]
    assert candidate.tags["search"] == "weak"


@pytest.mark.nightly
def test_the_verbs_tell_the_same_numbers(finished):
    folder, document, _ = finished
    name = document["name"]
    listed = json.loads(search("list", "--json", cwd=folder).stdout)
    assert name in [each["name"] for each in listed]
    shown = json.loads(search("show", name, "--json", cwd=folder).stdout)
    assert shown["best"] == document["best"]
    assert len(shown["leaderboard"]) == 16
    assert json.loads(search("best", name, "--json", cwd=folder).stdout) == document["best"]
    exported = search("export", name, "out", cwd=folder)
    assert exported.returncode == 0, exported.stderr
    assert (folder / "out" / "model" / "weights.safetensors").stat().st_size > 1000
    assert len((folder / "out" / "trials.csv").read_text().splitlines()) == 17
    assert len((folder / "out" / "curves.csv").read_text().splitlines()) == document["epochs"] + 1


@pytest.mark.nightly
def test_without_data_and_network_the_search_ends_well_on_the_stand_in_and_says_so(tmp_path):
    done = search(
        "fashion_cnn", "--trials", "1", "--epochs", "1", "--json", cwd=tmp_path,
        XDG_CACHE_HOME=str(tmp_path / "cache"), http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["stand_in"] is True
    assert "STAND-IN" in done.stderr
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment(document["mlflow"]["experiment_id"]).name == "fashion_cnn-stand-in"
    assert not client.search_registered_models(), "a stand-in was registered"


@pytest.mark.nightly
def test_a_signal_ends_the_search_with_the_best_so_far_kept(tmp_path):
    number = signal.SIGTERM  # the others are tried by faults/test_driver.py
    running = subprocess.Popen(
        [sys.executable, "-m", "search", "digits_cnn", "--trials", "1000", "--name", "long", "--json"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    record = tmp_path / "runs" / "long" / FILE
    while time.monotonic() < deadline:
        if record.exists() and sum(event.kind == "ended" for event in read(record)) >= 3:
            break
        time.sleep(0.3)
    running.send_signal(number)
    out, err = running.communicate(timeout=90)
    assert running.returncode == 128 + number, err
    document = json.loads(out)
    assert document["state"] == "interrupted"
    assert document["best"]["val_accuracy"] > 0.5
    assert (tmp_path / "runs" / "long" / "checkpoints" / document["best"]["checkpoint"]).is_dir()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    statuses = {run.info.status for run in client.search_runs([document["mlflow"]["experiment_id"]])}
    assert "RUNNING" not in statuses
    assert client.get_run(document["mlflow"]["parent_run_id"]).info.status == "KILLED"


STUDY_FILE = '''
"""A study of my own."""
from spaces.study import Float, Study
from trainables.epoch import Epoch

def train(config, data, *, resume=None):
    if config["model/x"] > 0.9:
        raise RuntimeError("x is too large")
    for number in range(1, config["train/epochs"] + 1):
        value = float("nan") if config["model/x"] < 0.1 else config["model/x"]
        yield Epoch(number, {"val_accuracy": value}, lambda folder: (folder / "x").write_text("x"))

STUDY = Study(
    trainable=train, dataset="digits", space={"model/x": Float(0, 1)}, epochs=3, trials=12,
    start=[{"model/x": 0.05}, {"model/x": 0.95}, {"model/x": 0.5}],
)
'''


@pytest.mark.nightly
def test_a_study_file_of_ones_own_runs_and_its_failures_are_data(tmp_path):
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    done = search("mine.py", "--json", "--sampler", "random", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    board = {
        row["trial"]: row for row in json.loads(search("show", "mine-1", "--json", cwd=tmp_path).stdout)["leaderboard"]
    }
    assert board[0]["state"] == "diverged"
    assert board[1]["state"] == "failed"
    assert "x is too large" in board[1]["why"]
    assert document["best"]["config"]["model/x"] == max(
        row["point"]["model/x"] for row in board.values() if row["state"] == "complete"
    )


def leaderboard(name, cwd):
    """The trials of a search by number."""
    return {row["trial"]: row for row in json.loads(search("show", name, "--json", cwd=cwd).stdout)["leaderboard"]}


SIGNED = """
import json, mlflow, numpy as np
model = mlflow.pyfunc.load_model('models:/moons_mlp@champion')
(spec,) = model.metadata.signature.inputs.inputs
shape = [2 if side == -1 else side for side in spec.shape]
points = np.array([[-1.0, 1.0], [2.0, -0.5]], spec.type)  # far out on the upper, and on the lower half circle
out = model.predict(points.reshape(shape))
told = {'type': str(spec.type), 'shape': spec.shape, 'out': out.to_numpy().tolist(), 'names': [*out.columns]}
print(json.dumps(told))
"""


@pytest.mark.nightly
def test_the_moons_are_searched_and_the_served_model_predicts_from_points_as_its_signature_says(tmp_path):
    done = search("moons_mlp", "--published", "--trials", "3", "--epochs", "40", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the published setting (test accuracy 77.50%)" in done.stderr
    document, board = json.loads(done.stdout), leaderboard("moons_mlp-1", tmp_path)
    assert document["stand_in"] is False
    assert document["published"] == {"test_accuracy": 0.775, "trained": True}
    events = read(tmp_path / "runs" / "moons_mlp-1" / FILE)
    assert [e.body["origin"] for e in events if e.kind == "asked"] == ["published setting 0", "sampler", "sampler"]
    assert (board[0]["state"], board[0]["epochs"]) == ("complete", 40)
    assert 0 not in {event.trial for event in events if event.kind == "decided"}
    assert document["best"]["test_accuracy"] > 0.6
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    client.get_model_version_by_alias("moons_mlp", "champion")
    shown = subprocess.run(
        [sys.executable, "-c", SIGNED], cwd=tmp_path, capture_output=True, text=True,
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db"),
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout.splitlines()[-1])
    assert (found["type"], found["shape"]) == ("float32", [-1, 1, 1, 2])
    assert found["names"] == ["upper", "lower"]
    upper, lower = found["out"]
    assert math.isclose(sum(upper), 1, abs_tol=1e-5)
    assert upper[0] > lower[0], "the model does not tell upper from lower"


GRID_FILE = '''
"""Two activations by two depths, two seeds each."""
from spaces.study import Choice, Int, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp, dataset="digits", epochs=3, sampler="grid", scheduler="none", trials=99, val_fraction=0.2,
    space={"model/activation": Choice("relu", "tanh"), "model/depth": Int(0, 1), "train/seed": Choice(0, 1)},
    fixed={"train/lr": 0.1, "model/width": 16},
)
'''


@pytest.mark.nightly
def test_a_grid_ends_by_itself_with_every_trial_complete_though_more_were_allowed(tmp_path):
    (tmp_path / "compare.py").write_text(GRID_FILE)
    done = search("compare.py", "--trials", "50", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["trials"]) == ("done", {"complete": 8})
    board = leaderboard("compare-1", tmp_path)
    points = [(r["point"]["model/activation"], r["point"]["model/depth"], r["point"]["train/seed"]) for r in
              (board[number] for number in range(8))]  # fmt: skip
    assert points == [(name, depth, seed) for seed in (0, 1) for depth in (0, 1) for name in ("relu", "tanh")]
    # Without hidden layers no activation is used, so equal seeds give equal curves: the seed is that of the point.
    assert board[0]["curve"] == board[1]["curve"] != board[4]["curve"]
    derived = search("replay", "compare-1", cwd=tmp_path)
    assert derived.returncode == 0, derived.stdout + derived.stderr
