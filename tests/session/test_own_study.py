"""A study file of one's own, with a trainable and modules of one's own: found, told apart, and sent to the workers."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import spaces
from search.engine import worker
from search.errors import BadInput
from tests.session.test_end_to_end import search

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "studies.md").read_text()
EXAMPLE = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "STUDY = " in code)
"""The study with a trainable of its own that docs/studies.md shows, as it stands there."""

STUDY = '''"""Of my own."""
from dataclasses import dataclass

from spaces.study import Float, Study
from trainables.epoch import Epoch

{imports}

@dataclass
class Helper:
    factor: float

    def times(self, x: float) -> float:
        return self.factor * x


def train(config, data, *, resume=None):
    {body}
    helper = Helper({factor})
    assert isinstance(helper, Helper) and data.classes
    for number in range(1, config["train/epochs"] + 1):
        yield Epoch(number, {{"val_accuracy": helper.times(config["model/x"])}}, lambda folder: None)


STUDY = Study(trainable=train, dataset="digits", epochs=2, space={{"model/x": Float(0, 1)}}, trials=2)
'''


def written(file: Path, *, imports: str = "", body: str = "pass", factor: str = "0.5") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(STUDY.format(imports=imports, body=body, factor=factor))
    return file


def first_value(file: Path, tiny_data: Any) -> float:
    """What the trainable of the study in `file` shows in its first epoch where x is 1."""
    epochs = spaces.load(str(file)).trainable({"train/epochs": 2, "model/x": 1.0}, tiny_data)
    return next(epochs).metrics["val_accuracy"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """No study file of these tests is imported, or lies where modules are looked for, once they are over."""
    yield
    spaces._make_way(str(ROOT))


# Names


@pytest.mark.parametrize("name", ["json", "torch", "search", "queue", "trainables", "a.b"])
def test_a_study_called_like_a_module_neither_is_nor_hides_it(name: str, tmp_path: Path, tiny_data: Any) -> None:
    before = {each: sys.modules.get(each) for each in ("json", "torch", "search", "queue", "trainables", "a.b", "a")}
    file = written(tmp_path / f"{name}.py", imports="import json, queue, torch, search, trainables")
    study = spaces.load(str(file))
    assert (study.name, first_value(file, tiny_data)) == (name, 0.5)
    assert {each: sys.modules.get(each) for each in before} == before
    assert study.trainable.__globals__["queue"] is queue  # type: ignore[attr-defined]


def test_two_studies_of_one_name_are_told_apart(tmp_path: Path, tiny_data: Any) -> None:
    files = [written(tmp_path / place / "mine.py", factor=place) for place in ("0.25", "0.75")]
    assert [first_value(file, tiny_data) for file in [*files, *files]] == [0.25, 0.75, 0.25, 0.75]


def test_modules_of_one_name_beside_two_studies_are_told_apart(tmp_path: Path, tiny_data: Any) -> None:
    for place in ("0.25", "0.75"):
        written(tmp_path / place / "mine.py", imports="from factors_of_mine import FACTOR", factor="FACTOR")
        (tmp_path / place / "factors_of_mine.py").write_text(f"FACTOR = {place}\n")
    for place in ("0.25", "0.75", "0.25"):
        assert first_value(tmp_path / place / "mine.py", tiny_data) == float(place)


def test_a_module_beside_a_study_that_was_edited_is_imported_as_it_is_now(tmp_path: Path, tiny_data: Any) -> None:
    file = written(tmp_path / "mine.py", imports="import factors_of_mine", factor="factors_of_mine.FACTOR")
    for factor in (0.25, 0.125):
        (tmp_path / "factors_of_mine.py").write_text(f"FACTOR = {factor!r}  # {'edited' * int(factor * 8)}\n")
        assert first_value(file, tiny_data) == factor


def test_a_study_with_zero_bytes_is_refused_without_a_line_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"x = 1\0\n")
    with pytest.raises(spaces.UnknownStudy, match=r"mine\.py: source code .*null bytes"):
        spaces.load(str(tmp_path / "mine.py"))


def test_a_study_that_cannot_be_loaded_leaves_none_of_its_modules_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "half_of_mine.py").write_text("WHOLE = False\n")
    (tmp_path / "half" / "mine.py").write_text("import half_of_mine\nraise RuntimeError('half')\n")
    with pytest.raises(spaces.UnknownStudy, match="line 2: RuntimeError: half"):
        spaces.load(str(tmp_path / "half" / "mine.py"))
    spaces.load(str(written(tmp_path / "mine.py")))
    assert "half_of_mine" not in sys.modules


@pytest.mark.parametrize("name", ["json", "torch"])
@pytest.mark.nightly
def test_the_command_finds_its_own_modules_in_a_folder_of_studies_called_like_them(name: str, tmp_path: Path) -> None:
    for each in ("json", "torch", "click", "queue", "spaces"):
        written(tmp_path / f"{each}.py", imports="import json, queue, torch, click")
    done = search(f"{name}.py", "--dry-run", "--json", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study"] == name


# Sent to processes that have none of its files

RECEIVER = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    trainable = pickle.load(file)
class data:
    classes = ("a", "b")
for epoch in trainable({"train/epochs": 2, "model/x": 1.0}, data):
    print(epoch.number, epoch.metrics["val_accuracy"])
"""

WAYS: dict[str, tuple[dict[str, str], str]] = {
    "all in one file": ({"imports": "import torch", "body": "assert torch.ones(1).sum() == 1"}, "home"),
    "names from beside it": ({"imports": "from of_mine import F, net", "body": "net()", "factor": "F"}, "home"),
    "a file beside it": ({"imports": "import of_mine", "body": "of_mine.net()", "factor": "of_mine.F"}, "home"),
    "a package beside it": ({"imports": "from pack_of_mine.sub import net", "body": "net()"}, "home"),
    "a file of the working folder": ({"imports": "import of_mine", "body": "of_mine.net()"}, "here"),
}
DAILY = ("all in one file", "a package beside it")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("way", "place"),
    [pytest.param(*each, id=name, marks=() if name in DAILY else pytest.mark.nightly) for name, each in WAYS.items()],
)
def test_a_trainable_runs_where_none_of_its_files_is(
    way: dict[str, str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    file = written(home / "mine.py", **way)
    beside = tmp_path / place
    net = "import torch\n\nclass Net(torch.nn.Module):\n    pass\n\ndef net():\n    assert isinstance(Net(), Net)\n"
    (beside / "of_mine.py").write_text(f"{net}\nF = 0.5\n")
    (beside / "pack_of_mine").mkdir()
    (beside / "pack_of_mine" / "__init__.py").touch()
    (beside / "pack_of_mine" / "sub.py").write_text(net)
    trainable = spaces.load(str(file)).trainable
    worker.send_along(trainable)
    (tmp_path / "sent").write_bytes(cloudpickle.dumps(trainable))
    for folder in (home, here):
        folder.rename(tmp_path / f"{folder.name}-elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", RECEIVER, str(tmp_path / "sent")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["1", "0.5", "2", "0.5"], done.stderr


@pytest.mark.filterwarnings("ignore")
def test_what_is_installed_is_not_sent_and_not_taken_for_the_users(tmp_path: Path) -> None:
    from ray import cloudpickle

    study = spaces.load(str(written(tmp_path / "mine.py", imports="import torch, numpy, json")))
    tests = sys.modules["tests"]  # which lies in the working folder
    users = [module.__name__ for module in spaces.users_modules() if not module.__name__.startswith(tests.__name__)]
    assert users == ["mine"]
    worker.send_along(study.trainable)
    assert len(cloudpickle.dumps(study.trainable)) < 20_000
    for module in (json, dataclasses, torch):
        assert cloudpickle.loads(cloudpickle.dumps(module)) is module


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py", imports="import threading\nLOCK = threading.Lock()", body="LOCK.acquire()")
    with pytest.raises(BadInput, match=r"cannot be sent to the workers \(TypeError: .*lock.*\); let it make such"):
        worker.send_along(spaces.load(str(file)).trainable)


# For real


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_the_whole_study_in_the_readme_runs_goes_on_and_is_reproduced_from_any_folder(tmp_path: Path) -> None:
    for folder in ("studies", "here"):
        (tmp_path / folder).mkdir()
    # In two files, and called like a module that everybody imports.
    head, rest = EXAMPLE.split("def train(", 1)
    train, study = rest.split("STUDY = ", 1)
    (tmp_path / "studies" / "net_of_mine.py").write_text(f"{head}def train({train}")
    (tmp_path / "studies" / "torch.py").write_text(f"{head}from net_of_mine import train\n\nSTUDY = {study}")
    (tmp_path / "studies" / "mine.py").write_text(EXAMPLE)
    here, options = tmp_path / "here", ("--trials", "2", "--epochs", "2", "--scheduler", "none", "--json")
    done = search("../studies/mine.py", *options, cwd=here)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["trials"]) == ("done", {"complete": 2})
    assert document["best"]["val_accuracy"] > 0.8
    assert document["best"]["test_accuracy"] > 0.8
    assert document["mlflow"]["aliases"] == ["candidate", "champion"]
    more = search("resume", "mine-1", "--trials", "1", "--runs", "here/runs", "--json", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["trials"] == {"complete": 3}
    again = search("reproduce", "mine-1", "--trial", "2", "--runs", "here/runs", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["match"] is True
    assert search("sync", "mine-1", cwd=here).returncode == 0
    # The same in two files, started in their own folder, comes out the same.
    split = search("torch.py", *options, cwd=tmp_path / "studies")
    assert split.returncode == 0, split.stderr
    same = {key: document["best"][key] for key in ("trial", "epoch", "config", "val_accuracy")}
    assert {key: json.loads(split.stdout)["best"][key] for key in same} == same


FAULTY = '''"""Faults of all kinds."""
import torch

from spaces.study import Choice, Study
from trainables.epoch import Epoch

KINDS = ("nan", "endless", "save", "twice", "word", "tensor", "none", "lazy")


def train(config, data, *, resume=None):
    def save(folder):
        if config["model/kind"] == "save":
            raise RuntimeError("the scale is broken")
        (folder / "weights").write_text("weights")

    kind, number = config["model/kind"], 0
    if kind == "none":
        return
    if kind == "lazy":
        from later_of_mine import VALUE
        assert VALUE == 3
    while kind == "endless" or number < config["train/epochs"]:
        number += 1
        value = {"nan": float("nan"), "word": "high", "tensor": torch.ones(2)}.get(kind, 0.5)
        yield Epoch(1 if kind == "twice" else number, {"val_accuracy": value}, save)


STUDY = Study(
    trainable=train, dataset="digits", epochs=3, trials=len(KINDS),
    space={"model/kind": Choice(*KINDS)}, start=[{"model/kind": kind} for kind in KINDS],
)
'''

ENDS = {
    "nan": ("diverged", r"val_accuracy is nan after epoch 1"),
    "endless": ("complete", r"reached the full budget"),
    "save": ("failed", r"RuntimeError: the scale is broken"),
    "twice": ("failed", r"yielded epoch 1, but 2 was due"),
    "word": ("failed", r"val_accuracy must be one number, but is a str"),
    "tensor": ("failed", r"val_accuracy must be one number, but is a Tensor of shape \(2,\)"),
    "none": ("failed", r"yielded nothing, but must yield Epoch"),
    "lazy": ("complete", r"reached the full budget"),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_each_fault_of_a_trainable_ends_its_trial_with_the_reason_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "studies" / "faulty.py").write_text(FAULTY)
    # Imported when the trial runs, so the worker has to find it.
    (tmp_path / "studies" / "later_of_mine.py").write_text("VALUE = 3\n")
    done = search("../studies/faulty.py", "--scheduler", "none", "--json", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    shown = json.loads(search("show", "faulty-1", "--json", cwd=tmp_path / "here").stdout)
    ends = {row["point"]["model/kind"]: (row["state"], row["why"]) for row in shown["leaderboard"]}
    assert ends.keys() == ENDS.keys()
    for kind, (state, why) in ENDS.items():
        assert ends[kind][0] == state, (kind, ends[kind])
        assert re.search(why, ends[kind][1]), (kind, ends[kind])
    assert shown["best"]["config"]["model/kind"] in ("endless", "lazy")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_five_trials_that_lack_the_metric_end_the_search_with_the_metrics_there_are(tmp_path: Path) -> None:
    code = FAULTY.replace('"val_accuracy": value', '"accuracy": 0.5, "loss": 1.0')
    code = code.replace('"nan", "endless", "save", "twice"', '"one", "two", "three", "four"')
    (tmp_path / "faulty.py").write_text(code)
    done = search("faulty.py", "--concurrent", "1", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["trials"] == {"failed": 5}
    said = done.stderr.splitlines()[-1]
    assert "no epoch has the metric val_accuracy; reported were: accuracy, loss; yield it, or set the objective" in said
    assert "Traceback" not in done.stderr
