"""The end of a time budget: nothing begins that would be cut off, and the best paused trial goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.decide import closing
from search.decide.replay import differences
from search.record.contents import Contents
from search.record.events import Closing, EpochReport, Steered
from search.record.reading import header_of
from search.record.state import State
from spaces.study import Study
from tests.simulated import Curves, Memory, begun, resumed, work

STOPPING = {"sampler": "random", "scheduler": "asha", "trials": 30}
PAUSING = {"sampler": "freeze_thaw", "scheduler": "freeze_thaw", "trials": 30}


@pytest.fixture
def study(tiny_study: Study) -> Study:
    return replace(tiny_study, start=())


def test_nothing_begins_that_would_not_get_to_the_first_rung(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **STOPPING)
    assert closing.due(search, 0.1) is None, "nothing is known yet of what trials take"
    work(search, Curves(0, ends=0.0), steps=12)
    rung = search.scheduler.rungs[0]
    assert closing.due(search, rung + 0.5) is None, "epochs take one second here"
    told = closing.due(search, rung - 0.5)
    assert told == Closing(rung - 0.5, float(rung), rung)
    search.note(told)
    before = len(search.trials)
    work(search, Curves(0, ends=0.0))
    assert len(search.trials) == before, "one more began"
    assert not search.trials.running(), "what ran was to come to its end"
    assert "too little for another trial" in search.why_no_more()
    assert closing.due(search, 0.1) is None, "it is said once"
    assert differences(record.events, study) == []


def test_more_time_lets_trials_begin_again(study: Study) -> None:
    for more in ("resumed", "asked for"):
        record = Memory()
        search = begun(study, record, **STOPPING, time_budget=10.0)
        work(search, Curves(0, ends=0.0), steps=12)
        search.note(Closing(0.5, 1.0, 1))
        before = len(search.trials)
        if more == "resumed":
            search = resumed(study, record, [*record.events], **STOPPING, time_budget=20.0)
        else:
            search.note(Steered("time", "0" * 32, "me", 0.0, {"what": 10.0}, time_budget=20.0))
        work(search, Curves(0, ends=0.0), steps=40)
        assert len(search.trials) > before, more


def test_the_best_paused_trial_goes_on_to_the_end(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **PAUSING)
    curves = Curves(1, ends=0.0)
    while len(search.trials.paused()) < 3:
        work(search, curves, steps=5)
        assert len(search.trials) < 30, "no three were put aside"
    search.note(Closing(3.0, 9.0, 1))
    paused = search.trials.paused()
    best = max(paused, key=lambda trial: (trial.best_value(study.objective), -trial.number))
    before = len(search.trials)
    work(search, curves)
    assert len(search.trials) == before
    assert search.trials[best.number].state is State.COMPLETE
    assert differences(record.events, study) == []


def test_measuring_takes_as_long_as_images_took_in_the_slowest_epoch(study: Study) -> None:
    record = Memory()
    search = begun(study, record, **STOPPING)
    header = replace(header_of(record.events), train_images=900, val_images=100, contents=None)
    assert header.process.cores == 2
    assert closing.measuring(search.trials, header) == 0.0, "no trial has a value"
    trial = search.ask()
    assert trial is not None
    for epoch, seconds in enumerate((40.0, 10.0), start=1):
        search.report(trial.number, EpochReport(epoch, {"val_accuracy": 0.5, "val_loss": 0.5}, seconds))
    by_size = closing.measuring(search.trials, header)
    assert by_size == pytest.approx(40.0 / 1000 * (900 // 6 + 200) / 2)
    counted = replace(header, contents=Contents(parts={"test": {"a": 300, "b": 500}}))
    assert closing.measuring(search.trials, counted) == pytest.approx(40.0 / 1000 * (800 + 200) / 2)
    assert closing.measuring(search.trials, replace(header, train_images=0, val_images=0)) == 0.0
