"""What cannot be is refused in one line, with its exit code, before anything is started or written."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.cli import group
from search.record.reader import FILE
from search.record.record import Record
from spaces.ranges import Float, to_plain_range
from tests.simulated import header

ROOT = Path(group.__file__).parents[2]
TOO_MANY_GPUS = torch.cuda.device_count() + 1
SECRET = "s3cr3t"
OURS = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "SEARCH_DATA_DIR")
HEAVY = ("ray", "torch", "mlflow")


@dataclass(frozen=True)
class Said:
    """What a command wrote, what it ended with, and the seconds it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def error(self) -> str:
        """The last line of standard error."""
        return self.err.splitlines()[-1] if self.err.strip() else ""


Command = Callable[..., Said]


def refused(said: Said, code: int, message: str, *, within: float = 60.0) -> None:
    """Assert that `said` is one line of error and nothing else, and that nothing hung: `within` seconds."""
    assert said.code == code, said
    assert said.error.startswith("error: ")
    assert re.search(message, said.error), said.error
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.count("error: ") == 1
    assert said.seconds < within


@pytest.fixture(autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings or data of the developer's, and no way out but to this machine."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # held and not listened on: whoever connects is refused
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        # urllib keeps the proxies it saw first.
        monkeypatch.setattr(urllib.request, "_opener", None)
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a command runs."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("digits_mlp", "--trials", "0")` runs the command line in this process, in which Ray cannot be started.

    A command that should be refused and is not thus ends the test at once instead of searching.
    """
    import ray

    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", start)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["search", *arguments])
        capsys.readouterr()
        began = time.monotonic()
        with pytest.raises(SystemExit, match=r"^\d+$") as ended:
            group.main()
        written = capsys.readouterr()
        return Said(int(str(ended.value.code)), written.out, written.err, time.monotonic() - began)

    return run


@pytest.fixture
def process(place: Path, tmp_path: Path) -> Command:
    """`process("digits_mlp", "--trials", "0")` runs `python -m search` as anybody would; Ray must not start in it."""

    def run(*arguments: str) -> Said:
        ray = tmp_path / "ray"
        ray.mkdir(exist_ok=True)
        began = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "search", *arguments],
            env={**os.environ, "RAY_TMPDIR": str(ray)},
            cwd=place,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert list(ray.iterdir()) == [], "Ray was started"
        return Said(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began)

    return run


def arrays(count: int = 400) -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    return {"x_train": images, "y_train": np.arange(count) % 10, "x_test": images[:50], "y_test": np.arange(50) % 10}


STUDY = '''"""A study of one's own."""

from spaces.study import Choice, Float, Int, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="digits",
    epochs=3,
    space={"train/lr": Float(1e-3, 1.0, log=True), "train/batch_size": Choice(32)},
    start=[{"train/lr": 0.1, "train/batch_size": 32}],
)
'''


TRAINABLES = {
    "no_data": "def train(config, *, resume=None):\n    yield\n",
    "returns_none": "def train(config, data, *, resume=None):\n    pass\n",
    "returns_list": "def train(config, data, *, resume=None):\n    return [0.5, 0.6]\n",
    "no_function": "train = 'train_mlp'\n",
    "called": "def train(config, data, *, resume=None):\n    yield\ntrain = train({}, None)\n",
    "wants_more": "def train(config, data, *, resume=None):\n    return iter([config['model/width']])\n",
    "exits": "import sys\n\ndef train(config, data, *, resume=None):\n    sys.exit('no data')\n",
}


def edited(old: str, new: str) -> str:
    assert old in STUDY
    return STUDY.replace(old, new)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data files and study files, sound and not."""
    folder = tmp_path_factory.mktemp("files")
    sound = arrays()
    np.savez(folder / "sound.npz", **sound)
    np.savez(folder / "float.npz", **{**sound, "x_train": sound["x_train"] / 255})
    np.savez(folder / "range.npz", **{**sound, "y_test": sound["y_test"] + 5})
    np.savez(folder / "gap.npz", **{**sound, "y_train": np.where(sound["y_train"] == 3, 4, sound["y_train"])})
    np.savez(folder / "tail.npz", **{**sound, "x_test": sound["x_test"][:49]})
    np.savez(folder / "tiny.npz", x_train=sound["x_train"][:, :1, :1], y_train=sound["y_train"])
    np.savez(folder / "few.npz", x_train=sound["x_train"][:20], y_train=sound["y_train"][:20])
    np.savez(folder / "two.npz", x_train=sound["x_train"][:2], y_train=np.array([0, 1]))
    np.savez(folder / "flat.npz", **{**sound, "x_train": sound["x_train"][:, :0, :0]})
    (folder / "cut.npz").write_bytes((folder / "sound.npz").read_bytes()[:5000])
    np.save(folder / "array.npy", sound["x_train"])
    (folder / "nothing").mkdir()
    (folder / "notes.txt").write_text("not a database, not a study, not a folder\n" * 10)
    (folder / "plain").write_text(STUDY)
    (folder / "sound.py").write_text(STUDY)
    (folder / "inverted.py").write_text(edited("Float(1e-3, 1.0, log=True)", "Float(1.0, 1e-3, log=True)"))
    (folder / "log_of_0.py").write_text(edited("Float(1e-3, ", "Float(0, "))
    (folder / "outside.py").write_text(edited('"train/lr": 0.1', '"train/lr": 10.0'))
    (folder / "no_study.py").write_text("from spaces.study import Study\n")
    (folder / "syntax.py").write_text("STUDY = Study(\n    epochs=3 space={},\n)\n")
    (folder / "misspelt.py").write_text(edited("Float(1e-3", "Flaot(1e-3"))
    (folder / "missing_module.py").write_text("import nonsuch\n" + STUDY)
    (folder / "missing_argument.py").write_text(edited("    epochs=3,\n", ""))
    (folder / "other_study.py").write_text("STUDY = {'train/lr': 0.1}\n")
    (folder / "beside.py").write_text("def Net(:\n")
    (folder / "bad_beside.py").write_text("from beside import Net\n" + STUDY)
    (folder / "leaves.py").write_text(STUDY + "raise SystemExit('that was all')\n")
    (folder / "my study.py").write_text(STUDY)
    for name, code in TRAINABLES.items():
        own = edited("from trainables.mlp import train_mlp", f"import threading\nLOCK = threading.Lock()\n{code}")
        (folder / f"{name}.py").write_text(own.replace("=train_mlp", "=train"))
    (folder / "latin.py").write_bytes('"""Größe."""\n'.encode("latin-1") + STUDY.encode())
    return folder


DIGITS = "digits_mlp"
LONG = "x" * 300
HUGE = "1" + "0" * 400
"""A whole number beyond what a float holds."""

ROWS: dict[str, tuple[str, int, str]] = {
    # Studies, verbs and options
    "unknown study": ("fashion_cn", 2, r"no study named 'fashion_cn'; there are .*; did you mean fashion_cnn\?"),
    "study with a dash": ("digits-mlp", 2, r"did you mean digits_mlp\?"),
    "study like nothing": ("zzz", 2, r"no study named 'zzz'; there are cifar2_cnn, digits_cnn, digits_mlp, "),
    "misspelt verb": ("shwo digits_mlp-1", 2, r"'shwo'.*did you mean show\?"),
    "misspelt verb alone": ("lsit", 2, r"'lsit'.*did you mean list\?"),
    "verb without a name": ("show", 2, r"Missing argument 'NAME'"),
    "one word too many": (f"{DIGITS} now", 2, r"unexpected extra argument \(now\)"),
    "unknown option": (f"{DIGITS} --trails 5", 2, r"[Nn]o such option.*--trails.*--trials"),
    "unknown option like nothing": (f"{DIGITS} --zzz", 2, r"[Nn]o such option.*--zzz"),
    "option without its value": (f"{DIGITS} --trials", 2, r"--trials"),
    "unknown metric": (f"{DIGITS} --metric val_acc", 2, r"unknown metric.*did you mean val_accuracy\?"),
    "metric of two classes": (f"{DIGITS} --metric val_roc_auc", 2, r"unknown metric 'val_roc_auc'; known are val_acc"),
    "metric that may be one to make small": (f"{DIGITS} --metric val_loss", 2, r"val_loss may be .* say --mode min"),
    # Numbers
    "no trials": (f"{DIGITS} --trials 0", 2, r"--trials must be at least 1, but got 0"),
    "negative trials": (f"{DIGITS} --trials -5", 2, r"--trials must be at least 1, but got -5"),
    "trials as a word": (f"{DIGITS} --trials x", 2, r"'--trials': 'x' is not a valid integer"),
    "trials as a fraction": (f"{DIGITS} --trials 2.5", 2, r"'--trials': '2.5' is not a valid integer"),
    "trials without end": (
        f"{DIGITS} --trials 1000000000 --dry-run",
        2,
        r"--trials must be at most 1,000,000, but got 1,000,000,000",
    ),
    "epochs without end": (f"{DIGITS} --epochs 1000001", 2, r"--epochs must be at most 1,000,000, but got 1,000,001"),
    "a limit of data that is none": (f"{DIGITS} --data-limit much", 2, r"--data-limit must be a size such as 500MB"),
    "no epochs": (f"{DIGITS} --epochs 0", 2, r"--epochs must be at least 1, but got 0"),
    "none at a time": (f"{DIGITS} --concurrent 0", 2, r"--concurrent must be at least 1, but got 0"),
    "no time": (f"{DIGITS} --time-budget 0", 2, r"--time-budget must be a time such as 90s, 10m or 2h, but got '0'"),
    "time without a unit": (f"{DIGITS} --time-budget 5", 2, r"--time-budget 5 has no unit; give 5s, 5m or 5h"),
    "no seconds": (f"{DIGITS} --time-budget 0.0s", 2, r"--time-budget must be a time .* but got '0.0s'"),
    "time as a word": (f"{DIGITS} --time-budget soon", 2, r"--time-budget must be a time .* but got 'soon'"),
    "negative time": (f"{DIGITS} --time-budget -5m", 2, r"--time-budget must be a time .* but got '-5m'"),
    "unknown unit": (f"{DIGITS} --time-budget 3y", 2, r"--time-budget must be a time .* but got '3y'"),
    "endless time": (f"{DIGITS} --time-budget 1{'0' * 400}", 2, r"--time-budget must be a time"),
    "negative CPUs": (f"{DIGITS} --cpus -1", 2, r"--cpus and --gpus must not be negative .* -1"),
    "no CPUs": (f"{DIGITS} --cpus 0", 2, r"--cpus and --gpus must not be .* both 0"),
    "CPUs not a number": (f"{DIGITS} --cpus nan", 2, r"--cpus"),
    "GPUs not a number": (f"{DIGITS} --gpus nan", 2, r"--gpus"),
    "negative GPUs": (f"{DIGITS} --gpus -1", 2, r"--cpus and --gpus must not be negative .* -1"),
    "CPUs also, but no GPU": (f"{DIGITS} --also-cpus", 2, r"--also-cpus .* takes --gpus and --cpus above 0, but got 0"),
    "CPUs also, but none": (f"{DIGITS} --gpus 1 --cpus 0 --also-cpus", 2, r"--also-cpus .* but got 1 and 0"),
    "too many CPUs": (f"{DIGITS} --cpus 999", 3, r"--cpus 999 per trial, but this machine has \d+; ask for"),
    "infinitely many CPUs": (f"{DIGITS} --cpus inf", 3, r"--cpus inf per trial, but this machine has"),
    "too many GPUs": (f"{DIGITS} --gpus {TOO_MANY_GPUS}", 3, rf"--gpus {TOO_MANY_GPUS} per trial, but this"),
    "negative seed": (f"{DIGITS} --seed -1", 2, r"--seed must be 0 or more, but got -1"),
    "unknown sampler": (f"{DIGITS} --sampler tpee", 2, r"unknown sampler 'tpee'; known are .*; did you mean tpe\?"),
    "unknown scheduler": (f"{DIGITS} --scheduler ahsa", 2, r"unknown scheduler 'ahsa'; .* did you mean asha\?"),
    # --set
    "no section": (f"{DIGITS} --set lr=0.1", 2, r"unknown hyperparameter lr; sections are model, train"),
    "no name": (f"{DIGITS} --set =0.1", 2, r"must be named with letters"),
    "no value": (f"{DIGITS} --set train/lr=", 2, r"cannot read ''"),
    "no equals sign": (f"{DIGITS} --set train/lr", 2, r"--set takes NAME=VALUE, .* but got 'train/lr'"),
    "log of 0": (f"{DIGITS} --set train/lr=log(0,1)", 2, r"log needs low above 0, but got low=0"),
    "log of a negative": (f"{DIGITS} --set train/lr=log(-1,1)", 2, r"log needs low above 0, but got low=-1"),
    "inverted bounds": (f"{DIGITS} --set train/lr=uniform(1,0)", 2, r"low <= high, .* low=1\.0 and high=0\.0"),
    "inverted whole bounds": (f"{DIGITS} --set model/depth=int(3,1)", 2, r"low <= high, .* low=3 and high=1"),
    "one bound": (f"{DIGITS} --set train/lr=log(1)", 2, r"log\(…\) takes two numbers, low and high"),
    "words as bounds": (f"{DIGITS} --set train/lr=log(a,b)", 2, r"train/lr has a as its low, but no a stands"),
    "half numbers": (f"{DIGITS} --set model/depth=int(0.5,2)", 2, r"Int needs whole numbers"),
    "unclosed range": (f"{DIGITS} --set 'train/lr=log(1e-3, 1'", 2, r"cannot read 'log\(1e-3, 1'"),
    "unknown range": (f"{DIGITS} --set train/lr=normal(0,1)", 2, r"unknown range normal"),
    "a choice of nothing": (f"{DIGITS} --set train/lr=choice()", 2, r"Choice needs at least one value"),
    "a choice twice": (f"{DIGITS} --set train/batch_size=choice(32,32)", 2, r"must differ"),
    "nan": (f"{DIGITS} --set train/lr=nan", 2, r"cannot read 'nan'"),
    "minus nan": (f"{DIGITS} --set train/lr=-nan", 2, r"train/lr|-nan"),
    "nan as a bound": (f"{DIGITS} --set train/lr=log(nan,1)", 2, r"cannot read 'nan'"),
    "inf": (f"{DIGITS} --set train/lr=1e999", 2, r"cannot read '1e999'"),
    "a number of 401 digits": (f"{DIGITS} --set train/lr={HUGE}", 2, r""),
    "a bound of 401 digits": (f"{DIGITS} --set 'train/lr=log(1, {HUGE})'", 2, r""),
    "code": (f"{DIGITS} --set 'train/lr=__import__(\"os\")'", 2, r"cannot read"),
    "a word for a number": (f"{DIGITS} --set train/lr=fast", 2, r"train/lr.*'?fast"),
    "a word for a whole number": (f"{DIGITS} --set train/batch_size=many", 2, r"train/batch_size.*'?many"),
    "a fraction for a whole number": (f"{DIGITS} --set model/width=1.5", 2, r"model/width.*1\.5"),
    "a fraction of an image": (f"{DIGITS} --set train/batch_size=16.5", 2, r"train/batch_size.*16\.5"),
    "learning rate 0": (f"{DIGITS} --set train/lr=0", 2, r"train/lr must be a finite number above 0"),
    "a negative learning rate in a range": (f"{DIGITS} --set 'train/lr=uniform(-1, 1)'", 2, r"train/lr must be"),
    "unknown hyperparameter": (f"{DIGITS} --set train/nope=1", 2, r"train/nope"),
    "unknown hyperparameter of the model": (f"{DIGITS} --set model/nope=1", 2, r"model/nope"),
    "unknown section": (f"{DIGITS} --set trian/lr=0.1", 2, r"trian/lr"),
    "the epochs": (f"{DIGITS} --set train/epochs=3", 2, r"train/epochs is given by the study"),
    "the seed": (f"{DIGITS} --set train/seed=3", 2, r"train/seed is given by"),
    "unknown activation": (f"{DIGITS} --set model/activation=swoosh", 2, r"unknown activation 'swoosh'; .*relu"),
    "unknown activation amid others": (
        f"{DIGITS} --set 'model/activation=choice(relu, swoosh, gelu)'", 2, r"unknown activation 'swoosh'"),
    "unknown optimizer": (f"{DIGITS} --set train/optimizer=sdg", 2, r"'?sdg"),
    "unknown schedule": (f"{DIGITS} --set train/schedule=cosin", 2, r"unknown schedule 'cosin'"),
    "unknown precision": (f"{DIGITS} --set train/precision=float8", 2, r"train/precision must be .* 'float8'"),
    "unknown device": (f"{DIGITS} --set train/device=abacus", 2, r"abacus"),
    "negative depth": (f"{DIGITS} --set model/depth=-1", 2, r"model/depth.*-1"),
    "dropout of 1": (f"{DIGITS} --set model/dropout=1.0", 2, r"model/dropout.*1"),
    "a negative momentum amid others": (f"{DIGITS} --set 'train/momentum=choice(0.5,-1,0.9)'", 2, r"momentum"),
    "photos without data": ("photos", 2, r"photos is for photos of your own: give --data PATH, a folder with one"),
    "weights for other networks": (f"{DIGITS} --weights .", 2, r"--weights is for the backbones of photos, and"),
    "weights that are nowhere": (
        "photos --data {files}/sound.npz --weights nowhere.pth", 2, r"no weights at nowhere\.pth; give a file, or a"),
    "weights in a folder without any": (
        "photos --data {files}/sound.npz --weights {files}", 2, r"no weights of efficientnet_lite0 at .*; give a file"),
    "unknown backbone": (
        "--data {files}/sound.npz --set 'model/backbone=choice(resnet18,resnet19)'", 2,
        r"unknown model/backbone 'resnet19'; known are efficientnet_lite0, resnet18"),
    "one fold": (f"{DIGITS} --folds 1", 2, r"train/folds must be 2 or more, or 0 for none, but got 1"),
    # Names and places
    "name of a folder above": (f"{DIGITS} --name ../x", 2, r"--name must be .* but got '\.\./x'"),
    "name with a space": (f"{DIGITS} --name 'a b'", 2, r"--name must be .* but got 'a b'"),
    "name of 300 letters": (f"{DIGITS} --name {LONG}", 2, r"--name must be up to 100 letters"),
    "empty name": (f"{DIGITS} --name ''", 2, r"--name must be"),
    "name that is an option": (f"{DIGITS} --name --json", 2, r"--name"),
    "runs is a file": (f"{DIGITS} --runs {{files}}/notes.txt", 3, r"notes\.txt is no folder, so no runs can be kept"),
    "runs under a file": (f"{DIGITS} --runs {{files}}/notes.txt/runs", 3, r"notes\.txt is no folder"),
    "runs where nothing can be written": (f"{DIGITS} --runs /proc/runs", 3, r"no runs can be kept in /proc/runs"),
    "runs of a name of 300 letters": (f"{DIGITS} --runs {LONG}", 3, r"no runs can be kept in|too long"),
    "runs in a folder above a file": (f"{DIGITS} --name x --runs {{files}}/notes.txt/a/b", 3, r"is no folder"),
    # Data
    "data missing": (f"{DIGITS} --data {{files}}/nowhere.npz", 2, r"no data at .*nowhere\.npz; give an \.npz file"),
    "data truncated": (f"{DIGITS} --data {{files}}/cut.npz", 2, r"cut\.npz cannot be read as \.npz"),
    "data of floats": (f"{DIGITS} --data {{files}}/float.npz", 2, r"float\.npz has .* in different ranges"),
    "data with labels out of range": (f"{DIGITS} --data {{files}}/range.npz", 2, r"range\.npz: y_test has 25 labels"),
    "data with a class without images": (f"{DIGITS} --data {{files}}/gap.npz", 2, r"gap\.npz: y_test has 5 labels"),
    "data with a bad test part": (f"{DIGITS} --data {{files}}/tail.npz", 2, r"tail\.npz: x_test has 49 images for 50"),
    "data of two images": (f"{DIGITS} --data {{files}}/two.npz", 2, r"two\.npz: train and validation part need images"),
    "data without pixels": (f"{DIGITS} --data {{files}}/flat.npz", 2, r"flat\.npz: x_test has pictures of shape"),
    "data too small for the study": (
        f"{DIGITS} --data {{files}}/tiny.npz --set train/shift=1", 2, r"train/shift must be between 0 and 0, but"),
    "data as .npy": (f"{DIGITS} --data {{files}}/array.npy", 2, r"lacks x_train; it needs x_train and y_train"),
    "data as text": (f"{DIGITS} --data {{files}}/notes.txt", 2, r"notes\.txt is not an image folder"),
    "data folder with nothing in it": (f"{DIGITS} --data {{files}}/nothing", 2, r"nothing"),
    "no data and no stand-in": (
        "fashion_cnn --no-stand-in", 3, r"fashion_mnist is not at hand .*; put fashion_mnist\.npz into"),
    # Study files
    "study file missing": ("{files}/nowhere.py", 2, r"no study file '.*nowhere\.py'"),
    "study file of text": ("{files}/notes.txt", 2, r"notes\.txt"),
    "study file without .py": ("{files}/plain", 2, r"plain"),
    "study that is a folder": ("{files}/", 2, r"no study file"),
    "study file with inverted bounds": ("{files}/inverted.py", 2, r"inverted\.py\D+10\b.*low <= high"),
    "study file with log of 0": ("{files}/log_of_0.py", 2, r"log_of_0\.py\D+10\b.*log needs low above 0"),
    "study file with a start point outside": (
        "{files}/outside.py", 2, r"outside\.py\D+6\b.*start point 0 has train/lr=10\.0, which lies outside"),
    "study file without STUDY": ("{files}/no_study.py", 2, r"no_study\.py defines no STUDY"),
    "study file with another STUDY": ("{files}/other_study.py", 2, r"other_study\.py defines no STUDY = Study"),
    "study file with a syntax error": ("{files}/syntax.py", 2, r"syntax\.py\D+2\b.*invalid syntax"),
    "study file with an unknown name": ("{files}/misspelt.py", 2, r"misspelt\.py\D+10\b.*Flaot"),
    "study file with an unknown module": ("{files}/missing_module.py", 2, r"missing_module\.py\D+1\b.*nonsuch"),
    "study file without epochs": ("{files}/missing_argument.py", 2, r"missing_argument\.py\D+6\b.*epochs"),
    "study file in Latin-1": ("{files}/latin.py", 2, r"latin\.py.*utf-8"),
    "study file that imports a file with a syntax error": ("{files}/bad_beside.py", 2, r"beside\.py, line 1: "),
    "study file that exits": ("{files}/leaves.py", 2, r"leaves\.py, line 13: SystemExit: that was all"),
    "study file with a space in its name": ("'{files}/my study.py'", 2, r"'my study' is not made of .* rename the"),
    "study file with a STUDY of another kind": ("{files}/other_study.py", 2, r"but a STUDY that is dict"),
    "trainable without data": ("{files}/no_data.py", 2, r"must be a generator .*too many positional arguments"),
    "trainable that returns nothing": ("{files}/returns_none.py", 2, r"returned a NoneType, but must be a"),
    "trainable that returns a list": ("{files}/returns_list.py", 2, r"returned a list, but must be a gen"),
    "trainable that is a word": ("{files}/no_function.py", 2, r"'train_mlp' is not a callable object"),
    "trainable that was called": ("{files}/called.py", 2, r"<generator object .* is not a callable object"),
    "trainable that wants what is not searched": (
        "{files}/wants_more.py", 2, r"wants_more cannot run with train/lr=0.1.*: KeyError: 'model/width'"),
    "trainable that exits": ("{files}/exits.py", 2, r"exits cannot run with train/lr=0.1.*: SystemExit: no data"),
    # Searches that are not there
    "show of nothing": ("show digits_mlp-1", 2, r"no search 'digits_mlp-1': runs holds none"),
    "best of nothing": ("best digits_mlp-1", 2, r"no search 'digits_mlp-1': runs holds none"),
    "export of nothing": ("export digits_mlp-1 out", 2, r"no search 'digits_mlp-1': runs holds none"),
    "show of a folder above": ("show ../x", 2, r"'\.\./x'"),
    "runs of show is a file": ("show digits_mlp-1 --runs {files}/notes.txt", 2, r"no search 'digits_mlp-1'"),
    "a port that is none": ("ui --port 0", 2, r"--port"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "code", "message"), ROWS.values(), ids=ROWS.keys())
def test_what_cannot_be_is_refused_in_one_line(
    command: Command, place: Path, files: Path, line: str, code: int, message: str
) -> None:
    refused(command(*shlex.split(line.format(files=files))), code, message)
    assert list(place.iterdir()) == []


SLOW = ("negative depth", "no data and no stand-in")


def nightly(slow: bool) -> Sequence[pytest.MarkDecorator]:
    """The marks of a row that is `slow`."""
    return [pytest.mark.nightly] if slow else []


PROCESSES = {
    name: ROWS[name]
    for name in (
        "unknown study",
        "unknown option",
        "no trials",
        "too many GPUs",
        "data truncated",
        "negative depth",
        "no data and no stand-in",
        "study file with a syntax error",
        "show of nothing",
    )
}
"""Rows that are also run as anybody would run them."""


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [pytest.param(*row, id=name, marks=nightly(name in SLOW)) for name, row in PROCESSES.items()],
)
def test_a_process_is_refused_in_one_line_and_ray_never_starts(
    process: Command, place: Path, files: Path, line: str, code: int, message: str
) -> None:
    refused(process(*shlex.split(line.format(files=files))), code, message)
    assert list(place.iterdir()) == []


def test_gpus_that_are_not_there_are_refused(process: Command) -> None:
    refused(process(DIGITS, "--gpus", str(TOO_MANY_GPUS)), 3, r"--gpus \d+ per trial")


@pytest.mark.nightly
def test_gpus_of_which_no_use_is_made_are_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    told = "trials train on processors, though this machine has 2 GPUs; --gpus 1 gives"
    assert told in command(DIGITS, "--dry-run", "--probe", "0").err
    assert "processors" not in command(DIGITS, "--dry-run", "--probe", "0", "--gpus", "0.5").err


def test_a_ray_that_does_not_start_is_told_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray (2.60) raises a bare Exception where an agent of its node cannot even be imported."""

    def start(*arguments: Any, **options: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr("ray.init", start)
    refused(command(DIGITS), 3, "Ray cannot be started: The current node timed out during startup. This could happen")


def test_a_gpu_for_every_trial_leaves_nothing_to_also_cpus(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # else it is this machine that has to have a GPU
    said = command(DIGITS, "--gpus", "1", "--also-cpus", "--set", "train/device=cuda")
    refused(said, 2, "train/device=cuda leaves nothing to --also-cpus")


@pytest.mark.nightly
def test_what_is_sound_is_not_refused(command: Command, place: Path, files: Path) -> None:
    for line in (DIGITS, f"{files}/sound.py", f"{DIGITS} --data {files}/sound.npz --set train/lr=0.1 --name mine"):
        said = command(*shlex.split(line), "--dry-run", "--probe", "0", "--json")
        assert said.code == 0, said
        assert json.loads(said.out)["dataset"] in ("digits", "sound")
    assert list(place.iterdir()) == []


def test_debug_adds_the_traceback_and_keeps_the_line_last(command: Command, files: Path) -> None:
    said = command(DIGITS, "--data", f"{files}/cut.npz", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err
    assert said.error.startswith("error: ")


# MLflow's store


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts, and never answers."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()


@pytest.fixture
def babbling_port() -> Iterator[int]:
    """Answers every connection with what is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def answering() -> Iterator[Callable[[int], int]]:
    """`answering(403)` is the port of a server that answers every request with 403."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def answer(status: int) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return server.server_port

    yield answer
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


STORES: dict[str, tuple[str, str]] = {
    "a plain folder": ("./mlruns", r"no runs in plain folders any more, but the tracking URI is \./mlruns"),
    "a plain folder as a URI": ("file:///tmp/mlruns", r"no runs in plain folders any more"),
    "not SQLite": ("sqlite:///{files}/notes.txt", r"notes\.txt is no SQLite file; move it away or set"),
    "a folder instead of a file": ("sqlite:///{files}/nothing", r"MLflow's store .*nothing "),
    "under a file": ("sqlite:///{files}/notes.txt/mlflow.db", r"MLflow's store .* cannot be written"),
    "where nothing can be written": ("sqlite:////proc/mlflow.db", r"MLflow's store /proc/mlflow\.db cannot be written"),
    "an unknown scheme": ("htpp://127.0.0.1:5000", r"htpp"),
    "a port that is none": ("http://127.0.0.1:abc", r"no MLflow server .*127\.0\.0\.1:abc"),
    "no host": ("http://", r"MLflow"),
}  # fmt: skip


@pytest.mark.parametrize(("uri", "message"), STORES.values(), ids=STORES.keys())
def test_a_store_that_mlflow_cannot_use_is_refused_before_ray_starts(
    command: Command, place: Path, files: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(files=files))
    refused(command(DIGITS), 3, message)
    assert list(place.iterdir()) == []


def test_an_mlflow_db_beside_the_runs_that_is_no_database_is_refused(command: Command, place: Path) -> None:
    (place / "mlflow.db").write_text("notes\n" * 100)
    refused(command(DIGITS), 3, r"mlflow\.db is no SQLite file")
    assert [file.name for file in place.iterdir()] == ["mlflow.db"]


def test_a_server_that_is_not_there_is_refused(
    process: Command, place: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    refused(process(DIGITS), 3, rf"no MLflow server answers at http://127\.0\.0\.1:{closed_port} .*; start it")
    assert list(place.iterdir()) == []


@pytest.mark.nightly
def test_a_server_that_never_answers_is_refused_after_seconds(
    process: Command, place: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent_port}")
    refused(process(DIGITS), 3, r"no MLflow server answers at .*timed out")
    assert list(place.iterdir()) == []


def test_a_server_that_speaks_no_http_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch, babbling_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{babbling_port}")
    refused(command(DIGITS), 3, r"no MLflow server answers at")


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, r"refuses this host name \(403\); start it with --allowed-hosts"), (500, r"answers 500"), (401, r"401")],
)
def test_a_server_that_refuses_is_quoted(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    answering: Callable[[int], int],
    status: int,
    message: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{answering(status)}")
    refused(command(DIGITS), 3, message)


SECRETS = {
    "with a port": f"http://alice:{SECRET}@127.0.0.1:{{port}}",
    "without a port": f"http://alice:{SECRET}@127.0.0.1",
    "with an at sign": f"http://alice:x@{SECRET}@127.0.0.1:{{port}}",
    "with a slash": f"http://alice:x/{SECRET}@127.0.0.1:{{port}}",
    "of a database": f"postgresql://alice:{SECRET}@127.0.0.1:{{port}}/mlflow",
    "of a folder": f"file://alice:{SECRET}@127.0.0.1/mlruns",
    "as a query": f"postgresql://127.0.0.1:{{port}}/mlflow?user=alice&password={SECRET}",
}


OPTIONS = {
    "run": (),
    "debug": ("--debug",),
    "dry run": ("--dry-run", "--probe", "0"),
    "dry run as JSON": ("--dry-run", "--probe", "0", "--json"),
}


@pytest.mark.parametrize("uri", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize(
    "options", [pytest.param(words, id=name, marks=nightly(name != "dry run")) for name, words in OPTIONS.items()]
)
def test_a_password_in_the_tracking_uri_is_never_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch, closed_port: int, uri: str, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=closed_port))
    if uri.startswith("postgresql") and "--dry-run" not in options:
        options = (*options, "--dry-run", "--probe", "0")  # a database is not asked before the search
    said = command(DIGITS, *options)
    assert SECRET not in said.out + said.err
    if not uri.startswith("postgresql"):
        assert said.code == 3
        assert said.error.startswith("error: ")


def test_a_server_whose_address_holds_a_password_is_reached(
    command: Command, monkeypatch: pytest.MonkeyPatch, answering: Callable[[int], int]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://alice:{SECRET}@127.0.0.1:{answering(200)}")
    said = command(DIGITS, "--dry-run", "--probe", "0", "--json")
    assert said.code == 0, said
    assert SECRET not in said.out + said.err
    assert json.loads(said.out)["tracking_uri"].startswith("http://***@127.0.0.1:")


# Data that the environment names


def test_a_search_data_dir_that_is_not_there_is_named_before_the_refusal(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_DATA_DIR", "/nowhere")
    said = command("fashion_cnn", "--no-stand-in")
    refused(said, 3, r"fashion_mnist is not at hand")
    assert "SEARCH_DATA_DIR=/nowhere is no folder" in said.err
    assert list(place.iterdir()) == []


def test_the_second_search_without_data_is_refused_as_the_first(command: Command) -> None:
    for _ in range(2):
        refused(command("fashion_cnn", "--no-stand-in"), 3, r"fashion_mnist is not at hand")


def test_a_stand_in_is_announced_in_capitals(command: Command) -> None:
    said = command("fashion_mlp", "--dry-run", "--probe", "0", "--json")
    assert said.code == 0, said
    assert "STAND-IN DATA: FASHION_MNIST COULD NOT BE HAD" in said.err
    plan = json.loads(said.out)
    assert (plan["stand_in"], plan["experiment"]) == (True, "fashion_mlp-stand-in")


# Searches that exist


def recorded(runs: Path, name: str = "digits_mlp-1", trials: int = 40) -> Path:
    """A search of `trials` trials of one epoch, recorded in `runs`."""
    folder = runs / name
    folder.mkdir(parents=True)
    with Record(folder / FILE, create=True) as record:
        rate = Float(1e-3, 1.0, log=True)
        searched = {
            "space": {"train/lr": str(rate)},
            "definition": {"space": [{"name": "train/lr", **to_plain_range(rate)}]},
        }
        record.append(("search", None, header(name=name, study="digits_mlp", **searched)))
        for number in range(trials):
            epoch = {
                "epoch": 1,
                "metrics": {"val_accuracy": number / 100, "val_loss": 1.0},
                "seconds": 0.1,
                "began": 1.0,
                "checkpoint": None,
                "sha256": None,
            }
            record.append(
                ("asked", number, {"point": {"train/lr": 0.1}, "origin": "start point"}),
                ("epoch", number, epoch),
                ("ended", number, {"state": "complete", "why": "", "padding": "x" * 300}),
            )
    return folder


def test_a_sound_record_is_shown(command: Command, place: Path) -> None:
    recorded(place / "runs")
    said = command("best", "digits_mlp-1", "--json")
    assert said.code == 0, said
    assert json.loads(said.out)["trial"] == 39


@pytest.mark.parametrize("verb", ["show", "best", "export"])
def test_an_unknown_search_is_refused_with_the_nearest_name(command: Command, place: Path, verb: str) -> None:
    recorded(place / "runs")
    before = tree(place)
    said = command(verb, "digits_mpl-1", *(["out"] if verb == "export" else []))
    refused(said, 2, r"unknown search 'digits_mpl-1'; known are digits_mlp-1; did you mean digits_mlp-1\?")
    assert tree(place) == before


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_name_in_use_is_refused_and_its_search_is_not_touched(command: Command, place: Path) -> None:
    recorded(place / "runs", "mine")
    before = tree(place)
    refused(command(DIGITS, "--name", "mine"), 4, r"a search named mine exists in runs; choose another --name")
    assert tree(place) == before


def test_a_name_in_use_is_refused_in_a_process_too(process: Command, place: Path) -> None:
    (place / "runs" / "mine").mkdir(parents=True)
    (place / "runs" / "mine" / "notes.txt").write_text("keep me")
    before = tree(place)
    refused(process(DIGITS, "--name", "mine"), 4, r"a search named mine exists in runs")
    assert tree(place) == before


def test_a_name_that_a_file_has_is_in_use(command: Command, place: Path) -> None:
    (place / "runs").mkdir()
    (place / "runs" / "mine").write_text("keep me")
    refused(command(DIGITS, "--name", "mine"), 4, r"mine exists in runs")
    assert (place / "runs" / "mine").read_text() == "keep me"


def test_an_export_into_a_folder_that_is_not_empty_is_refused(command: Command, place: Path) -> None:
    recorded(place / "runs")
    (place / "out").mkdir()
    (place / "out" / "trials.csv").write_text("keep me")
    before = tree(place)
    refused(command("export", "digits_mlp-1", "out"), 2, r"out exists and is not empty; give the name of a new folder")
    assert tree(place) == before


def test_an_export_onto_a_file_is_refused(command: Command, place: Path) -> None:
    recorded(place / "runs")
    (place / "out").write_text("keep me")
    refused(command("export", "digits_mlp-1", "out"), 2, r"out exists")
    assert (place / "out").read_text() == "keep me"


def test_an_export_under_a_file_is_refused(command: Command, place: Path) -> None:
    recorded(place / "runs")
    (place / "file").touch()
    refused(command("export", "digits_mlp-1", "file/out"), 2, r"file/out")


def _edit(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


def _overwrite(path: Path, start: int, count: int) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + count] = b"\xa5" * len(data[start : start + count])
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (lambda path: path.write_text("no record\n" * 20), r"record\.db cannot be opened"),
    "empty file": (lambda path: path.write_bytes(b""), r"record\.db"),
    "half of it": (lambda path: os.truncate(path, path.stat().st_size // 2), r"record\.db"),
    "the first page only": (lambda path: os.truncate(path, 4096), r"record\.db"),
    "100 bytes": (lambda path: os.truncate(path, 100), r"record\.db"),
    "a page overwritten": (lambda path: _overwrite(path, 4096, 4096), r"record\.db"),
    "the schema overwritten": (lambda path: _overwrite(path, 100, 3996), r"record\.db"),
    "an altered event": (lambda path: _edit(path, "UPDATE events SET body = '{}' WHERE id = 5"), r"damaged at event 5"),
    "a lost event": (lambda path: _edit(path, "DELETE FROM events WHERE id = 5"), r"damaged at event 5"),
    "no event": (lambda path: _edit(path, "DELETE FROM events"), r"record\.db"),
    "no table": (lambda path: _edit(path, "DROP TABLE events"), r"record\.db"),
    "another version": (lambda path: _edit(path, "PRAGMA user_version=99"), r"version 99, this code reads version 2"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("verb", ["show", "best", "export"])
def test_a_damaged_record_is_refused_and_left_as_it_is(
    command: Command, place: Path, verb: str, damage: Callable[[Path], Any], message: str
) -> None:
    path = recorded(place / "runs") / FILE
    damage(path)
    before = path.read_bytes()
    said = command(verb, "digits_mlp-1", *(["out"] if verb == "export" else []))
    refused(said, 3, message)
    assert path.read_bytes() == before
    assert not (place / "out").exists()


@pytest.mark.parametrize("kind", ["text", "no event"])
def test_one_damaged_record_does_not_hide_the_other_searches(command: Command, place: Path, kind: str) -> None:
    recorded(place / "runs", "sound-1")
    DAMAGE[kind][0](recorded(place / "runs", "damaged-1") / FILE)
    said = command("list")
    assert "sound-1" in said.out
    assert "damaged-1" in said.out + said.err


# What must be quick


@pytest.mark.parametrize("line", ["--help", "", f"{DIGITS} --help", "show --help"])
def test_help_and_the_list_of_studies_import_nothing_heavy(place: Path, line: str) -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "search", *line.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {row.rpartition("|")[2].strip().partition(".")[0] for row in told.stderr.splitlines() if "|" in row}
    assert "click" in imported
    assert imported.isdisjoint(HEAVY)
    assert list(place.iterdir()) == []


def test_help_answers_within_half_a_second_of_cpu_time(place: Path) -> None:
    def cpu() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    took = []
    for _ in range(3):
        before = cpu()
        subprocess.run([sys.executable, "-m", "search", "--help"], capture_output=True, timeout=60, check=True)
        took.append(cpu() - before)
    assert min(took) < 0.5


def test_help_names_every_verb_and_shows_examples(command: Command) -> None:
    said = command("--help")
    assert (said.code, said.err) == (0, "")
    for word in ("run", "list", "show", "best", "export", "ui", "python -m search digits_cnn"):
        assert word in said.out


def test_without_arguments_every_study_is_listed_with_its_description(process: Command, place: Path) -> None:
    import spaces

    said = process()
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == spaces.names()
    assert {"digits_cnn", "digits_mlp", "fashion_cnn", "fashion_mlp"} <= set(spaces.names())
    for name, line in zip(spaces.names(), lines, strict=True):
        description = line.removeprefix(name).strip()
        assert description == spaces.describe(name)
        assert len(description) > 20
    assert list(place.iterdir()) == []
