"""Runs in a bucket: the record is written there first and by one process, and every machine reads the same."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import BadInput, EnvironmentFault, NameInUse
from search.record.reader import FILE
from search.record.reader import stored as read
from search.record.record import Record
from search.record.trials import Trials
from search.storage import bucket as storage
from search.storage import lock, mirror
from search.storage.bucket import Bucket, runs_folder
from search.storage.checkpoints import BucketShelf, Retention, Shelf, newest, shelf, verified
from search.storage.runs import find_search, searches
from spaces.study import Objective
from tests.chaos import s3

Machine = Callable[[str], None]
fresh = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Storage]:
    with s3.serving(tmp_path_factory.mktemp("s3")) as there:
        yield there


@pytest.fixture
def on(server: s3.Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Called with a name, makes this process one on the machine of that name, which has a cache of its own."""

    def become(name: str) -> None:
        for key, value in server.env(tmp_path / name).items():
            monkeypatch.setenv(key, value)

    become("first")
    storage._link.cache_clear()
    yield become
    storage._link.cache_clear()


@pytest.fixture
def runs(on: Machine) -> str:
    """An address that no test has used."""
    return f"s3://{s3.BUCKET}/{next(fresh)}"


def begun(runs: str, name: str = "tiny-1", *entries: tuple[str, int | None, dict[str, Any]]) -> Path:
    """A search in the bucket, whose record has these entries after its first event; returns the mirror."""
    folder = runs_folder(runs) / name
    folder.mkdir(parents=True, exist_ok=True)
    with Record(folder / FILE, create=True, ahead=mirror.log(folder)) as record:
        record.append(("search", None, {"name": name, "study": "tiny"}))
        for entry in entries:
            record.append(entry)
    return folder


def pulled(runs: str, name: str = "tiny-1") -> list[Any]:
    """The rows of a search as this machine has them once its mirror is up to date."""
    folder = runs_folder(runs) / name
    mirror.pull(folder)
    if not (folder / FILE).is_file():
        return []
    with Record(folder / FILE) as record:
        return record.rows()


# Addresses


@pytest.mark.parametrize("address", ["s3://", "s3://UPPER/x", "s3://a", "s3://lab/../x", "s3://la b/x"])
def test_an_address_that_is_no_bucket_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match="s3://BUCKET"):
        runs_folder(address)


def test_a_bucket_has_a_folder_on_this_machine_and_that_folder_tells_the_bucket(on: Machine) -> None:
    folder = runs_folder("s3://lab/people/me/")
    assert storage.of(folder) == Bucket("lab", "people/me/")
    assert storage.of(folder / "digits_cnn-1") == Bucket("lab", "people/me/digits_cnn-1/")
    assert storage.shown(folder / "a") == "s3://lab/people/me/a"
    assert storage.of(runs_folder("s3://lab")) == Bucket("lab")


def test_every_other_folder_is_a_folder(tmp_path: Path, on: Machine) -> None:
    assert runs_folder("runs") == Path("runs")
    assert storage.of(tmp_path) is None
    assert storage.of(Path("runs")) is None
    assert storage.shown(Path("runs")) == "runs"


def test_two_servers_have_two_folders_for_buckets_of_one_name(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    one = runs_folder("s3://lab/runs")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere:9000")
    assert runs_folder("s3://lab/runs") != one


# The record

bodies = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.floats(allow_nan=False), st.text(max_size=8)))
appends = st.lists(st.lists(bodies, min_size=1, max_size=3), max_size=6)


@settings(max_examples=15)
@given(sessions=st.lists(appends, min_size=1, max_size=3), chapter=st.integers(1, 6), peeks=st.booleans())
@pytest.mark.nightly
def test_every_machine_reads_the_record_as_it_was_written_whoever_wrote_it(
    sessions: list[list[list[dict[str, Any]]]], chapter: int, peeks: bool, server: s3.Storage, tmp_path_factory: Any
) -> None:
    place = tmp_path_factory.mktemp("machines")
    with pytest.MonkeyPatch.context() as patch:
        storage._link.cache_clear()
        patch.setattr(mirror, "CHAPTER", chapter)
        runs, written = f"s3://{s3.BUCKET}/{next(fresh)}", []
        for number, session in enumerate(sessions):  # each on a machine of its own
            for key, value in server.env(place / str(number)).items():
                patch.setenv(key, value)
            folder = runs_folder(runs) / "tiny-1"
            if number == 0:
                begun(runs)
                written = pulled(runs)
            assert pulled(runs) == written
            with mirror.record(folder) as record:
                for several in session:
                    record.append(*(("epoch", 0, body) for body in several))
                written = record.rows()
            if peeks:
                patch.setenv("XDG_CACHE_HOME", str(place / "reader"))
                assert pulled(runs) == written
        patch.setenv("XDG_CACHE_HOME", str(place / "last"))
        assert pulled(runs) == written
        storage._link.cache_clear()


@settings(max_examples=15)
@given(turns=st.lists(st.sampled_from("ab"), max_size=8))
@pytest.mark.nightly
def test_of_two_processes_that_both_take_a_search_for_theirs_one_goes_on_and_the_other_learns_of_it(
    turns: list[str], server: s3.Storage, tmp_path_factory: Any
) -> None:
    place = tmp_path_factory.mktemp("machines")
    with pytest.MonkeyPatch.context() as patch:
        storage._link.cache_clear()
        runs, records = f"s3://{s3.BUCKET}/{next(fresh)}", {}
        for key, value in server.env(place / "a").items():
            patch.setenv(key, value)
        begun(runs)
        for who in "ab":
            patch.setenv("XDG_CACHE_HOME", str(place / who))
            pulled(runs)
            records[who] = mirror.record(runs_folder(runs) / "tiny-1")
        told, out = [], set()
        for number, who in enumerate(turns):
            if who in out:
                continue
            try:
                records[who].append(("published", None, {"by": who, "turn": number}))
                told.append({"by": who, "turn": number})
            except NameInUse:
                out.add(who)
        for record in records.values():
            record.close()
        patch.setenv("XDG_CACHE_HOME", str(place / "c"))
        assert [json.loads(row[4]) for row in pulled(runs)[1:]] == told
        assert len({each["by"] for each in told}) <= 1, "two processes wrote one record"
        assert out == {who for who in turns if turns and who != turns[0]}
        storage._link.cache_clear()


def test_what_the_bucket_did_not_take_is_not_written_here_either(runs: str, on: Machine) -> None:
    folder = begun(runs)
    on("second")
    pulled(runs)
    with mirror.record(runs_folder(runs) / "tiny-1") as record:
        record.append(("resumed", None, {}))
    on("first")
    with mirror.record(folder) as record:
        with pytest.raises(NameInUse, match="another process has taken over s3://"):
            record.append(("epoch", 0, {}))
        assert record.last_id() == 1


def test_an_object_whose_answer_was_lost_is_not_taken_for_anothers(runs: str) -> None:
    bucket = storage.of(runs_folder(runs))
    assert bucket is not None
    assert bucket.create("record/7", b"mine")
    assert bucket.create("record/7", b"mine")
    assert not bucket.create("record/7", b"another's")
    assert bucket.get("record/7") == b"mine"


def test_of_many_that_create_one_object_at_a_time_one_does(runs: str) -> None:
    bucket = storage.of(runs_folder(runs))
    assert bucket is not None
    won = []
    threads = [
        threading.Thread(target=lambda me=me: won.append(me) if bucket.create("x", str(me).encode()) else None)
        for me in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert bucket.get("x") == str(won[0]).encode()


# The mirror


def test_a_damaged_copy_is_replaced_by_what_the_bucket_has(runs: str) -> None:
    folder = begun(runs, "tiny-1", ("asked", 0, {"point": {}}))
    before = pulled(runs)
    (folder / FILE).write_bytes(b"no record at all")
    assert pulled(runs) == before


def test_a_search_that_was_deleted_from_the_bucket_is_gone_here_too(runs: str) -> None:
    folder = begun(runs)
    bucket = storage.of(folder)
    assert bucket is not None
    bucket.remove([each.key for each in bucket.objects()])
    with pytest.raises(BadInput, match="no search 'tiny-1'"):
        find_search("tiny-1", runs_folder(runs))
    assert searches(runs_folder(runs)) == []


def test_another_search_of_the_same_name_takes_the_place_of_the_one_before(runs: str, on: Machine) -> None:
    folder = begun(runs, "tiny-1", ("asked", 0, {"point": {}}))
    (folder / "checkpoints" / "old").mkdir(parents=True)
    bucket = storage.of(folder)
    assert bucket is not None
    bucket.remove([each.key for each in bucket.objects()])
    on("second")
    begun(runs, "tiny-1", ("asked", 0, {"point": {"new": 1}}), ("asked", 1, {"point": {}}))
    on("first")
    assert [json.loads(row[4]).get("point") for row in pulled(runs)][1:] == [{"new": 1}, {}]
    assert not (folder / "checkpoints").exists()


def test_searches_are_listed_in_the_order_in_which_they_were_worked_on(runs: str, on: Machine) -> None:
    for name in ("b-1", "a-1", "c-1"):
        begun(runs, name)
    on("second")
    assert [folder.name for folder in searches(runs_folder(runs))] == ["b-1", "a-1", "c-1"]
    assert find_search("a-1", runs_folder(runs)) == runs_folder(runs) / "a-1"
    with pytest.raises(BadInput, match="did you mean a-1"):
        find_search("a-11", runs_folder(runs))


def test_a_report_comes_along_and_a_newer_one_replaces_it(runs: str, on: Machine) -> None:
    folder = begun(runs)
    for text in ("old", "new"):
        on("first")
        (folder / "report.html").write_text(text)
        mirror.push(folder / "report.html")
        on("second")
        pulled(runs)
        assert (runs_folder(runs) / "tiny-1" / "report.html").read_text() == text
        time.sleep(1.1)  # the storage's clock counts whole seconds


def test_a_mirror_in_which_a_process_works_is_left_to_it(runs: str, on: Machine) -> None:
    folder = begun(runs)
    on("second")
    pulled(runs)
    with mirror.record(runs_folder(runs) / "tiny-1") as record:
        record.append(("finished", None, {"state": "interrupted", "why": "made up", "wall_s": 1.0}))
    on("first")
    with lock.held_here(folder):
        assert len(pulled(runs)) == 1
        mirror.pull(folder, holding=True)
    assert len(read(folder / FILE)) == 2


# Who holds a search


def test_a_search_that_somebody_works_on_elsewhere_is_refused_with_who_that_is(
    runs: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SIGN_SECONDS", 0.2)
    folder = begun(runs)
    with lock.held(folder):
        time.sleep(2.1)  # the storage's clock counts whole seconds
        on("second")
        pulled(runs)
        elsewhere = runs_folder(runs) / "tiny-1"
        assert lock.is_held(elsewhere)
        with pytest.raises(NameInUse, match=r"is running \(process \d+ on "), lock.held(elsewhere):
            pass
    assert not lock.is_held(elsewhere)
    with lock.held(elsewhere):
        assert lock.is_held(elsewhere)


def test_who_gave_no_sign_for_long_enough_is_dead_and_the_search_free(
    runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "DEAD_SECONDS", 3.0)
    folder = begun(runs)
    bucket = storage.of(folder)
    assert bucket is not None
    bucket.put(lock.HOLDER, b"process 1 on a node that is gone")
    heard: list[str] = []
    with lock.held(folder, heard.append):
        assert (bucket.get(lock.HOLDER) or b"").startswith(b"process ")
    assert ["a node that is gone" in text for text in heard] == [True]
    assert bucket.get(lock.HOLDER) is None


# Checkpoints


def saving(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "more").mkdir()
        (folder / "weights.safetensors").write_text(text)
        (folder / "more" / "state.json").write_text("{}")

    return save


def test_a_checkpoint_that_one_machine_wrote_another_one_goes_on_from(runs: str, on: Machine) -> None:
    there = shelf(begun(runs))
    assert isinstance(there, BucketShelf)
    written = there.write(0, 3, saving("weights"))
    assert not list(there.root.rglob("*.safetensors")), "it is in the bucket, and takes no room here"
    on("second")
    here = shelf(runs_folder(runs) / "tiny-1")
    folder = verified(here, written.name, written.sha256)
    assert (folder / "weights.safetensors").read_text() == "weights"
    assert (folder / "more" / "state.json").read_text() == "{}"
    assert (here.names(), here.bytes() >= written.bytes) == ({written.name}, True)
    with here.lent(written.name) as lent:
        assert lent == folder
    assert not folder.exists()


def test_a_shelf_in_a_bucket_travels_to_workers_and_finds_its_place_there(runs: str, on: Machine) -> None:
    import pickle

    sent = pickle.dumps(shelf(begun(runs)))
    on("second")
    there = pickle.loads(sent)
    assert there.root == runs_folder(runs) / "tiny-1" / "checkpoints"
    assert there.missing() == ""


def told(shelf: Shelf, epochs: int) -> Trials:
    """One trial with so many epochs, all on the shelf."""
    from search.record.events import Event

    trials = Trials(Objective())
    events = [Event(1, 0.0, "asked", 0, {"point": {}, "origin": "start point 0"})]
    for number in range(1, epochs + 1):
        written = shelf.write(0, number, saving(str(number)))
        body = {"epoch": number, "metrics": {"val_accuracy": number / 10}, "seconds": 1.0, "checkpoint": written.name}
        events.append(Event(number + 1, 0.0, "epoch", 0, {**body, "sha256": written.sha256, "bytes": written.bytes}))
    for event in events:
        trials.apply(event)
    return trials


def test_nothing_piles_up_in_the_bucket_and_what_arrived_in_part_is_removed(runs: str) -> None:
    there = shelf(begun(runs))
    trials = told(there, 4)
    bucket = there.bucket if isinstance(there, BucketShelf) else None
    assert bucket is not None
    bucket.put("trial-0007/attempt-1/epoch-0001/half", b"")
    Retention(there).tidy(trials)
    assert there.names() == {"trial-0000/attempt-1/epoch-0003", "trial-0000/attempt-1/epoch-0004"}


def test_a_checkpoint_that_is_damaged_or_gone_in_the_bucket_is_named_and_the_one_before_taken(runs: str) -> None:
    there = shelf(begun(runs))
    assert isinstance(there, BucketShelf)
    trials = told(there, 3)
    there.bucket.put(f"{trials[0].epochs[2].checkpoint}/weights.safetensors", b"other")
    row, faults = newest(there, trials[0])
    assert row is trials[0].epochs[1]
    assert "is damaged" in faults
    there.bucket.remove([each.key for each in there.bucket.objects("trial-0000/attempt-1/epoch-0002/")])
    there.remove([str(trials[0].epochs[1].checkpoint)])
    row, faults = newest(there, trials[0])
    assert row is trials[0].epochs[0]
    assert "is missing" in faults


def test_a_budget_for_checkpoints_counts_what_is_in_the_bucket(runs: str) -> None:
    there = shelf(begun(runs))
    there.write(0, 1, saving("x" * 98), budget=150)
    with pytest.raises(OSError, match="--checkpoint-budget"):
        there.write(0, 2, saving("x" * 98), budget=150, patience=0)


# What can be wrong with a storage


def test_a_bucket_that_does_not_exist_is_one_line(on: Machine) -> None:
    with pytest.raises(EnvironmentFault, match=r"refuses s3://nobodys-bucket.*NoSuchBucket"):
        Bucket("nobodys-bucket").check()


def test_a_storage_that_is_not_there_is_one_line(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "HURRIED_SECONDS", 0.1)
    with pytest.raises(EnvironmentFault, match=r"cannot be used: .*127\.0\.0\.1:9.* AWS_ENDPOINT_URL"):
        Bucket("lab").check()


def test_an_absence_is_waited_for_once_however_many_ask_and_another_one_again(
    on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    def waited() -> float:
        before = clock.now
        with pytest.raises(EnvironmentFault, match="cannot be used"):
            there.get("anything")
        return clock.now - before

    clock, there = Clock(), Bucket(s3.BUCKET)
    monkeypatch.setattr(storage, "time", clock)
    there.get("anything")
    real = storage._link().client
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage._link.cache_clear()
    clock.now += 5
    assert waited() == pytest.approx(storage.PATIENCE_SECONDS, abs=5)
    clock.now += 5
    assert waited() == 0
    nobody, storage._link().client = storage._link().client, real
    there.get("anything")  # it is back
    storage._link().client = nobody
    assert waited() == pytest.approx(storage.PATIENCE_SECONDS, abs=5)
    clock.now += storage.PATIENCE_SECONDS + 1  # nobody has asked for long, so who knows
    assert waited() == pytest.approx(storage.PATIENCE_SECONDS, abs=5)


def test_nobody_to_ask_as_is_one_line(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(EnvironmentFault, match="cannot be used: Unable to locate credentials"):
        Bucket("lab").check()


class Careless(http.server.BaseHTTPRequestHandler):
    """A storage that takes every write, as those do that know no conditions."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200, self.objects[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def _answer(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *told: Any) -> None:
        pass


def test_a_storage_without_conditional_writes_is_refused(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless) as careless:
        threading.Thread(target=careless.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{careless.server_address[1]}")
        try:
            with pytest.raises(EnvironmentFault, match="knows no conditional writes"):
                Bucket("lab").check()
        finally:
            careless.shutdown()
