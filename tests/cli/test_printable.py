"""What others named reaches no terminal as a command to it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.printable import one_line, printable


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
