"""The stage of `stage.py`, set once for all fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.faults.stage import SCENES, playing


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """The scenes that the selected tests ask for, in the order in which they do, each a future."""
    asked = [name for item in request.session.items for name in getattr(item, "fixturenames", ()) if name in SCENES]
    with playing([*dict.fromkeys(asked)], tmp_path_factory.mktemp) as futures:
        yield futures
