"""Requests to a running search, on their way to the process that works on it.

The record has one writer, so who wants something of a search puts it beside the record: a file of its own in
`NAME/requests/`, or an object of that name where the search is kept in a bucket. It appears whole or not at all. The
process that works on the search looks there twice a second, writes what it finds into the record, and removes it. A
request that is written down and not yet removed when that process dies is known by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from search.errors import BadInput, EnvironmentFault, SearchError
from search.record.events import Kind, Steered
from search.record.reader import FILE, Follower
from search.record.steering import Request
from search.storage import bucket as storage
from search.storage import inside, lock, mirror

FOLDER = "requests"
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 15.0
"""So long an answer is waited for."""
LARGEST = 64_000
"""Bytes of the largest request."""
MOST = 100
"""So many are taken at a time; the rest waits."""


def send(folder: Path, request: Request) -> None:
    """Put `request` where the process that works on the search in `folder` finds it.

    Raises BadInput if none works on it, EnvironmentFault if it cannot be written there.
    """
    if not lock.is_held(folder):
        raise BadInput(
            f"{folder.name} does not run, so nothing can be asked of it; resume goes on with it, and --trials or "
            "--time-budget of resume give it more"
        )
    content = json.dumps(
        {"verb": request.verb, "given": request.given, "who": request.who, "sent_at": request.sent_at, "id": request.id}
    )
    name = f"{request.sent_at:018.6f}-{request.id}.json"
    bucket = storage.of(folder)
    if bucket is not None:
        bucket.hurried.put(f"{FOLDER}/{name}", content.encode())
        return
    inside.check(folder)
    try:
        (folder / FOLDER).mkdir(exist_ok=True)
        aside = folder / FOLDER / f".{request.id}"
        aside.write_text(content)
        os.replace(aside, folder / FOLDER / name)
    except OSError as error:
        raise EnvironmentFault(f"{folder / FOLDER} cannot be written ({error.strerror}); steering needs to") from None


def answer(folder: Path, request: Request, seconds: float = PATIENCE_SECONDS) -> Steered:
    """Wait until the search in `folder` has taken `request`, and say what came of it.

    Raises BadInput if it was refused, EnvironmentFault if it was not taken within so many `seconds`.
    """
    record, deadline = Follower(folder / FILE), time.monotonic() + seconds
    while True:
        mirror.pull(folder)
        for event in record.news()[0]:
            if event.kind == Kind.STEERED and event.body["id"] == request.id:
                told = Steered.of(event)
                if told.refused is not None:
                    raise BadInput(f"{folder.name} refuses: {told.refused}")
                return told
        if time.monotonic() > deadline:
            raise EnvironmentFault(
                f"{folder.name} has not taken it within {seconds:.0f} s; if it still starts, or is about to end, look "
                f"again: `python -m search show {folder.name}`"
            )
        time.sleep(0.1)


class Inbox:
    """What comes for the search in `folder`, looked for on a thread: a shared disk or a bucket may be slow."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._bucket = folder, storage.of(folder)
        self._found: dict[str, Request | str] = {}
        self._taken: set[str] = set()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, name="requests", daemon=True)

    def open(self) -> list[Request | str]:
        """Begin to look. What lies there from before was meant for another process: it is taken away, and told."""
        left: list[Request | str] = []
        with contextlib.suppress(OSError, SearchError):
            for name, content in self._there().items():
                left.append(_read(name, content))
                self.remove(name)
        self._thread.start()
        return left

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def take(self) -> list[tuple[str, Request | str]]:
        """What has come since the last call, in the order in which it was sent: each with its name, and what it is.

        Instead of a request there may be a line that says why it is none. Call `remove` when it is written down.
        """
        with self._lock:
            found = sorted(self._found.items())
            self._taken |= self._found.keys()
            self._found = {}
        return found

    def remove(self, name: str) -> None:
        """Take away what is written down."""
        with contextlib.suppress(OSError, SearchError):  # it is known by its id if it is found again
            if self._bucket is not None:
                self._bucket.hurried.remove([f"{FOLDER}/{name}"])
            else:
                (self._folder / FOLDER / name).unlink(missing_ok=True)

    def _look(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError, SearchError):  # away for now; what is there is found later
                for name, content in self._there().items():
                    read = _read(name, content)
                    with self._lock:
                        if name not in self._taken:
                            self._found[name] = read
            self._over.wait(LOOK_SECONDS)

    def _there(self) -> Mapping[str, bytes]:
        """The requests that were not taken yet, by name, and no more than can be taken at a time."""
        if self._bucket is not None:
            keys = [each.key.removeprefix(f"{FOLDER}/") for each in self._bucket.hurried.objects(f"{FOLDER}/")]
            new = [key for key in keys if key not in self._taken][:MOST]
            return {key: (self._bucket.hurried.get(f"{FOLDER}/{key}") or b"")[: LARGEST + 1] for key in new}
        folder = self._folder / FOLDER
        if folder.is_symlink() or not folder.is_dir():
            return {}
        names = sorted(n for n in os.listdir(folder) if not n.startswith(".") and n not in self._taken)[:MOST]
        found = {}
        for name in names:
            try:
                with open(inside.plain_file(folder / name, os.O_RDONLY), "rb") as file:
                    found[name] = file.read(LARGEST + 1)
            except EnvironmentFault as error:
                found[name] = json.dumps(str(error)).encode()
        return found


def _read(name: str, content: bytes) -> Request | str:
    """The request in `content`, or why it is none."""
    try:
        if len(content) > LARGEST:
            raise BadInput(f"it has more than {LARGEST:,} bytes")
        plain = json.loads(content)
        if not isinstance(plain, dict) or set(plain) != {"verb", "given", "who", "sent_at", "id"}:
            raise BadInput("it does not say verb, given, who, sent_at and id")
        return Request(**plain)
    except (ValueError, TypeError, RecursionError, BadInput) as error:
        return f"{FOLDER}/{name[:80]} is no request and is passed over: {' '.join(str(error).split())[:200]}"
