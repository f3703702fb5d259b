"""The app in a browser of this machine: textual-serve's page and WebSocket, for whoever has the address.

A page shows an app of its own, a process that speaks the terminal's language over its pipes. Whoever reaches the
WebSocket can do all that the user can, so the address has a secret in it, and pages of other sites are turned away.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp_jinja2
import jinja2
from aiohttp import WSCloseCode, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

EXIT_S = 15.0
"""An app has so long to store everything and end; it needs a fraction of that."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _App(AppService):
    """One app behind one page."""

    async def stop(self) -> None:
        """Ask the app to leave, and wait until it has stored everything."""
        await super().stop()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # Its last frames are read too: it would wait for that.
            await asyncio.wait_for(process.communicate(), EXIT_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _close(page: web.WebSocketResponse) -> None:
    await page.close()


class AppPages(Server):
    """The page, its files and its WebSocket, at a listening address of this machine.

    command: what a shell runs for each page. url: where the page is.
    """

    def __init__(self, command: str, listening: socket.socket) -> None:
        host, port = listening.getsockname()[:2]
        self._netloc = f"{f'[{host}]' if ':' in host else host}:{port}"
        super().__init__(command, host=host, port=port, title="llm-tui", public_url=f"http://{self._netloc}")
        self._listening = listening
        self._secret = secrets.token_urlsafe(16)
        self._open: set[web.WebSocketResponse] = set()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"{self.public_url}/{self._secret}/"

    async def run(self, ended: asyncio.Event) -> None:
        """Serve until the event is set; apps that run then are told to leave."""
        runner = web.AppRunner(self.application(), access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.SockSite(runner, self._listening).start()
            await ended.wait()
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The page's routes, all of them below the secret."""
        app = web.Application(middlewares=[self._only_our_pages])
        aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(self.templates_path))
        app.add_routes(
            [
                web.get(f"/{self._secret}/", self.handle_index, name="index"),
                web.get(f"/{self._secret}/ws", self.handle_websocket, name="websocket"),
                web.get(f"/{self._secret}/download/{{key}}", self.handle_download, name="download"),
                web.static(f"/{self._secret}/static", self.statics_path, name="static"),
            ]
        )
        app.on_shutdown.append(self._close_all)
        return app

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run an app for a page, until either of them ends."""
        page = web.WebSocketResponse(heartbeat=15)
        await page.prepare(request)
        app = _App(
            self.command,
            write_bytes=page.send_bytes,
            write_str=page.send_str,
            close=lambda: _close(page),
            download_manager=self.download_manager,
        )
        self._open.add(page)
        try:
            await app.start(to_int(request.query.get("width", ""), 80), to_int(request.query.get("height", ""), 24))
            await self._process_messages(page, app)
        finally:
            self._open.discard(page)
            await app.stop()
        return page

    async def _close_all(self, _app: web.Application) -> None:
        for page in list(self._open):
            await page.close(code=WSCloseCode.GOING_AWAY)

    @web.middleware
    async def _only_our_pages(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Turn other sites' pages away, and names that somebody else gave this address; load nothing from elsewhere."""
        if request.host != self._netloc or request.headers.get("Origin", self.public_url) != self.public_url:
            raise web.HTTPForbidden
        response = await handler(request)
        if not response.prepared:
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Content-Security-Policy"] = (
                "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
                f" img-src 'self' data:; font-src 'self'; connect-src 'self' ws://{self._netloc}; base-uri 'none';"
                " form-action 'none'; frame-ancestors 'none'"
            )
        return response
