"""A search from somebody else: where it sends nothing to, what it does not run, and what is left as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from search.cli.group import cli
from search.errors import EnvironmentFault
from search.record.reader import FILE, read
from search.session.mlflow_address import CREDENTIALS, address_of
from search.session.prepare import prepare
from search.session.reproduce import reproduce
from search.session.resume import More, recalled
from search.settings import Settings
from search.terminal.console import Silent
from search.tracking.store import connect
from spaces.study import Study
from tests.simulated import kept

pytestmark = pytest.mark.filterwarnings("ignore")

EVIL = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
LOOKING = ("show", "best", "report", "replay", "doctor")


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def digest() -> str:
    """Of the digits that come with scikit-learn, so that a made-up search of them is of the same data."""
    return prepare("digits_mlp", Settings(), Silent()).header.digest


@pytest.fixture
def received(tmp_path: Path, tiny_study: Study, digest: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`received(**changes)`: the folder of an interrupted search, of which the record says what `changes` say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    beside = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def make(**changes: Any) -> Path:
        told = {"end": "interrupted", "digest": digest, "source": "digits_mlp", "tracking_uri": beside, **changes}
        return kept(tmp_path / "runs", tiny_study, **told)[0]

    return make


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of somebody's server, and every header that it gets."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(f"{self.path} {self.headers}")
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", got
        serving.shutdown()


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def seen(folder: Path) -> dict[str, bytes | str | None]:
    """Every entry below `folder` with its content, or where it leads."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    } | {str(path.relative_to(folder)): None for path in folder.rglob("*") if path.is_dir()}


# Where it reports to


@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("verb", ["doctor", "sync", "resume"])
def test_credentials_are_not_sent_where_only_a_record_says(
    verb: str, name: str, server: tuple[str, list[str]], received: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, got = server
    monkeypatch.setenv(name, "planted")
    received(tracking_uri=uri)
    done = typed(verb, "tiny-1")
    told = done.output + str(done.exception)
    assert f"{uri}, which would get your {name}; set MLFLOW_TRACKING_URI to that address if you trust it" in told
    assert isinstance(done.exception, EnvironmentFault)
    assert got == []


def test_credentials_in_the_file_of_mlflow_are_credentials_too(received: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "home" / ".mlflow").mkdir(parents=True)
    (tmp_path / "home" / ".mlflow" / "credentials").touch()
    folder = received()
    with pytest.raises(EnvironmentFault, match=r"would get your ~/\.mlflow/credentials"):
        address_of(folder, "https://example.com", print)


def test_the_user_says_where_credentials_may_go(received: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mine.example")
    told = Told()
    assert address_of(received(), "https://theirs.example", told.say) == "https://mine.example"
    assert told.lines == []


def test_a_recorded_server_is_used_where_it_gets_nothing_secret_and_that_is_told(
    received: Callable[..., Path],
) -> None:
    told = Told()
    assert address_of(received(), "https://theirs.example", told.say) == "https://theirs.example"
    assert told.lines == ["MLflow's runs are at https://theirs.example, as the record says"]


def test_the_store_beside_the_runs_folder_needs_no_word_of_the_user(received: Callable[..., Path]) -> None:
    folder, told = received(), Told()
    uri = f"sqlite:///{folder.parents[1] / 'mlflow.db'}"
    assert address_of(folder, uri, told.say) == uri
    assert told.lines == []


@pytest.mark.parametrize("verb", ["doctor", "sync", "resume"])
def test_no_store_is_made_or_written_where_only_a_record_says(
    verb: str, received: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    received(tracking_uri=f"sqlite:///{tmp_path}/elsewhere/new.db")
    done = typed(verb, "tiny-1")
    told = done.output + str(done.exception)
    assert "elsewhere/new.db, which is not the store beside the runs folder; set MLFLOW_TRACKING_URI" in told
    assert isinstance(done.exception, EnvironmentFault)
    assert not any((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "mlflow.db").exists()


def test_a_trial_of_a_search_that_reported_elsewhere_can_be_trained_again(
    received: Callable[..., Path], tmp_path: Path
) -> None:
    folder = received(tracking_uri=f"sqlite:///{tmp_path}/elsewhere/new.db")
    assert recalled(folder, read(folder / FILE), More(), "", Silent(), to_report=False).settings.tracking_uri is None


# An examination writes nothing


def test_doctor_makes_no_store_where_there_is_none_and_says_so(received: Callable[..., Path], tmp_path: Path) -> None:
    received()
    before = seen(tmp_path)
    done = typed("doctor", "tiny-1")
    assert f"BAD mlflow       there is no MLflow store at {tmp_path}/mlflow.db yet" in done.output
    assert seen(tmp_path) == before


@pytest.mark.slow
def test_doctor_changes_no_byte_of_a_store_that_it_compares(received: Callable[..., Path], tmp_path: Path) -> None:
    received()
    connect(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("another")
    before = seen(tmp_path)
    assert "BAD mlflow       there is no experiment tiny" in typed("doctor", "tiny-1").output
    assert seen(tmp_path) == before


# Whose code runs


@pytest.fixture
def forged(received: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a search whose study, the record says, is in a file outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "evil.py").write_text(EVIL)
    return received(source=str(tmp_path / "outside" / "evil.py"))


@pytest.mark.parametrize("verb", LOOKING)
def test_who_looks_at_a_search_runs_no_code_that_its_record_names(verb: str, forged: Path, tmp_path: Path) -> None:
    typed(verb, "tiny-1")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["evil.py"]


def test_nor_does_who_lists_or_exports(forged: Path, tmp_path: Path) -> None:
    assert "tiny-1" in typed("list").output
    assert typed("export", "tiny-1", tmp_path / "export").exit_code == 0
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["evil.py"]


@pytest.mark.slow
def test_nor_does_who_brings_mlflow_up_to_date(forged: Path, tmp_path: Path) -> None:
    done = typed("sync", "tiny-1")
    assert "tiny-1: MLflow has all of the record" in done.output, done.output + str(done.exception)
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["evil.py"]


def test_who_trains_is_told_which_file_runs_before_it_does(forged: Path) -> None:
    source, told = read(forged / FILE)[0].body["source"], Told()
    with pytest.raises(Exception, match="defines no STUDY"):
        reproduce(forged, None, "", told)
    assert told.lines[-1] == f"running the code in {source}, which the record names"
    with pytest.raises(Exception, match="defines no STUDY"):
        recalled(forged, read(forged / FILE), More(), "", told, {"source": source})
    assert len(told.lines) == 1, "this time the user named it"


def test_doctor_trains_again_only_what_the_user_names(forged: Path, tmp_path: Path) -> None:
    weights = next(path for path in (forged / "checkpoints").rglob("*") if path.is_file())
    weights.write_bytes(b"damaged")
    asked = typed("doctor", "tiny-1", "--repair")
    assert "has to be trained again, which runs the code in" in str(asked.exception), asked.output
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["evil.py"]
    typed("doctor", "tiny-1", "--repair", "--study", tmp_path / "outside" / "evil.py")
    assert (tmp_path / "outside" / "evil.ran").exists()
