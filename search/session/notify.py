"""Tells that a search has ended: a message to an address, a command of the user's, a note on the desktop.

It comes after all else, takes a bounded time, and whatever goes wrong is one warning: the search itself has ended as it
has. The address may be a secret, as Slack's are; nothing here shows or keeps more of it than its host.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search.errors import SearchError
from search.findings import notice
from search.findings.summary import summarize
from search.settings import Settings
from search.telling import DESKTOP, host_of

PATIENCE_SECONDS = 15.0
"""All that is told takes at most so long, side by side."""
TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
"""Between attempts; twice as long each time."""
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Notices:
    """What is told at the end of a search with `settings`; `warn` hears of what cannot be. Raises BadInput."""

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._ways: list[tuple[str, Callable[[dict[str, Any]], str]]] = []
        for address in settings.notices:
            if address == DESKTOP and desktop_command("", "") is None:
                warn("there is no desktop here, or no notify-send, so no note will be on it when the search has ended")
            elif address == DESKTOP:
                self._ways.append(("a note on the desktop", on_desktop))
            else:
                self._ways.append((f"a message to {host_of(address)}", _posting(address)))
        if settings.notified_by:
            self._ways.append(("the command of --notify-command", _running(settings.notified_by)))

    @contextlib.contextmanager
    def of_faults(self, folder: Path) -> Iterator[None]:
        """Inside, what ends the search in `folder` before its time is told; it is raised all the same."""
        try:
            yield
        except Exception as error:
            if self._ways:
                try:
                    summary = summarize(folder)
                except (SearchError, OSError):  # the record is gone
                    self._send({"text": f"{folder.name}: ended by {error}", "search": {"name": folder.name}})
                else:
                    self.tell({**summary, "state": "interrupted", "why": str(error)})
            raise

    def tell(self, summary: dict[str, Any]) -> None:
        """Tell how the search of `summary` has ended."""
        if self._ways:
            self._send(notice.document(summary))

    def _send(self, told: dict[str, Any]) -> None:
        """Send it by all ways at once, and wait for them, but not for long."""
        why = [f"no end in {PATIENCE_SECONDS:.0f} s"] * len(self._ways)

        def go(number: int) -> None:
            try:
                why[number] = self._ways[number][1](told)
            except Exception as error:  # no memory for a process, say; a thread's traceback tells nobody
                why[number] = type(error).__name__

        threads = [threading.Thread(target=go, args=(n,), name="notify", daemon=True) for n in range(len(why))]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for (name, _), reason in zip(self._ways, tuple(why), strict=True):
            if reason:
                self._warn(f"{name} that the search has ended was not delivered: {reason}")


def _posting(address: str) -> Callable[[dict[str, Any]], str]:
    """A way to send JSON to `address`, that returns why it was not taken, or ""."""

    def post(told: dict[str, Any]) -> str:
        for attempt in range(ATTEMPTS):
            why, again = _posted(address, told)
            if not why or not again:
                return why
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE_SECONDS * 2**attempt)
        return f"{why}, {ATTEMPTS} times"

    return post


class _NoOtherAddress(urllib.request.HTTPRedirectHandler):
    """A message goes where it was sent, and its secret to nobody else."""

    def redirect_request(self, *told: Any) -> None:
        """None: what redirects has not taken it."""


def _posted(address: str, told: dict[str, Any]) -> tuple[str, bool]:
    """Why `address` did not take it, "" if it did, and whether it may if it is asked again."""
    body = json.dumps(told).encode()
    asked = urllib.request.Request(address, body, {"Content-Type": "application/json", "User-Agent": "search"})
    try:
        with urllib.request.build_opener(_NoOtherAddress).open(asked, timeout=TIMEOUT_SECONDS):
            return "", False
    except urllib.error.HTTPError as error:
        error.close()
        elsewhere = ", which is another address; give that" if 300 <= error.code < 400 else ""
        return f"it answers {error.code}{elsewhere}", error.code in TRY_AGAIN
    except urllib.error.URLError as error:  # its text may be of any kind, but never has the address in it
        return f"it cannot be reached ({getattr(error.reason, 'strerror', None) or type(error.reason).__name__})", True
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"it cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})", True


def _running(command: str) -> Callable[[dict[str, Any]], str]:
    """A way to run the user's `command`, that returns why it failed, or "".

    It gets the document on standard input, and in its environment SEARCH_NAME, SEARCH_STATE and SEARCH_TEXT; nothing
    of a search becomes a part of the command.
    """

    def run(told: dict[str, Any]) -> str:
        state = told["search"].get("state", "interrupted")
        more = {"SEARCH_NAME": told["search"]["name"], "SEARCH_STATE": state, "SEARCH_TEXT": told["text"]}
        process = subprocess.Popen(
            command,
            shell=True,
            env={**os.environ, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(json.dumps(told).encode(), PATIENCE_SECONDS - 1)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"no end in {PATIENCE_SECONDS - 1:.0f} s; it was killed"
        lines = said.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it says not why")
        return f"exit code {process.returncode} ({last[:200]})" if process.returncode else ""

    return run


def desktop_command(title: str, text: str) -> list[str] | None:
    """The command that puts a note on this machine's desktop; None if there is none."""
    if sys.platform == "darwin":
        script = "on run {title, text}\ndisplay notification text with title title\nend run"
        return ["osascript", "-e", script, title, text]
    there = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"))
    program = shutil.which("notify-send") if there else None
    # The text may be taken for markup, and in it stand words of others.
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return None if program is None else [program, "--app-name=search", "--", title, safe]


def on_desktop(told: dict[str, Any]) -> str:
    """Put a note on the desktop, and return why there is none, or ""."""
    command = desktop_command(str(told["search"]["name"]), told["text"])
    assert command is not None
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return f"{command[0]} ended with {done.returncode}" if done.returncode else ""
