"""One process per search, whatever becomes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.errors import EnvironmentFault, NameInUse
from search.prepared import Prepared
from search.record.header import Header
from search.record.reader import FILE, read
from search.session.claim import claimed as beginning
from search.settings import Settings
from search.signals import Stop
from search.storage import lock
from spaces.study import Study
from tests.simulated import first_event

HOLD = """
import sys, time
from pathlib import Path
from search.storage import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    if len(sys.argv) > 2:
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
    time.sleep(60)
"""

RACE = """
import sys, time
from pathlib import Path
from search.storage import lock
from search.errors import NameInUse
lock.PATIENCE_SECONDS = 0.0
print("ready", flush=True)
for line in sys.stdin:
    try:
        with lock.held(Path(line.strip())):
            print("won", flush=True)
            sys.stdin.readline()
    except NameInUse:
        print("refused", flush=True)
        sys.stdin.readline()
    print("done", flush=True)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that runs the code it is given; all of them are gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def process(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield process
    for each in started:
        each.kill()
        each.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.1)


def holds(folder: Path) -> bool:
    """Whether the search in `folder` could be held now."""
    try:
        with lock.held(folder):
            return True
    except NameInUse:
        return False


def test_a_lock_can_be_held_again_once_it_is_free(tmp_path: Path) -> None:
    for _ in range(3):
        assert holds(tmp_path)
        assert not lock.is_held(tmp_path)


def test_a_lock_is_freed_by_an_error_within(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lock.held(tmp_path):
        raise KeyboardInterrupt
    assert holds(tmp_path)


@pytest.mark.usefixtures("impatient")
def test_a_second_process_is_refused_and_told_which_the_first_is(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "mine-1"
    folder.mkdir()
    holder = start(HOLD, folder)
    assert said(holder) == "held"
    told = (
        rf"the search mine-1 is running \(process {holder.pid} on {re.escape(os.uname().nodename)}\); wait for its end"
    )
    with pytest.raises(NameInUse, match=told), lock.held(folder):
        pass
    assert lock.is_held(folder)
    # Nor has the attempt changed anything.
    with pytest.raises(NameInUse, match=told), lock.held(folder):
        pass


@pytest.mark.usefixtures("impatient")
def test_the_lock_of_a_killed_process_is_free_at_once_even_if_its_children_live(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, tmp_path, "with a child")
    assert said(holder) == "held"
    child = int(said(holder))
    try:
        assert not holds(tmp_path)
        holder.kill()
        holder.wait()
        assert not lock.is_held(tmp_path)
        assert holds(tmp_path)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.usefixtures("impatient")
def test_a_process_that_is_stopped_still_holds_its_lock(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, tmp_path)
    assert said(holder) == "held"
    os.kill(holder.pid, signal.SIGSTOP)
    assert lock.is_held(tmp_path)
    assert not holds(tmp_path)
    os.kill(holder.pid, signal.SIGCONT)
    assert not holds(tmp_path)


def test_of_two_processes_that_start_at_once_one_wins(tmp_path: Path, start: Start) -> None:
    racers = [start(RACE), start(RACE)]
    assert [said(racer) for racer in racers] == ["ready", "ready"]

    def tell(line: object) -> None:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(f"{line}\n")
            racer.stdin.flush()

    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        tell(folder)
        assert sorted(said(racer) for racer in racers) == ["refused", "won"]
        tell("go on")
        assert [said(racer) for racer in racers] == ["done", "done"]


def test_many_readers_do_not_keep_a_process_from_its_search(tmp_path: Path) -> None:
    assert holds(tmp_path)
    ending = threading.Event()

    def look() -> None:
        while not ending.is_set():
            lock.is_held(tmp_path)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        assert all(holds(tmp_path) for _ in range(10))
    finally:
        ending.set()
        for reader in readers:
            reader.join()


def test_a_reader_sees_whether_a_search_is_held_and_changes_nothing(tmp_path: Path) -> None:
    assert not lock.is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with lock.held(tmp_path):
        before = (tmp_path / lock.FILE).read_text()
        assert lock.is_held(tmp_path)
        assert lock.is_held(tmp_path)
        assert (tmp_path / lock.FILE).read_text() == before == f"process {os.getpid()} on {os.uname().nodename}"
    assert not lock.is_held(tmp_path)


def test_two_readers_do_not_take_each_other_for_a_holder(tmp_path: Path) -> None:
    assert holds(tmp_path)
    found: list[bool] = []

    def look() -> None:
        found.extend(lock.is_held(tmp_path) for _ in range(500))

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not any(found)


def test_a_lock_moves_with_its_folder(tmp_path: Path) -> None:
    # A new search is made aside and moved into its place, with its lock held.
    (tmp_path / "aside").mkdir()
    with lock.held(tmp_path / "aside"):
        (tmp_path / "aside").rename(tmp_path / "mine-1")
        assert lock.is_held(tmp_path / "mine-1")
    assert not lock.is_held(tmp_path / "mine-1")


def test_a_process_waits_a_moment_for_a_lock(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, tmp_path)
    assert said(holder) == "held"
    threading.Timer(0.3, holder.kill).start()
    began = time.monotonic()
    assert holds(tmp_path)
    assert time.monotonic() - began < lock.PATIENCE_SECONDS


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"none cannot be written \(No such file"), lock.held(tmp_path / "none"):
        pass
    assert not lock.is_held(tmp_path / "none")


# A new search


@pytest.fixture
def claim(tmp_path: Path, tiny_study: Study) -> Callable[[str | None], tuple[list[str], list[str]]]:
    """Begin eight searches at once, by one name or by the next that is free; the names, and what was refused."""

    def claimed(name: str | None) -> tuple[list[str], list[str]]:
        settings = Settings(runs=tmp_path / "runs", name=name)
        header = Header.from_plain(first_event(tiny_study)[2])
        prepared = Prepared(tiny_study, settings, None, None, header)  # type: ignore[arg-type]
        together, names, refused = threading.Barrier(8), [], []

        def begin() -> None:
            together.wait()
            try:
                with beginning(prepared, Stop(time.monotonic())) as begun:
                    folder = settings.runs / begun.header.name
                    assert lock.is_held(folder)
                    assert [event.kind for event in read(folder / FILE)] == ["search"]
                    assert read(folder / FILE)[0].body["name"] == folder.name
                    names.append(folder.name)
            except NameInUse as error:
                refused.append(str(error))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(path.name for path in settings.runs.iterdir()) == sorted(names)
        return sorted(names), refused

    return claimed


def test_of_searches_that_begin_at_once_under_one_name_one_does(
    claim: Callable[[str | None], tuple[list[str], list[str]]],
) -> None:
    names, refused = claim("mine")
    assert names == ["mine"]
    assert len(refused) == 7
    assert all("a search named mine exists in" in line for line in refused)


def test_searches_that_begin_at_once_without_a_name_have_one_each(
    claim: Callable[[str | None], tuple[list[str], list[str]]],
) -> None:
    assert claim(None) == ([f"tiny-{number}" for number in range(1, 9)], [])
