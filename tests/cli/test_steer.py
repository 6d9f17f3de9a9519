"""`watch` and `steer` on the command line: what cannot be is one line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.cli.group import cli
from search.errors import SearchError
from search.page import server
from spaces.study import Study
from tests.findings.made_up import searched


def called(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words])


def refused(result: Result, code: int, line: str) -> None:
    assert isinstance(result.exception, SearchError), result
    assert result.exception.exit_code == code
    assert line in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.fixture
def runs(tmp_path: Path, tiny_study: Study) -> Path:
    searched(tmp_path / "tiny-1", tiny_study)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "steer takes one of --stop-trial, --finish"),
        (("--pause", "--finish"), "but got --finish, --pause"),
        (("--pause",), "tiny-1 does not run"),
        (("--trials", "20", "more"), "tiny-1 does not run"),
        (("--add", "lr"), "NAME=VALUE"),
        (("--add", "lr=log(1,2)"), "gives lr one word"),
        (("--time-budget", "soon"), "must be a time"),
        (("--trials", "0"), "a number from 1"),
    ],
)
def test_what_a_search_cannot_be_asked_is_one_line(runs: Path, words: tuple[str, ...], line: str) -> None:
    refused(called("steer", "tiny-1", *words, "--runs", str(runs)), 2, line)
    assert not (runs / "tiny-1" / "requests").exists()


def test_a_search_that_is_not_there_is_one_line_with_the_nearest(runs: Path) -> None:
    for verb in (("steer", "tiny-2", "--pause"), ("watch", "tiny-2")):
        refused(called(*verb, "--runs", str(runs)), 2, "did you mean tiny-1?")


def test_a_port_in_use_is_one_line_and_without_one_a_free_one_is_found(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(called("watch", "--port", str(port), "--runs", str(runs)), 3, f"port {port} of 127.0.0.1 is in use")
        monkeypatch.setattr(server, "PORT", port)
        with server._listening("127.0.0.1", None) as found:
            assert found.getsockname()[1] != port


@pytest.mark.parametrize("host", ["203.0.113.7", "no such name"])
def test_a_host_that_is_no_address_of_this_machine_is_one_line(runs: Path, host: str) -> None:
    refused(called("watch", "--host", host, "--runs", str(runs)), 2, "--host must be an address")
