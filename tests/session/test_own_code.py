"""Code of one's own as people lay it out, in whole searches: packages, src, processes of its own, what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from search import provenance
from search.record.header import Header
from tests.session.test_end_to_end import search
from tests.simulated import header

ROOT = Path(__file__).parents[2]

HELPER = """import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor([float(index)])


def square(x):
    return x * x
"""

STUDY = '''"""Of my own."""
import sys
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "elsewhere"))

import torch

import far_of_mine
from lib_of_mine import FACTOR
from spaces.study import Choice, Study
from trainables.epoch import Epoch
from trainables.trial import folder

from .helper import Net, Numbers, square

SEEN = []


class Own(Net):
    pass


def train(config, data):
    SEEN.append(config["train/seed"])
    print("printed", config["what"], len(SEEN))
    assert open("photos/list.txt").read() == "one"
    if config["what"] == "exit":
        sys.exit("no such photo")
    if config["what"] == "process":
        for method in ("spawn", "forkserver"):
            with get_context(method).Pool(1) as pool:
                assert pool.map(square, [2]) == [4]
            loader = torch.utils.data.DataLoader(Numbers(), batch_size=4, num_workers=1, multiprocessing_context=method)
            assert len(list(loader)) == 2
    torch.save(Own(), folder() / "model.pt")
    yield Epoch(1, {"val_accuracy": FACTOR * far_of_mine.FACTOR, "seen": len(SEEN)}, model=Own())


STUDY = Study(
    trainable=train,
    dataset="digits",
    epochs=1,
    space={"what": Choice("process", None, (1, 2), "exit")},
    start=[{"what": what} for what in ("process", None, (1, 2), "exit")],
    trials=4,
)
'''

MOVED = """from spaces.study import Float, Study
from trainables.epoch import Epoch


def train(config, data):
    yield Epoch(1, {"val_accuracy": config["lr"]})


STUDY = Study(trainable=train, dataset="digits", epochs=1, space={"lr": Float(0, 1)})
"""


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """A repository with a study inside a package, a library in src/ and another beside them."""
    files = {
        "src/lib_of_mine/__init__.py": "FACTOR = 0.5\n",
        "elsewhere/far_of_mine.py": "FACTOR = 1.0\n",
        "work/__init__.py": "",
        "work/helper.py": HELPER,
        "work/mine.py": STUDY,
        "photos/list.txt": "one",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_code_of_ones_own_runs_as_it_is_laid_out_and_what_it_leaves_is_kept(laid_out: Path) -> None:
    done = search("work/mine.py", "--name", "own", "--fresh-workers", "--json", cwd=laid_out, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["trials"] == {"complete": 3, "failed": 1}
    folder = laid_out / "runs" / "own"
    assert "printed process 1" in (folder / "logs" / "trial-0000.log").read_text()
    # The winner is built again by its author's code, in the driver.
    [winner] = [each for each in (folder / "logs").glob("*.log") if "--- built again" in each.read_text()]
    assert "printed" in winner.read_text().partition("--- built again to be measured ---")[2]
    assert "printed" not in done.stderr
    assert (folder / "trials" / "trial-0001" / "model.pt").is_file()
    told = json.loads(search("show", "own", "--trial", "3", "--json", cwd=laid_out, PYTHONPATH=str(ROOT)).stdout)
    assert (told["why"], told["attempts"]) == ("the trainable called sys.exit: no such photo", 1)
    seen = [
        json.loads(search("show", "own", "--trial", str(n), "--json", cwd=laid_out, PYTHONPATH=str(ROOT)).stdout)
        for n in (0, 1, 2)
    ]
    assert [each["epochs"][0]["metrics"]["seen"] for each in seen] == [1.0, 1.0, 1.0]
    log = search("show", "own", "--trial", "2", "--log", cwd=laid_out, PYTHONPATH=str(ROOT))
    assert "printed (1, 2) 1" in log.stdout
    listed = search("show", "own", cwd=laid_out, PYTHONPATH=str(ROOT)).stdout
    assert "the trainable called sys.exit: no such photo" in listed


def test_a_study_inside_a_package_is_found_with_its_relative_imports_and_its_names(laid_out: Path) -> None:
    told = "s = spaces.load('work/mine.py'); print(s.trainable.__module__, s.name); pickle.dumps(s.trainable)"
    done = subprocess.run(
        [sys.executable, "-c", f"import pickle, spaces; {told}"],
        cwd=laid_out,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["work.mine", "mine"], done.stderr


def test_a_module_that_is_missing_is_named_with_the_mend(laid_out: Path) -> None:
    (laid_out / "src" / "lib_of_mine" / "__init__.py").unlink()
    (laid_out / "src" / "lib_of_mine").rmdir()
    done = search("work/mine.py", "--dry-run", cwd=laid_out, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "work/mine.py, line 11: ModuleNotFoundError: No module named 'lib_of_mine'; put it beside" in done.stderr
    assert done.stderr.count("\n") == 1


WINDOWS = """
import runpy, signal, sys
del signal.SIGHUP
sys.modules["fcntl"] = None
sys.argv = ["search", "list"]
runpy.run_module("search", run_name="__main__", alter_sys=True)
"""


def test_a_system_that_cannot_run_searches_is_told_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: search runs on Linux and macOS; this system lacks fork and SIGHUP and fcntl")
    assert done.stderr.count("\n") == 1


# What the record says of one's own code


def git(*arguments: str, folder: Path) -> str:
    told = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments]
    return subprocess.run(told, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_the_users_commit_and_changes_are_known_and_not_this_products(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("first\n")
    assert provenance.users_code(str(file)) == {"study_commit": "", "study_diff": ""}
    git("init", "-q", folder=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "none", folder=tmp_path)
    head = git("rev-parse", "HEAD", folder=tmp_path)
    assert provenance.users_code(str(file)) == {"study_commit": f"{head}+", "study_diff": ""}  # not yet added
    git("add", ".", folder=tmp_path)
    git("commit", "-q", "-m", "mine", folder=tmp_path)
    head = git("rev-parse", "HEAD", folder=tmp_path)
    assert provenance.users_code(str(file)) == {"study_commit": head, "study_diff": ""}
    file.write_text("second\n")
    told = provenance.users_code(str(file))
    assert told["study_commit"] == f"{head}+"
    assert "-first\n+second" in told["study_diff"]
    file.write_text("x" * 200_000)
    assert provenance.users_code(str(file))["study_diff"].endswith("characters in all)")


def test_a_record_keeps_the_users_commit_only_where_there_is_one() -> None:
    plain = header(study_commit="ab+", study_diff="-a\n+b")
    assert Header.from_plain(plain).study_commit == "ab+"
    assert "study_commit" not in header()
    assert Header.from_plain(header()).study_diff == ""


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_study_that_was_moved_is_named_with_the_way_out_and_found_where_one_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MOVED)
    first = search("mine.py", "--name", "moved", "--trials", "1", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert first.returncode == 0, first.stderr
    (tmp_path / "later").mkdir()
    (tmp_path / "mine.py").rename(tmp_path / "later" / "mine.py")
    lost = search("resume", "moved", "--trials", "1", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert lost.returncode == 2
    assert "if it was moved, `resume --study FILE` names its new place" in lost.stderr
    again = search(
        *("resume", "moved", "--trials", "1", "--study", "later/mine.py", "--json"), cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert again.returncode == 0, again.stderr
    assert sum(json.loads(again.stdout)["trials"].values()) == 2
    more = search(
        *("later/mine.py", "--name", "moved", "--trials", "1", "--resume", "auto"), cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert "moved was asked for 2 trials before, so it is not ended at 1" in more.stderr
