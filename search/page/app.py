"""What the page's server answers to which address."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.errors import BadInput, EnvironmentFault
from search.findings import markup
from search.findings.figures import interactive
from search.page import views
from search.page.guard import HEADERS, Guard
from search.page.live import House
from search.record.steering import Request as Wanted
from search.record.steering import values_in
from search.storage import requests

FOLDER = Path(__file__).parent
REPORT_CSS = markup.FOLDER / "report.css"
"""The page looks like the report."""
STATIC = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
LOOK_SECONDS = 0.5
"""How often a record is looked at while somebody watches."""
SIGN_SECONDS = 15.0
"""How often a stream without news gives a sign of life; only so is noticed that nobody listens any more."""
MOST_COMPARED = 8
LARGEST = 64_000
"""Bytes of what may be asked of a search."""
Answer = Callable[[Request], Awaitable[Response]]


def app(house: House, guard: Guard) -> ASGIApp:
    """The pages on the searches of `house`, for those whom `guard` lets in."""
    pages = _Pages(house, guard)
    routes = [
        Route("/", pages.shell),
        Route("/compare", pages.shell),
        Route("/search/{name}", pages.shell),
        Route("/search/{name}/trial/{number:int}", pages.shell),
        Route("/static/plotly.js", pages.plotly),
        Route("/static/{file}", pages.static),
        Route("/api/searches", pages.home),
        Route("/api/compare", pages.compare),
        Route("/api/searches/{name}", pages.search),
        Route("/api/searches/{name}/trials/{number:int}", pages.trial),
        Route("/api/searches/{name}/sections", pages.sections),
        Route("/api/searches/{name}/requests", pages.steer, methods=["POST"]),
        Route("/api/events", pages.events),
    ]
    return _Guarded(Starlette(routes=routes), guard)


class _Guarded:
    """Lets nobody in whom the guard does not; what it refuses reaches no page."""

    def __init__(self, inner: ASGIApp, guard: Guard) -> None:
        self._inner, self._guard = inner, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = [
                    (n.lower().encode(), v.encode()) for n, v in HEADERS.items() if n.lower().encode() not in there
                ]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._inner)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        guard = self._guard
        if not guard.knows_host(request.headers.get("host", "")):
            return _error("this is no name of this server; use the link that was printed", 421)
        if request.method == "GET" and request.url.path == "/" and "token" in request.query_params:
            if not guard.is_token(request.query_params["token"]):
                return _error("the token in the link is wrong; use the link that was printed last", 403)
            to = request.query_params.get("to", "/")
            answer = RedirectResponse(to if to.startswith("/") and not to.startswith("//") else "/", 303)
            answer.set_cookie(guard.cookie, guard.token, httponly=True, samesite="strict", path="/")
            return answer
        if not guard.has_token(request.headers.get("cookie", "")):
            return _error("open this page by the link that was printed, which carries its token", 403)
        if request.method not in ("GET", "HEAD"):
            why = guard.may_change(request.headers)
            return _error(why, 403) if why else None
        return None


def _error(text: str, code: int) -> Response:
    return JSONResponse({"error": text}, code)


def _answers(method: Callable[[Any, Request], Any]) -> Any:
    """A page whose plain data is made on a thread; what cannot be had is one line and a status."""

    async def answer(self: _Pages, request: Request) -> Response:
        try:
            told = await run_in_threadpool(method, self, request)
        except BadInput as error:
            return _error(str(error), 404)
        except EnvironmentFault as error:
            return _error(str(error), 503)
        return told if isinstance(told, Response) else Response(as_json(told), media_type="application/json")

    return answer


def as_json(plain: Any) -> str:
    """`plain` as JSON that a browser reads: a number that is none becomes null."""
    try:
        return json.dumps(plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(plain), allow_nan=False, separators=(",", ":"))


def _finite(plain: Any) -> Any:
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, Mapping):
        return {name: _finite(each) for name, each in plain.items()}
    return [_finite(each) for each in plain] if isinstance(plain, (list, tuple)) else plain


@cache
def _plotly() -> bytes:
    """Plotly's script as its package ships it, compressed: 4.8 MB become 1.5 MB."""
    return gzip.compress((files("plotly") / "package_data" / "plotly.min.js").read_bytes(), 6)


class _Pages:
    def __init__(self, house: House, guard: Guard) -> None:
        self._house, self._guard = house, guard
        self._template = markup.environment(markup.as_svg).from_string((FOLDER / "page.html").read_text())
        self._sections: dict[tuple[str, int | None], tuple[int, str]] = {}

    async def shell(self, request: Request) -> Response:
        """The page, which fetches all else."""
        told = {"token": self._guard.token, "read_only": self._guard.read_only, "plotly": version("plotly")}
        return HTMLResponse(self._template.render(told))

    async def static(self, request: Request) -> Response:
        """Our own scripts and styles."""
        name = request.path_params["file"]
        kind = STATIC.get(name.rpartition(".")[2])
        file = REPORT_CSS if name == REPORT_CSS.name else FOLDER / "static" / name
        if kind is None or file.parent not in (FOLDER / "static", REPORT_CSS.parent) or not file.is_file():
            return _error("no such file", 404)
        return Response(await run_in_threadpool(file.read_bytes), media_type=kind)

    async def plotly(self, request: Request) -> Response:
        """The charts' script; its address names the version, so a browser may keep it."""
        headers = {"Content-Encoding": "gzip", "Cache-Control": "private, max-age=31536000, immutable"}
        return Response(await run_in_threadpool(_plotly), media_type="text/javascript", headers=headers)

    @_answers
    def home(self, request: Request) -> Any:
        """All searches, the newest first; of a damaged one what is wrong with it."""
        told = []
        for live in self._house.all():
            try:
                with live.now() as search:
                    told.append(views.head(search))
            except EnvironmentFault as error:
                told.append({"name": live.folder.name, "fault": str(error)})
        return told

    @_answers
    def search(self, request: Request) -> Any:
        """One search; with `?after=EVENT` only the trials of which something is new."""
        with self._house.get(request.path_params["name"]).now() as search:
            return views.one(search, _number(request, "after") or 0)

    @_answers
    def trial(self, request: Request) -> Any:
        """One trial."""
        name, number = request.path_params["name"], request.path_params["number"]
        with self._house.get(name).now() as search:
            try:
                return views.trial(search, number)
            except KeyError:
                raise BadInput(f"{name} has no trial {number}; it has {len(search.trials)}, counted from 0") from None

    @_answers
    def sections(self, request: Request) -> Any:
        """The sections of the report as HTML, with plots to be drawn; made anew when the record has changed."""
        name, rung = request.path_params["name"], _number(request, "rung")
        with self._house.get(name).now() as search:
            if rung is not None and rung not in views.rungs(search):
                raise BadInput(f"{name} has no rung at epoch {rung}; it has {views.rungs(search)}")
            event, text = self._sections.get((name, rung), (0, ""))
            if event != len(search.events):
                text = (
                    markup.environment(_placeholder)
                    .get_template("sections.html")
                    .render(markup.sections(search, rung=rung, live=True))
                )
                self._sections[name, rung] = (len(search.events), text)
        return HTMLResponse(text)

    async def steer(self, request: Request) -> Response:
        """Ask something of a running search; that it was sent is answered, what came of it the record tells."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return _error(f"a request has at most {LARGEST:,} bytes", 400)

        def sent() -> str:
            wanted = _wanted(body, self._guard.who)
            requests.send(self._house.get(request.path_params["name"]).folder, wanted)
            return wanted.id

        try:
            return JSONResponse({"id": await run_in_threadpool(sent)}, 202)
        except BadInput as error:
            return _error(str(error), 400)
        except EnvironmentFault as error:
            return _error(str(error), 503)

    @_answers
    def compare(self, request: Request) -> Any:
        """Several searches side by side."""
        names = list(dict.fromkeys(request.query_params.getlist("name")))
        if not 1 <= len(names) <= MOST_COMPARED:
            raise BadInput(f"compare 1 to {MOST_COMPARED} searches, but got {len(names)}")
        with ExitStack() as stack:
            # In one order for everybody, or two who compare the same would wait for each other.
            held = {name: stack.enter_context(self._house.get(name).now()) for name in sorted(names)}
            return views.compared([held[name] for name in names])

    async def events(self, request: Request) -> Response:
        """A stream that says, as server-sent events, when one of the searches `?name=` (or any) has changed."""
        names = request.query_params.getlist("name")

        async def stream() -> AsyncIterator[str]:
            known: Any = None
            quiet = 0.0
            while not await request.is_disconnected():
                try:
                    now = await run_in_threadpool(self._house.versions, names)
                except (BadInput, EnvironmentFault) as error:
                    now = {"error": str(error)}
                if now != known:
                    known, quiet = now, 0.0
                    yield f"data: {as_json(now)}\n\n"
                elif quiet >= SIGN_SECONDS:
                    quiet = 0.0
                    yield ": still here\n\n"
                quiet += LOOK_SECONDS
                await asyncio.sleep(LOOK_SECONDS)

        return StreamingResponse(stream(), media_type="text/event-stream")


def _number(request: Request, name: str) -> int | None:
    word = request.query_params.get(name)
    if word is None or word == "":
        return None
    if not word.isdecimal() or len(word) > 12:
        raise BadInput(f"{name} must be a whole number, but got {word[:40]!r}")
    return int(word)


def _wanted(body: bytes, who: str) -> Wanted:
    """What `who` asks by `body`: a verb, and with it `what`; a configuration as text. Raises BadInput."""
    try:
        asked = json.loads(body)
        verb, what = asked["verb"], asked.get("what")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadInput("a request says its verb, and what is given with it") from None
    if verb == "add" and isinstance(what, str):
        what = values_in(what)
    return Wanted(verb, {} if what is None else {"what": what}, who)


def _placeholder(figure: Any) -> Any:
    """Where the page's script draws a figure; what is SVG from the start stays that."""
    from markupsafe import Markup, escape

    if isinstance(figure, str):
        return Markup(figure)
    return Markup('<div class="plot" data-plot="{}"></div>').format(escape(as_json(interactive.plot(figure))))
