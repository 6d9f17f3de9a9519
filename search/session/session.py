"""A recorded search while a process works on it, and what it leaves behind: registered winner, report, result."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from search.decide.search import Search
from search.errors import SearchError
from search.prepared import Prepared
from search.record.events import InMLflow
from search.record.reading import last
from search.record.record import Record
from search.signals import Interrupted
from search.storage import mirror
from search.storage.runs import RESULT, command
from search.terminal.console import Display
from search.tracking.tracker import PATIENCE_SECONDS, REPORT_SECONDS, Tracker, log_report


class Session:
    """What was `prepared`, with its `record` open for writing: the search with its decisions, and its way to MLflow."""

    def __init__(self, prepared: Prepared, record: Record, display: Display) -> None:
        self.prepared, self.record, self.display, self.folder = prepared, record, display, record.path.parent
        self.search = Search.of(prepared.header, prepared.study, record, past=prepared.past)
        self.tracker = Tracker(record.path, prepared.settings.tracking, display.warn)

    def command(self, verb: str) -> str:
        """The command that does `verb` to this search."""
        return command(verb, self.folder)

    def publish(self) -> bool:
        """Measure the winner, log and register it, and record where; what of it is done already is not done again.

        False if MLflow does not answer, so that nothing could be logged. Raises SearchFailed if there is no winner,
        EnvironmentFault if its checkpoint is bad or MLflow does not take it.
        """
        from search.session.winner import crown, key_of, publish, winner

        best, published = winner(self.search), last(self.prepared.past, InMLflow)
        key = key_of(self.prepared.header.id, best, self.search.study.objective)
        if published is not None and published.winner == key:
            self.search.note(published)  # once per process: it tells that nothing is left to do
            return True
        model = crown(self.prepared, self.search, self.folder.resolve(), self.display)
        if not self.tracker.flush(PATIENCE_SECONDS):
            sync = self.command("sync")
            self.display.warn(f"MLflow does not answer, so no model is registered yet; `{sync}` will do it")
            return False
        place = self.tracker.place
        if model is not None:
            place = publish(self.prepared, model, place, instead=self.command("sync"))
        self.search.note(place)
        return True

    def report(self, *, log: bool) -> None:
        """Write the report of a search that is over, and `log` it where its runs are.

        Whatever goes wrong is one warning: the search is done and recorded, and the report can be made at any time.
        """
        from search.findings import report

        try:
            path = report.write(self.folder, data=self.prepared.data)
            mirror.push(path)
        except (Exception, Interrupted) as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            self.display.warn(f"no report was written ({why}); `{self.command('report')}` tries again")
            return
        try:
            run_id = self.tracker.place.parent_run_id if log else None
            if run_id is None:
                return
            why = log_report(self.prepared.settings.tracking, run_id, path, REPORT_SECONDS)
        except Interrupted as error:
            why = str(error)
        if why:
            sync = self.command("sync")
            self.display.warn(f"MLflow did not take the report ({why}), which is {path}; `{sync}` tries again")

    def keep(self, summary: Mapping[str, Any]) -> None:
        """Write the result beside the record, whole or not at all; if it cannot be written that is one warning."""
        path, aside = self.folder / RESULT, self.folder / f".{RESULT}-{uuid.uuid4().hex}"
        try:
            aside.write_text(json.dumps(summary, indent=1) + "\n")
            aside.replace(path)
            mirror.push(path)
        except (OSError, SearchError, Interrupted) as error:
            self.display.warn(f"{path} was not written ({error}); `{self.command('show')} --json` says the same")
        finally:
            aside.unlink(missing_ok=True)
