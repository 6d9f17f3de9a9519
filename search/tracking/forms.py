"""In which form a winner is measured and logged: a network of ours, an exported graph, or with its author's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from search import provenance
from trainables import exported
from trainables.classifier import complete, load_to_serve


class Form(Protocol):
    """A winner that can be logged as a model."""

    def arguments(self, folder: Path) -> dict[str, Any]:
        """Those of MLflow's `Model.log` that make a model of this form; files of its own may lie in `folder`."""


class OfImages(Form, Protocol):
    """One that tells images apart; whether the logged model takes pictures of `any_size`."""

    any_size: ClassVar[bool]

    def network(self) -> nn.Module:
        """Images as the data has them, `(N, C, H, W)`, to logits; on the CPU and in evaluation mode."""


@dataclass(frozen=True)
class Ours:
    """A network of this project in a checkpoint: MLflow gets its weights and the code of `trainables`."""

    any_size: ClassVar[bool] = True
    checkpoint: Path

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return load_to_serve(self.checkpoint)[1]

    def arguments(self, folder: Path) -> dict[str, Any]:
        """See `Form.arguments`."""
        classifier = folder / "classifier"
        classifier.mkdir()
        complete(self.checkpoint, classifier)
        return {
            "flavor": _PythonModel,
            "python_model": str(Path(__file__).with_name("served_model.py")),
            "artifacts": {"classifier": str(classifier)},
            "code_paths": [str(provenance.ROOT / "trainables")],
            **requirements("torchvision", "pillow", "safetensors"),
        }


@dataclass(frozen=True)
class Graph:
    """A network of a user's own as torch.export has it, in the file `path`: nobody's code is needed to run it."""

    any_size: ClassVar[bool] = False
    path: Path

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return exported.load(self.path)[0].eval()

    def arguments(self, folder: Path) -> dict[str, Any]:
        """See `Form.arguments`."""
        asked = {"pytorch_model": _Answers(self.network()), "serialization_format": "pt2"}
        return {"flavor": TorchModel, **asked, **requirements()}


@dataclass(frozen=True)
class WithCode:
    """A network that cannot be exported: MLflow gets it as a pickle, with the files of its author's `code`."""

    any_size: ClassVar[bool] = False
    module: nn.Module
    code: Sequence[Path]

    def network(self) -> nn.Module:
        """See `OfImages.network`."""
        return self.module

    def arguments(self, folder: Path) -> dict[str, Any]:
        """See `Form.arguments`."""
        asked = {"pytorch_model": _Answers(self.module), "serialization_format": "pickle"}
        code = [str(path) for path in (provenance.ROOT / "trainables", *self.code)]
        return {"flavor": TorchModel, "code_paths": code, **asked, **requirements("cloudpickle")}


class _Answers(nn.Module):
    """Images as users have them, `(N, H, W)` or `(N, H, W, C)`, to probabilities `(N, classes)` float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """The probabilities."""
        first = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        answers: Tensor = self.network(first).float().softmax(1)
        return answers


def requirements(*further: str) -> dict[str, Any]:
    """What a model needs to be loaded, besides the packages that all of them do."""
    # Given, because MLflow would start a process and import everything to find out.
    return {"pip_requirements": [f"{name}=={version(name)}" for name in ("mlflow", "torch", "numpy", *further)]}


class _PythonModel:
    """MLflow's pyfunc, whose description of a model says nothing of where on this machine it was made."""

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **how: Any) -> None:
        """As `mlflow.pyfunc.save_model`; models are loaded by what lies beside the description."""
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **how)
        flavor = mlflow_model.flavors["python_function"]
        flavor["model_code_path"] = Path(flavor["model_code_path"]).name
        for artifact in flavor["artifacts"].values():
            artifact["uri"] = artifact["path"]
        save_without_path(path, mlflow_model)


class TorchModel:
    """MLflow's flavor of torch. What is exported on a CPU runs there, also where there is a GPU."""

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **how: Any) -> None:
        """As `mlflow.pytorch.save_model`."""
        import mlflow.pytorch

        with torch.no_grad():
            mlflow.pytorch.save_model(path=path, mlflow_model=mlflow_model, **how)
        mlflow_model.flavors["python_function"]["config"] = {"device": "cpu"}
        save_without_path(path, mlflow_model)


def save_without_path(path: str, mlflow_model: Any) -> None:
    """Write the description of a model anew, without where on this machine it was made."""
    mlflow_model.artifact_path = "model"
    mlflow_model.save(str(Path(path, "MLmodel")))
