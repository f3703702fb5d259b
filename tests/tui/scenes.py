"""The scenes that are pictured: for every screen and dialog, what the user does until it stands there."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import engine.starter
from engine.catalog import Unreadable
from engine.model_info import ModelInfo
from engine.starter import FetchProgress
from storage import claims, sessions, tree
from storage.connections import open_database
from storage.owners import Owner
from tui.paths import user_paths
from tui.screens.command_palette import Palette
from tui.screens.confirm import ConfirmScreen
from tui.screens.edit_message import EditMessageScreen
from tui.screens.engine_log import EngineLogScreen
from tui.screens.first_run import FirstRunScreen
from tui.screens.help import HelpScreen
from tui.screens.main.screen import MainScreen
from tui.screens.model_picker import ModelPickerScreen
from tui.screens.preset_picker import PresetPickerScreen
from tui.screens.rename import RenameScreen
from tui.screens.settings import SettingsScreen
from tui.screens.system_prompt import SystemPromptScreen
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SessionList
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    import pytest
    from textual.screen import Screen

    from tests.conftest import ScriptedServer
    from tests.tui.conftest import Play, Stage

ANSWER = """\
Three rivers of Europe:

1. The **Danube** flows from the Black Forest to the Black Sea.
2. The *Rhine* passes <b>Cologne</b>.
3. The `Loire` stays in France.

```python
def length(river: str) -> int:
    return {"Danube": 2850}[river]  # km
```

| River | km |
|---|---|
| Danube | 2850 |
"""


class Memory(NamedTuple):
    """A machine of a known size."""

    total: int = 25_000_000_000
    available: int = 20_000_000_000


def model(path: str, quantization: str, gigabytes: float) -> ModelInfo:
    """A model of a known size on a machine of a known size."""
    n_bytes = int(gigabytes * 1e9)
    return ModelInfo(
        path=path,
        format="GGUF",
        architecture="llama",
        quantization=quantization,
        parameters=2 * n_bytes,
        size_bytes=n_bytes,
        context=8192,
        vocab=49152,
        layers=30,
        template="chatml",
        template_source="file",
        weights_bytes=n_bytes,
        kv_bytes_per_token=23040,
        fits=n_bytes < Memory().available,
        needs_bytes=n_bytes + 10**9,
        available_bytes=Memory().available,
    )


MODELS = [model("models/Tiny-135M-Q4_1.gguf", "Q4_1", 0.1), model("models/Large-70B-Q4_0.gguf", "Q4_0", 38.9)]
ADAPTER = Unreadable(path="models/polite-lora.gguf", message="", hint="", needs_base=True)


@dataclass
class Around:
    """What a scene may change before the app starts."""

    stage: Stage
    monkeypatch: pytest.MonkeyPatch
    server: ScriptedServer


def nothing(around: Around) -> None:
    pass


@dataclass
class Scene:
    """What is done before the picture, and which screen is on top then.

    script: what the engine does. settings: what the file has. options: how the app is started. before: what is there
    already. is_idle: whether the model is open and nothing else goes on before the scene begins. keeps_theme: whether
    the screen looks as it did when it was opened, whatever the theme is then.
    """

    play: Callable[[Play], Awaitable[None]]
    screen: type[Screen[Any]] = MainScreen
    script: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Around], None] = nothing
    is_idle: bool = True
    keeps_theme: bool = False


def opened(*keys: str, shows: str) -> Callable[[Play], Awaitable[None]]:
    """A screen that keys open."""

    async def play_it(play: Play) -> None:
        await play.press(*keys)
        await play.until_shown(shows)

    return play_it


def after_chat(*keys: str, shows: str) -> Callable[[Play], Awaitable[None]]:
    """A screen that keys open after an answer."""

    async def play_it(play: Play) -> None:
        await chat(play)
        await opened(*keys, shows=shows)(play)

    return play_it


async def start(play: Play) -> None:
    pass


async def chat(play: Play) -> None:
    await play.ask("List three rivers")
    await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)


async def writing(play: Play) -> None:
    await play.say("List three rivers")
    await play.until_shown("118 tok/s · context 33 %")
    await play.until_shown("Black")
    # The time of the first token is what was measured: another one each time.
    play.app.screen.query_one(LiveNumbers).show_finished(tokens_per_second=118.0, first_token_ms=95.0)


async def waiting(play: Play) -> None:
    await play.until_shown("45 %")
    await play.say("List three rivers")
    await play.until_shown("The answer begins")


async def load_error(play: Play) -> None:
    await play.until(lambda: play.app.screen.query_one(StatusLine).trouble)


async def stopped(play: Play) -> None:
    await writing(play)
    await play.press("escape")
    await play.until_shown("Cut short")


async def sliders(play: Play) -> None:
    await chat(play)
    await play.press("f3", "down", "1", "2")
    await play.until_shown("12▏")


async def look_back(play: Play) -> None:
    pane = play.app.screen.query_one(CandidatesPane)
    await play.press("alt+c")
    await play.until(lambda: pane.place)
    await play.press("left", "left")
    await play.until(lambda: pane.place.at == pane.place.n_tokens - 2)
    await play.press("down")
    await play.until(lambda: pane.shown[1].text == " Lyon")


async def candidates_and_tints(play: Play) -> None:
    await chat(play)
    await play.press("alt+t")
    await play.until_shown("Tokens that")
    await look_back(play)


async def branch(play: Play) -> None:
    await chat(play)
    await look_back(play)
    await play.press("enter")
    await play.until(lambda: play.open_session.path[-1].sibling_count == 2)
    await play.answered()
    await play.press("escape")
    await play.until_shown("2/2")


async def cursor(play: Play) -> None:
    await chat(play)
    await play.press("shift+tab", "k", "k")
    await play.until(lambda: play.app.screen.query_one(Transcript).cursor_item)


async def history(play: Play) -> None:
    await chat(play)
    await play.press("ctrl+n")
    await play.until(lambda: "New session" in play.shown("ChatHeader"))
    await play.until(lambda: play.app.screen.query_one(SessionList).highlighted is None)
    await play.press("f2")
    await play.until(lambda: "List three rivers" in play.shown("#sessions"))


async def search(play: Play) -> None:
    await history(play)
    await play.press("slash", *"rivers")
    await play.until(lambda: play.shown("#sessions").count("rivers") == 3)


async def long_session(play: Play) -> None:
    await play.until_shown("line 40")
    await play.press("shift+tab", "home")
    await play.until_shown("line 1")
    await play.until_shown("System:")


async def held(play: Play) -> None:
    await play.until_shown("Open in another llm-tui")


async def server_answers(play: Play) -> None:
    await play.ask("Capital?")
    await play.until(lambda: play.app.screen.query_one("#top-k").disabled)
    await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)
    # The note names the server's port, and the figures are what was measured: both are others each time.
    await play.until(lambda: play.app._notifications)
    play.app.clear_notifications()
    play.app.screen.query_one(LiveNumbers).show_finished(tokens_per_second=50.0, first_token_ms=120.0)


async def engine_died(play: Play) -> None:
    await play.ask("List three rivers")
    await play.until(lambda: play.app.screen.query_one(StatusLine).trouble)


async def engine_log(play: Play) -> None:
    await engine_died(play)
    await play.press("f8")
    await play.until_shown("All of it")


async def palette(play: Play) -> None:
    await play.press("ctrl+p", *"ses")
    await play.until_shown("Begin a session")


async def exported(play: Play) -> None:
    await chat(play)
    await play.press(*"/export ~/notes.md", "enter")
    await play.until_shown("Written to")
    await play.until(lambda: not play.app.screen.query_one(PromptBox).menu.is_open)


async def attached(play: Play) -> None:
    await play.press(*"/attach notes.txt", "enter")
    await play.until_shown("notes.txt 4 tokens")
    await play.press(*"What is")
    await play.until(lambda: not play.app.screen.query_one(PromptBox).menu.is_open)


async def setting_refused(play: Play) -> None:
    await opened(*"/settings", "enter", shows="app.language")(play)
    await play.press(*["down"] * 7, "enter", *"much", "enter")
    await play.until_shown("sampling.temperature: ")


async def fetching(play: Play) -> None:
    await play.until_shown("Fetch the starter model")
    await play.press("enter")
    await play.until_shown("46 MB of 92 MB")


async def system_prompt(play: Play) -> None:
    await play.press("f9")
    await play.until_shown("System prompt of this session")


def a_long_session(around: Around) -> None:
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="Be brief.", settings={}, title="A long one")
    parent = None
    for number in range(1, 41):
        role = "user" if number % 2 else "assistant"
        parent = tree.append_message(db, session.id, parent, role, f"line {number}").id
    db.close()


def another_app(around: Around) -> None:
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title="Shared")
    tree.append_message(db, session.id, None, "user", "said elsewhere")
    claims.claim_session(db, session.id, Owner("other", "elsewhere", 4711, 0.0))
    db.close()


def notes(around: Around) -> None:
    (around.stage.home.parent / "notes.txt").write_text("one two three\n")


def half_a_download(around: Around) -> None:
    def fetch(models_dir: Path, report: Callable[[FetchProgress], None]) -> Path:
        report(FetchProgress("downloading", 46_000_000, 92_000_000))
        never.wait()
        return models_dir

    never = threading.Event()
    around.monkeypatch.setattr(engine.starter, "fetch", fetch)
    around.monkeypatch.setattr("tui.services.models.STOPPING_S", 0.0)


def server_without_top_k(around: Around) -> None:
    server = around.server
    (around.stage.home / "settings.toml").write_text(f'[servers.cluster]\nbase_url = "{server.url}"\n')
    stop: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    server.plays = [
        server.page(400, {"error": {"message": "Unrecognized request argument supplied: top_k"}}),
        server.stream("Paris.", stop),
    ]


SERVERS = '[servers.cluster]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "big"\n'
DIES = {"die_after": 9, "last_words": "Illegal instruction\nin kernel 7"}
NO_MODEL = {"model": None}

SCENES = {
    "start": Scene(start),
    "opening": Scene(waiting, script={"gate": "never"}, is_idle=False),
    "load_error": Scene(load_error, script={"load_error": "The file ends too early."}, is_idle=False),
    "chat": Scene(chat),
    "writing": Scene(writing, script={"hold_after": 14}),
    "stopped": Scene(stopped, script={"hold_after": 14}),
    "sliders": Scene(sliders),
    "candidates_and_tints": Scene(candidates_and_tints),
    "candidates_unread": Scene(after_chat("alt+c", shows="not read yet"), script={"unread": 300}),
    "branch": Scene(branch),
    "message_cursor": Scene(cursor),
    "history": Scene(history),
    "search": Scene(search),
    "long_session": Scene(long_session, options={"continue_last": True}, before=a_long_session),
    "held_elsewhere": Scene(held, options={"continue_last": True}, before=another_app),
    "server": Scene(
        server_answers, options={"server": "cluster", "model": None}, before=server_without_top_k, is_idle=False
    ),
    "engine_died": Scene(engine_died, script=DIES),
    "engine_log": Scene(engine_log, EngineLogScreen, script=DIES),
    "slash_commands": Scene(opened(*"/t", "down", shows="/template")),
    "exported": Scene(exported),
    "attached": Scene(attached, before=notes),
    "palette": Scene(palette, Palette, keeps_theme=True),
    "help": Scene(opened("f1", shows="Everything works from the keyboard"), HelpScreen),
    "first_run": Scene(opened(shows="Fetch the starter model"), FirstRunScreen, options=NO_MODEL, is_idle=False),
    "fetching": Scene(fetching, FirstRunScreen, options=NO_MODEL, before=half_a_download, is_idle=False),
    "model_picker": Scene(opened("f4", shows="cluster"), ModelPickerScreen, settings=SERVERS),
    "settings": Scene(opened(*"/settings", "enter", shows="app.language"), SettingsScreen),
    "setting_refused": Scene(setting_refused, SettingsScreen),
    "presets": Scene(opened("alt+p", shows="Presets of the sliders"), PresetPickerScreen),
    "system_prompt": Scene(system_prompt, SystemPromptScreen),
    "rename": Scene(after_chat("f10", shows="Title of this session"), RenameScreen),
    "edit_message": Scene(after_chat("ctrl+o", shows="Another version"), EditMessageScreen),
    "delete": Scene(after_chat("shift+tab", "k", "d", shows="Delete for good"), ConfirmScreen),
}

IN_FRENCH: dict[str, tuple[type[Screen[Any]], *tuple[str, ...]]] = {
    "chat": (MainScreen,),
    "history": (MainScreen, "f2"),
    "sliders": (MainScreen, "f3"),
    "candidates": (MainScreen, "alt+c"),
    "message cursor": (MainScreen, "shift+tab", "k"),
    "slash commands": (MainScreen, *"/t"),
    "palette": (Palette, "ctrl+p"),
    "help": (HelpScreen, "f1"),
    "model picker": (ModelPickerScreen, "f4"),
    "settings": (SettingsScreen, *"/settings", "enter"),
    "presets": (PresetPickerScreen, "alt+p"),
    "system prompt": (SystemPromptScreen, "f9"),
    "rename": (RenameScreen, "f10"),
    "edit": (EditMessageScreen, "ctrl+o"),
    "delete": (ConfirmScreen, "shift+tab", "k", "d"),
}
"""What is pictured in French, whose texts are longer: the screen, and the keys that open it."""
