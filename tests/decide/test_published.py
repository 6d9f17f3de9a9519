"""Published settings: tried first and to their end, no rivals of anybody; grids in a search; models of points."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from search.decide import replay
from search.decide.search import Search
from search.errors import BadInput
from search.record.events import EpochReport, Event
from search.record.state import State
from search.session.asked import adapted, to_search
from search.session.prepare import prepare
from search.session.resume import more_by_command
from search.settings import Settings
from search.terminal.console import Silent
from search.terminal.drawing import ending, rung_counts
from search.terminal.messages import setup
from search.tracking.forms import TOLD
from spaces.space import SpaceError, Value
from spaces.study import Choice, Int, Published, Study
from tests.simulated import Curves, Memory, begun, decisions, first_event, resumed, work
from trainables.classifier import Architecture
from trainables.mode import Mode

OLD: dict[str, Value] = {"train/lr": 3.0, "model/channels": "4-4", "train/epochs": 5}
OLDER: dict[str, Value] = {"train/lr": 0.03, "train/epochs": 200}
FINITE = st.floats(-1, 1)


@pytest.fixture(scope="module")
def study(tiny_study: Study) -> Study:
    """`tiny_study` with two published settings, of 5 epochs and of more than the study gives."""
    return replace(tiny_study, published=[Published(OLD, 0.9), Published(OLDER)])


@pytest.fixture(scope="module")
def counted(tiny_study: Study) -> Study:
    """A study of 7 points that are all to be tried, one of them as start point, and a published setting."""
    space = {
        "train/optimizer": Choice("sgd", "adam"),
        "train/lr": Choice(0.01, 0.1),
        "model/depth": Int(1, 2, when={"train/optimizer": "sgd"}),
        "train/nesterov": Choice(False, True, when={"train/optimizer": "sgd", "model/depth": 2}),
    }
    start = [{"train/optimizer": "adam", "train/lr": 0.1}]
    return replace(tiny_study, space=space, start=start, published=[Published(OLD)], sampler="grid")


def origins(search: Search) -> list[str]:
    return [trial.origin for trial in search.trials]


def test_published_settings_come_first_then_start_points_then_what_the_sampler_proposes(study: Study) -> None:
    record = Memory()
    search = begun(study, record, trials=6)
    work(search, Curves(0, ends=0.0))
    assert origins(search)[:4] == ["published setting 0", "published setting 1", "start point 0", "start point 1"]
    assert set(origins(search)[4:]) == {"sampler"}
    assert [trial.published for trial in search.trials] == [True, True, False, False, False, False]
    assert [trial.point for trial in search.trials][:4] == [OLD, OLDER, *study.start]
    for trial in list(search.trials)[4:]:
        study.ranges.check_point(trial.point)


def test_one_trial_is_enough_to_check_a_claim(study: Study) -> None:
    search = begun(study, Memory(), trials=1)
    work(search, Curves(0, ends=0.0))
    (trial,) = search.trials
    assert (trial.state, len(trial.epochs)) == (State.COMPLETE, 5)
    assert search.config(trial) == {**study.fixed, **OLD, "train/seed": search.config(trial)["train/seed"]}


@given(own=st.integers(1, 30), budget=st.integers(1, 12))
def test_a_published_setting_is_complete_after_its_own_epochs_or_the_studys(
    own: int, budget: int, tiny_study: Study
) -> None:
    published = [Published({**OLD, "train/epochs": own})]
    search = begun(replace(tiny_study, epochs=budget, published=published), Memory(), trials=2)
    work(search, Curves(0, ends=0.0))
    first = search.trials[0]
    assert (first.state, len(first.epochs)) == (State.COMPLETE, min(own, budget))
    assert search.config(search.trials[0])["train/epochs"] == min(own, budget)
    assert search.config(search.trials[1])["train/epochs"] == budget


def play(study: Study, moves: Sequence[tuple[int, float]], others: int) -> tuple[Search, list[Event]]:
    """All trials at once; each move is an epoch of one, below 0 of a published one, with its value."""
    record, first = Memory(), len(study.published)
    search = begun(study, record, trials=first + others)
    while search.ask() is not None:
        pass
    for number, value in moves:
        if number < -first:
            continue
        trial = search.trials[number % first if number < 0 else first + number]
        if trial.state is State.RUNNING:
            search.report(trial.number, EpochReport(len(trial.epochs) + 1, {"val_accuracy": value}, 1.0))
    return search, record.events


@settings(max_examples=100)
@given(moves=st.lists(st.tuples(st.integers(-2, 5), FINITE), max_size=120), mode=st.sampled_from(["max", "min"]))
def test_published_settings_are_never_stopped_and_the_others_are_decided_on_as_if_they_were_not_there(
    moves: list[tuple[int, float]], mode: str, study: Study
) -> None:
    study = replace(study, objective=replace(study.objective, mode=mode))
    search, with_published = play(study, moves, 6)
    other, without = play(replace(study, published=()), moves, 6)
    for trial, budget in ((search.trials[0], 5), (search.trials[1], 9)):
        assert trial.state is (State.COMPLETE if len(trial.epochs) == budget else State.RUNNING)
    told = [(event.trial or 0, event.body) for event in with_published if event.kind == "decided"]
    assert {number for number, _ in told} <= set(range(2, 8))
    assert [(number - 2, body) for number, body in told] == [
        (event.trial, event.body) for event in without if event.kind == "decided"
    ]
    assert [(t.state, t.why) for t in list(search.trials)[2:]] == [(t.state, t.why) for t in other.trials]


def test_the_worst_published_setting_goes_on_where_any_other_trial_is_stopped(study: Study) -> None:
    good = [(number, 0.9) for number in range(4) for _ in range(3)]
    search, _ = play(study, [*good, *[(-2, 0.0)] * 9, *[(4, 0.0)] * 9], 5)
    assert (search.trials[0].state, len(search.trials[0].epochs)) == (State.COMPLETE, 5)
    assert (search.trials[6].state, len(search.trials[6].epochs)) == (State.STOPPED, 1)


def test_the_best_published_setting_stops_nobody(study: Study) -> None:
    search, _ = play(study, [*[(-2, 1.0)] * 9, *[(-1, 1.0)] * 9, *[(0, 0.1)] * 9], 1)
    assert search.trials[2].state is State.COMPLETE


def test_a_published_setting_that_diverges_ends_at_once(study: Study) -> None:
    search, _ = play(study, [(-2, 0.5), (-2, math.nan), (-2, 0.5)], 1)
    assert (search.trials[0].state, len(search.trials[0].epochs)) == (State.DIVERGED, 2)


def test_a_published_setting_can_win(study: Study) -> None:
    search, _ = play(study, [*[(-2, 0.8)] * 9, *[(0, 0.5)] * 9], 2)
    assert search.trials.best() is search.trials[0]


# A search that was killed


@settings(max_examples=30)
@given(
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    seed=st.integers(0, 10**6),
    sampler=st.sampled_from(["random", "random", "tpe"]),
    scheduler=st.sampled_from(["asha", "asha", "none"]),
    ends=st.sampled_from([0.0, 0.05, 0.3]),
    losses=st.sampled_from([0.0, 0.3]),
)
def test_a_search_with_published_settings_goes_on_bit_for_bit_wherever_it_was_killed(
    cuts: list[float], seed: int, sampler: str, scheduler: str, ends: float, losses: float, study: Study
) -> None:
    curves, record = Curves(seed, ends, losses), Memory()
    work(begun(study, record, sampler=sampler, scheduler=scheduler), curves)
    assert replay.differences(record.events, study) == []
    for number, fraction in enumerate(cuts):
        places = [count for count in record.batches if count]
        again = Memory(record.events[: places[round(fraction * (len(places) - 1))]])
        work(resumed(study, again, list(again.events)), curves, order=number)
        assert decisions(again.events) == decisions(record.events)
        assert replay.differences(again.events, study) == []
        record = again


def test_a_search_over_a_grid_goes_on_bit_for_bit_after_every_one_of_its_events(counted: Study) -> None:
    curves, record = Curves(3, losses=0.1), Memory()
    work(begun(counted, record, sampler="grid", trials=99), curves)
    assert replay.differences(record.events, counted) == []
    for place in record.batches[1:]:
        again = Memory(record.events[:place])
        work(resumed(counted, again, list(again.events)), curves)
        assert decisions(again.events) == decisions(record.events)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_over_a_grid_tries_every_point_once_and_ends_by_itself(workers: int, counted: Study) -> None:
    search = begun(counted, Memory(), sampler="grid", scheduler="none", trials=99)
    work(search, Curves(0, ends=0.0), workers=workers)
    assert origins(search) == ["published setting 0", "start point 0", *["sampler"] * 7]
    points = [repr(sorted(trial.point.items())) for trial in search.trials if not trial.published]
    assert len(set(points)) == len(points) == 8
    assert {trial.state for trial in search.trials} == {State.COMPLETE}
    assert search.ask() is None


# What a study names and a user may change


def test_a_study_names_its_sampler_and_scheduler_and_an_option_goes_before_it() -> None:
    study = adapted("mnist_activation", Settings())
    assert (study.sampler, study.scheduler) == ("grid", "none")
    study = adapted("mnist_activation", Settings(sampler="random", scheduler="asha"))
    assert (study.sampler, study.scheduler) == ("random", "asha")
    study = adapted("digits_mlp", Settings())
    assert (study.sampler, study.scheduler) == ("tpe", "asha")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sampler": "gird"}, r"unknown sampler 'gird'; known are freeze_thaw, grid, random, tpe; did you mean grid"),
        ({"scheduler": "ahsa"}, r"unknown scheduler 'ahsa'; known are asha, freeze_thaw, none; did you mean asha"),
        ({"sampler": "grid"}, r"a grid needs values to try, but model/dropout is 0 … 0\.5; give it a step, a Choice"),
    ],
    ids=str,
)
def test_a_sampler_that_cannot_be_is_refused_before_anything_starts(options: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        adapted("digits_mlp", Settings(**options))


def test_a_name_of_channels_or_sides_can_be_given_on_the_command_line() -> None:
    changes = {"model/channels": "choice(16-8, 32-64)", "model/kernel": "1x3"}
    study = adapted("cifar2_cnn", Settings(changes=changes))
    assert study.space["model/channels"] == Choice("16-8", "32-64")
    assert study.fixed["model/kernel"] == "1x3"


def test_fewer_epochs_on_the_command_line_shorten_published_settings_and_more_do_not() -> None:
    for epochs, expected in ((3, 3), (100, 5)):
        study = adapted("mnist_mlp", Settings(epochs=epochs))
        assert study.epochs_of(study.published[0].config) == expected
        assert study.epochs_of(study.start[0]) == epochs


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SEARCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_plan_tells_the_claim_and_what_decides(tmp_path: Path) -> None:
    prepared = prepare("moons_mlp", Settings(runs=tmp_path / "runs", published=True), Silent())
    assert prepared.header.published == 0.775
    assert (prepared.header.sampler, prepared.header.scheduler) == ("tpe", "asha")
    assert (prepared.settings.sampler, prepared.settings.scheduler) == ("tpe", "asha")
    assert "the published setting (test accuracy 77.50%) and 0 start points first" in setup(
        prepared.study, prepared.header
    )


def test_a_claim_about_one_data_set_is_not_made_of_another(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (900, 2, 2), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=np.arange(900) % 2)
    settings = Settings(runs=tmp_path / "runs", data=tmp_path / "mine.npz", published=True)
    prepared = prepare("moons_mlp", settings, Silent())
    assert prepared.header.published is None
    assert "the published setting and 0 start points first" in setup(prepared.study, prepared.header)


def test_a_claim_is_not_made_of_a_setting_that_gets_fewer_epochs(tmp_path: Path) -> None:
    for epochs, claim in ((39, None), (41, 0.775)):
        settings = Settings(runs=tmp_path / "runs", epochs=epochs, published=True)
        assert prepare("moons_mlp", settings, Silent()).header.published == claim


# Only who asks for published settings has them trained


@pytest.mark.parametrize("name", [name for name in spaces.names() if spaces.load(name).published])
def test_no_published_setting_is_trained_without_being_asked_for(name: str) -> None:
    named = adapted(name, Settings())
    assert to_search(named, Settings()) == replace(named, published=())
    assert to_search(named, Settings(published=True)) == named


def test_what_was_published_is_the_line_to_beat_of_a_search_that_does_not_train_it(tmp_path: Path) -> None:
    prepared = prepare("moons_mlp", Settings(runs=tmp_path / "runs"), Silent())
    assert (prepared.header.published, prepared.study.published) == (0.775, ())
    told = setup(prepared.study, prepared.header)
    assert "to beat    test accuracy 0.7750, published; claimed, not trained" in told
    assert "0 start points first" in told


def test_to_train_published_settings_of_a_study_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--published trains the published settings of a study first, but digits_mlp"):
        prepare("digits_mlp", Settings(runs=tmp_path / "runs", published=True), Silent())


def test_what_auto_comes_to_is_not_what_a_published_setting_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published setting has a precision of its own; all other trials get what the probe finds."""
    monkeypatch.setattr("trainables.training.probe", lambda device, **network: Mode("bfloat16"))
    study = spaces.load("digits_mlp")
    claimed = Published({**study.start[0], "train/precision": "float32", "train/epochs": 3}, 0.9)
    monkeypatch.setattr(spaces, "load", lambda name: replace(study, published=(claimed,)))
    prepared = prepare("digits_mlp", Settings(runs=tmp_path / "runs", published=True), Silent())
    assert prepared.study.fixed["train/precision"] == "bfloat16"
    assert prepared.study.full_config(claimed.config, seed=0)["train/precision"] == "float32"


def test_what_a_start_point_asks_for_reaches_no_other_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what is worked out at one point, where another point comes to something else."""

    def train(config: Any, data: Any, *, resume: Any = None) -> Any:
        return SimpleEpochs({"model/kind": config["train/lr"] > 0.05, "train/precision": "bfloat16"})

    study = replace(spaces.load("digits_mlp"), trainable=train)
    monkeypatch.setattr(spaces, "load", lambda name: study)
    fixed = prepare("digits_mlp", Settings(runs=tmp_path / "runs"), Silent()).study.fixed
    assert fixed["train/precision"] == "bfloat16"
    assert "model/kind" not in fixed


class SimpleEpochs:
    """No epochs, but what was worked out for them."""

    def __init__(self, resolved: dict[str, Any]) -> None:
        self.resolved = resolved

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        raise StopIteration


def test_a_grid_has_no_more_trials_than_points_so_that_a_finished_one_has_nothing_left(tmp_path: Path) -> None:
    changes = {"train/optimizer": "sgd", "train/lr": "choice(0.1, 0.2)", "train/momentum": "choice(0.5, 0.9)"}
    space = {**changes, "model/width": "16", "model/dropout": "0.0", "model/depth": "1", "train/batch_size": "32"}
    space |= {"model/activation": "relu", "model/batch_norm": "true"}
    for trials, expected in ((100, 4), (3, 3)):
        settings = Settings(runs=tmp_path / "runs", sampler="grid", changes=space, trials=trials)
        assert prepare("digits_mlp", settings, Silent()).header.trials == expected


@pytest.mark.parametrize(
    ("published", "match"),
    [
        (
            Published({"train/epochs": 1, "train/lr": math.nan}),
            "published setting 0 has train/lr at nan, which is no finite",
        ),
        (Published({"train/epochs": 1}, 87.6), "a test accuracy lies between 0 and 1, but published is 87.6"),
    ],
)
def test_a_published_setting_that_cannot_be_is_refused(published: Published, match: str, study: Study) -> None:
    with pytest.raises(SpaceError, match=match):
        replace(study, published=(published,))


def test_a_setting_is_shown_against_its_own_budget(study: Study) -> None:
    search, _ = play(study, [(-2, 0.5)] * 5, 1)
    assert ending(search.trials[0], search).startswith("0.5000 after  5 of 5 epochs")


def test_published_settings_are_not_among_those_that_reached_a_rung(study: Study) -> None:
    search, _ = play(study, [*[(-2, 0.5)] * 5, (0, 0.5), (1, 0.5)], 2)
    assert rung_counts(search) == ["epoch 1: 2 of 2 went on"]


# `--resume auto`


def recorded(study: Study, **changes: Any) -> list[Event]:
    kind, trial, body = first_event(study, source="moons_mlp", sampler="tpe", name="moons_mlp-1")
    return Memory().append((kind, trial, {**body, "definition": {**body["definition"], **changes}}))


def test_another_published_setting_makes_another_search() -> None:
    events = recorded(spaces.load("moons_mlp"), published=[])
    with pytest.raises(BadInput, match=r"moons_mlp-1 is another search: published was \[\], asked is \[\{'config'"):
        more_by_command("moons_mlp", Settings(published=True), events)


def test_a_search_that_trained_published_settings_unasked_is_gone_on_with_by_the_same_command() -> None:
    events = recorded(spaces.load("moons_mlp"))
    assert events[0].body["definition"]["published"]
    assert more_by_command("moons_mlp", Settings(), events).trials is None
    assert more_by_command("moons_mlp", Settings(published=True), events).trials is None


def test_a_search_from_before_there_were_published_settings_is_gone_on_with() -> None:
    events = recorded(spaces.load("digits_mlp"))
    definition = {
        k: v for k, v in events[0].body["definition"].items() if k not in ("published", "sampler", "scheduler")
    }
    old = {**events[0].body, "definition": definition, "source": "digits_mlp", "sampler": "random"}
    assert more_by_command("digits_mlp", Settings(sampler="random"), [replace(events[0], body=old)]).trials is None
    with pytest.raises(BadInput, match="sampler was random, asked is tpe"):
        more_by_command("digits_mlp", Settings(), [replace(events[0], body=old)])


# What is served


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        ((2, 1, 1), np.array([[[[0.25, -1.5]]], [[[3.75, 0.5]]]], np.float32)),
        ((1, 1, 1), np.array([[[0.25]], [[-1.75]]], np.float32)),
        ((1, 4, 4), np.arange(32, dtype=np.uint8).reshape(2, 4, 4)),
        ((3, 4, 4), np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)),
    ],
    ids=["points", "numbers", "grey", "colour"],
)
def test_a_served_model_gives_the_probabilities_of_the_trained_one(
    shape: tuple[int, int, int], given: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    arguments = {"depth": 1, "width": 8, "head": "logistic", "scaling": "none"}
    architecture = Architecture("mlp", shape, ("no", "yes"), arguments)
    model = architecture.build().eval()
    architecture.save(tmp_path, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of its imports
        from search.tracking.served_model import ServedClassifier
    served = ServedClassifier()
    brightest = 0 if given.dtype == np.float32 else 255
    told = {"classes": ["no", "yes"], "shape": shape, "brightest": brightest}
    (tmp_path / TOLD).write_text(json.dumps(told))
    served.load_context(SimpleNamespace(artifacts={"classifier": str(tmp_path)}))
    images = torch.from_numpy(given)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model(images).softmax(1).numpy()
    found = served.predict(None, given).to_numpy()
    assert (found.shape, found.dtype) == ((2, 2), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(found[0, 0] - found[1, 0]) > 1e-4, "both get the same probabilities"
