"""The model that a script kept, in the form in which MLflow can take it: a graph of torch or ONNX, or a plain file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from search.tracking.exam import OnBatch
from search.tracking.forms import requirements, save_without_path
from trainables import exported
from trainables.exported import certain_batch

ONNX = ".onnx"
ONNX_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(uint8)": "uint8"}
"""Types of inputs that a certain batch can be made of."""
FREE = 2
"""So large is a size of the certain batch where the graph leaves it open."""


class NoGraph(Exception):
    """A file is no graph that can be run here; the message says why."""


@dataclass(frozen=True)
class KeptGraph:
    """A network as torch.export has it, in the file `path` that `exported.adopt` wrote."""

    path: Path

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `Form.arguments`."""
        asked = {"pytorch_model": _Same(exported.load(self.path)[0].eval()), "serialization_format": "pt2"}
        return {"flavor": _TorchModel, **asked, **requirements()}

    def exam(self) -> OnBatch:
        """What is asked of the model that MLflow gives back. Raises NoGraph."""
        import torch

        try:
            network, shape, dtype = exported.opened(self.path)
            batch = certain_batch([FREE if size is None else size for size in shape], dtype)
            with torch.no_grad():
                answers = network(batch)
        except Exception as error:  # of torch, whatever a graph does
            raise NoGraph(_reason(error)) from None
        if not isinstance(answers, torch.Tensor):
            raise NoGraph(f"its network answers with a {type(answers).__name__}, and not with one tensor")
        free = [-1 if size is None else size for size in shape]
        return OnBatch(batch.numpy(), tuple(free), answers.numpy(), exported.answers_in(self.path))


@dataclass(frozen=True)
class KeptOnnx:
    """A network in the ONNX file `path`."""

    path: Path

    def arguments(self, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `Form.arguments`."""
        import onnx

        return {"flavor": _OnnxModel, "onnx_model": onnx.load(self.path), **requirements("onnx", "onnxruntime")}

    def exam(self) -> OnBatch:
        """What is asked of the model that MLflow gives back. Raises NoGraph."""
        try:
            import onnx  # noqa: F401  MLflow needs it
            import onnxruntime
        except ImportError as error:
            raise NoGraph(f"{error.name} is not installed here: pip install onnx onnxruntime") from None
        import torch

        try:
            session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
            [taken] = session.get_inputs()
            dtype = getattr(torch, ONNX_TYPES[taken.type])
            sizes = [size if isinstance(size, int) else None for size in taken.shape]
            batch = certain_batch([FREE if size is None else size for size in sizes], dtype).numpy()
            answers = session.run(None, {taken.name: batch})[0]
        except Exception as error:  # of onnxruntime, or an input of a kind of its own
            raise NoGraph(_reason(error)) from None
        return OnBatch(batch, tuple(-1 if size is None else size for size in sizes), answers)


@dataclass(frozen=True)
class KeptFile:
    """A file that only its author's code can read; MLflow keeps it, with a version, and nobody opens it."""

    path: Path


class _Same(nn.Module):
    """A network under a name that torch.export, which takes it once more, has not for one of its own (`graph`)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        """What the network gives."""
        answers: Tensor = self.network(inputs)
        return answers


class _TorchModel:
    """MLflow's flavor of torch. What is exported on a CPU runs there, also where there is a GPU."""

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **how: Any) -> None:
        """As `mlflow.pytorch.save_model`."""
        import mlflow.pytorch
        import torch

        with torch.no_grad():
            mlflow.pytorch.save_model(path=path, mlflow_model=mlflow_model, **how)
        mlflow_model.flavors["python_function"]["config"] = {"device": "cpu"}
        save_without_path(path, mlflow_model)


class _OnnxModel:
    """MLflow's flavor of ONNX."""

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **how: Any) -> None:
        """As `mlflow.onnx.save_model`."""
        import mlflow.onnx

        mlflow.onnx.save_model(path=path, mlflow_model=mlflow_model, save_as_external_data=False, **how)
        save_without_path(path, mlflow_model)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".rstrip(": ")
