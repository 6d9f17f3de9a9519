"""A registered winner, read from MLflow without running the code that is packed with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from search.errors import BadInput, EnvironmentFault
from search.findings.answers import Model
from search.settings import masked
from search.tracking.registry import registry
from trainables import exported
from trainables.classifier import load_classifier
from trainables.request import Intake


def model_at(address: str, tracking_uri: str) -> Model:
    """The model at an `address` such as `models:/NAME@champion` in the store at `tracking_uri`.

    Its weights or its graph are read, nothing is run that came with it. Raises BadInput if there is no such model or
    none that this service logged, EnvironmentFault if MLflow does not give it.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    # MLflow looks for models where its globals point, whatever address it is given.
    with tempfile.TemporaryDirectory() as folder, registry(tracking_uri):
        try:
            where = Path(mlflow.artifacts.download_artifacts(address, dst_path=folder))
        except MlflowException as error:
            why = " ".join(masked(str(error)).split())[:300]
            missing = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
            kind = BadInput if missing else EnvironmentFault
            raise kind(f"no model {address} in {masked(tracking_uri)} ({why})") from None
        except Exception as error:  # the store, the network, or the disk
            why = " ".join(masked(str(error)).split())[:300]
            raise EnvironmentFault(f"MLflow does not give {address} ({why})") from None
        try:
            return _read(address, where)
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            raise BadInput(
                f"{address} is no model that can be read without running its code ({why}); load it with "
                "mlflow.pyfunc.load_model, if you trust its author"
            ) from None


def _read(address: str, folder: Path) -> Model:
    """The model in a `folder` as MLflow keeps it; whatever is raised says that it is none of ours."""
    from mlflow.models import Model as Description

    described = Description.load(str(folder))
    told, kept = described.metadata or {}, described.flavors["python_function"].get("artifacts", {})
    if "classifier" in kept:
        architecture, network = load_classifier(folder / "artifacts" / "classifier")
        # Earlier versions did not say how bright pictures are.
        return Model(address, network, Intake(architecture.shape, told.get("brightest", 255)), architecture.classes)
    if "graph" in kept:
        graph = exported.load(folder / "artifacts" / "graph" / "model.pt2")[0].eval()
        channels, height, width = told["shape"]
        return Model(address, graph, Intake((channels, height, width), told["brightest"]), tuple(told["classes"]))
    raise ValueError("it is neither a network of ours nor a graph that we logged")
