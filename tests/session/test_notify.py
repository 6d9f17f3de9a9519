"""Told when a search has ended: by a message, a command, a note on the desktop; nothing of it holds anything up."""

import contextlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from search.api import _call
from search.cli.options import without_addresses
from search.errors import BadInput, StorageFull
from search.findings.summary import summarize
from search.jobs.order import order
from search.options import read
from search.session import notify
from search.session.notify import Notices, desktop_command
from search.settings import More, Settings
from tests.simulated import kept

SECRET = "T0001/B0002/hush"


@contextlib.contextmanager
def listening(*answers):
    """A server that gives its `answers` (status, headers, seconds of silence) one after the other; and what it got."""
    got, left = [], list(answers)

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            status, headers, silence = left.pop(0) if len(left) > 1 else left[0]
            time.sleep(silence)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

        def do_GET(self):
            got.append((self.path, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *told):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/{SECRET}", got
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folder(tiny_study, tmp_path):
    return kept(tmp_path, tiny_study)[0]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(notify, "PAUSE_SECONDS", 0.01)
    for name in ("SEARCH_NOTIFY", "SEARCH_NOTIFY_COMMAND", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def told(folder, **settings):
    """The warnings of telling of the search in `folder`, and how many seconds it took."""
    warnings = []
    notices = Notices(Settings(**settings), warnings.append)
    start = time.monotonic()
    notices.tell(summarize(folder))
    return warnings, time.monotonic() - start


def test_a_message_says_how_the_search_ended_in_one_line_and_for_programs(folder):
    with listening((200, {}, 0)) as (address, got):
        assert told(folder, notify=(address,))[0] == []
    (path, message), best = got[0], summarize(folder)["best"]
    assert path == f"/services/{SECRET}"
    assert message["text"].startswith("tiny-1: done after 0:01, 8 trials; val_accuracy ")
    assert f"(trial {best['trial']})" in message["text"]
    assert message["search"]["name"] == "tiny-1"
    assert message["search"]["best"]["val_accuracy"] == best["val_accuracy"]


def test_two_addresses_of_one_host_are_both_told(folder):
    with listening((200, {}, 0)) as (address, got):
        assert told(folder, notify=(address, f"{address}/2"))[0] == []
    assert sorted(path for path, _ in got) == [f"/services/{SECRET}", f"/services/{SECRET}/2"]


def test_a_way_that_breaks_is_one_warning(folder):
    (warning,), _ = told(folder, notify_command="echo \0")
    assert warning.endswith("was not delivered: ValueError")


def test_a_server_that_fails_for_a_moment_is_asked_again(folder):
    with listening((500, {}, 0), (503, {}, 0), (200, {}, 0)) as (address, got):
        assert told(folder, notify=(address,))[0] == []
    assert len(got) == 3


@pytest.mark.parametrize(("status", "times"), [(500, 3), (404, 1)])
def test_a_server_that_refuses_costs_one_warning_without_the_secret(folder, status, times):
    with listening((status, {}, 0)) as (address, got):
        (warning,), _ = told(folder, notify=(address,))
    assert f"it answers {status}" in warning
    assert "http://127.0.0.1/***" in warning
    assert "hush" not in warning
    assert len(got) == times


def test_a_message_follows_no_redirect(folder):
    with listening((200, {}, 0)) as (elsewhere, stolen), listening((302, {"Location": elsewhere}, 0)) as (address, got):
        (warning,), _ = told(folder, notify=(address,))
    assert (len(got), stolen) == (1, [])
    assert "302" in warning
    assert "another address" in warning
    assert "hush" not in warning


def test_a_server_that_is_silent_and_one_that_is_dead_hold_nothing_up(folder, monkeypatch):
    monkeypatch.setattr(notify, "PATIENCE_SECONDS", 2.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens not
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}"
        with listening((200, {}, 30)) as (silent, _):
            warnings, seconds = told(folder, notify=(silent, dead.replace("127.0.0.1", "localhost")))
    assert seconds < 60
    assert sorted(warning.partition(": ")[2] for warning in warnings) == [
        "it cannot be reached (Connection refused), 3 times",
        "no end in 2 s",
    ]
    assert "hush" not in "".join(warnings)


def test_a_command_gets_the_message_and_nothing_of_the_search_becomes_a_part_of_it(folder):
    command = 'cat > told.json; echo "$SEARCH_NAME is $SEARCH_STATE" > told.txt'
    assert told(folder, notify_command=f"cd {folder} && {command}")[0] == []
    assert json.loads((folder / "told.json").read_text())["search"]["state"] == "done"
    assert (folder / "told.txt").read_text() == "tiny-1 is done\n"


def test_a_command_that_fails_is_one_warning_with_its_last_words(folder):
    (warning,), _ = told(folder, notify_command="echo no such room >&2; exit 7")
    assert warning.endswith("exit code 7 (no such room)")


def test_a_command_that_hangs_is_ended(folder, monkeypatch):
    monkeypatch.setattr(notify, "PATIENCE_SECONDS", 2.0)
    (warning,), seconds = told(folder, notify_command="sleep 600")
    assert re.search(r"no end in [12] s", warning)
    assert seconds < 60


def test_a_fault_is_told_and_still_raised(folder):
    warnings = []
    with listening((200, {}, 0)) as (address, got):
        notices = Notices(Settings(notify=(address,)), warnings.append)
        with pytest.raises(StorageFull, match="no space"), notices.of_faults(folder):
            raise StorageFull("no space left")
        (folder / "record.db").unlink()
        with pytest.raises(KeyError), notices.of_faults(folder):
            raise KeyError("gone")
    assert "tiny-1: interrupted" in got[0][1]["text"]
    assert "no space left; to go on: python -m search resume tiny-1" in got[0][1]["text"]
    assert "tiny-1" in got[1][1]["text"]
    assert warnings == []


def test_the_environment_names_whom_to_tell_unless_the_command_does(folder, monkeypatch):
    with listening((200, {}, 0)) as (first, by_environment), listening((200, {}, 0)) as (second, by_command):
        monkeypatch.setenv("SEARCH_NOTIFY", first)
        assert told(folder)[0] == told(folder, notify=(second,))[0] == []
    assert (len(by_environment), len(by_command)) == (1, 1)
    monkeypatch.setenv("SEARCH_NOTIFY", f"ftp://{SECRET}")
    with pytest.raises(BadInput, match="SEARCH_NOTIFY must be an http"):
        Notices(Settings(), print)


@pytest.mark.parametrize(
    "given", [SECRET, f"ftp://host/{SECRET}", "http://", f"http://[/{SECRET}", f"https://a b/{SECRET}"]
)
def test_what_is_no_address_is_refused_before_anything_begins_and_not_repeated(given):
    for kind in (Settings, More):
        with pytest.raises(BadInput, match="--notify must be an http") as refused:
            read(kind, {"notify": (given,)})
        assert "hush" not in str(refused.value)


def test_no_command_that_is_written_down_has_the_address_in_it():
    address, command = f"https://me:pass@hooks.example/{SECRET}", f"curl {SECRET}"
    words = [
        "digits_cnn",
        "--notify",
        address,
        f"--notify={address}",
        "--notify",
        "desktop",
        "--notify-command",
        command,
    ]
    shown = without_addresses([*words, f"--notify-command={command}", "--seed", "1"])
    assert shown[2:] == [
        "https://hooks.example/***",
        "--notify=https://hooks.example/***",
        "--notify",
        "desktop",
        "--notify-command",
        "***",
        "--notify-command=***",
        "--seed",
        "1",
    ]


def test_the_call_that_a_record_keeps_has_no_address_in_it():
    import inspect

    from search import run

    given = {name: each.default for name, each in inspect.signature(run).parameters.items()}
    call = _call(
        {**given, "study": "digits_cnn", "notify": f"https://hooks.example/{SECRET}", "notify_command": SECRET}
    )
    assert call == "search.run('digits_cnn', notify=('https://hooks.example/***',), notify_command='***')"


def test_a_job_of_a_cluster_takes_no_address_along(tmp_path):
    with pytest.raises(BadInput, match="SEARCH_NOTIFY") as refused:
        order("digits_cnn", Settings(notify=(f"https://hooks.example/{SECRET}",)), runs=None)
    assert "hush" not in str(refused.value)


def test_a_note_on_the_desktop_is_text_and_where_there_is_no_desktop_that_is_said_at_once(tmp_path, monkeypatch):
    warnings = []
    assert Notices(Settings(notify=("desktop",)), warnings.append)._ways == []
    assert "no desktop" in warnings[0]
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    assert desktop_command("a", "-x <b> & c")[-3:] == ["--", "a", "-x &lt;b&gt; &amp; c"]
