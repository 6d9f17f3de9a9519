"""Configurations as short text."""

from __future__ import annotations

import pytest

from search.findings.text import setting, without_section


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/lr", "model/width"], ["lr", "width"]),
        (["lr", "model.width"], ["lr", "model.width"]),
        (["optim/adam/lr", "optim/sgd/lr"], ["adam/lr", "sgd/lr"]),
        (["head/lr", "body/lr", "body/depth"], ["head/lr", "body/lr", "depth"]),
        (["lr", "train/lr"], ["lr", "train/lr"]),
    ],
)
def test_a_name_loses_its_section_where_it_can_still_be_told_from_the_others(
    names: list[str], expected: list[str]
) -> None:
    assert list(without_section(names).values()) == expected
    assert setting(dict.fromkeys(names, 1)) == " ".join(f"{name}=1" for name in expected)
