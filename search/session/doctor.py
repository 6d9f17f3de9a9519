"""Is this machine fit to search on, and does all that is kept of a search agree with its record?"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import spaces
from search import provenance
from search.decide import replay
from search.engine import places, ray_session
from search.errors import EnvironmentFault, SearchError
from search.record.events import BEGINNINGS, Entry, Event, Repeated
from search.record.header import Header
from search.record.reader import FILE, Impossible, read
from search.record.reading import header_of, objective_of
from search.record.record import salvage
from search.record.state import State
from search.record.trial import EpochRow, Trial
from search.record.trials import replayed
from search.session.left import closing_event
from search.session.mlflow_address import address_of
from search.session.reproduce import remake
from search.session.resume import drift, recalled, recorded_study
from search.settings import More, Settings, masked
from search.storage import bucket, checkpoints, lock, mirror
from search.terminal.console import Silent
from search.tracking import store
from search.tracking.agreement import disagreements
from search.tracking.runs import Runs


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and what was seen; `repair` mends it, if that is possible."""

    what: str
    well: bool
    seen: str
    repair: Callable[[], str] | None = None


def _tried(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except Exception as error:  # whatever it is, it is the finding
        return Finding(what, False, masked(" ".join(str(error).split()))[:300] or type(error).__name__)


# This machine


def machine(settings: Settings) -> Iterator[Finding]:
    """Versions, storage, Ray, MLflow and GPUs, each tried and not only asked."""
    versions = provenance.versions()
    missing = [name for name, version in versions.items() if version == "none"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Finding("versions", not missing, listed)
    yield _tried("storage", lambda: _storage(settings.runs))
    yield _tried("ray", lambda: _ray(settings))
    yield _tried("mlflow", lambda: _mlflow(settings.tracking))
    yield _tried("gpus", _gpus)
    yield _tried("precision", lambda: _precision(settings))


def _storage(runs: Path) -> str:
    storage = bucket.of(runs)
    if storage is not None:
        start = time.perf_counter()
        storage.check()
        took = time.perf_counter() - start
        return f"{storage.url}: an object was written once, refused a second time, read and deleted in {took:.2f} s"
    runs.mkdir(parents=True, exist_ok=True)
    aside = runs / f".doctor-{os.getpid()}"
    aside.mkdir()
    try:
        start = time.perf_counter()
        with lock.held(aside), (aside / "a").open("wb") as file:
            file.write(bytes(10**6))
            file.flush()
            os.fsync(file.fileno())
        (aside / "a").rename(aside / "b")
        took = time.perf_counter() - start
    finally:
        shutil.rmtree(aside)
    left = [str(folder) for folder in runs.glob(".new-*") if not lock.is_held(folder)]
    also = f"; {', '.join(left)} were left by killed processes and can be removed" if left else ""
    free = f"{shutil.disk_usage(runs).free:,} bytes free"
    return f"{runs.resolve()}: {free}, 1 MB locked, synced and moved in {took * 1000:.0f} ms{also}"


def _ray(settings: Settings) -> str:
    with ray_session.ray_running(settings, meanwhile=lambda: None):
        ray_session.run_a_task()
        told = f"started, ran a task; {places.cores():g} CPUs, room for {places.slots(settings)} trials at a time"
        if settings.ray_address:
            return told
        ports = ", ".join(f"{ip} ({count} ports)" for ip, count in sorted(ray_session.listening().items()))
        return f"{told}; listens at {ports}; each of its logs keeps at most {2 * ray_session.LOG_BYTES // 10**6} MB"


def _precision(settings: Settings) -> str:
    """What `auto` comes to on the processor; it is measured now if it never was."""
    import torch

    from trainables.mode import kept_at, probe

    device, threads, told = torch.device("cpu"), torch.get_num_threads(), []
    torch.set_num_threads(max(1, int(settings.cpus)))
    try:
        for convolutional, what in ((False, "fully connected"), (True, "convolutional")):
            mode = probe(device, convolutional=convolutional)
            told.append(f"{what} networks train in {mode.precision}{', channels_last' if mode.channels_last else ''}")
        kept = kept_at(device, convolutional=True)[0]
    finally:
        torch.set_num_threads(threads)
    where = f"measured once, kept in {kept.parent}"
    if not kept.is_file():
        where = f"{kept.parent} cannot be written, so each process measures for itself, and two searches may differ"
    return f"{'; '.join(told)}; {where}"


def _mlflow(uri: str) -> str:
    store.probe(uri)
    store.write_probe(uri)
    return f"{masked(uri)}: a run was written, read and deleted"


def _gpus() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "none; trials run on processors"


# A search


def search(folder: Path, *, running: bool, study: Path | None = None) -> Iterator[Finding]:
    """Whether record, decisions, checkpoints and MLflow's runs of the search in `folder` tell the same.

    To find out writes nothing and runs no code of the search's author. A repair may have to train: that it does only if
    the study is one of ours, or `study` is its file. Of a `running` search, differences that its process is about to
    settle are no fault. What the caller repairs between two findings is seen by the next; of a record that stays
    damaged nothing more can be said.
    """
    yield from _record(folder, running=running)
    try:
        events = read(folder / FILE)
    except EnvironmentFault:
        return
    yield _tried("decisions", lambda: _decisions(events))
    yield _code(header_of(events))
    yield _checkpoints(folder, events, running=running, study=study)
    yield _runs(folder, read(folder / FILE), running=running)


def _record(folder: Path, *, running: bool) -> Iterator[Finding]:
    """Whether the record is whole, and has its last word."""
    try:
        events = read(folder / FILE)
    except Impossible as fault:  # no disk did that, and to cut it off would take its checkpoints with it
        yield Finding("record", False, f"{fault}; somebody has changed it, so nothing of it is mended")
        return
    except EnvironmentFault as fault:
        yield Finding("record", False, str(fault), lambda: _salvaged(folder))
        try:
            events = read(folder / FILE)
        except EnvironmentFault:
            return
    counts = ", ".join(f"{n} {state}" for state, n in replayed(events, objective_of(events)).counts().items())
    processes = sum(event.kind in BEGINNINGS for event in events)
    seen = f"{len(events)} whole events of {processes} processes; trials: {counts or 'none'}"
    closing = None if running else closing_event(events)
    if closing is None:
        yield Finding("record", True, seen)
    else:
        died = f"{seen}; the last process died: resume goes on with it, --repair closes it"
        yield Finding("record", False, died, lambda: _closed(folder, closing))


def _salvaged(folder: Path) -> str:
    kept, aside = salvage(folder / FILE)
    return f"its first {kept} events are whole and were kept, the rest is lost; the damaged files are in {aside}"


def _closed(folder: Path, closing: Entry) -> str:
    with mirror.record(folder) as record:
        record.append(closing)
    return "the record says so now; the trials that ran are interrupted, and go on if the search does"


def _decisions(events: Sequence[Event]) -> str:
    different = replay.differences(events, recorded_study(header_of(events), to_train=False))
    if different:
        raise EnvironmentFault("; ".join(different))
    return "every suggestion and every stop follows from the record"


def _code(header: Header) -> Finding:
    """What has changed in code and versions; that is no fault."""
    changed = drift(header, provenance.code(header.source))
    otherwise = "trials that go on or are reproduced may come out otherwise"
    return Finding("code", True, "; ".join([*changed, otherwise]) if changed else "as when the search began")


def _checkpoints(folder: Path, events: Sequence[Event], *, running: bool, study: Path | None) -> Finding:
    """Whether the checkpoints that are needed are whole, and no others are there."""
    trials, shelf = replayed(events, objective_of(events)), checkpoints.shelf(folder)
    needed = set(checkpoints.needed(trials))
    rows = {row.checkpoint: (trial, row) for trial in trials for row in trial.epochs if row.checkpoint}
    faults, gone = [], []
    for name in sorted(needed):
        trial, row = rows[name]
        try:
            checkpoints.verified(shelf, name, row.sha256 or "")
        except EnvironmentFault as fault:
            faults.append(str(fault))
            if trial.state not in (State.RUNNING, State.INTERRUPTED):
                gone.append((trial, row))
    present = shelf.names()
    ahead = sorted(name for name in present - set(rows) if not name.endswith(".part"))
    whole = f"{len(needed) - len(faults)} of {len(needed)} that are needed are whole"
    more = f", {len(present - needed)} more" if present - needed else ""
    links = shelf.links()
    left = f", {len(links)} links left alone: {', '.join(links[:3])}" if links else ""
    seen = f"{whole}{more}, {shelf.bytes():,} bytes{left}"
    if running:
        return Finding("checkpoints", not faults, "; ".join([seen, *faults]))
    if len(ahead) > len(trials.running()) + 1:
        faults.append(f"{len(ahead)} are of epochs that the record does not know, so it has lost its end")
    well = not faults and present <= needed
    return Finding("checkpoints", well, "; ".join([seen, *faults]), lambda: _tidied(folder, events, gone, study))


def _tidied(folder: Path, events: Sequence[Event], gone: Sequence[tuple[Trial, EpochRow]], study: Path | None) -> str:
    """Train what is `gone` of ended trials again, and remove what nobody needs. Raises EnvironmentFault."""
    source = header_of(events).source
    if gone and spaces.is_file(source) and (study is None or str(study.resolve()) != source):
        raise EnvironmentFault(
            f"the checkpoint of trial {gone[0][0].number} has to be trained again, which runs the code in {source}; "
            f"if you trust it, add --study {shlex.quote(source)}"
        )
    for trial, row in gone:
        _trained_again(folder, events, trial, row)
    trials = replayed(read(folder / FILE), objective_of(events))
    checkpoints.Retention(checkpoints.shelf(folder)).tidy(trials)
    again = f"trial {gone[0][0].number} was trained again from its seed, and came out the same; " if gone else ""
    return f"{again}what nobody needs was removed, and interrupted trials go on from what is whole"


def _trained_again(folder: Path, events: Sequence[Event], trial: Trial, row: EpochRow) -> None:
    """Make the lost checkpoint of an ended trial once more. Raises EnvironmentFault if it comes out otherwise."""
    prepared = recalled(folder, events, More(), "", Silent(), to_report=False)
    written = remake(prepared, trial.number, row.number, checkpoints.shelf(folder))
    repeated = Repeated(row.number, True, written.name, written.sha256, written.bytes)
    with mirror.record(folder) as record:
        record.append(repeated.entry(trial.number))


def _runs(folder: Path, events: Sequence[Event], *, running: bool) -> Finding:
    """Whether MLflow shows what is recorded."""
    told: list[str] = []
    try:
        uri = address_of(folder, header_of(events).tracking_uri, told.append)
    except EnvironmentFault as fault:
        return Finding("mlflow", False, str(fault))
    differences = _unwritten(uri, events)
    if running:
        return Finding("mlflow", True, f"{len(differences)} differences, which a running search may have")
    trials = len(replayed(events, objective_of(events)))
    seen = differences[:5] or [f"one parent and {trials} children, values and statuses as recorded"]
    return Finding("mlflow", not differences, "; ".join([*seen, *told]), lambda: _rewritten(uri, events, folder))


def _unwritten(uri: str, events: Sequence[Event]) -> list[str]:
    try:
        with store.reader(uri) as client:
            return disagreements(client, events)
    except Exception as error:
        return [masked(" ".join(str(error).split()))[:300]]


def _rewritten(uri: str, events: Sequence[Event], folder: Path) -> str:
    for anew in (False, True):
        try:
            Runs(uri, events, anew=anew, folder=folder).rewrite(events)
        except SearchError:
            raise
        except Exception as error:
            raise EnvironmentFault(f"MLflow did not take the runs: {masked(str(error))[:300]}") from error
        if not disagreements(store.connect(uri), events):
            return "the runs were deleted and written anew" if anew else "what was missing or wrong was written again"
    raise EnvironmentFault("MLflow shows other runs than were written to it")
