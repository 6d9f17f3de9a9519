"""The winner in MLflow: logged, loaded again, scored again, and only then registered."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.tracking.exam import Exam, OnImages
from search.tracking.forms import Form
from search.tracking.kept_model import KeptFile
from search.tracking.shown import part_of
from search.tracking.store import prepare_environment

KEY = "search.winner"
LONGEST_DESCRIPTION = 5000
"""So many characters the registry's databases keep of a description (mlflow.store.model_registry, 3.17)."""
OURS = "search.description_sha256"
"""A tag of a registered model: which description we gave it. One that somebody else wrote is left alone."""

Card = Callable[[str, int | None], str]
"""Gives a model card for the URI under which the model is served, of so many characters at most; None for all."""


@dataclass(frozen=True)
class Winner:
    """What is to be served: the best epoch, in a form that can be logged, and the exam that it must pass.

    `exam` is None for what is no model but a file. `shape` (C, H, W) and `brightest` are those of
    `trainables.request.Intake`. `key` names search, trial and epoch for good; by it a model that was logged before a
    crash is found again. `no_better` says that it is worth no more than always saying the largest class.
    """

    study: str
    search: str
    key: str
    form: Form | KeptFile
    exam: Exam | None
    test_accuracy: float | None
    no_better: bool
    data_digest: str
    dataset: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    card: Card | None
    brightest: int = 255

    @property
    def trial(self) -> str:
        """The tag `search.trial_id` of its trial's run."""
        return self.key.rpartition("/")[0]

    @property
    def epoch(self) -> int:
        """After which epoch it was best."""
        return int(self.key.rpartition("/")[2])


@contextlib.contextmanager
def registry(uri: str) -> Iterator[Registry]:
    """MLflow's models at `uri`.

    A model can only be logged where MLflow's globals and environment variables point; they do so inside, and are given
    back as they were, since this may be a process of the user's with runs of its own.
    """
    prepare_environment()
    from mlflow.tracking import fluent
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    experiment = fluent._active_experiment_id
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID")}
    try:
        with _use_tracking_uri(uri):
            yield Registry(uri)
    finally:
        fluent._active_experiment_id = experiment
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Registry:
    """MLflow's models, inside `registry`."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        for name in ("mlflow.models.model", "mlflow.utils.environment", "mlflow.pyfunc", "mlflow.tracking.fluent"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = MlflowClient(tracking_uri=uri)

    def log(self, winner: Winner, run: str, experiment: str) -> str:
        """Log the winner under the run `run` of `experiment`, reload it, put it to its exam, and return its URI.

        What an earlier process logged of the same winner is used, what it only began is deleted. Of a winner without an
        exam its file becomes an artifact of the run. Raises EnvironmentFault if the reloaded model fails.
        """
        import mlflow

        if isinstance(winner.form, KeptFile):
            _, trial, epoch = winner.key.rsplit("/", 2)
            place = f"winner/trial-{trial}-epoch-{epoch}"  # a version is to show the same for good
            self._client.log_artifact(run, str(winner.form.path), place)
            return f"runs:/{run}/{place}"
        assert winner.exam is not None
        trial_run = self._run_of(winner, experiment) or run
        uri = self._logged(winner, experiment) or self._log(winner, winner.form, winner.exam, trial_run, experiment)
        with _quiet():
            fault = winner.exam.fault(mlflow.pyfunc.load_model(uri))
        if fault:
            raise EnvironmentFault(f"the model that MLflow gives back {fault}; it was not registered")
        model = uri.removeprefix("models:/")
        self._tell_metrics(winner, trial_run, model)
        self._show(model, run)
        return uri

    def _logged(self, winner: Winner, experiment: str) -> str | None:
        found = None
        for model in self._client.search_logged_models([experiment], filter_string=f"tags.`{KEY}` = '{winner.key}'"):
            if str(model.status) == "READY" and found is None:
                found = str(model.model_uri)
            else:
                self._client.delete_logged_model(model.model_id)
        return found

    def _log(self, winner: Winner, form: Form, exam: Exam, run: str, experiment: str) -> str:
        import mlflow
        from mlflow.models import Model

        told = {"classes": list(winner.classes), "shape": list(winner.shape), "brightest": winner.brightest}
        with tempfile.TemporaryDirectory() as folder, _quiet():
            mlflow.set_experiment(experiment_id=experiment)  # where Model.log puts the model, whatever the run's is
            asked = form.arguments(Path(folder), told)
            if winner.card is not None:
                asked["flavor"] = _WithCard(asked["flavor"], winner.card(f"models:/{winner.study}@champion", None))
            info = Model.log(
                artifact_path=None,
                name=_name(winner),
                run_id=run,  # whose hyperparameters MLflow takes for the model's
                model_type="classifier" if isinstance(exam, OnImages) else None,  # of a script nobody knows
                signature=exam.signature(),
                input_example=exam.example(),
                tags={KEY: winner.key},
                metadata={"study": winner.study, "search": winner.search, **told},
                **asked,
            )
        return str(info.model_uri)

    def _run_of(self, winner: Winner, experiment: str) -> str | None:
        """The run of its trial; None if MLflow has lost it."""
        wanted = f"tags.`search.trial_id` = '{winner.trial}'"
        found = self._client.search_runs([experiment], filter_string=wanted, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _tell_metrics(self, winner: Winner, run: str, model: str) -> None:
        """Give the model what its `run` shows of its epoch, test accuracy included, as measured on its data.

        The same points again, at the same times, so that the run has each once.
        """
        from mlflow.entities import Metric

        def of_data(key: str) -> dict[str, Any]:
            part = "test" if key.startswith("test_") else "training" if key.startswith("train_") else "validation"
            named = {"dataset_name": part_of(winner.dataset, part), "dataset_digest": winner.data_digest[:36]}
            return named if winner.dataset else {}

        points = [
            Metric(each.key, each.value, each.timestamp, each.step, model_id=model, **of_data(key))
            for key in self._client.get_run(run).data.metrics
            if key != "seconds" and not key.startswith("system/")  # these are of the machine
            for each in self._client.get_metric_history(run, key)
            if each.step == winner.epoch and each.model_id is None
        ]
        self._client.log_batch(run, metrics=points)

    def _show(self, model: str, run: str) -> None:
        """Let the `run` of the search show the `model` too, which is its trial's, once."""
        from mlflow.entities import LoggedModelOutput

        outputs = self._client.get_run(run).outputs
        if outputs is None or model not in {each.model_id for each in outputs.model_outputs}:
            self._client.log_outputs(run, [LoggedModelOutput(model, 0)])

    def register(self, winner: Winner, model_uri: str, run: str) -> dict[str, Any]:
        """Register the model under the study's name: alias `candidate`, and `champion` if it beats the present one.

        None is champion that is no better than always saying the largest class.

        Only test accuracies on the same data are compared; a champion of other data stays.
        """
        import mlflow

        tags = {"search": winner.search, "data_sha256": winner.data_digest, "run": run, KEY: winner.key}
        if winner.test_accuracy is not None:
            tags["test_accuracy"] = repr(winner.test_accuracy)
        if winner.no_better:
            tags["no_better_than_largest_class"] = "true"
        made = self._registered(winner)
        if made is None:
            with _quiet():
                if isinstance(winner.form, KeptFile):
                    made = self._version_of_file(winner.study, model_uri, run, tags)
                else:
                    made = mlflow.register_model(model_uri, winner.study, tags=tags)
        aliases = ["candidate"]
        champion = self._champion(winner.study)
        first = champion is None or champion.version == made.version
        if not winner.no_better and (first or _beats(winner, champion.tags)):
            aliases.append("champion")
        for alias in aliases:
            self._client.set_registered_model_alias(winner.study, alias, made.version)
        uri = f"models:/{winner.study}@{aliases[-1]}"
        self._describe(winner, made.version, uri, whole=first or "champion" in aliases)
        told = {"model_uri": uri, "model_version": int(made.version), "aliases": aliases, "logged_model": model_uri}
        return told | ({"file": winner.form.path.name} if isinstance(winner.form, KeptFile) else {})

    def _describe(self, winner: Winner, version: str, uri: str, *, whole: bool) -> None:
        """Make its card the description of this `version`, and of the `whole` registered model if that is wanted.

        A description that somebody else wrote stays.
        """
        if winner.card is None:
            return
        card = winner.card(uri, LONGEST_DESCRIPTION)
        self._client.update_model_version(winner.study, version, card)
        known = self._client.get_registered_model(winner.study)
        if whole and (not known.description or known.tags.get(OURS) == _sha256(known.description)):
            self._client.set_registered_model_tag(winner.study, OURS, _sha256(card))
            self._client.update_registered_model(winner.study, card)

    def _version_of_file(self, name: str, uri: str, run: str, tags: Mapping[str, str]) -> Any:
        """A version of the registered model `name` that is what lies at `uri`, among the artifacts of `run`.

        MLflow's `register_model` takes none but models.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(run).info.artifact_uri}/{uri.partition(f'runs:/{run}/')[2]}"
        return self._client.create_model_version(name, source, run, tags=dict(tags))

    def _registered(self, winner: Winner) -> Any:
        return next(
            (
                v
                for v in self._client.search_model_versions(f"name = '{winner.study}'")
                if v.tags.get(KEY) == winner.key
            ),
            None,
        )

    def _champion(self, study: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_model_version_by_alias(study, "champion")
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise


class _WithCard:
    """A flavor of MLflow's that adds a model card to what it saves."""

    def __init__(self, flavor: Any, card: str) -> None:
        self._flavor, self._card = flavor, card
        self.__name__ = flavor.__name__

    def save_model(self, path: str, **how: Any) -> None:
        """As the flavor does."""
        self._flavor.save_model(path=path, **how)
        Path(path, "README.md").write_text(self._card + "\n")


def _name(winner: Winner) -> str:
    """What it is, without the signs that MLflow takes in no name of a model."""
    number = int(winner.trial.rpartition("/")[2])
    return re.sub(r"[^\w-]", "_", f"{winner.search}-trial-{number:03d}-epoch-{winner.epoch}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _beats(winner: Winner, champion: Mapping[str, str]) -> bool:
    if winner.test_accuracy is None or champion.get("data_sha256") != winner.data_digest:
        return False
    return winner.test_accuracy > float(champion.get("test_accuracy", "-inf"))


def _quiet() -> Any:
    """MLflow tells of its progress on standard output and error, where our own is."""
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    return stack
