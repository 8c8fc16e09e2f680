"""The review page on 127.0.0.1, with the standard library's HTTP server.

Every address begins with a token that only the terminal shows, so that other users of the machine and other sites in the
browser cannot read or answer; a foreign Host header is refused (DNS rebinding), and so is a foreign Origin. Rows travel as
JSON and become text nodes on the page, never markup; the page's policy (CSP) allows no script but its own file.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from negscale.core.errors import ConfigError, NegscaleError
from negscale.core.image import ImageError
from negscale.review.session import Session

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "": ("review.html", "text/html; charset=utf-8"), "review.css": ("review.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
}  # fmt: skip
_HOSTS = ("127.0.0.1", "localhost")  # any port: an ssh tunnel may have another one at its near end
_MAX_BODY_BYTES = 4096
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip


class ReviewServer:
    """Serves a session until it is closed. A context manager; the server runs in a thread of its own.

    port: 0 takes a free one. Raises ConfigError when the port is taken.
    """

    def __init__(self, session: Session, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        try:
            self._server = _Server(session, self.token, port)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on 127.0.0.1:{port} ({error}); give another --port, or 0 for any"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="negscale-review", daemon=True)

    @property
    def url(self) -> str:
        """The page's address, token included."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def __enter__(self) -> ReviewServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, session: Session, token: str, port: int) -> None:
        self.session, self.token = session, token
        super().__init__(("127.0.0.1", port), _Handler)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # an unclosed bracket
        return None


class _RefusedError(NegscaleError):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version, sys_version = "negscale", ""

    @property
    def _review(self) -> _Server:
        assert isinstance(self.server, _Server)
        return self.server

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _guarded(self, handle: Any) -> None:
        try:
            handle(self._checked_path())
        except _RefusedError as error:
            self.close_connection = True  # a body may be left unread
            self._json({"error": str(error)}, error.status)
        except ImageError as error:
            self._json({"error": f"{error.kind}: {error}"}, HTTPStatus.NOT_FOUND)
        except ConfigError as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except (
            NegscaleError
        ) as error:  # a full disk, a store that refuses: the page says so and the answer is given again
            self._json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except OSError as error:
            if isinstance(error, (BrokenPipeError, ConnectionResetError, TimeoutError)):
                self.close_connection = True
                return
            self._json({"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _checked_path(self) -> list[str]:
        """The parts of the path after the token. Refuses foreign hosts, foreign origins and other tokens."""
        host = self.headers.get("Host", "")
        if _hostname(host) not in _HOSTS:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this page is served to 127.0.0.1 only")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this page answers itself only")
        _, token, *parts = [unquote(part) for part in self.path.partition("?")[0].split("/")] + [""]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._review.token.encode()):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "wrong token: open the address that the terminal shows")
        return parts[:-1]

    def _get(self, parts: list[str]) -> None:
        session = self._review.session
        match parts:
            case [name] if name in _FILES:
                file, kind = _FILES[name]
                self._send((_PAGE / file).read_bytes(), kind)
            case ["state"]:
                self._json(session.state())
            case ["row", number]:
                self._json(session.row(self._number(number)))
            case ["image", number, column]:
                data = session.jpeg(self._number(number), column)
                self._send(data, "image/jpeg", cache="private, max-age=3600")
            case _:
                raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")

    def _post(self, parts: list[str]) -> None:
        session, body = self._review.session, self._body()
        match parts:
            case ["answer"]:
                row, verdict = body.get("row"), body.get("verdict")
                if not isinstance(row, int) or isinstance(row, bool) or not isinstance(verdict, str):
                    raise _RefusedError(HTTPStatus.BAD_REQUEST, 'expected {"row": number, "verdict": text}')
                self._json(session.answer(row, verdict))  # type: ignore[arg-type] - answer() checks the word
            case ["undo"]:
                self._json(session.undo())
            case _:
                raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text[:9]) >= len(self._review.session.sample.rows):
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"no row {text[:20]!r} in the sample")
        return int(text)

    def _body(self) -> dict[str, Any]:
        # a form of another site cannot send this type without asking first
        if self.headers.get_content_type() != "application/json":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _MAX_BODY_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {_MAX_BODY_BYTES} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"not JSON: {error}") from None
        if not isinstance(body, dict):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return body

    def _json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, cache: str = "") -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **({"Cache-Control": cache} if cache else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the log would hold the token."""
