"""A search without a winner says why in one line."""

from __future__ import annotations

import pytest

from search.errors import SearchFailed
from search.session.winner import winner
from spaces.study import Study
from tests.simulated import Memory, begun


def test_a_search_that_ended_before_any_first_result_says_so_and_what_to_do(tiny_study: Study) -> None:
    search = begun(tiny_study, Memory())
    with pytest.raises(SearchFailed, match="before a trial began; give more with --time-budget"):
        winner(search)
    assert search.ask()
    assert search.ask()
    with pytest.raises(SearchFailed, match="ended before any of 2 trials had come to its first result; give more"):
        winner(search)
