"""The header of a search: what is stored of it, and what of an earlier or later version is made of it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from search.record.header import Header, Process
from search.record.reading import header_of
from tests.simulated import HEADER, Memory, header


def stored(made: Header) -> dict[str, Any]:
    """What a record holds of it."""
    body: dict[str, Any] = json.loads(json.dumps(made.to_plain(), sort_keys=True))
    return body


@pytest.mark.parametrize(
    "made",
    [HEADER, replace(HEADER, concurrent=4, resume_command="again", published=0.9), replace(HEADER, job_folder="/j")],
)
def test_a_header_reads_back_from_a_record_as_it_was(made: Header) -> None:
    again = Header.from_plain(stored(made))
    assert stored(again) == stored(made)
    for field in fields(Header):
        was, is_ = getattr(made, field.name), getattr(again, field.name)
        assert (list(is_), list(was)) if isinstance(was, tuple) else is_ == was, field.name


def test_what_earlier_versions_did_not_write_has_the_value_that_it_had_for_them() -> None:
    later = ("published", "warm_start", "warm_start_from", "audit", "until_settled", "confirm", "confirm_seeds")
    body = {key: value for key, value in stored(HEADER).items() if key not in (*later, "also_cpus", "platform")}
    old = Header.from_plain(body)
    assert (old.published, old.audit, old.until_settled, old.also_cpus) == (None, 0.0, False, False)
    assert (old.confirm, old.confirm_seeds, list(old.warm_start), list(old.warm_start_from)) == (None, 3, [], [])


@pytest.mark.parametrize(
    ("source", "data", "folder"),
    [
        ("/tmp/ray/s/_ray_pkg_0f/mine.py", None, "/tmp/ray/s/_ray_pkg_0f"),
        ("digits_cnn", "/tmp/_ray_pkg_0f/sub/data.npz", "/tmp/_ray_pkg_0f"),
        ("/home/me/mine.py", "/data/_ray_pkg_of_mine/data.npz", None),
        ("digits_cnn", None, None),
    ],
)
def test_an_earlier_version_is_understood_to_have_had_a_job_s_folder_by_the_name_that_ray_gave_it(
    source: str, data: str | None, folder: str | None
) -> None:
    assert Header.from_plain(stored(replace(HEADER, source=source, data=data))).job_folder == folder


def test_what_was_recorded_as_a_job_s_folder_counts_whatever_it_is_called() -> None:
    made = replace(HEADER, source="/tmp/_ray_pkg_0f/sub/mine.py", job_folder="/tmp/_ray_pkg_0f/sub")
    assert Header.from_plain(stored(made)).job_folder == made.job_folder


def test_a_search_that_went_on_has_the_folder_of_its_last_job_also_if_earlier_versions_began_it() -> None:
    record = Memory()
    record.append(("search", None, {**header(), "source": "/tmp/_ray_pkg_0f/mine.py"}))
    record.append(("resumed", None, {"source": "/tmp/_ray_pkg_1f/mine.py"}))
    assert header_of(record.events).job_folder == "/tmp/_ray_pkg_1f"
    record.append(("resumed", None, {"source": "/job/mine.py", "job_folder": "/job"}))
    record.append(("resumed", None, {"trials": 12}))
    assert header_of(record.events).job_folder == "/job"


def test_outside_of_a_job_nothing_is_written_of_its_folder() -> None:
    assert "job_folder" not in stored(HEADER)


def test_what_a_later_version_writes_is_passed_over() -> None:
    assert Header.from_plain({**stored(HEADER), "of_tomorrow": 1}) == Header.from_plain(stored(HEADER))


def test_what_is_of_no_search_is_refused() -> None:
    with pytest.raises(KeyError):
        Header.from_plain({"name": "x"})
    with pytest.raises(TypeError, match="dataset"):
        Header.from_plain({key: value for key, value in stored(HEADER).items() if key != "dataset"})


def test_before_a_search_has_begun_nothing_is_said_of_its_name_and_its_process() -> None:
    planned = replace(HEADER, name="", id="", process=Process())
    assert not {"name", "id", "started_at", "pid", "node", "cores", "after_s", "asked_concurrent"} & {*stored(planned)}
    assert stored(planned)["concurrent"] == "as many as fit"
    assert stored(replace(planned, concurrent=4))["concurrent"] == 4


def test_a_header_has_the_changes_of_every_process_that_went_on() -> None:
    record = Memory()
    record.append(("search", None, header(trials=8, concurrent=2, cores=2.0)))
    record.append(("resumed", None, {"trials": 12, "asked_concurrent": 5, "concurrent": 4, "cores": 4.0, "pid": 7}))
    record.append(("resumed", None, {"time_budget": 60.0, "resume_command": "again"}))
    now = header_of(record.events)
    assert (now.trials, now.time_budget, now.resume_command, now.concurrent) == (12, 60.0, "again", 5)
    assert (now.process.concurrent, now.process.cores, now.process.pid) == (4, 4.0, 7)
    assert header_of(record.events[:1]).trials == 8
    assert header_of(record.events[:1]).changed(record.events[1].body).changed(record.events[2].body) == now
