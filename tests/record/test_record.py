"""The record of a search: what is written is read, whole and in order, or the damage is named."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import EnvironmentFault, StorageFull
from search.record.events import Event, Kind
from search.record.reader import FILE
from search.record.reader import stored as read
from search.record.record import Record, salvage

Entry = tuple[str, int | None, dict[str, Any]]

NUMBER = r"\d{1,3}(?:,\d{3})*"

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
entries = st.tuples(
    st.sampled_from(Kind),
    st.one_of(st.none(), st.integers(0, 9999)),
    st.dictionaries(st.text(max_size=10), values, max_size=4),
)

SOME: list[Entry] = [
    ("search", None, {"study": "digits_mlp", "seed": 3}),
    ("asked", 0, {"point": {"train/lr": 0.1, "train/optimizer": "sgd"}, "origin": "start point 0"}),
    *(("epoch", 0, {"epoch": epoch, "metrics": {"val_accuracy": epoch / 10}, "note": "x" * 150}) for epoch in range(9)),
    ("ended", 0, {"state": "complete", "why": "reached the full budget"}),
]


def made(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Write `entries` into a new record at `path`, close it, and return them."""
    with Record(path, create=True) as record:
        for entry in entries:
            record.append(entry)
    return list(entries)


def told(events: Iterator[Event] | Sequence[Event]) -> list[Entry]:
    return [(event.kind, event.trial, dict(event.body)) for event in events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@settings(max_examples=25)
@given(batches=st.lists(st.lists(entries, max_size=4), max_size=5))
def test_what_is_written_reads_back_in_order(
    batches: list[list[Entry]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("record") / FILE
    written: list[Event] = []
    with Record(path, create=True) as record:
        for batch in batches:
            written += record.append(*batch)
        assert list(record.events()) == written
        assert record.last_id() == len(written)
    with Record(path) as record:
        events = list(record.events())
    assert events == written
    assert told(events) == [entry for batch in batches for entry in batch]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.at for event in events] == sorted(event.at for event in events)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 0.1 + 0.2, 2**80], ids=str)
def test_every_number_reads_back_exactly(value: float, path: Path) -> None:
    made(path, [("epoch", 0, {"metrics": {"val_loss": value}})])
    assert repr(read(path)[0].body["metrics"]["val_loss"]) == repr(value)


def test_a_record_without_events_is_refused(path: Path) -> None:
    made(path, [])
    with pytest.raises(EnvironmentFault, match=r"the record .*record\.db is damaged: it has lost all its events"):
        read(path)


def test_an_opened_record_goes_on_counting(path: Path) -> None:
    made(path, SOME)
    with Record(path) as record:
        (event,) = record.append(("finished", None, {}))
    assert event.id == len(SOME) + 1
    assert read(path)[-1] == event


def test_events_after_a_number_are_those_after_it(path: Path) -> None:
    made(path, SOME)
    with Record(path) as record:
        assert [event.id for event in record.events(after=10)] == [11, 12]
        assert list(record.events(after=12)) == []


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1, 2}}, {("a",): 1}], ids=["object", "set", "key"])
def test_an_append_is_all_or_nothing(bad: dict[Any, Any], path: Path) -> None:
    made(path, SOME)
    with Record(path) as record:
        with pytest.raises(TypeError, match=r"not JSON serializable|keys must be"):
            record.append(("asked", 1, {}), ("epoch", 1, bad))
        assert told(record.events()) == SOME
        record.append(("asked", 1, {}))
    assert told(read(path)) == [*SOME, ("asked", 1, {})]


def test_a_reader_sees_each_append_while_the_writer_is_open(path: Path) -> None:
    with Record(path, create=True) as writer, Record(path) as reader:
        seen = 0
        for entry in SOME:
            writer.append(entry)
            (event,) = reader.events(after=seen)
            assert told([event]) == [entry]
            seen = event.id
        assert told(read(path)) == SOME


def test_a_reader_in_the_middle_of_reading_does_not_hold_up_the_writer(path: Path) -> None:
    made(path, SOME)
    with Record(path) as writer, Record(path) as reader:
        reading = reader.events()
        next(reading)
        writer.append(("finished", None, {}))
        assert len(list(reading)) in (len(SOME) - 1, len(SOME))


def test_a_second_writer_is_refused_and_the_first_goes_on(path: Path) -> None:
    made(path, SOME)
    with Record(path) as first, Record(path) as second:
        first.append(("asked", 1, {}))
        with pytest.raises(EnvironmentFault, match=r"the record .* cannot be written"):
            second.append(("asked", 1, {"point": "another"}))
        first.append(("ended", 1, {}))
    assert told(read(path)) == [*SOME, ("asked", 1, {}), ("ended", 1, {})]


# Damage


def altered(path: Path, statement: str) -> None:
    """Do to the file what no code of ours does."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE events SET body = replace(body, '"epoch": 3', '"epoch": 4') WHERE id = 6""",
        "UPDATE events SET kind = 'ended' WHERE id = 6",
        "UPDATE events SET trial = 1 WHERE id = 6",
        "UPDATE events SET trial = NULL WHERE id = 6",
        "UPDATE events SET at = at + 1 WHERE id = 6",
        "UPDATE events SET crc = crc + 1 WHERE id = 6",
        "UPDATE events SET body = '{}' WHERE id = 6",
        "UPDATE events SET body = x'ff' WHERE id = 6",
        "UPDATE events SET body = CAST(x'ff' AS TEXT) WHERE id = 6",
        "DELETE FROM events WHERE id = 6",
        "UPDATE events SET id = 100 WHERE id = 6",
    ],
)
def test_a_changed_or_missing_row_is_noticed_and_named(statement: str, path: Path) -> None:
    made(path, SOME)
    altered(path, statement)
    with pytest.raises(EnvironmentFault, match=r"record\.db is damaged (at event 6|after event 5)"):
        read(path)


def test_the_rows_before_the_damage_can_be_had(path: Path) -> None:
    made(path, SOME)
    altered(path, "DELETE FROM events WHERE id = 6")
    with Record(path) as record:
        good = list(islice(record.events(), 5))
    assert told(good) == SOME[:5]


def test_an_event_of_a_kind_that_only_later_versions_know_is_refused(path: Path) -> None:
    made(path, SOME)
    altered(path, f"UPDATE events SET kind = 'paused', crc = {crc32(later(read(path)[5]))} WHERE id = 6")
    with pytest.raises(EnvironmentFault, match=r"is damaged at event 6: its kind is unknown: 'paused'"):
        read(path)


def later(event: Event) -> bytes:
    """What the checksum of `event` is made of, were it of another kind."""
    return f"{event.id} {event.at!r} paused {event.trial} {json.dumps(event.body, sort_keys=True)}".encode()


def test_swapped_rows_are_noticed(path: Path) -> None:
    made(path, SOME)
    altered(path, "UPDATE events SET id = -6 WHERE id = 6")
    altered(path, "UPDATE events SET id = 6 WHERE id = 7")
    altered(path, "UPDATE events SET id = 7 WHERE id = -6")
    with pytest.raises(EnvironmentFault, match="is damaged at event 6"):
        read(path)


def test_a_flipped_bit_anywhere_never_changes_or_drops_an_event_unnoticed(path: Path) -> None:
    made(path, SOME * 6)
    whole, events = path.read_bytes(), read(path)
    page = 4096
    # All of the head of each page, where SQLite keeps how many rows there are; elsewhere a bit here and there.
    places = [(at, bit) for at in range(len(whole)) for bit in range(8) if at % page < 12]
    places += [(at, at % 8) for at in range(0, len(whole), 29)]
    places += [(at, 7) for at in range(page - 200, page, 3)]  # the schema, which becomes no UTF-8
    unnoticed = []
    for at, bit in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        try:
            if read(path) != events:
                unnoticed.append((at, bit))
        except EnvironmentFault:
            continue
    assert unnoticed == []


def test_a_truncated_file_is_noticed_wherever_it_ends(path: Path) -> None:
    made(path, SOME * 4)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 512), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(
            EnvironmentFault, match=r"the record .*record\.db (is damaged|cannot be opened|has version 0)"
        ):
            read(path)


@pytest.mark.parametrize("content", [b"", b"no record at all, but a text of some length" * 50, b"\0" * 8192], ids=len)
def test_a_file_that_is_no_record_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(EnvironmentFault, match=r"the record .* (cannot be opened|has version 0, this code reads)"):
        Record(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused(path: Path) -> None:
    altered(path, "CREATE TABLE songs (name TEXT)")
    altered(path, "PRAGMA user_version=2")
    with pytest.raises(EnvironmentFault, match=r"the record .* (cannot be opened|is damaged)"):
        read(path)


def test_a_record_of_another_version_is_refused(path: Path) -> None:
    made(path, SOME)
    altered(path, "PRAGMA user_version=99")
    with pytest.raises(EnvironmentFault, match="has version 99, this code reads version 2"):
        read(path)


def test_a_record_that_is_not_there_is_not_made(path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"no record at .*record\.db; .* shows the searches there are"):
        Record(path)
    assert not path.exists()


def test_a_record_is_not_made_over_another(path: Path) -> None:
    made(path, SOME)
    with pytest.raises(EnvironmentFault, match="cannot be opened: table events already exists"):
        Record(path, create=True)
    assert told(read(path)) == SOME


# A full disk


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Every connection made from here on may use 8 pages more than an empty record; the connections made."""
    real, connections = sqlite3.connect, []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 10")
        connections.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    return connections


def fill(record: Record) -> list[Entry]:
    """Append until the disk is full, and return what is said to be written."""
    written: list[Entry] = []
    while len(written) < 1000:
        entry = ("epoch", 0, {"epoch": len(written), "note": "x" * 1000})
        try:
            record.append(entry, ("decided", 0, {"epoch": len(written)}))
        except StorageFull:
            return written
        written += [entry, ("decided", 0, {"epoch": entry[2]["epoch"]})]
    raise AssertionError("the disk was never full")


def test_a_full_disk_is_named_and_the_rows_before_it_are_whole(
    path: Path, small_disk: list[sqlite3.Connection]
) -> None:
    with Record(path, create=True) as record:
        written = fill(record)
        assert written
        with pytest.raises(
            StorageFull, match=rf"no space for .*record\.db: {NUMBER} bytes free, (more than|too few for) 1\d,\d\d\d "
        ):
            record.append(("epoch", 0, {"note": "x" * 9000}))
        assert told(record.events()) == written
    assert told(read(path)) == written


def test_a_record_goes_on_once_there_is_space_again(path: Path, small_disk: list[sqlite3.Connection]) -> None:
    with Record(path, create=True) as record:
        written = fill(record)
        small_disk[0].execute("PRAGMA max_page_count = 1000")
        record.append(*SOME)
        assert told(record.events()) == [*written, *SOME]


def test_a_body_is_stored_as_plain_json(path: Path) -> None:
    made(path, SOME)
    (body,) = sqlite3.connect(path).execute("SELECT body FROM events WHERE id = 2").fetchone()
    assert json.loads(body) == SOME[1][2]


# The clock


def test_a_clock_that_is_set_back_while_a_search_runs_changes_no_duration(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, began = time.time, time.monotonic()
    with Record(path, create=True) as record:
        for step, entry in enumerate(SOME):
            monkeypatch.setattr(time, "time", lambda step=step: real() - 3600.0 * step)
            record.append(entry)
        took = time.monotonic() - began
    events = read(path)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert 0 <= events[-1].at - events[0].at <= took


# What can be saved


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def left_by_a_killed_process(path: Path) -> list[Event]:
    """A record as kill -9 leaves it: the last events only in the write-ahead log. Its events."""
    aside = path.with_name("aside.db")
    made(aside, SOME * 6)
    with Record(aside) as record:
        for entry in SOME:
            record.append(entry)
        events = list(record.events())
        for file in (aside, wal(aside)):
            shutil.copy(file, path.with_name(file.name.replace("aside.db", path.name)))
    assert wal(path).stat().st_size > 0
    return events


def contents(folder: Path) -> dict[str, bytes]:
    """All files; not what SQLite makes beside a file to read it: an index of the log, and a log without contents."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {name: data for name, data in files.items() if not name.endswith("-shm") and (data or name == FILE)}


def saved(path: Path, events: Sequence[Event]) -> int | None:
    """How many events `salvage` has saved; None if it says that there are none, and then nothing has changed."""
    before, fault = contents(path.parent), None
    try:
        kept, aside = salvage(path)
    except EnvironmentFault as error:
        fault = error
    if fault is not None:
        assert str(path) in str(fault)
        assert contents(path.parent) == before
        return None
    assert kept >= 1
    assert read(path) == events[:kept]
    # The damaged files are still there to be looked at.
    assert (aside / path.name).is_file()
    with Record(path) as record:  # and it can be written to
        record.append(("resumed", None, {}))
        assert record.last_id() == kept + 1
    return kept


def test_the_events_up_to_one_append_before_a_damaged_one_are_saved(path: Path) -> None:
    made(path, SOME)
    events = read(path)
    altered(path, "UPDATE events SET body = '{}' WHERE id = 6")
    with pytest.raises(EnvironmentFault, match="is damaged at event 6"):
        read(path)
    assert saved(path, events) == 4


@pytest.mark.parametrize("damaged", range(1, 11))
def test_what_is_saved_never_ends_within_an_append(damaged: int, path: Path) -> None:
    with Record(path, create=True) as record:
        for size in (1, 3, 2, 4):
            record.append(*SOME[:size])
        events = list(record.events())
    altered(path, f"DELETE FROM events WHERE id = {damaged}")
    # Whether the last append before the damage was whole is not known, so it is not kept; the first event always is.
    expected = {1: None, 2: 1, 3: 1, 4: 1, 5: 1, 6: 4, 7: 4, 8: 6, 9: 6, 10: 6}
    assert saved(path, events) == expected[damaged]


def test_a_record_that_a_kill_has_left_is_saved_but_for_its_last_append(path: Path) -> None:
    events = left_by_a_killed_process(path)
    assert saved(path, events) == len(events) - 1


def test_what_a_kill_has_left_can_be_read_and_gone_on_with(path: Path) -> None:
    events = left_by_a_killed_process(path)
    assert read(path) == events
    with Record(path) as record:
        (event,) = record.append(("resumed", None, {}))
    assert event.id == len(events) + 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_of_a_file_that_was_cut_off_a_whole_beginning_is_saved_or_nothing_is_touched(share: float, path: Path) -> None:
    made(path, SOME * 20)
    events = read(path)
    os.truncate(path, min(path.stat().st_size - 1, int(share * path.stat().st_size)))
    saved(path, events)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 4000, -1], ids=str)
def test_of_a_log_that_was_cut_off_a_whole_beginning_is_saved_or_nothing_is_touched(size: int, path: Path) -> None:
    events = left_by_a_killed_process(path)
    os.truncate(wal(path), size if size >= 0 else wal(path).stat().st_size + size)
    kept = saved(path, events)
    assert kept is not None
    assert kept >= 71


def test_without_its_log_a_record_is_what_had_been_folded_in(path: Path) -> None:
    events = left_by_a_killed_process(path)
    wal(path).unlink()
    assert saved(path, events) == 71


@settings(max_examples=60)
@given(data=st.data())
def test_of_a_record_with_flipped_bits_a_whole_beginning_is_saved_or_nothing_is_touched(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("record") / FILE
    events = left_by_a_killed_process(path)
    for file in data.draw(st.lists(st.sampled_from([path, wal(path)]), min_size=1, max_size=3)):
        content = bytearray(file.read_bytes())
        at = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(0, 200)))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    saved(path, events)


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"no record at all, but a text" * 500], ids=len)
def test_nothing_is_made_of_a_file_that_is_no_record(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert saved(path, []) is None


def test_nothing_is_made_where_there_is_no_record(path: Path) -> None:
    assert saved(path, []) is None
    assert not path.exists()


def test_nothing_is_made_of_a_folder_in_the_place_of_a_record(path: Path) -> None:
    path.mkdir()
    assert saved(path, []) is None


def test_a_record_is_saved_a_second_time_in_the_same_second(path: Path) -> None:
    for _ in range(2):
        path.unlink(missing_ok=True)
        made(path, SOME)
        events = read(path)
        altered(path, "DELETE FROM events WHERE id = 6")
        assert saved(path, events) == 4
