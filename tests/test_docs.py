"""README and docs tell the truth: links lead somewhere, commands and options are ours, examples run, files exist."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import click
import pytest

import spaces
from search import api, errors
from search.cli.group import cli
from search.findings.summary import summarize
from search.record.reader import FILE
from search.record.record import Record
from tests.simulated import begun
from tests.test_layers import ROOMS
from trainables import datasets
from trainables.data import part

ROOT = Path(__file__).parents[1]
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
README, CLI, DESIGN = PAGES["README.md"], PAGES["docs/cli.md"], PAGES["docs/design.md"]
EXAMPLES = [
    pytest.param(code, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]


def section(text: str, heading: str) -> str:
    """What stands under `## heading`, up to the next one."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str) -> list[str]:
    """The first cell of every row of every table in `text`, but for heads and rules."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, row in enumerate(rows) if set(row) <= set("|- ")}
    return [
        row.split("|")[1].strip() for number, row in enumerate(rows) if number not in heads | {n + 1 for n in heads}
    ]


def options(command: click.Command) -> set[str]:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    return {name for parameter in shown for name in parameter.opts if name.startswith("--")}


def anchors(text: str) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_page():
    assert README.count("\n") <= 150


def test_ci_runs_the_very_command_that_the_readme_gives():
    command = next(line for line in README.splitlines() if "-m pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{page} links to {target}"


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"README.md"}))
def test_every_page_begins_with_links_to_the_readme_and_to_its_sections(page):
    links = PAGES[page].split("\n\n")[1]
    headings = re.findall(r"^## .+$", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL), re.MULTILINE)
    assert re.findall(r"\]\((\S+?)\)", links) == ["../README.md", *(f"#{min(anchors(each))}" for each in headings)]


def test_every_page_and_every_picture_can_be_reached_from_the_readme():
    reached, todo = set(), {ROOT / "README.md"}
    while todo:
        page = todo.pop()
        reached.add(page)
        if page.suffix == ".md":
            found = re.findall(r"\]\(([^)#\s]+)", page.read_text())
            todo |= {(page.parent / path).resolve() for path in found if "://" not in path} - reached
    assert set((ROOT / "docs").iterdir()) <= reached


@pytest.mark.parametrize("folder", ["trainables", "spaces", "search"])
def test_every_file_is_explained_and_every_explained_file_exists(folder):
    rooms = re.findall(rf"^### `({folder}[\w/]*)/`\n(.*?)(?=^### |\Z)", section(DESIGN, "Every file"), re.M | re.S)
    explained = [f"{room}/{cell.strip('`')}" for room, table in rooms for cell in first_cells(table)]
    there = {
        str(file.relative_to(ROOT)) for kind in ("py", "html", "css") for file in (ROOT / folder).rglob(f"*.{kind}")
    }
    assert sorted(explained) == sorted(file for file in there if not file.endswith("__init__.py"))


def test_the_rooms_are_drawn_in_the_order_in_which_they_import():
    picture = section(DESIGN, "Three packages").split("```")[3]
    drawn = re.findall(r"^(\w+)(?: · (\w+))?  ", picture, re.M)
    above = [room for pair in reversed(drawn) for room in pair if room]
    assert above[0] == "ground"
    floor = {
        room: number for number, rooms in enumerate(ROOMS) for room in rooms if number > ROOMS.index(("settings",))
    }
    assert set(above[1:]) == set(floor)
    assert [floor[room] for room in above[1:]] == sorted(floor.values())


def test_every_option_of_a_search_is_explained_and_no_other():
    told = [
        word for cell in first_cells(section(CLI, "Options of a search")) for word in re.findall(r"--[a-z-]+", cell)
    ]
    assert sorted(told) == sorted(options(cli.commands["run"]))


def test_every_verb_is_listed_with_its_options_and_no_other():
    rows = [line for line in section(CLI, "Verbs").splitlines() if line.startswith("| `")]
    told = {row.split("`")[1].split()[0]: set(re.findall(r"`(--[a-z-]+)", row.split("|")[3])) for row in rows}
    asked = {name: options(command) for name, command in cli.commands.items() if not command.hidden}
    assert told == {**asked, "run": set()}, "those of run have a table of their own"


def test_every_exit_code_is_explained():
    codes = {int(code) for cell in first_cells(section(CLI, "Exit codes")) for code in cell.split(",")}
    ours = {error.exit_code for error in vars(errors).values() if inspect.isclass(error)}
    assert codes == {0, *ours, 129, 130, 143}


def test_every_argument_of_run_is_an_option_of_the_command_line():
    asked = {name.removeprefix("--").replace("-", "_") for name in options(cli.commands["run"])}
    arguments = set(inspect.signature(api.run).parameters) - {"study", "arguments", "stand_in"}
    assert arguments == asked - {"no_stand_in", "dry_run", "probe", "wait_for_resources", "json", "debug", "watch"}


def commands() -> list[str]:
    """What the pages tell one to type after `python -m search`, in their blocks and in their sentences."""
    told = []
    for page in PAGES.values():
        text, blocks = page.split("```")[::2], page.split("```")[1::2]
        told += [re.split(" [#>]", line)[0] for block in blocks for line in block.splitlines()]
        told += [span.replace("\n", " ") for part in text for span in re.findall(r"`([^`]+)`", part)]
    told = [re.sub(r"^(\w+=\S+ )*(.* (--|&&) )?(\.venv/bin/)?", "", each).strip() for each in told]
    asked = [each.removeprefix("python -m search ") for each in told if each.startswith("python -m search ")]
    return sorted(
        {each for each in asked if not re.search(r"  |[|\[…]", each) and each not in ("STUDY", "VERB --help")}
    )


@pytest.mark.parametrize("text", commands())
def test_every_command_is_one_of_ours_with_its_options(text):
    words = [word for word in shlex.split(text) if word != "--help"]
    if not words:
        return
    _, command, words = cli.resolve_command(click.Context(cli), words)
    given, _, _ = command.make_parser(
        click.Context(command, **{**cli.context_settings, **command.context_settings})
    ).parse_args(list(words))
    if command.name == "submit":  # what it does not know itself is for the search
        search = cli.commands["run"]
        search.make_parser(click.Context(search, **cli.context_settings)).parse_args(list(given["arguments"]))


def test_every_study_is_named_and_no_other():
    told = {cell.strip("`") for cell in first_cells(section(PAGES["docs/studies.md"], "The studies"))}
    assert told == set(spaces.names())


def test_every_test_that_proves_a_row_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGES["docs/faults.md"]))
    written = set(re.findall(r"^def (test_\w+)", "\n".join(f.read_text() for f in ROOT.glob("tests/**/*.py")), re.M))
    assert named
    assert named <= written, named - written


@pytest.mark.parametrize("code", [example for example in EXAMPLES if "STUDY = " in example.values[0]])
def test_a_study_that_is_shown_can_be_searched(code, tmp_path):
    (tmp_path / "mine.py").write_text(code)
    study = spaces.load(str(tmp_path / "mine.py"))
    assert (study.name, bool(study.about)) == ("mine", True)
    source = datasets.find(study.dataset)
    data = part(*source.train(), source.classes, val_fraction=study.val_fraction, seed=study.split_seed)
    for point in (*study.start, study.ranges.corner(high=False)):
        epoch = next(study.trainable({**study.full_config(point, seed=0), "train/device": "cpu"}, data))
        assert (epoch.number, study.objective.metric in epoch.metrics) == (1, True)


@pytest.mark.parametrize("code", EXAMPLES)
def test_python_that_is_shown_calls_what_there_is(code):
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in ("run", "load"):
            named = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(getattr(api, call.func.id)).bind(*call.args, **named)
    for name in re.findall(r"\bresult\.(\w+)", code):
        assert hasattr(api.Result, name) or name == "summary", name


def test_the_keys_of_the_json_document_are_explained_and_no_other(tmp_path):
    with Record(tmp_path / FILE, create=True) as record:
        begun(spaces.load("digits_cnn"), record)
    told = {key for cell in first_cells(section(CLI, "JSON")) for key in re.findall(r"`(\w+)`", cell)}
    assert told == set(summarize(tmp_path))
