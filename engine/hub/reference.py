"""What a user writes for a model on the hub: `hf:owner/repo`, with a file or a type, or a page's address.

hf:owner/repo                     a sensible choice of the repository's files
hf:owner/repo/folder/file.gguf    this file
hf:owner/repo:Q8_0                the file of this type
hf:owner/repo@revision            of a branch, tag or commit
https://huggingface.co/owner/repo, …/blob/main/file, …/resolve/main/file, …/tree/main/folder
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from engine.errors import DownloadError

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
PREFIX = "hf:"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SHORT = re.compile(
    rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>[^/:]+))?(?::(?P<type>\w+)|/(?P<file>[^\0]*))?", re.ASCII
)
_OTHER_KINDS = ("datasets", "spaces", "collections", "papers", "docs", "models", "blog")


@dataclass(frozen=True, kw_only=True)
class HubReference:
    """A model on the hub. file: a path in the repository, or a folder there; type: a quantisation; each may be ""."""

    repo: str
    file: str = ""
    type: str = ""
    revision: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        rest = f":{self.type}" if self.type else f"/{self.file}" if self.file else ""
        return f"{PREFIX}{self.repo}{revision}{rest}"


def read_reference(text: str) -> HubReference | None:
    """What a text refers to, None where that is nothing of the hub.

    Raises DownloadError for what is meant for the hub and names no model there.
    """
    text = text.strip()
    if text.lower().startswith(PREFIX):
        return _short(text, text[len(PREFIX) :].removeprefix("//").strip("/"))
    try:
        address = urlsplit(text)
    except ValueError:
        # Nobody's address: whoever fetches from addresses says so.
        return None
    if address.scheme in ("http", "https") and address.netloc in _hosts():
        return _page(text, [unquote(part) for part in address.path.split("/") if part])
    return None


def _hosts() -> set[str]:
    own = os.environ.get("HF_ENDPOINT", "")
    try:
        return {*HOSTS, urlsplit(own).netloc} - {""}
    except ValueError:
        return {*HOSTS}


def _short(text: str, rest: str) -> HubReference:
    found = _SHORT.fullmatch(rest)
    if found is None:
        raise _no_model(text)
    parts = {name: value or "" for name, value in found.groupdict().items()}
    return HubReference(**parts)


def _page(text: str, parts: list[str]) -> HubReference:
    """The model of an address: owner, name, then perhaps what is shown of it, of which revision, and a path."""
    if len(parts) < 2 or parts[0] in _OTHER_KINDS or not re.fullmatch(rf"{_NAME}/{_NAME}", "/".join(parts[:2])):
        raise _no_model(text)
    repo, rest = "/".join(parts[:2]), parts[2:]
    if rest and rest[0] in ("blob", "resolve", "raw", "tree") and len(rest) > 1:
        revision = "" if rest[1] == "main" else rest[1]
        return HubReference(repo=repo, revision=revision, file="/".join(rest[2:]))
    return HubReference(repo=repo)


def _no_model(text: str) -> DownloadError:
    return DownloadError(
        f"{text} names no model on the hub.", "Write hf:OWNER/NAME or hf:OWNER/NAME/FILE, as the model's page has it."
    )
