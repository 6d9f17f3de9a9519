"""The runs of many trials at once: one transaction in MLflow's tables, where its store is a database that we open.

MLflow's calls make some ten transactions a run, and a search of thousands of short trials is faster than that. What is
written here is what those calls would write (mlflow.store.tracking.sqlalchemy_store, 3.17), with MLflow's own models of
its tables. Runs that are there already, and stores behind a server, are written by the calls.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.tracking.projection import Point, Update

FEWEST = 10
"""With fewer new runs the calls are as good."""
AT_ONCE = 500
"""So many runs are one transaction: others who write to the store wait for its end."""
COLUMNS = {
    "SqlRun": "run_uuid name source_type source_name entry_point_name user_id status start_time end_time deleted_time "
    "source_version lifecycle_stage artifact_uri experiment_id",
    "SqlTag": "key value run_uuid",
    "SqlParam": "key value run_uuid",
    "SqlMetric": "key value timestamp step is_nan run_uuid",
    "SqlLatestMetric": "key value timestamp step is_nan run_uuid",
    "SqlDataset": "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema "
    "dataset_profile",
    "SqlInput": "input_uuid source_type source_id destination_type destination_id step",
    "SqlInputTag": "input_uuid name value",
}
"""MLflow's tables as we know them, in an order in which rows may refer to those before."""
OTHER = "this MLflow keeps its tables otherwise than 3.17 does, so runs are written one by one, and slower"

Row = dict[str, Any]


@dataclass(frozen=True)
class NewRun:
    """A run that is to be: its name, the milliseconds since 1970 at which it `began`, its first tags, and the rest."""

    name: str
    began: int
    tags: Mapping[str, str]
    update: Update


class Bulk:
    """Writes new runs into the experiment `experiment` of MLflow's store at `uri`; `inputs` are the data of each.

    Where it cannot be used, `why_not` says so: "" for a store that is no database of ours, which needs no word.
    """

    def __init__(self, uri: str, experiment: str, inputs: Sequence[Any]) -> None:
        self._experiment, self._inputs = int(experiment) if experiment.isdecimal() else 0, inputs
        self._store: Any = None
        self.why_not = ""
        if uri.startswith(("http://", "https://")) or not self._experiment:
            return
        try:
            from mlflow.store.tracking.dbmodels import models
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
            from mlflow.tracking._tracking_service.utils import _get_store
        except ImportError:
            self.why_not = OTHER
            return
        store = _get_store(uri)
        if not isinstance(store, SqlAlchemyStore):
            return
        self._tables = {name: getattr(models, name).__table__ for name in COLUMNS if hasattr(models, name)}
        known = {name: set(columns.split()) for name, columns in COLUMNS.items()}
        if {name: {column.name for column in table.columns} for name, table in self._tables.items()} != known:
            self.why_not = OTHER
            return
        self._store, self._artifacts = store, store.get_experiment(experiment).artifact_location

    def __bool__(self) -> bool:
        return self._store is not None

    def add(self, runs: Sequence[NewRun]) -> Iterator[str]:
        """Write `runs`, AT_ONCE of them in a transaction, and yield the id of each once it is written."""
        from sqlalchemy import insert

        for first in range(0, len(runs), AT_ONCE):
            part = {uuid.uuid4().hex: run for run in runs[first : first + AT_ONCE]}
            rows: dict[str, list[Row]] = {name: [] for name in COLUMNS}
            for key, run in part.items():
                self._add_run(run, key, rows)
            with self._store.engine.begin() as connection:
                self._add_data([*part], rows, connection)
                for name, table in self._tables.items():
                    if rows[name]:
                        connection.execute(insert(table), rows[name])
            yield from part

    def _add_run(self, run: NewRun, key: str, rows: Mapping[str, list[Row]]) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from mlflow.utils.uri import append_to_uri_path

        status, stamp = run.update.status or ("RUNNING", run.began)
        tags = {**run.tags, **run.update.tags, "mlflow.runName": run.name}
        rows["SqlRun"].append(
            {
                "run_uuid": key,
                "name": run.name,
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "user_id": run.tags.get("mlflow.user", "unknown"),
                "status": status,
                "start_time": run.began,
                "end_time": None if status in ("RUNNING", "SCHEDULED") else stamp,
                "deleted_time": None,
                "source_version": "",
                "lifecycle_stage": "active",
                "artifact_uri": append_to_uri_path(self._artifacts, key, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME),
                "experiment_id": self._experiment,
            }
        )
        rows["SqlTag"] += [{"run_uuid": key, "key": name, "value": value} for name, value in tags.items()]
        rows["SqlParam"] += [
            {"run_uuid": key, "key": name, "value": value} for name, value in run.update.params.items()
        ]
        points = [self._point(point, key) for point in run.update.metrics]
        rows["SqlMetric"] += {tuple(point.values()): point for point in points}.values()
        latest: dict[str, Row] = {}
        for point in points:
            before = latest.get(point["key"])
            if before is None or _time(point) > _time(before):
                latest[point["key"]] = point
        rows["SqlLatestMetric"] += latest.values()

    def _point(self, point: Point, key: str) -> Row:
        name, value, stamp, step = point
        is_nan, stored = self._store.sanitize_metric_value(value)
        return {"run_uuid": key, "key": name, "value": stored, "timestamp": stamp, "step": step, "is_nan": is_nan}

    def _add_data(self, runs: Sequence[str], rows: Mapping[str, list[Row]], connection: Any) -> None:
        """The data of `runs`: rows of the data sets, if the experiment has them not yet, and what refers to them."""
        from sqlalchemy import select

        table = self._tables["SqlDataset"]
        for each in self._inputs:
            data = each.dataset
            mine = {"experiment_id": self._experiment, "name": data.name, "digest": data.digest}
            found = select(table.c.dataset_uuid).where(*(table.c[name] == value for name, value in mine.items()))
            there = connection.execute(found).scalar()
            if there is None:
                there = uuid.uuid4().hex
                more = {
                    f"dataset_{name}": getattr(data, name) for name in ("source_type", "source", "schema", "profile")
                }
                rows["SqlDataset"].append({**mine, **more, "dataset_uuid": there})
            for run in runs:
                key = uuid.uuid4().hex
                edge = {"source_type": "DATASET", "source_id": there, "destination_type": "RUN", "destination_id": run}
                rows["SqlInput"].append({"input_uuid": key, "step": 0, **edge})
                rows["SqlInputTag"] += [{"input_uuid": key, "name": tag.key, "value": tag.value} for tag in each.tags]


def _time(point: Row) -> tuple[int, int, float]:
    """Of two points of one metric the later one is the latest; MLflow compares so."""
    return point["step"], point["timestamp"], point["value"]
