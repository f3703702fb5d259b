"""Who may ask: whoever has the key, or without one, programs of this machine, but no web page in its browsers."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.remote.config import is_loopback
from engine.remote.keys import Key
from engine.server.answering import error_content
from engine.server.requests import RequestError

OPEN_ADDRESSES = frozenset({"/health"})
"""What load balancers ask, which have no key and name no host; it tells nothing but that this is alive."""


class Guard:
    """Lets requests through to the application, or answers them with a refusal."""

    def __init__(self, app: ASGIApp, key: Key | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at a request before anything else does."""
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except RequestError as error:
                status, content, headers = error_content(error)
                if status == 401:
                    headers["WWW-Authenticate"] = "Bearer"
                await JSONResponse(content, status, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        if path in OPEN_ADDRESSES:
            return
        if self._key is None:
            self._check_origin(headers)
        else:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._key.reveal().encode())
            if scheme.lower() != "bearer" or not right:
                raise RequestError(401, "This server wants its key: Authorization: Bearer KEY.", "invalid_api_key")

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what a web page has sent: its browser names the page, or a host name that was bent to this machine."""
        named = [f"//{headers['host']}"] if "host" in headers else []
        named += [headers["origin"]] if "origin" in headers else []
        if not all(is_loopback(_host_of(address)) for address in named):
            raise RequestError(
                403, "Without a key this server is for programs on its own machine, at localhost.", "forbidden"
            )


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
