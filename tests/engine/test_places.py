"""How many trials fit into a cluster, and how searches share it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.engine import places
from search.settings import Settings

DEMANDS = st.dictionaries(
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.fixed_dictionaries(
        {
            "cpus": st.sampled_from([0.5, 1.0, 2.0]),
            "gpus": st.sampled_from([0.0, 0.0, 0.25, 1.0]),
            "concurrent": st.none() | st.integers(1, 9),
        }
    ),
    min_size=1,
    max_size=6,
)


def alike(count: int, **more: Any) -> dict[str, dict[str, Any]]:
    return {f"{number:08d}": {"cpus": 1.0, "gpus": 0.0, "concurrent": None, **more} for number in range(count)}


def test_a_search_that_is_alone_has_all_the_room() -> None:
    assert places.fair_share(7, alike(1), "00000000") == 7


def test_searches_alike_get_the_same_and_the_oldest_what_is_over() -> None:
    assert [places.fair_share(8, alike(3), key) for key in alike(3)] == [3, 3, 2]


def test_what_one_leaves_the_others_take() -> None:
    demands = alike(3)
    demands["00000001"]["concurrent"] = 1
    assert [places.fair_share(9, demands, key) for key in demands] == [4, 1, 4]


def test_searches_on_processors_leave_the_gpus_to_those_that_ask_for_them() -> None:
    demands = {**alike(1), "00000001": {"cpus": 1.0, "gpus": 1.0, "concurrent": None}}
    assert places.fair_share(4, demands, "00000001") == 4


@given(DEMANDS, st.integers(1, 40))
def test_together_searches_alike_take_all_there_is_and_no_more(demands: dict[str, Any], room: int) -> None:
    same = {key: {**each, "cpus": 1.0, "gpus": 0.0} for key, each in demands.items()}
    shares = {key: places.fair_share(room, same, key) for key in same}
    wanted = sum(min(room, each["concurrent"] or room) for each in same.values())
    if room >= len(same):
        assert sum(shares.values()) == min(room, wanted)
    free = [shares[key] for key, each in same.items() if each["concurrent"] is None]
    assert not free or max(free) - min(free) <= 1


@given(DEMANDS, st.integers(1, 40))
def test_every_search_has_at_least_one_and_at_most_what_it_wants(demands: dict[str, Any], room: int) -> None:
    for key, each in demands.items():
        assert 1 <= places.fair_share(room, demands, key) <= min(room, each["concurrent"] or room)


def test_a_search_tells_others_what_it_asks_for() -> None:
    told = {"cpus": 2, "gpus": 0.5, "concurrent": 3, "also_cpus": False}
    assert places.demand(Settings(cpus=2, gpus=0.5, concurrent=3)) == told


@pytest.mark.parametrize(
    ("cpus", "gpus", "room"),
    [(1, 0, 7), (2, 0, 3), (0.4, 0, 17), (1, 0.5, 3), (1, 1, 2), (2, 1, 1), (0, 0.1, 20), (4, 1, 0)],
)
def test_trials_are_counted_node_by_node(cpus: float, gpus: float, room: int) -> None:
    there = [{"CPU": 4.0}, {"CPU": 3.0, "GPU": 2.0}]
    assert sum(places._fit(Settings(cpus=cpus, gpus=gpus), node) for node in there) == room


MIXED = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0}]


@pytest.mark.parametrize(
    ("options", "there", "wanted"),
    [
        ({"gpus": 0.5}, MIXED, (2, 5)),
        ({"gpus": 0.5, "also_cpus": False}, MIXED, (2, 0)),
        ({"gpus": 0.5, "cpus": 2}, MIXED, (2, 1)),
        ({"gpus": 0.25, "cpus": 2}, MIXED, (2, 1)),
        ({"gpus": 0.1, "cpus": 0.1}, MIXED, (10, 60)),
        ({"gpus": 0.5, "concurrent": 3}, MIXED, (2, 1)),
        ({"gpus": 0.5, "concurrent": 1}, MIXED, (1, 0)),
        ({"gpus": 1.0}, MIXED[1:], (0, 3)),
        ({"gpus": 1.0}, [], (1, 0)),
    ],
    ids=str,
)
def test_trials_without_a_gpu_have_the_cpus_that_stand_beside_no_gpu_place(
    options: dict[str, Any], there: list[dict[str, float]], wanted: tuple[int, int]
) -> None:
    settings = Settings(**{"also_cpus": True, **options})
    assert places._bounded(settings, places._capacity(settings, there)) == wanted


def of_searches(there: list[dict[str, float]], *asked: Settings) -> list[tuple[int, int]]:
    """The places that each of these searches has on the nodes `there`, the oldest first."""
    demands = {f"{number:08d}": places.demand(each) for number, each in enumerate(asked)}
    both = zip(asked, demands, strict=True)
    return [places._bounded(each, places._shared(each, there, demands, key)) for each, key in both]


BOTH = Settings(gpus=0.5, also_cpus=True)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ([BOTH, BOTH], [(1, 3), (1, 2)]),
        ([BOTH, Settings(gpus=0.5)], [(1, 5), (1, 0)]),
        ([BOTH, Settings(cpus=1)], [(2, 2), (3, 0)]),
        ([replace(BOTH, concurrent=3), Settings(cpus=1)], [(2, 1), (4, 0)]),
        ([replace(BOTH, concurrent=1), BOTH], [(1, 0), (1, 5)]),
    ],
    ids=["alike", "with one on GPUs alone", "with one on CPUs", "no more than it wants", "what one leaves"],
)
def test_searches_share_places_with_and_without_a_gpu(asked: list[Settings], wanted: list[tuple[int, int]]) -> None:
    assert of_searches(MIXED, *asked) == wanted


def test_searches_with_different_parts_of_a_gpu_leave_none_idle() -> None:
    """Three devices for the one that asks for whole ones, four quarters of the fourth for the other."""
    demands = {key: {"cpus": 1.0, "gpus": gpus, "concurrent": None} for key, gpus in (("00", 1.0), ("01", 0.25))}
    assert [places.fair_share(room, demands, key) for room, key in ((4, "00"), (16, "01"))] == [3, 4]


def test_a_search_that_wants_few_places_has_them_also_beside_another_one() -> None:
    assert of_searches([{"CPU": 8.0}], Settings(concurrent=2), Settings()) == [(2, 0), (6, 0)]


@given(
    st.lists(st.fixed_dictionaries({"CPU": st.integers(0, 9), "GPU": st.integers(0, 3)}), max_size=4),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.integers(1, 4),
)
def test_searches_alike_never_have_more_places_together_than_fit(
    there: list[dict[str, float]], cpus: float, gpus: float, searches: int
) -> None:
    settings = Settings(cpus=cpus, gpus=gpus, also_cpus=True)
    taken = of_searches(there, *[settings] * searches)
    room = places._capacity(settings, there)
    assert sum(asked for asked, _ in taken) <= max(room.asked, searches)
    if sum(room) >= searches * 2 and room.asked >= searches:
        assert sum(map(sum, taken)) <= sum(room)
        assert sum(asked for asked, _ in taken) == room.asked
    assert all(sum(each) >= 1 for each in taken)


@pytest.mark.parametrize(
    ("cpus", "gpus", "told"),
    [
        (5, 0, "--cpus 5 per trial, but no node has more than 4"),
        (1, 3, "--gpus 3 per trial, but no node has more than 2"),
        (4, 1, "--cpus 4 and --gpus 1 per trial, but no node has both"),
    ],
)
def test_what_no_node_has_is_told(cpus: float, gpus: float, told: str) -> None:
    there = [{"CPU": 4.0}, {"CPU": 3.0, "GPU": 2.0}]
    assert places._lacking(Settings(cpus=cpus, gpus=gpus), there) == told
