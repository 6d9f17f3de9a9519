"""What others named reaches no terminal as a command to it."""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.cli import group, look
from search.findings.progress import progress
from search.printable import fenced, markdown, one_line, printable
from search.record.events import Finished
from search.record.reader import FILE, read
from search.record.record import Record
from search.terminal import drawing
from search.terminal.screen import Lines
from search.tracking.runs import Runs
from search.tracking.store import connect
from spaces.study import Study
from tests.simulated import kept


@given(st.text())
def test_no_control_character_is_left_and_nothing_else_is_changed(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(each) != "Cc" or each in "\n\t" for each in shown)
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;mine\x07", "\\x1b]0;mine\\x07"),
        ("a\rb", "a\\rb"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202e", "abc\\u202e"),
        ("T-shirt/top · Größe 日本", "T-shirt/top · Größe 日本"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\udcff", "\\udcff"),
    ],
)
def test_controls_are_written_out_and_all_other_text_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_is_one_line() -> None:
    assert one_line("first\nsecond\x1b[2J") == "first second\\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("<javascript:alert(1)>", "&lt;javascript:alert(1)&gt;"),
        ("a | b\n\n# c", "a \\| b \\# c"),
        ("`code` **bold** \x1b[2J", "\\`code\\` \\*\\*bold\\*\\* \\\\x1b\\[2J"),
        ("train/lr = 0.1, val_accuracy", "train/lr = 0.1, val_accuracy"),
    ],
)
def test_what_others_wrote_is_text_in_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown


def test_code_in_markdown_ends_where_it_ends() -> None:
    assert fenced("a\n```\n<b>") == "````\na\n```\n<b>\n````"


HOSTILE = "\x1b]0;mine\x07\x9b2J"


@pytest.fixture
def hostile(tmp_path: Path, tiny_study: Study) -> Path:
    """The runs folder of a search of which every name and text would speak to the terminal."""
    studied = replace(tiny_study, fixed={**tiny_study.fixed, "train/note": f"x{HOSTILE}"}, name=f"tiny{HOSTILE}")
    texts = dict.fromkeys(("about", "dataset", "where", "command", "user", "tracking_uri"), f"it{HOSTILE}")
    folder, _ = kept(tmp_path / "runs", studied, end=None, **texts, classes=[HOSTILE], sampler="random")
    with Record(folder / FILE) as record:
        record.append(Finished("failed", HOSTILE, 1.0).entry())
    return tmp_path / "runs"


@pytest.mark.parametrize("verb", ["list", "show", "best", "doctor", "replay", "report"])
def test_what_a_verb_prints_of_a_search_moves_no_cursor(verb: str, hostile: Path) -> None:
    name = [] if verb == "list" else ["tiny-1"]
    done = CliRunner().invoke(group.cli, [verb, *name, "--runs", str(hostile)])
    assert done.output
    assert "\x1b" not in done.output
    assert "\x9b" not in done.output


def test_the_screen_and_the_lines_of_a_running_search_show_names_as_they_are(
    tiny_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = replace(tiny_study, name=f"[link=javascript:x]it[/link] [/nope]{HOSTILE}")
    _, search = kept(tmp_path / "runs", named, steps=30, end=None)
    console = Console(width=160, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(drawing.screen(search, progress(search.trials, 9, 1.0, None), 120))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[link=javascript:x]it[/link] [/nope]\\x1b]0;mine\\x07\\x9b2J" in drawn
    assert "\x1b" not in drawn
    Lines().say(HOSTILE)
    Lines().warn(HOSTILE)
    assert capsys.readouterr().err == "\\x1b]0;mine\\x07\\x9b2J\nwarning: \\x1b]0;mine\\x07\\x9b2J\n"


def test_the_command_line_prints_in_one_place_only() -> None:
    files = Path(look.__file__).parent.glob("*.py")
    assert [file.name for file in files if "click.echo(" in file.read_text() or "print(" in file.read_text()] == [
        "output.py"
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_no_control_character_and_no_markup(tiny_study: Study, tmp_path: Path) -> None:
    script = "<script>alert(1)</script> [x](javascript:alert(1))"
    folder, _ = kept(tmp_path / "runs", tiny_study, about=f"{script}{HOSTILE}", command=f"```\n{script}", where=HOSTILE)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    projection = Runs(uri, [*read(folder / FILE)])
    projection.write([*read(folder / FILE)])
    for run in connect(uri).search_runs([projection.experiment_id]):
        told = {**run.data.tags, **run.data.params}
        assert not [key for key, value in told.items() if "\x1b" in value or "\x9b" in value]
    note = connect(uri).get_run(projection.parent).data.tags["mlflow.note.content"]
    outside_of_code = re.sub(r"^(`{3,})$.*?^\1$", "", note, flags=re.M | re.S)
    assert "<script" not in outside_of_code
    assert "](javascript" not in outside_of_code.replace("\\]", "")
