"""A winner taken home: its networks answer as the checkpoint does, and run where there is torch and nothing of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search import load
from search.findings import model_files
from search.session.export import export
from search.terminal.screen import for_stderr
from spaces.study import Study
from tests.session.test_end_to_end import search
from tests.session.test_own_network import EXAMPLE
from tests.simulated import kept
from trainables import datasets

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

OF_TORCH = (
    *("torch", "torchgen", "functorch", "numpy", "numpy.libs", "typing_extensions.py", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "fsspec", "filelock", "setuptools", "packaging"),
)
"""What is installed with torch, and numpy."""


@pytest.fixture(scope="module")
def torch_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has torch and what torch needs, and nothing else."""
    site, folder = Path(torch.__file__).parents[1], tmp_path_factory.mktemp("site")
    for name in OF_TORCH:
        if (site / name).exists():
            (folder / name).symlink_to(site / name)
    for needed in site.glob("nvidia*"):
        (folder / needed.name).symlink_to(needed)
    return folder


def called(folder: Path, packages: Path | None) -> list[str]:
    """What each call of the README prints, in a process that has these packages, or all."""
    codes = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert codes
    printed = []
    for code in codes:
        if packages is not None and "onnxruntime" in code:
            continue
        alone = [] if packages is None else ["-S"]
        done = subprocess.run(
            [sys.executable, *alone, "-c", "import sys; sys.path.insert(0, '')\n" + code],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(packages) if packages else ""},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        printed.append(done.stdout.strip())
    return printed


CLASSES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_study: Study) -> Path:
    """A folder with a search of the digits, exported into `out`."""
    home = tmp_path_factory.mktemp("home")
    split = {"val_fraction": tiny_study.val_fraction, "seed": tiny_study.split_seed}
    _, digest = datasets.parts(datasets.digits(), "shuffled", **split)
    kept(home / "runs", tiny_study, digest=digest, classes=CLASSES, brightest=16)
    done = search("export", "tiny-1", "out", cwd=home)
    assert done.returncode == 0, done.stderr
    (home / "said").write_text(done.stderr)
    return home


def test_each_network_is_checked_on_the_validation_part_and_says_how_near_it_comes(home: Path) -> None:
    said = (home / "said").read_text()
    names = ["model.pt2", *(["model.onnx"] if not model_files._lacking() else [])]
    for name in names:
        checked = r"(\d+) of \1 validation images get the checkpoint's answer, probabilities differ by \S+e[-+]0"
        assert re.search(f"{name}: {checked}", said), said
        assert (home / "out" / "model" / name).is_file()


def test_all_calls_of_the_readme_run_where_torch_is_alone_and_agree(home: Path, torch_alone: Path) -> None:
    hidden = "import importlib.util as u; print([n for n in ('search', 'mlflow', 'safetensors') if u.find_spec(n)])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", hidden],
        env={"PYTHONPATH": str(torch_alone)}, capture_output=True, text=True, cwd=home / "out",
    )  # fmt: skip
    assert done.stdout.strip() == "[]", "something of ours can be imported"
    layers, graph = called(home / "out" / "model", torch_alone)
    (answer, _) = json.loads(layers.replace("'", '"'))
    assert graph == f"tensor([{CLASSES.index(answer)}, {CLASSES.index(answer)}])"


@pytest.mark.skipif(bool(model_files._lacking()), reason="needs the extra [export]")
def test_onnx_gives_the_probabilities_of_the_winner(home: Path) -> None:
    import onnxruntime

    model = load("tiny-1", home / "runs").model()
    images = torch.randint(0, 17, (7, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    session = onnxruntime.InferenceSession(home / "out" / "model" / "model.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    assert np.allclose(logits, model(images).detach().numpy(), atol=1e-3)
    assert len(called(home / "out" / "model", None)) == 3


def test_the_exported_folder_is_asked_like_the_search_and_exported_again_with_force(home: Path) -> None:
    np.save(home / "some.npy", np.zeros((3, 8, 8), np.uint8))
    out, mine = (
        json.loads(search("predict", name, "some.npy", "--json", cwd=home).stdout) for name in ("out", "tiny-1")
    )
    assert out["predictions"] == mine["predictions"]
    refused = search("export", "tiny-1", "out", cwd=home)
    assert (refused.returncode, refused.stderr.splitlines()[-1][:6]) == (2, "error:")
    assert search("export", "tiny-1", "out", "--force", cwd=home).returncode == 0


@pytest.mark.slow
def test_a_network_of_ones_own_is_exported_as_a_graph_that_torch_alone_loads(tmp_path: Path, torch_alone: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    done = search("mine.py", "--trials", "1", "--epochs", "1", "--concurrent", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = search("export", "mine-1", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model = tmp_path / "out" / "model"
    assert "validation images get the checkpoint's answer" in done.stderr
    assert len(called(model, torch_alone)) == 2
    assert "torch.export.load" in (model / "load.py").read_text()
    np.save(tmp_path / "some.npy", np.zeros((3, 8, 8), np.uint8))
    assert len(search("predict", "out", "some.npy", cwd=tmp_path).stdout.splitlines()) == 3


def exported(run: Path, folder: Path) -> list[str]:
    said: list[str] = []
    export(run, folder, for_stderr(quiet=True), said.append, force=False)
    return said


def test_without_the_data_noise_takes_their_place_and_one_line_says_so(tiny_study: Study, tmp_path: Path) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, classes=["a", "b", "c", "d"])
    said = exported(run, tmp_path / "out")
    assert re.match("the winner is checked on noise, because the validation part could not be read: .*SHA-256", said[0])
    assert "model.pt2: 64 of 64 images of noise get the checkpoint's answer" in said[1]


def test_without_the_extra_all_but_onnx_is_written_and_one_line_says_how_to_get_it(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, classes=["a", "b", "c", "d"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    said = exported(run, tmp_path / "out")
    assert "model.onnx is not written: onnxscript missing; pip install 'search[export]' brings what it takes" in said
    assert not (tmp_path / "out" / "model" / "model.onnx").exists()
    assert (tmp_path / "out" / "model" / "model.pt2").is_file()


def test_a_network_that_answers_otherwise_is_left_out(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = kept(tmp_path / "runs", tiny_study, classes=["a", "b", "c", "d"])
    parts = model_files._in_parts
    asked: list[Any] = []

    def otherwise(ask: Any, images: Any) -> Any:
        asked.append(ask)
        right = parts(ask, images)
        return right if len(asked) == 1 else right.flip(1)

    monkeypatch.setattr(model_files, "_in_parts", otherwise)
    said = exported(run, tmp_path / "out")
    assert "model.pt2 is not written, for it answers otherwise" in said[-1]
    left = {file.name for file in (tmp_path / "out" / "model").iterdir()}
    assert left == {"weights.safetensors", "architecture.json", "config.yaml", "load.py", "README.md"}
