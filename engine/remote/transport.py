"""HTTP as a server's client needs it: verified, bounded in time and size, and with every failure as a sentence."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from engine.errors import ServerError
from engine.http_environment import in_this_environment
from engine.remote.chunks import is_answer
from engine.remote.config import ServerConfig, is_loopback
from engine.remote.keys import Key, server_key
from engine.remote.refusals import ConnectionLostError, RequestRefusedError, UnreachableError, refusal
from engine.remote.sse import event_data

MAX_JSON_BYTES = 16 << 20
"""A list of a hub's thousand models has one megabyte."""

QUESTION_S = 10.0
"""For everything but an answer: a list of models or a few tokens take a server milliseconds."""

SEND_S = 30.0
"""A server that does not take a prompt for so long has gone."""

EVENT_STREAM, JSON = "text/event-stream", "application/json"

# At its lowest level it logs every header, and a server may send our key back in one.
logging.getLogger("httpcore").setLevel(logging.INFO)


class _KeyAuth(httpx.Auth):
    """Puts the key into the one header that carries it, at the last moment, and only for its own server."""

    def __init__(self, key: Key, config: ServerConfig) -> None:
        self._key = key
        self._header = config.api_key_header
        self._origin = _origin(_url(config))

    def auth_flow(self, request: httpx.Request) -> Any:
        if _origin(request.url) == self._origin:
            bearer = self._header.lower() == "authorization"
            request.headers[self._header] = f"Bearer {self._key.reveal()}" if bearer else self._key.reveal()
        yield request


def _url(config: ServerConfig) -> httpx.URL:
    """The server's address; ServerError where its host's name is against rules that only httpx knows."""
    try:
        url = httpx.URL(config.base_url)
        url.host  # noqa: B018 - decodes the name
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ServerError(f"{config.base_url} is no address of a server ({error}).", "Check base_url.") from None
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


class Transport:
    """Requests to one server. Redirects are not followed: what they ask for goes into the settings.

    heard_s: when the last byte came, on the event loop's clock.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.heard_s = 0.0
        self._key = server_key(config)
        timeout = httpx.Timeout(
            connect=config.connect_timeout_s, read=config.silence_timeout_s, write=SEND_S, pool=config.connect_timeout_s
        )
        auth = _KeyAuth(self._key, config) if self._key else None
        verify = _trust(config)
        # Proxies are elsewhere: from there nobody reaches this machine's own servers.
        trust_env = not is_loopback(_url(config).host)

        def client() -> httpx.AsyncClient:
            return httpx.AsyncClient(
                auth=auth,
                headers={"Accept-Encoding": "identity", **config.headers},
                verify=verify,
                timeout=timeout,
                follow_redirects=False,
                trust_env=trust_env,
            )

        self._client = in_this_environment(client, ServerError)

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key."""
        return self._key is not None

    def hide_key(self, text: str) -> str:
        """A text of the server's without our key, which it may have sent back."""
        return self._key.hide_in(text) if self._key else text

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, url: str) -> Any:
        """The JSON that a GET brings. Raises ServerError."""
        return await self._question("GET", url, None)

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """The JSON that answers a POST. Raises ServerError."""
        return await self._question("POST", url, body)

    async def _question(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        try:
            return await self._ask(method, url, body)
        except ConnectionLostError:
            # A connection that was kept open may end just when it is taken again; a question can be asked twice.
            return await self._ask(method, url, body)

    async def _ask(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        try:
            async with asyncio.timeout(QUESTION_S), self._response(method, url, body, JSON) as response:
                data = await _bounded(response.aiter_bytes())
        except TimeoutError:
            raise UnreachableError(f"{self.config.host} did not answer within {QUESTION_S:g} s.") from None
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._not_json(url, response) from None

    @asynccontextmanager
    async def stream(self, url: str, body: dict[str, Any]) -> AsyncIterator[AsyncGenerator[str, None]]:
        """POST, and the data of each event that comes back while the block runs. Raises ServerError.

        A server that does not stream sends all in one piece of JSON, which is the data of the only event then.
        Within the block, UnreachableError means that the connection was lost on the way.
        """
        async with self._response("POST", url, body, EVENT_STREAM) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            events = event_data(self._heard(response)) if kind == EVENT_STREAM else self._whole(response, kind)
            try:
                yield events
            finally:
                await events.aclose()

    async def _whole(self, response: httpx.Response, kind: str) -> AsyncGenerator[str, None]:
        """The answer, of a server that does not stream."""
        data = (await _bounded(self._heard(response))).decode("utf-8", "replace") if kind == JSON else ""
        if not is_answer(data):
            raise ServerError(
                f"{self.config.host} answered with {kind or 'something without a type'} where a stream of events"
                " was to come.",
                "Check base_url: it usually ends in /v1, and this may be another service.",
            )
        yield data

    async def _heard(self, response: httpx.Response) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        self.heard_s = clock()
        async for piece in response.aiter_bytes():
            self.heard_s = clock()
            yield piece

    @asynccontextmanager
    async def _response(
        self, method: str, url: str, body: dict[str, Any] | None, accept: str
    ) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": accept}
        content = None
        if body is not None:
            headers["Content-Type"] = JSON
            content = msgspec.json.encode(body)
        try:
            async with self._client.stream(method, url, headers=headers, content=content) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._refused(response)
                yield response
        except httpx.HTTPError as error:
            raise self._failed(error) from None

    async def _refused(self, response: httpx.Response) -> RequestRefusedError:
        try:
            async with asyncio.timeout(QUESTION_S):
                data = await _bounded(response.aiter_bytes())
        except (TimeoutError, ServerError, httpx.HTTPError):
            data = b""
        return refusal(self.config, response.status_code, response.headers, data, self._key)

    def _failed(self, error: httpx.HTTPError) -> ServerError:
        """What a failure of httpx means; its own text may name the proxy or the certificate."""
        host = self.config.host
        said = self.hide_key(str(error))
        if isinstance(error, httpx.ReadTimeout):
            return ServerError(
                f"{host} has sent nothing for {self.config.silence_timeout_s:g} s.",
                "Try again; for a slow server set silence_timeout_s higher.",
            )
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return ServerError(
                f"The certificate of {host} cannot be trusted ({said}).",
                "If the server has a certificate of your own, name its authority with ca_file.",
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            what = "did not take the connection in time" if isinstance(error, httpx.ConnectTimeout) else said
            return UnreachableError(f"{host} cannot be reached ({what}).", "Check that it runs, base_url and proxies.")
        return ConnectionLostError(f"The connection to {host} was lost ({said or type(error).__name__}).", "Try again.")

    def _not_json(self, url: str, response: httpx.Response) -> ServerError:
        kind = response.headers.get("content-type", "")
        return ServerError(
            f"{httpx.URL(url).path} of {self.config.host} answered with something else than JSON ({kind}).",
            "Check base_url: it usually ends in /v1.",
        )


async def _bounded(pieces: AsyncIterable[bytes]) -> bytes:
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) > MAX_JSON_BYTES:
            raise ServerError(f"The server's answer has more than {MAX_JSON_BYTES >> 20} MB.", "Check base_url.")
    return bytes(data)


def _trust(config: ServerConfig) -> ssl.SSLContext | bool:
    """Whose certificates count; never nobody's."""
    if not config.ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"The certificates in {config.ca_file} cannot be read ({error}).", "ca_file names a PEM file."
        ) from None
