"""Values and ranges as one writes them: on a command line, or in a file that is no Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from spaces.ranges import Choice, Float, Int, Range
from spaces.space import NAME
from spaces.values import SpaceError, Value, is_finite, is_number, shortened

BRACKETS = {"(": ")", "[": "]", "{": "}"}
WORD = re.compile(r"[\w.+/:@-]+")
STEP = re.compile(r"\s*step\s*=(.*)", re.DOTALL)
DEEPEST = 20
"""Lists in lists."""
NO_WORDS = ("nan", "inf", "infinity")


def parse(text: str) -> Range | Value:
    """Read a value or a range as one writes it on the command line.

    `0.1`, `1e-5`, `3`, `true`, `null`, `adam`, `'null'` (a word) and `(64, 128)` are values; `log(1e-4, 1e-1)`,
    `uniform(0, 0.5)`, `int(1, 4)`, `intlog(16, 256)`, `int(32, 512, step=32)`, `int(8, model/width)` and
    `choice(32, 64)` are ranges, with both ends included. Raises SpaceError for anything else.
    """
    call = re.fullmatch(r"\s*([a-z]+)\s*\((.*)\)\s*", text, re.DOTALL)
    if call is None:
        return _literal(text)
    kind, parts = call[1], _split(call[2], text)
    if kind == "choice":
        return Choice(*(_literal(part) for part in parts))
    makers: dict[str, Callable[..., Range]] = {
        "log": lambda low, high, **step: Float(_real(low), _real(high), log=True, **step),
        "uniform": lambda low, high, **step: Float(_real(low), _real(high), **step),
        "int": Int,
        "intlog": lambda low, high, **step: Int(low, high, log=True, **step),
    }
    if kind not in makers:
        raise SpaceError(f"unknown range {kind}(…); known are {', '.join(makers)}, choice")
    steps = [_literal(found[1]) for part in parts if (found := STEP.fullmatch(part))]
    bounds = [_literal(part) for part in parts if not STEP.fullmatch(part)]
    if len(bounds) != 2 or len(steps) > 1 or not all(map(_is_bound, bounds)):
        raise SpaceError(
            f"{kind}(…) takes two numbers, low and high, but got {text.strip()!r}; either may be the name of a "
            "hyperparameter that stands before, and step=… may follow"
        )
    return makers[kind](*bounds, **({"step": steps[0]} if steps else {}))


def written(value: Any) -> str:
    """`value` as `parse` reads it back; text is a range, a number or a word already. Raises SpaceError."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_quoted(each) for each in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise SpaceError(
        f"a {type(value).__name__} is no value; give a number, a truth value, None, a word, a list of these, or a "
        "range as text: 'log(1e-4, 1e-1)', 'choice(32, 64)'"
    )


def _quoted(value: Any) -> str:
    return repr(value) if isinstance(value, str) else written(value)


def _real(bound: Value) -> Any:
    return float(bound) if is_number(bound) else bound  # type: ignore[arg-type]


def _is_bound(value: Value) -> bool:
    return is_number(value) or (isinstance(value, str) and bool(NAME.fullmatch(value)))


def _literal(text: str, depth: int = 0) -> Value:
    text = text.strip()
    known: Mapping[str, Value] = {"true": True, "false": False, "null": None}
    if text.lower() in known:
        return known[text.lower()]
    if text == "None":
        return None
    if depth > DEEPEST:
        raise SpaceError(f"cannot read {shortened(text)}; lists may be {DEEPEST} deep")
    if text[:1] in ("(", "[") and len(text) > 1 and text[-1] == BRACKETS[text[0]]:
        parts = _split(text[1:-1], text)
        values = [_literal(part, depth + 1) for part in parts]
        if text[0] == "[":
            return values
        return values[0] if len(values) == 1 and not text[1:-1].rstrip().endswith(",") else tuple(values)
    return _single(text)


def _single(text: str) -> Value:
    """A number or a word, which may be quoted."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    quoted = isinstance(value, str) and text[:1] in ("'", '"') and value.isprintable()
    if isinstance(value, str) and (quoted or WORD.fullmatch(value)) and value.lower().lstrip("+-") not in NO_WORDS:
        return value
    if isinstance(value, (int, float)) and is_finite(value):
        return value
    raise SpaceError(
        f"cannot read {text!r}; write a number, true, false, null, a word, (32, 64), or a range such as log(1e-4, 1e-1)"
    )


def _split(text: str, whole: str) -> list[str]:
    """The parts of `text` between commas that stand in no bracket and no quotes; without a last empty one."""
    parts, open_, quote, escaped = [""], [], "", False
    for sign in text:
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in "'\"":
            quote = sign
        elif sign in BRACKETS:
            open_.append(BRACKETS[sign])
        elif sign in BRACKETS.values():
            if not open_ or open_.pop() != sign:
                raise SpaceError(f"cannot read {whole.strip()!r}; its brackets do not match")
        elif sign == "," and not open_:
            parts.append("")
            continue
        parts[-1] += sign
    if open_ or quote:
        raise SpaceError(f"cannot read {whole.strip()!r}; a bracket or quote is not closed")
    return [part for part in parts if part.strip()]
