"""How to do it again: commands, what the numbers depend on, and the processes that worked on the search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from search.findings.snapshot import Snapshot
from search.record.events import BEGINNINGS, Kind
from search.storage.runs import command


@dataclass
class Session:
    """A process that worked on the search: when it began, where, by which command, and how it `left`, "" if it died."""

    began: str
    node: str
    command: str
    left: str = ""


@dataclass(frozen=True)
class Reproduction:
    """`commands` are each with what it is good for, `facts` by name."""

    commands: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    sessions: Sequence[Session]


def build(search: Snapshot) -> Reproduction:
    """How to do `search` again."""
    return Reproduction(_commands(search), _facts(search), _sessions(search))


def _commands(search: Snapshot) -> list[tuple[str, str]]:
    trial = search.winner.number if search.winner else 0
    return [
        (search.header.command, "the search, as it was begun"),
        (command("replay", search.folder), "derives every suggestion and stop anew from the record, and compares"),
        (
            f"{command('reproduce', search.folder)} --trial {trial}",
            "trains a trial again from its seed, and compares",
        ),
        (
            command("resume", search.folder),
            "goes on with it if it was interrupted, or given --trials or --time-budget",
        ),
    ]


def _facts(search: Snapshot) -> list[tuple[str, str]]:
    """What the numbers depend on: seeds, data, code, versions."""
    header, study = search.header, search.header.definition
    gpus = f"{header.gpus:g} GPU{' or none' if header.also_cpus else ''}"
    facts = [
        ("seed", f"{header.seed}; the one of each trial is made from it and the trial's number"),
        ("sampler, scheduler", f"{header.sampler}, {header.scheduler}"),
        ("split", f"{study['val_fraction']:.3g} held out for validation, seed {study.get('split_seed')}"),
        ("data", f"{header.dataset}: {header.where}" if header.dataset else header.where),
        ("data SHA-256", header.digest),
        ("commit", header.commit),
        ("commit of the study", header.study_commit),
        ("code SHA-256", header.code),
        ("study file SHA-256", header.study_code or ""),
        ("versions", ", ".join(f"{name} {version}" for name, version in header.versions.items())),
        ("resources", f"{header.cpus:g} CPU and {gpus} per trial; {header.process.cores or '?'} cores"),
        ("platform", header.platform),
    ]
    return [(name, text) for name, text in facts if text]


def _sessions(search: Snapshot) -> list[Session]:
    sessions: list[Session] = []
    for event in search.events:
        body = event.body
        if event.kind in BEGINNINGS:
            began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(event.at - body.get("after_s", 0.0)))
            line = body.get("resume_command") or body.get("command", "")
            sessions.append(Session(began, str(body.get("node", "")), str(line)))
        elif event.kind == Kind.FINISHED and sessions:
            sessions[-1].left = f"{body['state']} {body.get('why', '')}".strip()
    return sessions
