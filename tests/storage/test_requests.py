"""Requests on their way to the process that works on a search."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.errors import BadInput, EnvironmentFault
from search.record.steering import Request
from search.storage import lock, requests
from search.storage.requests import FOLDER, Inbox, answer, send
from tests.findings.made_up import begun


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny-1"
    made.mkdir()
    return made


@pytest.fixture
def running(folder: Path) -> Iterator[Path]:
    with lock.held(folder):
        yield folder


@pytest.fixture
def inbox(running: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setattr(requests, "LOOK_SECONDS", 0.02)
    made = Inbox(running)
    made.open()
    yield made
    made.close()


def taken(inbox: Inbox, count: int) -> list[tuple[str, Request | str]]:
    found: list[tuple[str, Request | str]] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        found += inbox.take()
        time.sleep(0.01)
    return found


def test_a_request_to_a_search_that_does_not_run_is_refused_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(BadInput, match="tiny-1 does not run"):
        send(folder, Request("pause"))
    assert list(folder.iterdir()) == []


def test_requests_are_taken_in_the_order_in_which_they_were_sent_and_once(running: Path, inbox: Inbox) -> None:
    sent = [Request("trials", {"what": number}, "ana", 100.0 + number) for number in range(1, 4)]
    for request in reversed(sent):
        send(running, request)
    found = taken(inbox, 3)
    assert [request for _, request in sorted(found)] == sent
    for name, _ in found:
        inbox.remove(name)
    assert list((running / FOLDER).iterdir()) == []
    time.sleep(0.1)
    assert inbox.take() == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"verb": "sing", "given": {}, "who": "", "sent_at": 1, "id": "' + "0" * 32 + '"}',
        '{"verb": "pause", "given": {}, "who": 5, "sent_at": 1, "id": "' + "0" * 32 + '"}',
        '{"verb": "pause", "given": {}, "who": "", "sent_at": NaN, "id": "' + "0" * 32 + '"}',
        '{"verb": ["pause"], "given": {}, "who": "", "sent_at": 1, "id": "' + "0" * 32 + '"}',
        "[" * 50_000,
        "x" * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_request_is_told_and_harms_nothing(running: Path, inbox: Inbox, content: str) -> None:
    (running / FOLDER).mkdir(exist_ok=True)
    (running / FOLDER / "5.json").write_bytes(content.encode(errors="surrogateescape"))
    ((_, said),) = taken(inbox, 1)
    assert isinstance(said, str)
    assert "5.json is no request and is passed over" in said
    send(running, Request("pause"))
    assert len(taken(inbox, 1)) == 1


def test_a_link_among_requests_is_not_followed(running: Path, inbox: Inbox, tmp_path: Path) -> None:
    request = {"verb": "pause", "given": {}, "who": "", "sent_at": 1.0, "id": "0" * 32}
    (tmp_path / "elsewhere").write_text(json.dumps(request))
    (running / FOLDER).mkdir(exist_ok=True)
    (running / FOLDER / "5.json").symlink_to(tmp_path / "elsewhere")
    ((_, said),) = taken(inbox, 1)
    assert isinstance(said, str)


def test_a_folder_of_requests_that_is_a_link_is_not_written_through(running: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (running / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFault, match="is a link"):
        send(running, Request("pause"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_was_meant_for_an_earlier_process_is_taken_away_and_told(running: Path) -> None:
    send(running, Request("finish", who="ana"))
    inbox = Inbox(running)
    (left,) = inbox.open()
    inbox.close()
    assert isinstance(left, Request)
    assert (left.verb, left.who) == ("finish", "ana")
    assert list((running / FOLDER).iterdir()) == []


def test_who_asks_hears_what_came_of_it(running: Path, tiny_study: Any) -> None:
    search = begun(running, tiny_study)
    taken_in, refused = Request("trials", {"what": 4}, "ana"), Request("go-on", who="ana")
    search.steer(taken_in)
    search.steer(refused)
    assert answer(running, taken_in).trials == 12
    with pytest.raises(BadInput, match="tiny-1 refuses: it is not paused"):
        answer(running, refused)
    with pytest.raises(EnvironmentFault, match="has not taken it within 0 s"):
        answer(running, Request("pause"), seconds=0.2)
