"""An order says on the cluster what the command said here, as a file and as a command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cli import options
from search.cli.run import run_study
from search.errors import BadInput
from search.jobs import order as orders
from search.options import declared
from search.settings import Settings
from search.storage.bucket import shown


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text("from spaces.digits_mlp import STUDY\n")
    (folder / "data.npz").write_bytes(bytes(1000))
    monkeypatch.chdir(folder)
    return folder


def ordered(study: str, data: str | None = None, **more: Any) -> orders.Order:
    settings = Settings(name="x", data=Path(data) if data else None)
    return orders.order(study, settings, **{"runs": None, **more})


# What becomes of a search


def test_a_study_of_ours_travels_without_the_working_folder() -> None:
    made = orders.order("digits_cnn", Settings(name="mine", trials=3), runs=None)
    assert made.folder is None
    assert made.command == "python -m search digits_cnn --trials 3 --name mine --no-stand-in --resume auto"


def test_a_search_without_a_name_gets_one_by_which_it_is_found_again() -> None:
    made = orders.order("digits_cnn", Settings(), runs=None)
    assert made.name.startswith("digits_cnn-")
    assert f"--name {made.name} " in made.command


def test_the_working_folder_travels_with_a_study_below_it(project: Path) -> None:
    made = ordered(str(project / "mine.py"), "data.npz")
    assert made.folder == project
    assert (made.study, made.settings.data) == ("mine.py", Path("data.npz"))


def test_a_study_elsewhere_travels_with_its_own_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = project.parent / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    made = ordered("../project/mine.py")
    assert (made.folder, made.study) == (project, "mine.py")


@pytest.mark.parametrize("path", ["/nowhere/data.npz", "images/later"])
def test_data_that_are_not_here_are_left_as_they_are_named(path: str) -> None:
    assert ordered("digits_cnn", path).settings.data == Path(path)


def test_data_here_travel_with_a_study_of_ours(project: Path) -> None:
    made = ordered("digits_cnn", str(project / "data.npz"))
    assert (made.folder, made.settings.data) == (project, Path("data.npz"))


def test_study_and_data_that_lie_apart_are_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(b"1")
    with pytest.raises(BadInput, match=r"other\.npz lies outside of"):
        ordered("mine.py", "../other.npz")


def test_data_at_an_absolute_path_elsewhere_are_the_clusters_also_if_they_can_be_seen_from_here(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.npz").write_bytes(b"1")
    full = str(tmp_path / "other.npz")
    assert ordered("mine.py", full).settings.data == Path(full)
    assert ordered("digits_cnn", full).folder is None


def test_a_word_that_is_like_the_study_or_its_data_stays_as_it_is(project: Path) -> None:
    settings = Settings(name="data.npz", data=project / "data.npz", changes={"train/optimizer": "mine.py"})
    made = orders.order(str(project / "mine.py"), settings, runs=None)
    assert (made.name, made.settings.changes) == ("data.npz", {"train/optimizer": "mine.py"})


SCRIPT = "import argparse\n"


def test_a_script_travels_with_the_working_folder_and_its_arguments(project: Path) -> None:
    (project / "code").mkdir()
    (project / "code" / "train.py").write_text(SCRIPT)
    asked = Settings(name="x", arguments=("--data", "data.npz", "--out", "{folder}"), changes={"lr": "log(1e-3, 1)"})
    made = orders.order("code/train.py", asked, runs=None)
    assert (made.folder, made.study) == (project, "code/train.py")
    assert made.command.endswith("--resume auto -- --data data.npz --out '{folder}'")
    assert "'lr=log(1e-3, 1)'" in made.command


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--data", "../other"), "../other lies outside of"),
        (("--data=../other",), "../other lies outside of"),
        (("--token", "{env:SEARCH_SECRET_TOKEN}"), "holds a secret, which does not travel"),
    ],
)
def test_what_a_script_would_not_find_there_is_refused(project: Path, arguments: tuple[str, ...], why: str) -> None:
    (project / "train.py").write_text(SCRIPT)
    (project.parent / "other").mkdir()
    with pytest.raises(BadInput, match=why):
        orders.order("train.py", Settings(name="x", arguments=arguments), runs=None)
    (project.parent / "train.py").write_text(SCRIPT)
    with pytest.raises(BadInput, match="which travels with a script; go to a folder above it"):
        orders.order("../train.py", Settings(name="x"), runs=None)


# There and back


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SECONDS = st.floats(1e-9, 1e15, allow_nan=False) | st.integers(1, 10**6).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    "data": TEXTS.filter(bool).map(Path),
    "seed": st.integers(0, 2**32),
    "cpus": st.floats(1e-9, 1e6),
    "gpus": st.floats(0.0, 1e6),
    "audit": st.floats(0.0, 1.0),
    "sampler": TEXTS,
    "scheduler": TEXTS,
    "changes": st.dictionaries(TEXTS.map(str.strip).filter(lambda key: "=" not in key), TEXTS, max_size=3),
    "metric": TEXTS,
    "weights": TEXTS,
    "group_by": TEXTS,
    "folds": st.integers(0, 100),
    "mode": st.sampled_from(["max", "min"]),
    "report": TEXTS,
    "style": TEXTS,
    "test": TEXTS,
    "arguments": st.lists(TEXTS, max_size=3).map(tuple),
    "model": TEXTS,
    "experience": TEXTS,
    "warm_start": st.lists(TEXTS, max_size=3).map(tuple),
    **{
        name: st.integers(each.least or 1, each.most or 10**9)
        for name, each in declared(Settings).items()
        if each.least or name in ("checkpoint_budget", "data_limit")
    },
    **dict.fromkeys(("time_budget", "trial_timeout", "wait_for_resources"), SECONDS),
    **dict.fromkeys(
        ("also_cpus", "until_settled", "published", "stand_in", "fresh_workers", "val_as_test", "skip_broken"),
        st.booleans(),
    ),
}
TRAVELLING = [field.name for field in fields(Settings) if field.name not in orders.OF_THE_PLACE]


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    names = draw(st.sets(st.sampled_from(TRAVELLING)))
    chosen: dict[str, Any] = {name: draw(VALUES[name]) for name in names}
    if "confirm" not in chosen:
        chosen.pop("confirm_seeds", None)
    if chosen.get("also_cpus"):
        chosen["gpus"] = draw(st.floats(0.1, 8.0))
    return Settings(**chosen)


def of_command_line(words: list[str]) -> Mapping[str, Any]:
    with run_study.make_context("run", words) as context:
        return context.params


@given(settings())
def test_the_command_line_of_settings_comes_to_the_same_settings(asked: Settings) -> None:
    options_ = of_command_line(["digits_cnn", *orders.arguments(asked), "--", *asked.arguments])
    got = options.settings_of(options_)
    assert {name: getattr(got, name) for name in TRAVELLING} == {name: getattr(asked, name) for name in TRAVELLING}


@given(settings(), st.sampled_from(["digits_cnn", "a b/'mine'.py"]), st.sampled_from([None, "s3://lab/runs", "/runs"]))
def test_an_order_comes_to_the_same_by_its_file_and_by_its_command(
    tmp_path_factory: pytest.TempPathFactory, asked: Settings, study: str, runs: str | None
) -> None:
    made = orders.Order(study, asked, runs, None, as_json=True, quiet=True)
    file = tmp_path_factory.mktemp("order") / orders.FILE
    file.write_text(made.text())
    assert orders.read(file) == made
    words = shlex.split(made.command)
    assert words[:3] == ["python", "-m", "search"]
    there = of_command_line(words[3:])
    assert (there["study"], there["resume"], there["as_json"], there["quiet"]) == (study, "auto", True, True)
    assert runs is None or shown(there["runs"]) == runs


def test_the_folder_is_not_said_where_it_has_another_path(project: Path) -> None:
    made = ordered("mine.py", "data.npz")
    assert str(project) not in made.text()
    file = project / orders.FILE
    file.write_text(made.text())
    assert orders.read(file) == replace(made, folder=None)


def test_settings_of_this_place_do_not_travel() -> None:
    here = Settings(name="x", runs=Path("/here"), tracking_uri="sqlite:///here.db", command="python here")
    made = orders.order("digits_cnn", here, runs=None)
    assert "here" not in made.text() + made.command


@pytest.mark.parametrize("text", ["", "{}", '{"settings": {"data": 1}}', '{"settings": {"tries": 3, "data": null}}'])
def test_a_file_that_is_no_order_is_one_clear_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / orders.FILE
    file.write_text(text)
    with pytest.raises(BadInput, match=r"search-order\.json is no order of a search"):
        orders.read(file)


def test_an_order_that_asks_for_what_no_search_allows_is_refused_as_everywhere(tmp_path: Path) -> None:
    made = orders.Order("digits_cnn", Settings(name="x", trials=3))
    file = tmp_path / orders.FILE
    file.write_text(made.text().replace('"trials": 3', '"trials": 0'))
    with pytest.raises(BadInput, match="--trials must be at least 1"):
        orders.read(file)


def test_every_setting_that_travels_is_an_option_of_a_search() -> None:
    known = {word for parameter in run_study.params if isinstance(parameter, click.Option) for word in parameter.opts}
    for name in TRAVELLING:
        assert name in ("name", "data", "arguments") or declared(Settings)[name].flag in known
