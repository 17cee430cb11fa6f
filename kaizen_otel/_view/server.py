"""The viewer's server: loopback, a token, a strict policy, plain JSON and a few static files."""

from __future__ import annotations

import hmac
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel._view import answers
from kaizen_otel._view.index import Index
from kaizen_otel._view.verification import Verification
from kaizen_otel.errors import ConfigError, SetupError

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route
except ImportError as error:  # pragma: no cover - depends on the installation
    raise SetupError(
        "the viewer needs Starlette and uvicorn: pip install 'kaizen-otel[view]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

STATIC: Final = Path(__file__).resolve().parent / "static"
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_LOOK_S: Final = 0.5
_MEDIA: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets in who has the token, and asks for one of our own hosts.

    Other users of the machine, and pages of other sites whose name leads to this address (DNS
    rebinding), have not the token, and get nothing to see.
    """

    def __init__(self, app: ASGIApp, *, token: str, cookie: str) -> None:
        """``cookie`` carries the token once a link has brought it."""
        self._app = app
        self._token = token
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import Request

        request = Request(scope, receive)
        await self._answer(request)(scope, receive, _with_headers(send))

    def _answer(self, request: Request) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if host not in _HOSTS:
            return PlainTextResponse("this server answers to localhost only\n", 421)
        given = request.query_params.get("token")
        if given is not None and self._is_token(given):
            answer = RedirectResponse(request.url.path, 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        if not self._is_token(request.cookies.get(self._cookie, "")):
            return PlainTextResponse(
                "Open the link that `kaizen-otel view` printed: it carries the token.\n", 403
            )
        if request.method not in {"GET", "HEAD"}:
            return PlainTextResponse("nothing can be changed here\n", 405)
        return self._app

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


class Viewer:
    """An index that a thread keeps up to date, and the answers from it."""

    def __init__(self, directory: Path, *, trust_file: str | None = None) -> None:
        """Open nothing yet; ``start`` does."""
        self.index = Index(directory)
        self.verification = Verification(directory, trust_file=trust_file)
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="kaizen-otel-view", daemon=True)

    def start(self) -> None:
        """See what is there, then go on in a thread."""
        self.index.step()
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the files."""
        self._is_ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.index.close()

    def app(self, *, token: str, cookie: str) -> ASGIApp:
        """Return the ASGI application."""
        index = self.index

        def asking(question: Callable[[Request], Any]) -> Callable[[Request], Response]:
            def answer(request: Request) -> Response:
                # What is not there is null: a browser would report a 404 as an error of the page.
                text = answers.encode_json(question(request))
                return Response(text, media_type="application/json")

            return answer

        def asked(request: Request) -> dict[str, str]:
            return dict(request.query_params)

        questions: dict[str, Callable[[Request], Any]] = {
            "/api/overview": lambda _: answers.overview(index),
            "/api/traces": lambda r: answers.list_traces(index, asked(r)),
            "/api/traces/{id}": lambda r: answers.trace(index, r.path_params["id"]),
            "/api/conversations": lambda _: answers.conversations(index),
            "/api/conversations/{id:path}": lambda r: answers.conversation(
                index, r.path_params["id"]
            ),
            "/api/metrics": lambda _: answers.list_metrics(index),
            "/api/metrics/{name:path}": lambda r: answers.metric(index, r.path_params["name"]),
            "/api/logs": lambda r: answers.records(index, "logs", asked(r)),
            "/api/audit": lambda r: answers.records(index, "audit", asked(r)),
            "/api/verification": lambda _: self.verification.answer(),
        }
        routes = [Route(path, asking(question)) for path, question in questions.items()]
        routes += [Route("/", _static), Route("/static/{name}", _static)]
        return Guard(Starlette(routes=routes), token=token, cookie=cookie)

    def _follow(self) -> None:
        while not self._is_ended.is_set():
            if not self.index.step():
                self._is_ended.wait(_LOOK_S)


def listen(port: int) -> socket.socket:
    """Take a port of the loopback address, 0 for a free one; raises ``ConfigError``."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        # From now on a browser waits for its answer instead of being refused.
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"port {port} of 127.0.0.1 cannot be used ({error}): is a viewer running already? "
            "Choose another with --port, or --port 0 for a free one"
        ) from None
    return listening


def serve(
    viewer: Viewer, listening: socket.socket, *, token: str, ready: Callable[[str], object]
) -> None:
    """Answer until Ctrl-C or SIGTERM; ``ready`` is told the link to open."""
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        viewer.app(token=token, cookie=f"kaizen-otel-view-{port}"),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    viewer.start()
    try:
        ready(f"http://127.0.0.1:{port}/?token={token}")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        viewer.close()
        listening.close()


def _static(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in _MEDIA or not path.is_file():
        return PlainTextResponse("there is nothing of that name\n", 404)
    return FileResponse(path, media_type=_MEDIA[path.suffix])


def _with_headers(send: Send) -> Send:
    async def answer(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        if message["type"] == "http.response.start":
            added = [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return answer
