"""Whom to tell that a search has ended: the options, and what may be shown of addresses, which may be secrets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from search.errors import BadInput
from search.options import names, option

DESKTOP = "desktop"
"""Who is told if this stands in the place of an address."""
UNKNOWN = "***"
"""What is shown of an address that is none."""


def addresses(given: str | Sequence[str], flag: str) -> tuple[str, ...]:
    """Read whom to tell. Raises BadInput, which names no more of an address than its host."""
    for each in names(given, flag):
        if each != DESKTOP and host_of(each) == UNKNOWN:
            raise BadInput(f"{flag} must be an http:// or https:// address, or {DESKTOP}, but got {host_of(each)!r}")
    return names(given, flag)


def host_of(address: str) -> str:
    """An address as it may be shown: without what follows its host, and without a password."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return UNKNOWN
    whole = parts.scheme in ("http", "https") and parts.hostname and address.isprintable() and " " not in address
    return f"{parts.scheme}://{parts.hostname}/***" if whole else UNKNOWN


def notified(address: str) -> str:
    """Whom to tell, as it may be written down."""
    return address if address == DESKTOP else host_of(address)


@dataclass(frozen=True)
class Telling:
    """The options that say whom to tell. No record keeps them. Raises BadInput."""

    notify: tuple[str, ...] = option(
        "--notify",
        str,
        "Tell this address when the search has ended (JSON, as Slack takes it), or the desktop; can be given again.",
        default=(),
        metavar="URL|desktop",
        read=addresses,
    )
    notify_command: str | None = option(
        "--notify-command", str, "Run this command when the search has ended.", metavar="COMMAND"
    )

    @property
    def notices(self) -> tuple[str, ...]:
        """Whom to tell: who was named, else who SEARCH_NOTIFY names (several with blanks between). Raises BadInput."""
        return self.notify or addresses(os.environ.get("SEARCH_NOTIFY", "").split(), "SEARCH_NOTIFY")

    @property
    def notified_by(self) -> str | None:
        """The command to run then: what was given, else SEARCH_NOTIFY_COMMAND."""
        return self.notify_command or os.environ.get("SEARCH_NOTIFY_COMMAND") or None
