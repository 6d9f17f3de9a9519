"""What surrounds a search: a machine of its own is asked once, a cluster again and again."""

from __future__ import annotations

import time

import pytest

from search.engine import node_check, places
from search.engine.places import Places
from search.engine.surroundings import open_surroundings
from search.settings import Settings
from search.signals import Stop


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Ray says how many places there are: one more each time. What was asked."""
    asked: list[Settings] = []

    def count(settings: Settings) -> Places:
        asked.append(settings)
        return Places(len(asked))

    monkeypatch.setattr(places, "places", count)
    return asked


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done about the nodes of a cluster."""
    done: list[str] = []
    for name in ("check", "check_newcomers", "close"):
        monkeypatch.setattr(node_check.NodeChecker, name, lambda self, name=name: done.append(name))
    return done


def test_a_ray_of_our_own_is_counted_once_and_its_nodes_are_not_looked_at(
    counted: list[Settings], looks: list[str]
) -> None:
    with open_surroundings(Settings(), Stop(time.monotonic())) as surroundings:
        assert [surroundings.places(), surroundings.places()] == [Places(1), Places(1)]
        assert surroundings.alone()
        assert not surroundings.some_gone()
        surroundings.check_newcomers()
    assert looks == []


def test_a_cluster_is_counted_anew_and_its_nodes_are_looked_at_before_and_meanwhile(
    counted: list[Settings], looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "other_searches", lambda: 1)
    with open_surroundings(Settings(ray_address="head:6379"), Stop(time.monotonic())) as surroundings:
        assert looks == ["check"]
        assert [surroundings.places(), surroundings.places()] == [Places(1), Places(2)]
        assert not surroundings.alone()
        surroundings.check_newcomers()
    assert looks == ["check", "check_newcomers", "close"]


@pytest.mark.parametrize("address", [None, "head:6379"])
def test_ray_is_out_of_reach_once_it_is_known_to_be_lost(
    counted: list[Settings], looks: list[str], address: str | None
) -> None:
    stop = Stop(time.monotonic())
    with open_surroundings(Settings(ray_address=address), stop) as surroundings:
        assert not surroundings.unreachable()
        stop.lost = "Ray no longer answers"
        assert surroundings.unreachable()
