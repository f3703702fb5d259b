"""An engine that is a server: the same commands and events over the OpenAI-compatible HTTP interface.

Importing this package or its `config` needs no HTTP library; `client` needs httpx (the extra ``remote``).
"""

from engine.remote.config import ServerConfig

__all__ = ["ServerConfig"]
