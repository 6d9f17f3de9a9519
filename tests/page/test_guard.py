"""Who may ask the page's server, and for what."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.page.guard import Guard
from search.storage import lock
from tests.findings.made_up import searched
from tests.page.asking import Browser


@pytest.fixture
def runs(tmp_path, tiny_study):
    searched(tmp_path / "one-1", tiny_study)
    return tmp_path


PATHS = ("/", "/search/one-1", "/api/searches", "/api/searches/one-1", "/api/events", "/static/page.js")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_shown(runs, path):
    browser = Browser(runs)
    browser.cookies = {}
    assert browser.get(path).status == 403
    browser.cookies = {browser.guard.cookie: "a" * len(browser.guard.token)}
    assert browser.get(path).status == 403


def test_the_link_gives_the_cookie_and_leads_to_the_page_without_the_token(runs):
    browser = Browser(runs)
    browser.cookies = {}
    answer = browser.get(f"/?token={browser.guard.token}&to=/search/one-1")
    assert (answer.status, answer.headers["location"]) == (303, "/search/one-1")
    cookie = answer.headers["set-cookie"]
    assert re.search("httponly", cookie, re.I)
    assert re.search("samesite=strict", cookie, re.I)


@pytest.mark.parametrize("to", ["//evil.example", "http://evil.example", "/\\evil.example"])
def test_the_link_leads_to_no_other_server(runs, to):
    browser = Browser(runs)
    location = browser.get(f"/?token={browser.guard.token}&to={to}").headers["location"]
    assert location in ("/", "/%5Cevil.example")


def test_a_wrong_token_in_a_link_is_refused_in_one_line(runs):
    answer = Browser(runs).get("/?token=wrong")
    assert answer.status == 403
    assert "the token in the link is wrong" in answer.plain["error"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8780", "127.0.0.1:1", "127.0.0.1", "", "[::1", "a:b:c"])
def test_a_name_that_was_made_to_point_here_is_refused(runs, host):
    assert Browser(runs).get("/api/searches", host=host).status == 421


@pytest.mark.parametrize("host", ["localhost:8780", "127.0.0.1:8780", "[::1]:8780"])
def test_the_names_of_the_loopback_address_are_ours(runs, host):
    assert Browser(runs).get("/api/searches", host=host).status == 200


def test_a_server_that_others_see_answers_to_addresses_and_its_own_names_only():
    guard = Guard("0.0.0.0", 8780)
    assert guard.knows_host("10.1.2.3:8780")
    assert guard.knows_host("localhost:8780")
    assert not guard.knows_host("evil.example:8780")


def test_every_answer_forbids_other_scripts_frames_and_caches(runs):
    browser = Browser(runs)
    for path in (*PATHS[:2], PATHS[2], "/nowhere"):
        headers = browser.get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert (headers["x-frame-options"], headers["cache-control"]) == ("DENY", "no-store")


def test_the_charts_script_comes_from_its_package_and_may_be_kept(runs):
    headers = Browser(runs).get("/static/plotly.js?v=1").headers
    assert "immutable" in headers["cache-control"]
    assert int(headers["content-length"]) < 2_000_000


def waiting(runs):
    folder = runs / "one-1" / "requests"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://127.0.0.1:8780"},
        {"x_search_token": ""},
        {"x_search_token": "wrong"},
    ],
)
def test_what_changes_a_search_must_come_from_the_page_itself(runs, headers):
    with lock.held(runs / "one-1"):
        answer = Browser(runs).post("/api/searches/one-1/requests", {"verb": "finish"}, **headers)
    assert answer.status == 403
    assert waiting(runs) == []


def test_without_the_cookie_nothing_is_changed_whoever_asks(runs):
    browser = Browser(runs)
    browser.cookies = {}
    with lock.held(runs / "one-1"):
        assert browser.post("/api/searches/one-1/requests", {"verb": "finish"}).status == 403
    assert waiting(runs) == []


def test_a_page_that_is_read_only_changes_nothing_and_says_so(runs):
    with lock.held(runs / "one-1"):
        answer = Browser(runs, read_only=True).post("/api/searches/one-1/requests", {"verb": "finish"})
    assert (answer.status, waiting(runs)) == (403, [])
    assert "read-only" in answer.plain["error"]


def test_what_the_page_asks_lies_beside_the_record_in_the_name_of_who_serves_it(runs):
    with lock.held(runs / "one-1"):
        answer = Browser(runs).post("/api/searches/one-1/requests", {"verb": "add", "what": "lr=0.1 depth=2"})
    assert answer.status == 202
    told = json.loads(waiting(runs)[0].read_text())
    assert (told["verb"], told["given"], told["id"]) == ("add", {"what": {"lr": 0.1, "depth": 2}}, answer.plain["id"])
    assert told["who"] == "the page"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", "a request says its verb"),
        (b"[]", "a request says its verb"),
        (b"\xff", "a request says its verb"),
        (b"[" * 60_000, "a request says its verb"),
        (b"x" * 100_000, "at most 64,000 bytes"),
        ({"verb": "sing"}, "a search can be asked"),
        ({"verb": ["finish"]}, "a search can be asked"),
        ({"verb": "add", "what": "lr"}, "NAME=VALUE"),
        ({"verb": "trials", "what": "many"}, "takes a number"),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(runs, body, line):
    with lock.held(runs / "one-1"):
        answer = Browser(runs).post("/api/searches/one-1/requests", body)
    assert (answer.status, waiting(runs)) == (400, [])
    assert line in answer.plain["error"]


def test_a_search_that_does_not_run_can_be_asked_nothing(runs):
    answer = Browser(runs).post("/api/searches/one-1/requests", {"verb": "finish"})
    assert answer.status == 400
    assert "one-1 does not run" in answer.plain["error"]


def test_a_page_beside_a_search_ends_with_it_however_that_ends(runs):
    # The parent starts the page, says its number and link, and dies without a word.
    program = (
        "import os, subprocess, sys\n"
        "page = subprocess.Popen([sys.executable, '-m', 'search', 'watch', '--runs', sys.argv[1], '--beside', "
        "str(os.getpid())], stderr=subprocess.PIPE, text=True)\n"
        "print(page.pid, page.stderr.readline().strip(), flush=True)\n"
        "os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", program, str(runs)], env=environment, stdout=subprocess.PIPE, text=True, timeout=100
    )
    number, link = said.stdout.split()
    assert link.startswith("http://127.0.0.1:")
    deadline = time.monotonic() + 60
    while Path(f"/proc/{number}").exists() and "zombie" not in Path(f"/proc/{number}/status").read_text():
        assert time.monotonic() < deadline, "the page has outlived its search"
        time.sleep(0.1)
