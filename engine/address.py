"""A file's address as a user gives it: what of it a server is asked for, and what of it may be shown and stored."""

from __future__ import annotations

import re
from urllib.parse import unquote

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")
"""The user's name and password, up to the last @ before the path: a password may have one as it is."""


def without_login(url: str) -> str:
    """The address without the name and the password in it."""
    return _LOGIN.sub("", url, count=1)


def public(url: str) -> str:
    """The address without what may be secret: name, password, and what follows a question mark, where keys stand."""
    return re.split(r"[?#]", without_login(url), maxsplit=1)[0]


def login_of(url: str) -> tuple[str, str] | None:
    """The name and the password in an address, None where it has none."""
    found = _LOGIN.search(url)
    if found is None:
        return None
    name, _, password = found[0][:-1].partition(":")
    return unquote(name), unquote(password)
