"""What MLflow runs to serve a winner: a file of code, weights in safetensors, and no pickle.

MLflow copies this file and the package `trainables` into the model, so a reader needs neither of ours installed.
"""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import set_model


class ServedClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Raw uint8 images `(N, H, W)` or `(N, H, W, C)`, any N, to float32 probabilities `(N, classes)`.

    Where the model was trained on points, they are float32 `(N, 1, 1, features)`.
    """

    def load_context(self, context: Any) -> None:
        """Build the network from its description and read its weights."""
        from trainables.classifier import load_classifier

        self._architecture, self._model = load_classifier(Path(context.artifacts["classifier"]))

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Probabilities; `argmax(1)` of them is the class."""
        import torch

        points = self._architecture.shape[1:] == (1, 1)
        images = torch.from_numpy(np.array(model_input, dtype=np.float32 if points else np.uint8))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        with torch.inference_mode():
            logits = torch.cat([self._model(batch) for batch in images.split(250)])
        return logits.softmax(1).numpy()


set_model(ServedClassifier())
