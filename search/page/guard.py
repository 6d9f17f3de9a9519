"""Who may ask the page's server for something.

Each server has a token. The link that is printed carries it, and whoever comes by that link gets it as a cookie.
Without it nothing is shown, on the loopback address too, since a machine may have other users. A browser sends the
cookie with requests of this page only (SameSite), and what changes something must besides come from this page (Origin)
and say the token once more, as only a script of this page can. A name that was made to point to this machine (DNS
rebinding) is no name of ours (Host).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer carries: no script but ours runs, and nobody frames, keeps or learns of the page."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Guard:
    """The rules of the server at `host` and `port`."""

    host: str
    port: int
    read_only: bool = False
    who: str = "the page"
    """In whose name a search is asked for something."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The name of the cookie; ports of one host share their cookies."""
        return f"search-{self.port}"

    @property
    def link(self) -> str:
        """Where the page is, with the token."""
        return f"{self.origin}/?token={self.token}"

    @property
    def origin(self) -> str:
        """Where the page is."""
        name = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}"

    def knows_host(self, host: str) -> bool:
        """Whether `host`, as a request names it, is this server: an address, or a name of this machine."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port:
            return False
        if self.host in LOOPBACK:
            return name in LOOPBACK
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {"localhost", self.host, socket.gethostname().lower(), socket.getfqdn().lower()}
        return True

    def has_token(self, cookies: str) -> bool:
        """Whether the header `cookies` holds the token."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        return found is not None and self.is_token(found.value)

    def is_token(self, word: str) -> bool:
        """Whether `word` is the token."""
        return hmac.compare_digest(word.encode(), self.token.encode())

    def may_change(self, headers: Mapping[str, str]) -> str:
        """Why a request that has the cookie may change nothing, by its `headers`; "" if it may."""
        if self.read_only:
            return "this page is read-only; start it without --read-only to steer"
        origin = headers.get("origin", "")
        if not origin.startswith("http://") or not self.knows_host(origin.removeprefix("http://")):
            return "what changes a search must be asked from this page"
        if not self.is_token(headers.get("x-search-token", "")):
            return "the token of this page is missing or wrong; load it again"
        return ""
