"""What the audit of early stopping says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decide.search import Search
from search.errors import BadInput
from search.findings import audit, report
from search.findings.intervals import share_interval
from search.findings.snapshot import Snapshot
from search.findings.summary import summarize
from search.record.events import EpochReport
from search.record.state import State
from search.settings import Settings
from spaces.study import Study
from tests.simulated import Curves, Memory, begun, kept, work


def trained(search: Search, values: list[float]) -> None:
    """The next trial is worth `values` after its epochs, until it ends."""
    trial = search.ask()
    assert trial is not None
    for epoch, value in enumerate(values, start=1):
        if not search.report(trial.number, EpochReport(epoch, {"val_accuracy": value}, 1.0)):
            break


@pytest.fixture
def plain(tiny_study: Study) -> Study:
    return replace(tiny_study, start=())


def test_a_trial_that_ended_above_all_others_would_have_been_thrown_away(plain: Study) -> None:
    record = Memory()
    search = begun(plain, record, audit=1.0, trials=9)
    trained(search, [0.5] * 9)
    trained(search, [0.4] * 8 + [0.9])
    trained(search, [0.3] * 2 + [0.45] * 7)
    told = audit.document(record.events, search.trials)
    assert told is not None
    assert [(row["trial"], row["rung"], row["value"], row["cutoff"]) for row in told["trials"]] == [
        (1, 1, 0.4, 0.5), (2, 1, 0.3, 0.5),
    ]  # fmt: skip
    assert [(row["final"], row["thrown_away"]) for row in told["trials"]] == [(0.9, True), (0.45, False)]
    assert (told["complete"], told["thrown_away"], told["best_by_right"], told["share"]) == (2, 1, 0.5, 0.5)
    assert told["interval"] == list(share_interval(1, 2))
    assert "1 of 2 that ran on by lot ended above the best by right" in audit.lines(told)[0]
    best = search.trials.best()
    assert best is not None
    assert best.number == 1  # an audited trial can win


def test_a_trial_cut_short_counts_for_nothing_but_is_listed(plain: Study) -> None:
    record = Memory()
    search = begun(plain, record, audit=1.0)
    trained(search, [0.5] * 9)
    trained(search, [0.4, 0.9])
    told = audit.document(record.events, search.trials)
    assert told is not None
    assert (told["complete"], told["share"], told["trials"][0]["final"]) == (0, None, None)
    assert "none had time" in audit.lines(told)[0]


def test_without_an_audit_there_is_nothing_to_tell(plain: Study) -> None:
    record = Memory()
    search = begun(plain, record)
    work(search, Curves(2))
    assert audit.document(record.events, search.trials) is None


@given(seed=st.integers(0, 50), share=st.floats(0.05, 1.0))
def test_what_is_told_adds_up(seed: int, share: float, tiny_study: Study) -> None:
    record = Memory()
    search = begun(tiny_study, record, audit=share, trials=30)
    work(search, Curves(seed), workers=3, order=seed)
    told = audit.document(record.events, search.trials)
    if told is None:
        return
    assert json.loads(json.dumps(told)) == told
    assert told["thrown_away"] <= told["complete"] <= len(told["trials"])
    for row in told["trials"]:
        assert search.trials[row["trial"]].state is not State.STOPPED
        assert row["value"] < row["cutoff"]
    if told["rank_correlation"] is not None:
        assert -1 <= told["rank_correlation"] <= 1


def test_summary_and_report_tell_of_it(tmp_path: Path, tiny_study: Study) -> None:
    folder, _ = kept(tmp_path, tiny_study, audit=0.5, trials=30, seed=4)
    summary = summarize(folder)
    assert summary["audit"]["complete"] > 0
    page = report.page(Snapshot.read(folder))
    assert "ran on by lot" in page
    assert "--audit 0.05" not in page
    other, _ = kept(tmp_path / "b", tiny_study, trials=12)
    assert "--audit 0.05" in report.page(Snapshot.read(other))


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="--audit is a share of the trials that are stopped, 0 to 1, but got"):
        Settings(audit=share)
