"""The README tells the truth: its files exist, its options are the command's, its example is a study."""

import re
from pathlib import Path

import pytest

import spaces
from search.__main__ import cli

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
