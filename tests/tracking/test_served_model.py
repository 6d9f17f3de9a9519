"""The served model takes pictures as people have them, and sees them as the data of its search were seen."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from search.tracking.exam import OnImages
from search.tracking.forms import TOLD, Form, Graph, Ours
from search.tracking.served import model_at
from tests.trainables.test_picture_folders import put
from trainables.classifier import Architecture
from trainables.data import Split
from trainables.datasets import Reading, find
from trainables.exported import export

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def served(folder: Path, shape: tuple[int, int, int]) -> Any:
    """A model of images `shape`, with weights of its own."""
    torch.manual_seed(0)
    architecture = Architecture("mlp", shape, CLASSES, {"depth": 1, "width": 4, "activation": "relu"})
    architecture.save(folder, architecture.build())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of its imports
        from search.tracking.served_model import ServedClassifier
    model = ServedClassifier()
    told = {"classes": list(architecture.classes), "shape": list(shape), "brightest": 255}
    (folder / TOLD).write_text(json.dumps(told))
    model.load_context(SimpleNamespace(artifacts={"classifier": str(folder)}))
    return model


def test_files_of_the_data_are_seen_as_the_search_saw_them(tmp_path: Path) -> None:
    put(tmp_path / "pets", "cat", "dog", count=6, suffix=".jpg", size=(300, 260))
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = tmp_path / "pets" / "cat" / "odd.png"
    Image.effect_noise((40, 90), 60).convert("RGBA").save(odd, exif=exif)
    images, _ = find("digits", tmp_path / "pets", reading=Reading(image_size=24)).train()
    files = sorted(tmp_path.glob("pets/*/*"))
    model = served(tmp_path, (3, 24, 24))
    expected = model.predict(None, images.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(model.predict(None, [file.read_bytes() for file in files]), expected)
    assert np.array_equal(model.predict(None, files), expected)
    table = pandas.DataFrame({"picture": [file.read_bytes() for file in files]})
    assert np.array_equal(model.predict(None, table), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)], ids=["grey", "colour"])
def test_arrays_of_any_size_and_colours_are_taken(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    model = served(tmp_path, shape)
    generator = np.random.default_rng(0)
    for size in (
        (5, 8, 8),
        (5, 8, 8, 1),
        (5, 8, 8, 3),
        (5, 40, 31, 3),
        (5, 9, 70),
        (253, 20, 20, 4),
        (0, 8, 8, 3),
    ):
        pictures = generator.integers(0, 256, size, dtype=np.uint8)
        answer = model.predict(None, pictures)
        assert answer.shape == (size[0], 2)
        one_by_one = [model.predict(None, [picture]).iloc[0] for picture in pictures[:4]]
        assert np.allclose(answer[:4], np.reshape(one_by_one, (-1, 2)), atol=1e-6)
    mixed = model.predict(None, [generator.integers(0, 256, (n, n + 3, 3), dtype=np.uint8) for n in (4, 90)])
    assert mixed.shape == (2, 2)
    assert model.predict(None, [[[0, 255], [7, 9]]]).shape == (1, 2)


def test_answers_carry_the_names_of_the_classes(tmp_path: Path) -> None:
    answer = served(tmp_path, (1, 8, 8)).predict(None, np.zeros((3, 8, 8), np.uint8))
    assert list(answer.columns) == ["cat", "dog"]
    assert answer.dtypes.tolist() == [np.float32, np.float32]
    assert np.allclose(answer.sum(axis=1), 1)
    assert set(answer.idxmax(axis=1)) <= {"cat", "dog"}


def test_what_is_no_picture_is_refused_in_one_line_that_names_its_number(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    model = served(tmp_path, (3, 8, 8))
    for given, message in (
        ([np.zeros((4, 4), np.uint8), b"no picture"], "picture 1: it is text"),
        (np.full((2, 8, 8, 3), -1.5), "numbers from -1.5 to -1.5 are no grey levels"),
    ):
        with pytest.raises(MlflowException, match=message) as raised:
            model.predict(None, given)
        # As MLflow's server tells it, which would put the whole request before it.
        raised.value.message = f"Failed to predict data '{given}'. \nError: {raised.value.message}"
        assert raised.value.message.startswith(message)
        assert raised.value.get_http_status_code() == 400


def test_what_is_converted_is_told_to_the_log_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = served(tmp_path, (1, 8, 8))
    levels = np.arange(128, dtype=np.uint8).reshape(2, 8, 8)
    expected = model.predict(None, levels)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert np.allclose(model.predict(None, levels / 255.0), expected, atol=1e-6)
    assert [record.message for record in caplog.records] == ["numbers from 0.0 to 1.0 are read as shares of 255"]


def logged(folder: Path, form: Form, shape: tuple[int, int, int], **changes: Any) -> Any:
    """A model as MLflow gives it back: `form` with the signature that its exam has, written into `folder`."""
    import mlflow.pyfunc
    from mlflow.models import Model

    told = {"classes": list(CLASSES), "shape": list(shape), "brightest": 255}
    made = folder / "files"
    made.mkdir()
    how = {**form.arguments(made, told), **changes}
    exam = OnImages(Split(torch.zeros(2, *shape, dtype=torch.uint8), torch.zeros(2).long()), {}, CLASSES)
    described = Model(signature=exam.signature(), metadata=told)
    how.pop("flavor").save_model(str(folder / "model"), described, **how)
    return mlflow.pyfunc.load_model(str(folder / "model"))


def colourful(folder: Path) -> Ours:
    """A network of pictures 24×24 in a checkpoint."""
    torch.manual_seed(0)
    architecture = Architecture("mlp", (3, 24, 24), CLASSES, {"depth": 1, "width": 4, "activation": "relu"})
    (folder / "checkpoint").mkdir()
    architecture.save(folder / "checkpoint", architecture.build([60.0] * 3, [70.0] * 3))
    return Ours(folder / "checkpoint")


def photos(folder: Path) -> list[bytes]:
    """Files of photos of several sizes."""
    put(folder / "pets", "cat", count=2, suffix=".jpg", size=(300, 260))
    put(folder / "pets", "dog", count=2, suffix=".png", size=(40, 90))
    return [file.read_bytes() for file in sorted(folder.glob("pets/*/*"))]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_hands_on_files_however_they_are_wrapped(tmp_path: Path) -> None:
    model = logged(tmp_path, colourful(tmp_path), (3, 24, 24))
    files = photos(tmp_path)
    expected = model.unwrap_python_model().predict(None, files)
    assert expected.iloc[0].tolist() != expected.iloc[3].tolist()
    text = [base64.b64encode(file).decode() for file in files]
    table = pandas.DataFrame({"picture": files})
    for form, given in {
        "list": files,
        "array of objects": np.array(files, dtype=object),
        "table": table,
        "rows chosen from a table": pandas.concat([table, table])[4:].set_index(pandas.Index([7, 8, 9, 10])),
        "list of base64": text,
        "table of base64": pandas.DataFrame({"picture": text}),
        "bytes that can be changed": [bytearray(file) for file in files],
    }.items():
        found = model.predict(given)
        assert list(found.columns) == list(CLASSES), form
        assert np.array_equal(found, expected), form


@pytest.mark.filterwarnings("ignore")
def test_mlflows_server_takes_files_in_every_json_that_it_knows_and_answers_with_names(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    def answered(body: dict[str, Any]) -> Any:
        schema = model.metadata.get_input_schema()
        return json.loads(invocations(json.dumps(body), "application/json", model, schema).response)["predictions"]

    model = logged(tmp_path, colourful(tmp_path), (3, 24, 24))
    files = photos(tmp_path)
    expected = model.predict(files).to_dict("records")
    # As MLflow's own encoder writes bytes, too: in lines.
    for text in ([base64.b64encode(file).decode() for file in files], [base64.encodebytes(f).decode() for f in files]):
        for body in (
            {"inputs": text},
            {"instances": text},
            {"inputs": {"picture": text}},
            {"instances": [{"picture": each} for each in text]},
            {"dataframe_split": {"columns": ["picture"], "data": [[each] for each in text]}},
            {"dataframe_split": {"data": [[each] for each in text]}},
            {"dataframe_records": [{"picture": each} for each in text]},
        ):
            assert answered(body) == expected
    two = {"columns": ["name", "picture"], "data": [["a", text[0]]]}
    for body, why in (
        ({"dataframe_split": two}, r"a table of 2 columns \(name, picture\) does not say which has the pictures"),
        ({"inputs": ["/etc/passwd"]}, "picture 0: text is read as a file in base64, and this is none"),
    ):
        with pytest.raises(MlflowException, match=f"^{why}") as raised:
            answered(body)
        assert "\n" not in raised.value.message


@pytest.mark.filterwarnings("ignore")
def test_a_graph_is_served_alike_and_read_without_our_code(tmp_path: Path) -> None:
    import mlflow.pytorch

    network = torch.nn.Sequential(torch.nn.Flatten(), Scaled(), torch.nn.Linear(108, 2)).eval()
    export(network, torch.zeros(2, 3, 6, 6, dtype=torch.uint8), tmp_path / "model.pt2", {})
    model = logged(tmp_path, Graph(tmp_path / "model.pt2"), (3, 6, 6))
    images = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8)
    with torch.no_grad():
        logits = network(images)
    for given in (images.permute(0, 2, 3, 1).numpy(), images.numpy() / 255.0, list(images.permute(0, 2, 3, 1).numpy())):
        found = model.predict(given)
        assert list(found.columns) == list(CLASSES)
        assert np.allclose(found, logits.softmax(1), atol=1e-5)
    assert torch.allclose(mlflow.pytorch.load_model(str(tmp_path / "model"))(images), logits, atol=1e-5)
    asked = model_at(str(tmp_path / "model"), f"sqlite:///{tmp_path}/mlflow.db")
    assert (asked.intake.shape, tuple(asked.classes)) == ((3, 6, 6), CLASSES)
    assert np.allclose(asked.probabilities(images.numpy()), logits.softmax(1), atol=1e-5)


class Scaled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float() / 255


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_an_earlier_version_registered_still_loads_and_answers(tmp_path: Path) -> None:
    """Its code meets the `trainables` of today where that is imported already."""
    earlier = str(Path(__file__).with_name("served_earlier.py"))
    model = logged(tmp_path, colourful(tmp_path), (3, 24, 24), python_model=earlier)
    images = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    asked = model_at(str(tmp_path / "model"), f"sqlite:///{tmp_path}/mlflow.db")
    expected = asked.probabilities(images.transpose(0, 3, 1, 2).copy())
    assert np.allclose(model.predict(images), expected, atol=1e-6)
    assert model.unwrap_python_model().predict(None, photos(tmp_path)).shape == (4, 2)
    exam = OnImages(Split(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(expected.argmax(1))),
                    {"val_accuracy": 1.0}, CLASSES)  # fmt: skip
    assert exam.fault(model) == "", "it was logged before a crash and is looked at again"


def test_what_pickles_of_earlier_versions_name_is_still_there() -> None:
    answers = pickle.loads(b"csearch.tracking.forms\n_Answers\n.")(torch.nn.Flatten())
    assert answers(torch.zeros(2, 4, 4)).tolist() == [[1 / 16] * 16] * 2
