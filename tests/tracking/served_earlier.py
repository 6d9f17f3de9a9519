"""What MLflow runs to serve a winner that was registered until November 2026; kept to see that it still answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import set_model

BATCH = 250
"""Images that are judged at a time."""


class ServedClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Pictures to float32 probabilities `(N, classes)`.

    Pictures are uint8 `(N, H, W)` or `(N, H, W, C)`, any N and any size, C of 1 to 4; or, where no signature stands in
    between (`unwrap_python_model()`), a list of files' bytes, of paths, or of arrays `(H, W)` or `(H, W, C)`. They are
    brought to the model's size and colours as the data of its search were (`trainables.pictures`). Where the model was
    trained on points, they are float32 `(N, 1, 1, features)`.
    """

    def load_context(self, context: Any) -> None:
        """Build the network from its description and read its weights."""
        from trainables.classifier import load_to_serve

        self._architecture, self._model = load_to_serve(Path(context.artifacts["classifier"]))

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Probabilities; `argmax(1)` of them is the class."""
        import torch

        batches = self._batches(model_input)
        with torch.inference_mode():
            logits = torch.cat([self._model(torch.from_numpy(batch)) for batch in batches])
        return logits.softmax(1).numpy()

    def _batches(self, given: Any) -> Iterator[np.ndarray]:
        """What was given as images `(n, C, H, W)` of the model's own shape, some at a time."""
        from trainables.pictures import images_of

        shape = self._architecture.shape
        if shape[1:] == (1, 1):
            points = np.array(given, dtype=np.float32)
            yield points.transpose(0, 3, 1, 2) if points.ndim == 4 else points[:, None]
            return
        if hasattr(given, "columns"):  # a table of one column, which MLflow makes of much
            given = given[given.columns[0]].tolist()
        for start in range(0, len(given), BATCH) if len(given) else (0,):
            some = given[start : start + BATCH]
            own = (shape[1:], (*shape[1:], 1)) if shape[0] == 1 else ((*shape[1:], shape[0]),)
            if isinstance(some, np.ndarray) and some.dtype == np.uint8 and some.shape[1:] in own:  # much sooner
                yield some[:, None].copy() if some.ndim == 3 else some.transpose(0, 3, 1, 2).copy()
            else:
                yield images_of(list(some), shape)


set_model(ServedClassifier())
