"""How the result of a job gets back to who submitted it with --json.

The search writes its result as `result.json` beside its record. Whoever submits may see neither the cluster's shared
folder nor its bucket, and Ray's job server gives out nothing of a job but its state and its log. So the job also says
the document in one line of its log. The line begins with a word of ours and the id of the job, which Ray gives once:
what a study prints is not taken for it, nor the document of another search, nor one that was cut off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MARK = "search-result"


def line(job: str, document: Mapping[str, Any]) -> str:
    """The line that the job with the id `job` writes: on its own, whatever was written before without an end."""
    return f"\n{MARK} {job} {json.dumps(document)}"


def found(log: str, job: str) -> dict[str, Any] | None:
    """The document in what the job with the id `job` wrote, or None if it came to none."""
    begin = f"{MARK} {job} "
    for each in reversed(log.split("\n")):
        if each.startswith(begin):
            try:
                document: dict[str, Any] = json.loads(each.removeprefix(begin))
            except json.JSONDecodeError:  # it was cut off
                return None
            return document
    return None
