"""What a server says when it refuses a request, in every shape that servers give to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.errors import ServerError
from engine.remote.config import ServerConfig
from engine.remote.keys import Key
from engine.remote.retries import PASSING_STATUSES, retry_after_s

_CONTEXT_FULL = re.compile(r"context[ _](length|size|window)", re.IGNORECASE)
"""What servers call it, in their codes or in words: OpenAI's and vLLM's, llama.cpp's, ours."""

LENGTH_STATUSES = (400, 413, 422)

MAX_SAID = 500
"""So much of a server's own words is shown."""


class UnreachableError(ServerError):
    """The connection could not be made, or was lost; another try may help."""

    is_passing = True
    retry_after_s: float | None = None


class ConnectionLostError(UnreachableError):
    """The connection was there and ended too early."""


class RequestRefusedError(ServerError):
    """The server answered with an error.

    said: its own words. names: the parameters that they seem to be about. retry_after_s: the pause it asks for.
    is_about_length: the conversation is longer than the server's context.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str,
        said: str,
        param: str,
        pause_s: float | None,
        *,
        is_about_length: bool,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.said = said
        self.names = _parameters(said) | {param}
        self.is_about_length = is_about_length
        self.retry_after_s = pause_s

    @property
    def is_passing(self) -> bool:
        """Whether a later try may succeed."""
        return self.status in PASSING_STATUSES


def refusal(
    config: ServerConfig, status: int, headers: Mapping[str, str], body: bytes, key: Key | None
) -> RequestRefusedError:
    """The error for an answer that is none."""
    said, param, codes = _words(body)
    if key is not None:
        said, param = key.hide_in(said), key.hide_in(param)
    said = " ".join(said.split())
    shown = f": {said[:MAX_SAID]}" if said else ""
    message, hint = _sentence(config, status, shown, headers)
    is_about_length = status in LENGTH_STATUSES and _CONTEXT_FULL.search(f"{codes} {said}") is not None
    pause_s = retry_after_s(headers.get("retry-after"))
    return RequestRefusedError(status, message, hint, said, param, pause_s, is_about_length=is_about_length)


def _sentence(config: ServerConfig, status: int, shown: str, headers: Mapping[str, str]) -> tuple[str, str]:
    host = config.host
    if 300 <= status < 400:
        location = headers.get("location", "")
        where = location.split("?")[0] or "another address"
        return (
            f"{host} sends us on to {where}, which is not followed: the key and the conversation are for {host}.",
            "If you trust the new address, make it the base_url.",
        )
    if status in (401, 403):
        return f"{host} refuses us ({status}){shown}.", _key_hint(config)
    if status == 404:
        return f"{host} does not know this model or address (404){shown}.", "Check base_url and the model's name."
    if status == 429:
        return f"{host} has too much to do, or the account is used up (429){shown}.", "Try again later."
    if status >= 500:
        return f"{host} failed ({status}){shown}.", "Try again; the server's own log has more."
    return f"{host} refuses the request ({status}){shown}.", "Change what it names, or shorten the conversation."


def _key_hint(config: ServerConfig) -> str:
    if config.api_key_env:
        return f"Check the key in the environment variable {config.api_key_env}."
    if config.api_key_file:
        return f"Check the key in {config.api_key_file}."
    return "It may want a key: name its place with api_key_env or api_key_file in the settings."


def _words(body: bytes) -> tuple[str, str, str]:
    """The message of an error, the parameter it is about, and its codes; "" where there is none."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[: 4 * MAX_SAID].decode("utf-8", "replace").strip()
        return ("" if text.startswith("<") else text), "", ""
    error = (told.get("error") or told) if isinstance(told, dict) else told
    if not isinstance(error, dict):
        return _plain(error or ""), "", ""
    said = error.get("message") or error.get("detail") or error.get("error_description") or ""
    return _plain(said), str(error.get("param") or ""), f"{error.get('code')} {error.get('type')}"


def _parameters(said: str) -> frozenset[str]:
    """Names that no plain word can be taken for: with an underscore, quoted, with their place, or listed at the end."""
    listed = re.search(r"(?:arguments?|parameters?|fields?)[^:]*: ([\w, ]+)", said)
    return frozenset(
        re.findall(r"[a-z]+(?:_[a-z]+)+", said)
        + re.findall(r"['\"`](\w+)['\"`]", said)
        + re.findall(r"\bbody\.(\w+)", said)
        + (re.findall(r"\w+", listed[1]) if listed else [])
    )


def _plain(said: Any) -> str:
    """FastAPI's list of what is wrong where, as text."""
    if not isinstance(said, list):
        return str(said)
    parts = []
    for item in said:
        if isinstance(item, dict):
            where = item.get("loc")
            place = ".".join(str(part) for part in (where if isinstance(where, list) else [where]) if part is not None)
            parts.append(": ".join(part for part in (place, str(item.get("msg") or "")) if part))
        else:
            parts.append(str(item))
    return "; ".join(parts)
