"""Whatever is done to a record and the files beside it, who looks at it gets an answer, soon, and changes nothing."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.cli.group import cli
from search.errors import SearchError
from search.record.reader import FILE
from spaces.study import Study
from tests.forging import Forged, forge, seen
from tests.simulated import kept

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),
]

SECONDS = 5.0
"""So long a verb may have a processor; and ten times as long it may take, since other tests run beside this one."""

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**40, 0.5, -0.0, float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(["", "..", "/", "../../../outside/x", "/etc/passwd", "%", "\x1b[2J", "\0", "a" * 10_000, "\ud800"]),
    st.sampled_from([[], {}, [[]], [0], {"a": 1}, [None, True, "x"], {"": {}}]),
    st.integers(-3, 3),
    st.text(max_size=5),
)


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything that stands in `value`, itself included."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, each in inside for place in _places(each, (*way, key)))]


def _put(row: Forged, way: tuple[Any, ...], value: Any, *, gone: bool) -> None:
    if not way:
        row.body = value
        return
    at = row.body
    for step in way[:-1]:
        at = at[step]
    if gone:
        del at[way[-1]]
    else:
        at[way[-1]] = value


@st.composite
def forgeries(draw: st.DrawFn) -> Callable[[list[Forged]], None]:
    """One change of one row or two, which are drawn once the rows are known."""
    how, where, other = draw(st.sampled_from(["set", "gone", "row"])), draw(st.floats(0, 1)), draw(st.floats(0, 1))
    depth, value = draw(st.floats(0, 1)), draw(odd)
    what = draw(st.sampled_from(["at", "kind", "trial", "drop", "twice", "swap", "cut", "text"]))

    def change(rows: list[Forged]) -> None:
        if not rows:
            return
        # The first rows say most, so they are drawn as often as all others.
        number = int(where * (min(3, len(rows)) - 1)) if other < 0.3 else int(where * (len(rows) - 1))
        row, second = rows[number], int(other * (len(rows) - 1))
        if how != "row":
            places = [place for place in _places(row.body) if place or how == "set"]
            if places:
                _put(row, places[int(depth * (len(places) - 1))], value, gone=how == "gone")
        elif what == "at":
            row.at = value if isinstance(value, (int, float)) and abs(value) < 2**62 else -1.0
        elif what == "kind":
            row.kind = value if isinstance(value, str) and "\ud800" not in value else rows[second].kind
        elif what == "trial":
            row.trial = value if isinstance(value, int) and abs(value) < 2**62 else None
        elif what == "text":
            row.body = "{" * 2000
        elif what == "swap":
            rows[number], rows[second] = rows[second], rows[number]
        elif what == "twice":
            rows.insert(second, Forged(row.at, row.kind, row.trial, row.body))
        elif what == "cut":
            del rows[number:]
        else:
            del rows[number]

    return change


ELSEWHERE = (
    "lock",
    FILE,
    "checkpoints",
    "report.html",
    "test.npz",
    "val.npz",
    "result.json",
    "ray",
    "pull",
    "record.new",
)


@st.composite
def misplaced(draw: st.DrawFn) -> Callable[[Path], None]:
    """One change of a file beside the record, or of the record as a file."""
    name = draw(st.sampled_from([*ELSEWHERE, "checkpoints/trial-0000", "checkpoints/trial-0099", f"{FILE}-wal"]))
    how = draw(st.sampled_from(["link", "nowhere", "itself", "device", "pipe", "folder", "noise", "cut", "closed"]))
    share, noise = draw(st.floats(0, 1)), draw(st.binary(max_size=200))

    def change(folder: Path) -> None:
        path = folder / name
        before = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if how == "closed":
            path.exists() and path.chmod(0)
            return
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        if how in ("link", "nowhere", "itself", "device"):
            targets = {"link": folder.parents[1] / "outside", "nowhere": "nowhere", "itself": path.name}
            path.symlink_to(targets.get(how, "/dev/zero"))
        elif how == "pipe":
            os.mkfifo(path)
        elif how == "folder":
            path.mkdir()
        else:
            cut = before[: int(share * len(before))]
            path.write_bytes(cut if how == "cut" else cut + noise + before[len(cut) + len(noise) :])

    return change


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_study: Study) -> Path:
    home = tmp_path_factory.mktemp("whole")
    beside = f"sqlite:///{home}/mlflow.db"
    folder = kept(home / "runs", tiny_study, steps=80, end="done", tracking_uri=beside, source="digits_mlp")[0]
    looked_at(home, tmp_path_factory.mktemp("aside"), math.inf)  # imports what each verb needs, which takes seconds
    return folder


def looked_at(home: Path, aside: Path, seconds: float = SECONDS) -> None:
    """Run every verb that only looks; none may fail but with one line, take long, or change anything at `home`."""
    before = seen(home)
    for verb in ("list", "show", "best", "replay", "doctor", "report", "export"):
        name = [] if verb == "list" else ["tiny-1"]
        more = {"report": ["-o", str(aside / "r.html")], "export": [str(aside / "e")]}.get(verb, [])
        command = [verb, *name, *more, "--runs", str(home / "runs")]
        began, worked = time.monotonic(), time.process_time()
        done = CliRunner().invoke(cli, command)
        if time.process_time() - worked > seconds:  # the first figure of its kind takes seconds; the second must not
            worked = time.process_time()
            CliRunner().invoke(cli, command)
            assert time.process_time() - worked < seconds, verb
        assert time.monotonic() - began < 10 * seconds, verb
        assert done.exception is None or isinstance(done.exception, (SearchError, SystemExit)), (
            f"{verb}: {done.exception!r}"
        )
        assert "\x1b" not in done.output, verb
    assert seen(home) == before


def scene(whole: Path, base: Path) -> Path:
    (base / "home" / "outside" / "x").mkdir(parents=True)
    (base / "home" / "outside" / "x" / "weights").write_text("mine")
    return shutil.copytree(whole, base / "home" / "runs" / "tiny-1")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(forgeries(), min_size=1, max_size=3))
def test_of_a_record_with_changed_rows(
    changes: list[Callable[[list[Forged]], None]], whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("rows")
    folder = scene(whole, base)
    for change in changes:
        forge(folder, change)
    looked_at(base / "home", base)
    shutil.rmtree(base)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(misplaced(), min_size=1, max_size=3))
def test_of_a_search_with_changed_files(
    changes: list[Callable[[Path], None]], whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("files")
    folder = scene(whole, base)
    for change in changes:
        try:
            change(folder)
        except OSError:  # a change before has made this one impossible
            continue
    looked_at(base / "home", base)
    shutil.rmtree(base)
