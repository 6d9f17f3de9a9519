"""What MLflow runs to serve a winner: a file of code beside weights in safetensors, or beside an exported graph.

MLflow copies this file and the package `trainables` into the model, so a reader needs neither of ours installed.
"""

import json
import logging
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE


class Refusal(MlflowException):
    """A request that is refused, which MLflow's server answers with 400 and the message alone, in one line."""

    def __init__(self, why: str) -> None:
        super().__init__(why, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """Why."""
        return self._why

    @message.setter
    def message(self, text: str) -> None:
        # The server puts the whole request before it: "Failed to predict data '…'. \nError: why".
        self._why = text.rpartition("\nError: ")[2]


class Answers(pandas.DataFrame):  # type: ignore[misc]
    """Probabilities `(N, classes)`, a column for each class."""

    def argmax(self, axis: int | None = None) -> Any:
        """As arrays have it, with which models of earlier versions answer."""
        return self.to_numpy().argmax(axis)


class ServedClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Pictures to a table of probabilities `(N, classes)` float32, whose columns are the names of the classes.

    Pictures are arrays `(N, H, W)` or `(N, H, W, C)` of any size, C of 1 to 4: grey levels, or shares of 1; or a list,
    an array of objects, or a table's column of files' bytes or their base64. They are brought to the model's size and
    colours as the data of its search were. Where the model was trained on points, they are float32
    `(N, 1, 1, features)`. `trainables.request` has the rules; what could mean two things is refused.
    """

    def load_context(self, context: Any) -> None:
        """Read the network: its weights, its exported graph, or, with MLflow, what its author's code is needed for."""
        from trainables.request import Intake

        [(form, folder)] = context.artifacts.items()
        told = json.loads(Path(folder, "told.json").read_text())
        self._said: set[str] = set()
        self._classes = list(told["classes"])
        self._intake = Intake(tuple(told["shape"]), told["brightest"])
        self._network: Any
        if form == "classifier":
            from trainables.classifier import load_to_serve

            self._network = load_to_serve(Path(folder))[1]
        elif form == "graph":
            from trainables.exported import load

            self._network = load(Path(folder, "model.pt2"))[0].eval()
        else:
            import mlflow.pytorch

            self._network = mlflow.pytorch.load_model(folder).eval()

    # Of another type than this MLflow would warn, or check each request by it.
    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
        """Probabilities by class; `idxmax(axis=1)` of them is the answer. Raises Refusal."""
        import torch

        from trainables.evaluation import logits_of
        from trainables.pictures import Unreadable

        try:
            with torch.inference_mode():
                batches = map(torch.from_numpy, self._intake.batches(model_input, self._say))
                logits = torch.cat([logits_of(self._network, batch) for batch in batches])
        except Unreadable as error:
            raise Refusal(str(error)) from None
        return Answers(logits.float().softmax(1).numpy(), columns=self._classes)

    def _say(self, text: str) -> None:
        """Tell the log, once, what is converted."""
        if text not in self._said:
            self._said.add(text)
            logging.getLogger(__name__).warning("%s", text)


set_model(ServedClassifier())
