"""What is computed once: by several processes together, whoever dies on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables import features

ROWS = 5 * features.PIECE + 7


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def numbers(first: int, behind: int) -> Tensor:
    return torch.arange(first, behind).float()[:, None] * torch.tensor([1.0, 10.0, 100.0])


def fill(log: str, pause: float) -> None:
    """Fill the file in a process of its own, and write down which pieces it computed."""

    def compute(first: int, behind: int) -> Tensor:
        time.sleep(pause)
        with open(log, "a") as file:
            file.write(f"{first}\n")
        return numbers(first, behind)

    assert torch.equal(features.once("key", ROWS, (3,), compute), numbers(0, ROWS))


def test_what_was_computed_is_read_the_next_time() -> None:
    first = features.once("key", ROWS, (3,), numbers)
    again = features.once("key", ROWS, (3,), lambda first, behind: pytest.fail("computed again"))
    assert torch.equal(first, numbers(0, ROWS))
    assert torch.equal(first, again)
    assert first.dtype is torch.float32


def test_several_processes_fill_one_file_and_compute_each_piece_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    logs = [str(tmp_path / f"log-{number}") for number in range(3)]
    workers = [context.Process(target=fill, args=(log, 0.05)) for log in logs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    done = [int(line) for log in logs if Path(log).exists() for line in Path(log).read_text().split()]
    assert sorted(done) == list(range(0, ROWS, features.PIECE))


def test_a_killed_worker_costs_the_piece_it_was_at(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = multiprocessing.get_context("fork").Process(target=fill, args=(str(log), 0.1))
    worker.start()
    while not log.exists() or len(log.read_text().split()) < 2:
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    done = len(log.read_text().split())
    calls: list[int] = []

    def compute(first: int, behind: int) -> Tensor:
        calls.append(first)
        return numbers(first, behind)

    assert torch.equal(features.once("key", ROWS, (3,), compute), numbers(0, ROWS))
    assert 6 - done <= len(calls) <= 6 - done + 1


def test_an_error_leaves_what_was_computed_and_the_rest_is_made_up_for() -> None:
    def breaking(first: int, behind: int) -> Tensor:
        if first >= 2 * features.PIECE:
            raise MemoryError
        return numbers(first, behind)

    with pytest.raises(MemoryError):
        features.once("key", ROWS, (3,), breaking)
    assert torch.equal(features.once("key", ROWS, (3,), numbers), numbers(0, ROWS))


def test_the_files_that_were_not_used_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_BYTES", 3 * ROWS * 12 + 100)
    for number, key in enumerate(("first", "second", "third")):
        features.once(key, ROWS, (3,), numbers)
        os.utime(features.folder() / f"{key}.f32", (number, number))
    features.once("first", ROWS, (3,), numbers)  # used again
    features.once("fourth", ROWS, (3,), numbers)
    assert {path.stem for path in features.folder().iterdir()} == {"first", "third", "fourth"}


def test_the_digest_follows_what_photos_show_and_not_where_they_lie() -> None:
    photos = torch.randint(0, 255, (4, 3, 5, 5), dtype=torch.uint8)
    assert features.digest(photos) == features.digest(photos.clone())
    changed = photos.clone()
    changed[0, 0, 0, 0] ^= 1
    assert features.digest(changed) != features.digest(photos)
    assert features.digest(photos.view(2, 6, 5, 5)) != features.digest(photos)
