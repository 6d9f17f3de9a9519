"""What each kind of event says: written with the keys that records always had, and read back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.record.events import (
    Asked,
    Body,
    Closing,
    Confirming,
    Continued,
    Decided,
    Ended,
    EpochReport,
    Event,
    Finished,
    InMLflow,
    Kind,
    Lost,
    Repeated,
    Restarted,
    Settled,
    Steered,
    WinnerTested,
)
from search.record.reader import FILE
from search.record.record import Record
from search.record.state import State

ROWS: list[tuple[Body, str]] = [
    (Asked({"b": 1, "a": 0.5}, "sampler"), '{"origin": "sampler", "point": {"a": 0.5, "b": 1}}'),
    (Lost(1, State.TIMED_OUT, "silent"), '{"attempt": 1, "state": "timed out", "why": "silent"}'),
    (Restarted(2, None, 0), '{"attempt": 2, "checkpoint": null, "epoch": 0}'),
    (
        EpochReport(1, {"x": 0.5}, 2.0),
        '{"bytes": 0, "checkpoint": null, "epoch": 1, "metrics": {"x": 0.5}, "seconds": 2.0, "sha256": null}',
    ),
    (
        EpochReport(1, {}, 2.0, "a", "00", 9, 7, "here", 3.5, "0,1"),
        '{"began": 3.5, "bytes": 9, "checkpoint": "a", "epoch": 1, "gpus": "0,1", "metrics": {}, "node": "here", '
        '"pid": 7, "seconds": 2.0, "sha256": "00"}',
    ),
    (Repeated(1, True, "a", "00", 9), '{"bytes": 9, "checkpoint": "a", "epoch": 1, "same": true, "sha256": "00"}'),
    (
        Decided(1, 0.5, 1, None, True),
        '{"cutoff": null, "epoch": 1, "go_on": true, "rung": 1, "value": 0.5}',
    ),
    (
        Decided(3, 0.5, 3, 0.6, True, "audit"),
        '{"cutoff": 0.6, "epoch": 3, "go_on": true, "rung": 3, "spared": "audit", "value": 0.5}',
    ),
    (Ended(State.STOPPED, "weak"), '{"state": "stopped", "why": "weak"}'),
    (Ended(State.FAILED, "x", "Traceback"), '{"state": "failed", "traceback": "Traceback", "why": "x"}'),
    (Continued(True), '{"at_once": true}'),
    (
        Steered("add", "0f", "me", 1.5, {"point": "lr=0.1"}, trial=3),
        '{"given": {"point": "lr=0.1"}, "id": "0f", "sent_at": 1.5, "trial": 3, "verb": "add", "who": "me"}',
    ),
    (Confirming([5, 2], None, 3), '{"control": null, "seeds": 3, "trials": [5, 2]}'),
    (Settled(0.1, 0.2, 0.9, 30), '{"best": 0.9, "expected_gain": 0.1, "spread": 0.2, "trials": 30}'),
    (Closing(1.5, 20.25, 3), '{"epochs": 3, "left": 1.5, "needed": 20.25}'),
    (
        WinnerTested(0, 3, 0.75, 0.5, 10),
        '{"epoch": 3, "images": 10, "test_accuracy": 0.75, "test_loss": 0.5, "trial": 0}',
    ),
    (
        InMLflow("sqlite:///m.db", None, None),
        '{"experiment_id": null, "parent_run_id": null, "tracking_uri": "sqlite:///m.db"}',
    ),
    (
        InMLflow("u", "1", "ab", "models:/x@champion", "0f/1/2", 4, ["candidate"], "m-1"),
        '{"aliases": ["candidate"], "experiment_id": "1", "logged_model": "m-1", "model_uri": "models:/x@champion", '
        '"model_version": 4, "parent_run_id": "ab", "tracking_uri": "u", "winner": "0f/1/2"}',
    ),
    (Finished("done", "", 1.5), '{"state": "done", "wall_s": 1.5, "why": ""}'),
    (
        Finished("interrupted", "its process died", 1.5, posthumous=True),
        '{"posthumous": true, "state": "interrupted", "wall_s": 1.5, "why": "its process died"}',
    ),
]


@pytest.mark.parametrize(("body", "row"), ROWS, ids=lambda each: str(each)[:40])
def test_what_an_event_says_is_stored_under_the_names_it_always_had_and_read_back(
    body: Body, row: str, tmp_path: Path
) -> None:
    with Record(tmp_path / FILE, create=True) as record:
        record.append(body.entry(0))
        assert [stored[4] for stored in record.rows()] == [row]
        (event,) = record.events()
    assert event.kind is body.kind
    assert type(body).of(event) == body
    assert list(body.to_plain()) == list(json.loads(row))


def test_every_kind_but_the_two_of_the_header_has_a_body() -> None:
    assert {body.kind for body, _ in ROWS} == set(Kind) - {Kind.SEARCH, Kind.RESUMED}


def test_what_earlier_and_later_versions_say_otherwise_is_read() -> None:
    earlier = {"epoch": 1, "metrics": {}, "seconds": 1.0, "checkpoint": "a", "sha256": "00"}
    assert EpochReport.of(Event(1, 0.0, Kind.EPOCH, 0, earlier)).bytes == 0
    later = {"state": "complete", "why": "", "colour": "blue"}
    assert Ended.of(Event(1, 0.0, Kind.ENDED, 0, later)) == Ended(State.COMPLETE, "")


def test_a_model_that_was_published_stays_published_when_the_runs_are_elsewhere() -> None:
    before = InMLflow("old", "1", "ab", "models:/x@champion", "0f/1/2", 4, ["candidate"], "m-1")
    now = InMLflow("new", "2", "cd").with_model_of(before)
    assert (now.tracking_uri, now.experiment_id, now.parent_run_id) == ("new", "2", "cd")
    assert (now.winner, now.model_version) == (before.winner, before.model_version)
    assert InMLflow("new", "2", "cd").with_model_of(None) == InMLflow("new", "2", "cd")
