"""The record of a search: what is written is read, whole and in order, or the damage is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import EnvironmentFault, StorageFull
from search.record import FILE, Event, Record, read

Entry = tuple[str, int | None, dict[str, Any]]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
entries = st.tuples(
    st.one_of(st.sampled_from(["search", "asked", "epoch", "decided", "ended"]), text),
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
    with pytest.raises(EnvironmentFault, match=r"the record .*record\.db is empty: that search never began"):
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


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1, 2}}, {("a",): 1}], ids=str)
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
    altered(path, "PRAGMA user_version=1")
    with pytest.raises(EnvironmentFault, match=r"the record .* (cannot be opened|is damaged)"):
        read(path)


def test_a_record_of_another_version_is_refused(path: Path) -> None:
    made(path, SOME)
    altered(path, "PRAGMA user_version=99")
    with pytest.raises(EnvironmentFault, match="has version 99, this code reads version 1"):
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
        with pytest.raises(StorageFull, match=r"no space left for .*record\.db; free some, the record is whole"):
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
