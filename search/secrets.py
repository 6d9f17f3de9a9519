"""Secrets among the arguments of a script: no record keeps them, and no page shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

SECRET = re.compile(
    r"(^|[-_.])(passwords?|passwd|secret|token|api[-_]?key|access[-_]?key|credentials?)$", re.IGNORECASE
)
"""How the name of an argument ends that holds one."""
ADDRESS = re.compile(r"//[^/\s:@]+:[^/\s@]+@")
"""An address with a password in it."""
PREFIX = "SEARCH_SECRET_"


def hidden(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """`words` with variables of the environment in the place of secrets, and the values of these variables.

    Of `--token X`, `--token=X` and `api_key=X` the value is one, and so is an address with a password. What is a
    placeholder already stays.
    """
    shown: list[str] = []
    variables: dict[str, str] = {}

    def variable(name: str, value: str) -> str:
        name = PREFIX + (re.sub(r"\W", "_", name.strip("-")).upper() or "ADDRESS")
        while variables.get(name, value) != value:
            name += "_"
        variables[name] = value
        return f"{{env:{name}}}"

    before = ""
    for word in words:
        name, equals, value = word.partition("=")
        if before and not word.startswith("-") and not _is_placeholder(word):
            shown.append(variable(before, word))
        elif equals and SECRET.search(name) and value and not _is_placeholder(value):
            shown.append(f"{name}={variable(name, value)}")
        elif ADDRESS.search(word):
            shown.append(variable("", word))
        else:
            shown.append(word)
        before = word if word.startswith("-") and not equals and SECRET.search(word) else ""
    return shown, variables


def _is_placeholder(text: str) -> bool:
    return re.fullmatch(r"\{[^{}]+\}", text) is not None
