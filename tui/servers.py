"""Which server to use, and the connection to it: one of the settings' `[servers.NAME]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.remote.config import ServerConfig
from tui.language import _
from tui.settings import Settings

if TYPE_CHECKING:
    from engine.remote.client import RemoteClient


class ServerChoiceError(EngineError):
    """The server that was named cannot be used."""


def choose_server(name: str, settings: Settings) -> ServerConfig:
    """The server of that name. Raises ServerChoiceError."""
    if name in settings.servers:
        return settings.servers[name]
    known = ", ".join(sorted(settings.servers))
    hint = (
        _("The settings have: {known}.", known=known)
        if known
        else _("Add it to the settings as [servers.{name}] with its base_url.", name=name)
    )
    raise ServerChoiceError(_("There is no server {name}.", name=name), hint)


async def connect(config: ServerConfig) -> RemoteClient:
    """Make the server's client; it is not spoken to before a Load. Raises ServerChoiceError, EngineError."""
    try:
        from engine.remote.client import RemoteClient
    except ImportError as error:
        raise ServerChoiceError(
            _("Servers need the package {name}, which is not installed.", name=error.name),
            "pip install 'llm-tui[remote]'",
        ) from error
    return await RemoteClient.start(config)
