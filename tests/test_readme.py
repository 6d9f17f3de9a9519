"""The README tells the truth: its files exist, its options are the command's, its example is a study."""

import re
import shlex
from pathlib import Path

import click
import pytest

import spaces
from search.cli.group import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_runs_exactly_the_command_that_the_readme_gives():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert "-m pytest" in command
    assert f"\n{command}\n" in README


@pytest.mark.parametrize("folder", ["trainables", "spaces", "search"])
def test_every_file_is_explained_and_every_explained_file_exists(folder):
    rows = README.split(f"**{folder}/**", 1)[1].split("**", 1)[0]
    explained = set(re.findall(r"`(\w+\.py)`", rows))
    assert explained == {file.name for file in (ROOT / folder).glob("*.py")} - {"__init__.py"}


def test_every_option_of_the_command_is_explained_and_no_other():
    options = {name for parameter in cli.commands["run"].params for name in parameter.opts if name.startswith("--")}
    table = README.split("| option | meaning |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"--[a-z][a-z-]*", table)) == options


def test_every_verb_is_listed_and_no_other():
    line = next(line for line in README.splitlines() if line.startswith("python -m search list"))
    verbs = {word.split()[0] for word in line.removeprefix("python -m search ").split(" | ")}
    assert "python -m search resume NAME" in README
    assert verbs == set(cli.commands) - {"run", "resume"}


def commands():
    """What the README tells one to type after `python -m search`, in its blocks and in its sentences."""
    text, blocks = README.split("```")[::2], README.split("```")[1::2]
    lines = [re.split(" [#>]", line)[0] for block in blocks for line in block.splitlines()]
    spans = [span.replace("\n", " ") for part in text for span in re.findall(r"`([^`]+)`", part)]
    told = [re.sub(r"^(\w+=\S+ )*(.* (--|&&) )?(\.venv/bin/)?", "", each).strip() for each in lines + spans]
    asked = [each.removeprefix("python -m search ") for each in told if each.startswith("python -m search ")]
    return sorted({each for each in asked if not re.search(r"  |[|\[…]", each)})


@pytest.mark.parametrize("text", commands())
def test_every_command_of_the_readme_is_one_of_ours_with_its_options(text):
    _, command, words = cli.resolve_command(click.Context(cli), shlex.split(text))
    given, _, _ = command.make_parser(click.Context(command, **command.context_settings)).parse_args(list(words))
    if command.name == "submit":  # what it does not know itself is for the search
        search = cli.commands["run"]
        search.make_parser(click.Context(search)).parse_args(list(given["arguments"]))


def test_every_test_that_proves_a_row_exists():
    table = README.split("## What happens when", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`(test_\w+)`", table))
    written = set(re.findall(r"^def (test_\w+)", "\n".join(f.read_text() for f in ROOT.glob("tests/**/*.py")), re.M))
    assert named
    assert named <= written, named - written


def test_every_picture_exists():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_the_study_in_the_readme_can_be_searched(tmp_path):
    example = next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "STUDY = " in code)
    (tmp_path / "mine.py").write_text(example)
    study = spaces.load(str(tmp_path / "mine.py"))
    assert study.name == "mine"
    assert study.start


def test_every_study_is_named():
    for name in spaces.names():
        assert f"{name}" in README
