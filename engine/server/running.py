"""uvicorn as it is run here: on a socket that listens already, until it is told to end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 2
"""At the end, clients have so long to take what their answers end with."""


class _Server(uvicorn.Server):
    """Leaves signals to its caller."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(app: ASGIApp, listening: socket.socket, ended: asyncio.Event) -> None:
    """Serve until the event is set, which ends the application's answers, too; what is still sent then is cut short."""
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="serve")
    ending = asyncio.create_task(ended.wait(), name="end of serving")
    await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    server.should_exit = True
    await serving
