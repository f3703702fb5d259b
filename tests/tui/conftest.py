"""An app with a scripted engine behind it, in a home of its own, driven through Textual's pilot."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets._toast import Toast

from engine.protocol import AnyCommand, Generate
from engine.protocol.lines import command_decoder
from storage.errors import StorageError
from tests.tui import idle
from tests.tui.terminal import Terminal
from tui.app import LlmTuiApp
from tui.options import AppOptions
from tui.services.claim import Claim
from tui.services.conversation import Conversation
from tui.services.open_session import OpenSession
from tui.services.opening import Opening
from tui.services.store import Store
from tui.services.writing import Writing
from tui.widgets.prompt_box import PASTE_GAP_S

SCRIPTED_ENGINE = Path(__file__).with_name("scripted_engine.py")
SCRIPTED_APP = Path(__file__).with_name("scripted_app.py")
CLI_ENGINE = [sys.executable, str(Path(__file__).with_name("cli_engine.py"))]
XDG = ("CONFIG", "DATA", "CACHE", "STATE")
PATIENCE_S = 60.0
AFTER_ENTER = f"wait:{round(1500 * PASTE_GAP_S)}"

# The app reads it with the first error, and it keeps the storage's functions as they are by then: not what a test has
# put in their place.
import_module("tui.services.shelter")


class Play:
    """An app that runs, and what a user can do with it and see of it."""

    def __init__(self, pilot: Pilot[int]) -> None:
        self.pilot = pilot
        self.app: LlmTuiApp = pilot.app

    @property
    def conversation(self) -> Conversation:
        """What a user does in the open session."""
        return self.app.workspace.conversation

    @property
    def open_session(self) -> OpenSession:
        """The open session."""
        return self.app.workspace.open_session

    @property
    def claim(self) -> Claim:
        """Whether this app may write in the open session."""
        return self.app.workspace.claim

    @property
    def writing(self) -> Writing:
        """The answer that is being written in the open session."""
        return self.app.workspace.writing

    @property
    def opening(self) -> Opening:
        """What opens sessions and leaves them."""
        return self.app.workspace.opening

    @property
    def session_lock(self) -> asyncio.Lock:
        """Whatever is done to the session waits while a test holds it."""
        return self.open_session.lock

    async def until(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Let the app work until a condition holds; fail when it does not in time."""
        limit = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < limit, f"never true ({condition.__code__.co_names}); the screen:\n{self.text()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def until_shown(self, text: str) -> None:
        """Wait until the screen has a text."""
        await self.until(lambda: text in self.text())

    async def until_told(self, text: str) -> None:
        """Wait until a notification on screen says this, wherever its lines break."""
        await self.until(lambda: any(text in str(toast.render()) for toast in self.app.screen.query(Toast)))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other; nothing follows an enter as fast as in a pasted text."""
        paced = ((key, AFTER_ENTER) if key == "enter" else (key,) for key in keys)
        await self.pilot.press(*chain.from_iterable(paced))

    def text(self) -> str:
        """What the user sees, line by line."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    def shown(self, widget: type[Widget] | str) -> str:
        """What one widget shows."""
        found = self.app.screen.query_one(widget)
        return "\n".join(found.render_line(y).text for y in range(found.size.height))

    async def say(self, text: str) -> None:
        """Type a message and send it."""
        before = len(self.open_session.path)
        await self.press(*text, "enter")
        await self.until(lambda: len(self.open_session.path) > before)

    async def answered(self) -> None:
        """Wait for the end of the answer, on screen and on disk."""
        await self.until(lambda: self.open_session.path and not self.writing.is_busy)
        await self.until(lambda: self.open_session.path[-1].message.role == "assistant")
        await self.until(lambda: self.open_session.path[-1].message.state != "writing")

    async def ask(self, text: str) -> str:
        """Send a message and return the answer."""
        await self.say(text)
        await self.answered()
        return self.open_session.path[-1].message.content


@dataclass
class Stage:
    """A home folder, a model file, and the script of the engine that will be started."""

    home: Path
    script: Path
    model: Path

    def set_script(self, **fields: Any) -> None:
        """Write the script; the next engine process acts on it."""
        self.script.write_bytes(msgspec.json.encode(fields))

    def heard(self, kind: type[AnyCommand]) -> list[Any]:
        """The commands of one kind that reached the engine."""
        file = Path(f"{self.script}.heard")
        lines = file.read_bytes().splitlines() if file.exists() else []
        return [command for command in map(command_decoder.decode, lines) if isinstance(command, kind)]

    def last_prompt(self) -> list[tuple[str, str]]:
        """The conversation that the engine was last asked to answer."""
        return [(message.role, message.content) for message in self.heard(Generate)[-1].prompt.messages]

    def app(self, **options: Any) -> LlmTuiApp:
        """An app that is not running yet."""
        options.setdefault("model", str(self.model))
        command = [sys.executable, str(SCRIPTED_ENGINE), str(self.script)]
        return LlmTuiApp(AppOptions(**options), engine_command=command)

    @staticmethod
    def play_of(pilot: Pilot[int]) -> Play:
        """What a user can do with an app that somebody else runs."""
        return Play(pilot)

    @asynccontextmanager
    async def running(self, size: tuple[int, int] = (120, 40), **options: Any) -> AsyncIterator[Play]:
        """An app that runs, its first frame painted."""
        async with self.play(self.app(**options), size) as play:
            yield play

    @asynccontextmanager
    async def play(self, app: LlmTuiApp, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Play]:
        """Run an app, its first frame painted and its panes furnished."""
        async with app.run_test(size=size, notifications=True) as pilot:
            play = Play(pilot)
            await play.until(lambda: play.app.screen_stack[0].is_furnished)
            yield play

    @asynccontextmanager
    async def ready(self, size: tuple[int, int] = (120, 40), **options: Any) -> AsyncIterator[Play]:
        """An app that runs, with its model open and its sessions read."""
        async with self.running(size, **options) as play:
            await play.until(lambda: play.app.workspace.engine.is_ready and play.app.workspace.is_open)
            yield play


@pytest.fixture(autouse=True)
def idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pilot waits no longer than the app works."""
    idle.use(monkeypatch)


@pytest.fixture
def stage(home: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage with a model and the default script."""
    # Where the app leaves what it could not store, and exports.
    monkeypatch.setenv("HOME", str(home))
    # What other programs have on the developer's machine is not there.
    monkeypatch.setattr("tui.other_programs.SERVICE_OF_OLLAMA", home / "service")
    for variable in ("XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    script = home / "script.json"
    script.write_text("{}")
    # Tests of titles switch them on.
    (home / "settings.toml").write_text("[chat]\nmodel_titles = false\n")
    model = home / "Tiny 135M Q4_1.gguf"
    model.write_bytes(b"GGUF")
    return Stage(home, script, model)


@pytest.fixture
def open_terminal(stage: Stage) -> Iterator[Callable[..., Terminal]]:
    """Start the app in a terminal of its own; keywords are environment variables, size is columns and rows."""
    terminals: list[Terminal] = []

    def start(*, size: tuple[int, int] = (100, 30), **environment: str) -> Terminal:
        arguments = [sys.executable, str(SCRIPTED_APP), str(stage.model), str(stage.script)]
        terminals.append(Terminal(arguments, environment, size=size))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of whom the system knows nothing, like one that a container was started with."""

    def nobody(_: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("pwd.getpwnam", nobody)
    for kind in XDG:
        monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)


@pytest.fixture
def model(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file that the commands' scripted engine pretends to open."""
    monkeypatch.setattr("engine.client.ENGINE_COMMAND", CLI_ENGINE)
    path = home / "scripted.gguf"
    path.touch()
    return path


@pytest.fixture
def told() -> list[StorageError | None]:
    """What a store has told: why something is kept in memory, None when all is stored."""
    return []


@pytest.fixture
async def store(tmp_path: Path, told: list[StorageError | None]) -> AsyncIterator[Store]:
    """A store that tries again at once."""
    store = Store(told.append, retry_s=0.01)
    await store.open(tmp_path / "data" / "sessions.db")
    yield store
    await store.close()
