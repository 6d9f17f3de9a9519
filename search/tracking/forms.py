"""In which form a winner is measured and logged: a network of ours, an exported graph, or with its author's code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from search import provenance
from trainables import exported
from trainables.classifier import complete, load_to_serve

TOLD = "told.json"
"""What a model of images is told of itself, beside its network; `served_model.py` reads it."""


class Form(Protocol):
    """A winner that can be logged as a model."""

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """Those of MLflow's `Model.log` that make a model of this form; files of its own may lie in `folder`.

        `told` is what a model of images is told of itself: its `classes`, the `shape` (C, H, W) of an image, and how
        bright the `brightest` was.
        """


class OfImages(Form, Protocol):
    """One that tells images apart."""

    def network(self) -> nn.Module:
        """Images as the data has them, `(N, C, H, W)`, to logits; on the CPU and in evaluation mode."""


@dataclass(frozen=True)
class Ours:
    """A network of this project in a checkpoint: MLflow gets its weights and its architecture."""

    checkpoint: Path

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return load_to_serve(self.checkpoint)[1]

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `Form.arguments`."""
        classifier = _made(folder / "classifier")
        complete(self.checkpoint, classifier)
        return _served(classifier, told)


@dataclass(frozen=True)
class Graph:
    """A network of a user's own as torch.export has it, in the file `path`: nobody's code is needed to run it."""

    path: Path

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return exported.load(self.path)[0].eval()

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `Form.arguments`."""
        graph = _made(folder / "graph")
        shutil.copyfile(self.path, graph / "model.pt2")  # as mlflow.pytorch calls it
        return _served(graph, told)


@dataclass(frozen=True)
class WithCode:
    """A network that cannot be exported: MLflow gets it as a pickle, with the files of its author's `code`."""

    module: nn.Module
    code: Sequence[Path]

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return self.module

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `Form.arguments`."""
        import mlflow.pytorch

        module = folder / "module"
        how = {"serialization_format": "pickle", **requirements("cloudpickle")}
        with torch.no_grad():
            mlflow.pytorch.save_model(self.module, module, **how)
        return _served(module, told, *self.code, needs=("cloudpickle",))


class _Answers(nn.Module):
    """What the pickles of models name that were registered until November 2026: pictures to probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Images `(N, H, W)` or `(N, H, W, C)` to probabilities `(N, classes)` float32."""
        first = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        answers: Tensor = self.network(first).float().softmax(1)
        return answers


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _served(folder: Path, told: Mapping[str, Any], *code: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments of a model that `served_model.py` serves from what lies in `folder`, which is named after the form.

    It comes with the author's `code`, and `needs` more packages than all do.
    """
    # Not as MLflow's model_config, which would become parameters of the trial's run.
    (folder / TOLD).write_text(json.dumps(dict(told)))
    return {
        "flavor": _PythonModel,
        "python_model": str(Path(__file__).with_name("served_model.py")),
        "artifacts": {folder.name: str(folder)},
        "code_paths": [str(path) for path in (provenance.ROOT / "trainables", *code)],
        **requirements("torchvision", "pandas", "pillow", "safetensors", *needs),
    }


def requirements(*further: str) -> dict[str, Any]:
    """What a model needs to be loaded, besides the packages that all of them do."""
    # Given, because MLflow would start a process and import everything to find out.
    return {"pip_requirements": [f"{name}=={version(name)}" for name in ("mlflow", "torch", "numpy", *further)]}


class _PythonModel:
    """MLflow's pyfunc, whose description of a model says nothing of where on this machine it was made.

    A network of a user's own is described as one of torch, too: `mlflow.pytorch.load_model` gives it alone.
    """

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **how: Any) -> None:
        """As `mlflow.pyfunc.save_model`; models are loaded by what lies beside the description."""
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **how)
        flavor = mlflow_model.flavors["python_function"]
        flavor["model_code_path"] = Path(flavor["model_code_path"]).name
        for form, artifact in flavor["artifacts"].items():
            artifact["uri"] = artifact["path"]
            known = {"pytorch_version": str(torch.__version__)}
            if form == "graph":  # without `code`: it takes nobody's
                mlflow_model.add_flavor("pytorch", model_data=artifact["path"], **known)
            elif form == "module":
                where = f"{artifact['path']}/data"
                mlflow_model.add_flavor("pytorch", model_data=where, code=flavor["code"], **known)
        save_without_path(path, mlflow_model)


def save_without_path(path: str, mlflow_model: Any) -> None:
    """Write the description of a model anew, without where on this machine it was made."""
    mlflow_model.artifact_path = "model"
    mlflow_model.save(str(Path(path, "MLmodel")))
