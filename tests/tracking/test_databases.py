"""MLflow on a database server: the same runs as in SQLite, and nothing lost or doubled when it goes away."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.record.events import Finished
from search.record.record import Record
from search.tracking.runs import Runs
from search.tracking.tracker import Tracker
from tests.chaos.database import Database
from tests.tracking.test_bulk import TRIALS, many, shown

pytestmark = [
    pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")
]  # fmt: skip


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    lacks = Database.lacks(request.param)
    if lacks:
        pytest.skip(f"{lacks} is not installed")
    pytest.importorskip({"postgresql": "psycopg2", "mariadb": "pymysql"}[request.param])
    for parent in (tmp_path, *tmp_path.parents):  # the server runs as somebody else
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    made = Database(request.param, tmp_path / "server")
    try:
        made.make()
        yield made
    finally:
        made.stop()


def test_a_database_server_shows_what_sqlite_shows(database: Database, tmp_path: Path) -> None:
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*many())
        events = list(record.events())
    sqlite = f"sqlite:///{tmp_path}/mlflow.db"
    for uri in (sqlite, database.uri):
        runs = Runs(uri, events)
        runs.write(events)
        assert "bulk" not in runs.notes
    assert shown(database.uri, artifacts=False) == shown(sqlite, artifacts=False)


def test_a_database_server_that_is_killed_in_between_costs_one_warning_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    warnings: list[str] = []
    entries = [*many()]
    with Record(tmp_path / "record.db", create=True) as record:
        record.append(*entries[:40])
        tracker = Tracker(tmp_path / "record.db", database.uri, warnings.append)
        assert tracker.flush(60), warnings
        database.stop()
        record.append(*entries[40:])
        assert not tracker.flush(5)
        database.start()
        record.append(Finished("done", "", 1.0).entry())
    assert tracker.finish(90), warnings
    with Record(tmp_path / "record.db") as record:
        whole = Runs(f"sqlite:///{tmp_path}/mlflow.db", list(record.events()))
        whole.write(list(record.events()))
    assert len(shown(database.uri)) == TRIALS
    assert shown(database.uri, artifacts=False) == shown(f"sqlite:///{tmp_path}/mlflow.db", artifacts=False)
    [away] = [line for line in warnings if "MLflow does not take the runs at present" in line]
    assert "secret" not in away
