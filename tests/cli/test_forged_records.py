"""Records that somebody else made: whoever looks at them gets one line, soon, and nothing anywhere is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.cli.group import cli
from search.errors import BadInput, EnvironmentFault, SearchError
from search.record.reader import FILE, read
from search.session.resume import More, recalled
from search.terminal.console import Silent
from spaces.study import Study
from tests.forging import forge, of_kind, replaced, seen, table_without_rows, with_trigger, with_view
from tests.simulated import kept

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore")]

VERBS = ("show", "best", "report", "replay", "doctor")
DEEP = "[" * 100_000 + "]" * 100_000

FORGED: dict[str, Callable[[Path], object]] = {
    "a value outside its range": lambda folder: forge(
        folder, lambda rows: of_kind(rows, "asked").body["point"].update({"train/optimizer": "'"})
    ),
    "no definition": lambda folder: forge(folder, lambda rows: rows[0].body.pop("definition")),
    "no objective": lambda folder: forge(folder, lambda rows: rows[0].body.pop("objective")),
    "deep JSON": lambda folder: forge(folder, lambda rows: setattr(rows[1], "body", DEEP)),
    "no JSON": lambda folder: forge(folder, lambda rows: setattr(rows[1], "body", "{")),
    "a list": lambda folder: forge(folder, lambda rows: setattr(rows[1], "body", [1])),
    "unknown kind": lambda folder: forge(folder, lambda rows: setattr(rows[1], "kind", "exec")),
    "no search": lambda folder: forge(folder, lambda rows: rows.pop(0)),
    "another order": lambda folder: forge(folder, lambda rows: rows[1:].reverse() or rows.reverse()),
    "a trial of no number": lambda folder: forge(folder, lambda rows: setattr(of_kind(rows, "epoch"), "trial", 99_999)),
    "a number without end": lambda folder: forge(folder, lambda rows: of_kind(rows, "epoch").body.update(epoch=10**30)),
    "a checkpoint elsewhere": lambda folder: forge(
        folder, lambda rows: of_kind(rows, "epoch").body.update(checkpoint="../../../outside/x")
    ),
    "an absolute checkpoint": lambda folder: forge(
        folder, lambda rows: of_kind(rows, "epoch").body.update(checkpoint="/etc")
    ),
    "an id that is every id": lambda folder: forge(folder, lambda rows: rows[0].body.update(id="%")),
    "an experiment elsewhere": lambda folder: forge(folder, lambda rows: rows[0].body.update(experiment="../../x")),
    "a name elsewhere": lambda folder: forge(folder, lambda rows: rows[0].body.update(name="../x")),
    "experience of no search": lambda folder: forge(
        folder, lambda rows: rows[0].body.update(experience=[{"start": 0, "trial": [], "search": "x", "dataset": 1}])
    ),
    "an unknown scheduler": lambda folder: forge(folder, lambda rows: rows[0].body.update(scheduler=[])),
    "a view without end": with_view,
    "a trigger": with_trigger,
    "text": lambda folder: replaced(folder, lambda path: path.write_text("hello\n" * 1000)),
    "nothing": lambda folder: replaced(folder, lambda path: path.touch()),
    "no events": lambda folder: replaced(folder, table_without_rows),
    "a pipe": lambda folder: replaced(folder, os.mkfifo),
    "a folder": lambda folder: replaced(folder, os.mkdir),
    "a link to nothing": lambda folder: replaced(folder, lambda path: path.symlink_to("nowhere")),
    "a link to a device": lambda folder: replaced(folder, lambda path: path.symlink_to("/dev/zero")),
}


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_study: Study) -> Path:
    """The folder of a search that is as it should be."""
    home = tmp_path_factory.mktemp("whole")
    beside = f"sqlite:///{home}/mlflow.db"
    return kept(home / "runs", tiny_study, end="interrupted", tracking_uri=beside, source="digits_mlp")[0]


@pytest.fixture
def forged(whole: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a search with a record of the kind that the test names, beside a good one and files outside."""
    (tmp_path / "outside" / "x").mkdir(parents=True)
    (tmp_path / "outside" / "x" / "weights").write_text("mine")
    for name in ("good", "tiny-1"):
        shutil.copytree(whole, tmp_path / "runs" / name)
    FORGED[request.param](tmp_path / "runs" / "tiny-1")
    return tmp_path / "runs" / "tiny-1"


@pytest.mark.parametrize("forged", FORGED, indirect=True)
def test_a_forged_record_hides_no_other_from_the_list(forged: Path) -> None:
    done = typed("list", "--runs", forged.parent)
    assert (done.exit_code, done.exception) == (0, None)
    lines = done.output.splitlines()
    assert any(line.startswith("tiny-1 ") or "good" in line for line in lines), "the good one"
    assert len([line for line in lines if line.startswith("warning: ") and "tiny-1/record.db" in line]) == 1
    assert len(lines) == 3, "warning, head, the good one"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("forged", FORGED, indirect=True)
def test_who_looks_at_a_forged_record_gets_one_line_and_changes_nothing(forged: Path, tmp_path: Path) -> None:
    before = seen(tmp_path)
    for verb in VERBS:
        done = typed(verb, "tiny-1", "--runs", forged.parent)
        assert isinstance(done.exception, SearchError), f"{verb}: {done.exception!r}"
        expected = (BadInput, EnvironmentFault) if verb != "doctor" else EnvironmentFault
        assert isinstance(done.exception, expected), f"{verb}: {done.exception!r}"
        assert "\n" not in str(done.exception).strip()
    done = typed("export", "tiny-1", tmp_path / "exported", "--runs", forged.parent)
    assert isinstance(done.exception, (BadInput, EnvironmentFault))
    assert seen(tmp_path) == before


@pytest.mark.parametrize("forged", ["a checkpoint elsewhere", "an absolute checkpoint"], indirect=True)
def test_what_a_record_says_of_checkpoints_elsewhere_is_no_reason_to_mend_anything(
    forged: Path, tmp_path: Path
) -> None:
    before = {name: content for name, content in seen(tmp_path).items() if not name.endswith("/lock")}
    done = typed("doctor", "tiny-1", "--repair", "--runs", forged.parent)
    assert isinstance(done.exception, EnvironmentFault)
    assert (
        "its checkpoint is named like none of ours; somebody has changed it, so nothing of it is mended" in done.output
    )
    assert {name: content for name, content in seen(tmp_path).items() if not name.endswith("/lock")} == before


@pytest.mark.parametrize("key", ["sampler", "scheduler"])
def test_decisions_of_what_nobody_knows_cannot_be_derived(key: str, whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "runs" / "tiny-1")
    forge(folder, lambda rows: rows[0].body.update({key: "os.system"}))
    assert typed("list", "--runs", folder.parent).output.splitlines()[1].startswith("tiny-1 ")
    for verb in ("replay", "doctor"):
        done = typed(verb, "tiny-1", "--runs", folder.parent)
        assert isinstance(done.exception, SearchError), f"{verb}: {done.exception!r}"
        assert f"unknown {key} 'os.system'" in done.output + str(done.exception)


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_lock_is_waited_for_by_nobody(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "runs" / "tiny-1")
    (folder / "lock").unlink(missing_ok=True)
    os.mkfifo(folder / "lock")
    assert typed("list", "--runs", folder.parent).output.splitlines()[1].startswith("tiny-1 ")
    for verb in ("show", "best", "replay"):
        assert typed(verb, "tiny-1", "--runs", folder.parent).exit_code == 0


def test_a_search_is_called_by_its_folder_so_that_nothing_is_written_to_another(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folder = shutil.copytree(whole, tmp_path / "runs" / "mine")
    forge(folder, lambda rows: rows[0].body.update(name="another", digest=_digest()))
    assert recalled(folder, read(folder / FILE), More(), "", Silent()).header.name == "mine"


def _digest() -> str:
    from search.session.prepare import prepare
    from search.settings import Settings

    return prepare("digits_mlp", Settings(), Silent()).header.digest
