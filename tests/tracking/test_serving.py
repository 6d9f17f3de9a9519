"""A winner that MLflow serves over HTTP: what is certain is answered with names, what is not is refused in one line."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from mlflow import MlflowClient
from PIL import Image

from search.errors import BadInput
from search.session.predict import predicted
from search.tracking.exam import OnImages
from search.tracking.forms import Form, Graph, Ours, WithCode
from search.tracking.registry import Winner, registry
from search.tracking.served import model_at
from trainables.classifier import Architecture
from trainables.data import Split
from trainables.exported import export

pytestmark = [
    pytest.mark.nightly, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore"),
]  # fmt: skip

CLASSES = ("circle", "square")
MODEL = "models:/shapes@champion"


def drawn(kind: str, number: int) -> Image.Image:
    """A bright circle or square on dark ground, 24×24."""
    from PIL import ImageDraw

    image = Image.new("RGB", (24, 24), (number % 40, 20, 30))
    box = (4 + number % 3, 4, 18, 18)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=(250, 220 - number % 50, 200))
    return image


def winner(form: Form, val: Split) -> Winner:
    """A winner of this form, which gets all of `val` right, for the classes of this file."""
    return Winner(
        study="shapes",
        search="shapes-1",
        key="0f/0/1",
        form=form,
        exam=OnImages(val, {"val_accuracy": 1.0}, CLASSES),
        test_accuracy=0.9,
        no_better=False,
        data_digest="ab",
        classes=CLASSES,
        dataset="shapes",
        shape=tuple(val.images.shape[1:]),
        card=None,
    )


def logged(winner: Winner, uri: str) -> str:
    """The address of a winner that was logged, loaded again, scored again and registered in the store at `uri`."""
    with registry(uri) as models:
        client = MlflowClient(tracking_uri=uri)
        files = Path(uri.removeprefix("sqlite:///")).with_name("mlruns")
        experiment = client.create_experiment("shapes", artifact_location=files.as_uri())
        run = client.create_run(experiment).info.run_id
        model = models.log(winner, run, experiment)
        models.register(winner, model, run)
        return model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, and with MLflow's store, in which a network for them is registered."""
    home = tmp_path_factory.mktemp("served")
    torch.manual_seed(0)
    architecture = Architecture("cnn", (3, 24, 24), CLASSES, {"depth": 1, "width": 4})
    network = architecture.build([60.0] * 3, [70.0] * 3).eval()
    (home / "checkpoint").mkdir()
    architecture.save(home / "checkpoint", network)
    for kind in CLASSES:
        (home / "shapes" / kind).mkdir(parents=True)
        for number in range(6):
            drawn(kind, number).save(home / "shapes" / kind / f"{number}.png")
    images = torch.stack([torch.from_numpy(np.array(drawn(kind, n))) for kind in CLASSES for n in range(6)])
    images = images.permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        val = Split(images, network(images).argmax(1))
    logged(winner(Ours(home / "checkpoint"), val), f"sqlite:///{home}/mlflow.db")
    return home


class Odd(torch.nn.Module):
    """A network of a user's own, from grey levels to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(48, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.float().flatten(1) / 255)


@pytest.mark.parametrize("way", ["graph", "code"])
def test_a_network_of_ones_own_is_logged_asked_with_names_and_loaded_as_a_module(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Odd().eval()
    images = torch.randint(0, 256, (9, 3, 4, 4), dtype=torch.uint8)
    export(network, images[:2], tmp_path / "model.pt2", {})
    form = Graph(tmp_path / "model.pt2") if way == "graph" else WithCode(network, [])
    with torch.no_grad():
        expected = network(images)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    model = logged(winner(form, Split(images, expected.argmax(1))), uri)
    with registry(uri):
        import mlflow.pyfunc  # which warns of itself
        import mlflow.pytorch

        served, module = mlflow.pyfunc.load_model(model), mlflow.pytorch.load_model(model)
    table = served.predict(images.permute(0, 2, 3, 1).numpy())
    assert list(table.columns) == list(CLASSES)
    assert np.allclose(table.to_numpy(), expected.softmax(1).numpy(), atol=1e-5)
    assert torch.allclose(module(images), expected, atol=1e-5)
    if way == "graph":
        assert tuple(model_at(model, uri).probabilities(images.numpy()).shape) == (9, 2)
    else:
        with pytest.raises(BadInput, match="without running its code"):
            model_at(model, uri)


def told(home: Path, *pictures: Path) -> list[dict[str, float]]:
    """What the registered model says, read as `predict` reads it."""
    found = predicted(model_at(MODEL, f"sqlite:///{home}/mlflow.db"), pictures)
    return [dict(found.best(row, len(CLASSES))) for row in range(len(pictures))]


@contextlib.contextmanager
def served(home: Path, uri: str) -> Iterator[str]:
    """The address of `mlflow models serve` on the model `uri`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = f"models serve --env-manager local --model-uri {uri} --host 127.0.0.1 --port {port}".split()
    place = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    place["PATH"] = f"{Path(uvicorn.__file__).parents[4] / 'bin'}:{place['PATH']}"  # MLflow calls it by its name
    with (home / "served.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], cwd=home, env=place, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "served.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with served(home, MODEL) as address:
        yield address


def answered(address: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Status and document of a request."""
    request = urllib.request.Request(
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def file(image: Image.Image, kind: str = "PNG") -> str:
    with io.BytesIO() as made:
        image.save(made, kind)
        return base64.b64encode(made.getvalue()).decode()


def said(address: str, body: dict[str, Any]) -> list[dict[str, float]]:
    status, document = answered(address, body)
    assert status == 200, document
    return document["predictions"]


def test_every_form_of_a_picture_gets_the_same_answer_with_names(address: str, home: Path) -> None:
    paths = [home / "shapes" / "circle" / "3.png", home / "shapes" / "square" / "4.png"]
    expected = told(home, *paths)
    images = [Image.open(path) for path in paths]
    levels = np.stack([np.asarray(image) for image in images])
    text = [file(image) for image in images]
    for form, body in {
        "files in base64": {"inputs": text},
        "instances": {"instances": text},
        "a table of files": {"dataframe_records": [{"picture": each} for each in text]},
        "a table, split": {"dataframe_split": {"columns": ["picture"], "data": [[each] for each in text]}},
        "grey levels": {"inputs": levels.tolist()},
        "shares of one": {"inputs": (levels / 255.0).tolist()},
        "float grey levels": {"inputs": levels.astype(float).tolist()},
        "channels first": {"inputs": levels.transpose(0, 3, 1, 2).tolist()},
    }.items():
        found = said(address, body)
        assert [sorted(each) for each in found] == [list(CLASSES), list(CLASSES)], form
        for one, other in zip(found, expected, strict=True):
            assert all(abs(one[name] - other[name]) < 1e-4 for name in CLASSES), form
    said(address, {"inputs": (levels / 255.0).tolist()})
    log = (home / "served.log").read_text()
    assert log.count("numbers from 0.0 to 1.0 are read as shares of 255") == 1, "what is converted is told, and once"


def test_pictures_of_other_sizes_are_fitted(address: str) -> None:
    for body in (
        {"inputs": [file(drawn("circle", 3).resize((240, 200)), "JPEG"), file(drawn("square", 3))]},
        {"inputs": np.zeros((2, 50, 40, 3), int).tolist()},
        {"dataframe_split": {"data": [[np.zeros((9, 40, 3), int).tolist()], [np.zeros((30, 40, 3), int).tolist()]]}},
    ):
        assert len(said(address, body)) == 2


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (["/etc/passwd"], "picture 0: text is read as a file in base64"),
        ([base64.b64encode(b"no picture at all").decode()], "picture 0: it is text"),
        (np.full((1, 24, 24, 3), -0.5).tolist(), "numbers from -0.5 to -0.5 are no grey levels"),
        (np.full((1, 24, 24, 3), 1.5).tolist(), "could be shares of 1 or grey levels"),
        (np.eye(24).astype(int)[None].tolist(), "whole numbers 0 and 1 could be black and white"),
        ([[1, 2, 3]], "an array (1, 3) holds no pictures of 24×24"),
        (np.zeros((1, 24, 24, 7), int).tolist(), "picture 0: a picture is uint8 (H, W) or (H, W, C)"),
    ],
)  # fmt: skip
def test_what_is_no_certain_picture_is_refused_in_one_line(address: str, inputs: Any, why: str) -> None:
    status, document = answered(address, {"inputs": inputs})
    assert status == 400, document
    assert why in document["message"]
    assert "\n" not in document["message"]


def test_a_registered_model_is_asked_without_running_its_code(home: Path) -> None:
    code = list((home / "mlruns").rglob("served_model.py"))
    assert code
    for file_ in code:
        file_.write_text("raise SystemExit('the code of the model was run')")
    assert [sorted(each) for each in told(home, home / "shapes" / "circle" / "0.png")] == [list(CLASSES)]
    with pytest.raises(BadInput, match="no model models:/none@champion in sqlite:///") as raised:
        model_at("models:/none@champion", f"sqlite:///{home}/mlflow.db")
    assert "\n" not in str(raised.value)
