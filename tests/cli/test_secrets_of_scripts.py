"""A secret among the arguments of a script reaches the script, and neither the record nor what is printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from search.cli.group import cli
from search.secrets import hidden

SECRET = "s3cr3t-of-mine"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--token", SECRET], ["--token", "{env:SEARCH_SECRET_TOKEN}"]),
        (["--wandb-api-key", SECRET], ["--wandb-api-key", "{env:SEARCH_SECRET_WANDB_API_KEY}"]),
        (["--password=" + SECRET], ["--password={env:SEARCH_SECRET_PASSWORD}"]),
        (["hub.token=" + SECRET], ["hub.token={env:SEARCH_SECRET_HUB_TOKEN}"]),
        ([f"https://me:{SECRET}@host/x"], ["{env:SEARCH_SECRET_ADDRESS}"]),
    ],
)
def test_a_secret_becomes_a_variable(words: list[str], shown: list[str]) -> None:
    told, variables = hidden(words)
    assert told == shown
    assert all(SECRET in value for value in variables.values())


@pytest.mark.parametrize(
    "words", [["--max-tokens", "5"], ["--tokenizer", "bert"], ["--token", "{env:MINE}"], ["--token", "--data"], ["-v"]]
)
def test_what_is_none_stays_as_it_is(words: list[str]) -> None:
    assert hidden(words) == (words, {})


@given(st.lists(st.sampled_from(["--token", "a=b", "--secret=x", "x", "--", "{lr}", "//a:b@c"]), max_size=8))
def test_who_has_the_variables_has_the_words(words: list[str]) -> None:
    shown, variables = hidden(words)
    for name, value in variables.items():
        shown = [word.replace(f"{{env:{name}}}", value) for word in shown]
    assert shown == words


def test_neither_record_nor_screen_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    words = ["run", "train.py", "--set", "lr=log(1e-3, 1)", "--dry-run", "--probe", "0", "--json"]
    monkeypatch.setattr("sys.argv", ["search", *words, "--", "--token", SECRET])
    done: Any = CliRunner().invoke(cli, [*words, "--", "--token", SECRET])
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output
    assert done.output.count("{env:SEARCH_SECRET_TOKEN}") == 2  # in the script's arguments, and in the command
    assert os.environ.pop("SEARCH_SECRET_TOKEN") == SECRET
