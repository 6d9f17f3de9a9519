"""The result of a job is found in its log, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from search.jobs import result

JOB = "mine-20260101-120000"
DOCUMENT = {"state": "done", "best": {"trial": 1, "why": "a line\nand \u2028 another, with \x85 and ü"}}
LINE = result.line(JOB, DOCUMENT)


def test_the_document_is_found_between_what_the_job_wrote_before_and_after() -> None:
    log = f"Running entrypoint for job {JOB}: exec python\nplan{LINE}\nwarning: afterwards\n"
    assert result.found(log, JOB) == DOCUMENT


def test_a_line_that_was_left_open_does_not_hide_it() -> None:
    assert result.found(f"50 % of the trials{LINE}", JOB) == DOCUMENT


def test_a_job_that_says_it_twice_means_the_last() -> None:
    again = result.line(JOB, {"state": "failed"})
    assert result.found(f"{LINE}{again}\n", JOB) == {"state": "failed"}


@pytest.mark.parametrize(
    "log",
    [
        "",
        "error: no\n",
        '{\n "state": "done"\n}\n',
        f'{result.MARK} {{"state": "done"}}\n',
        result.line("mine-20260101-120001", DOCUMENT),
        result.line(f"{JOB}1", DOCUMENT),
        f'the study says: {result.MARK} {JOB} {{"state": "done"}}\n',
        LINE[:-20],
        f"{LINE[:60]}\n",
    ],
    ids=["nothing", "fault", "json", "no job", "other job", "longer id", "amid a line", "cut off", "cut off early"],
)
def test_what_only_looks_like_it_is_none(log: str) -> None:
    assert result.found(log, JOB) is None
