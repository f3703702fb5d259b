"""Every screen and dialog at three sizes in a dark, a light and an ANSI theme, as it was looked at and kept.

`make pictures` takes them anew; bench/pictures.py draws what is kept, to be looked at before it is committed.
"""

from __future__ import annotations

import os
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from textual.screen import Screen

import tui.screens
from tests.tui.conftest import PATIENCE_S
from tests.tui.scenes import ADAPTER, ANSWER, IN_FRENCH, MODELS, SCENES, Around, Memory, Scene
from tests.tui.written_screen import Looks, difference, look_of, read_looks, write_looks
from tui.language import speak
from tui.paths import Paths, user_paths
from tui.screens.dialog import Dialog
from tui.screens.fetching import FetchingDialog
from tui.screens.main.screen import MainScreen
from tui.services.models import Models
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer
    from tests.tui.conftest import Play, Stage

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["textual-dark", "textual-light", "ansi-dark"]
PICTURES = Path(__file__).with_name("pictures")
FRENCH = "french"

SETTLED_S = 0.8
"""How long a screen must not change to be kept: longer than the engine's beat."""

PATIENT_S = 5.0
"""How long it must not change to be taken for another one than was kept."""


@pytest.fixture
def around(stage: Stage, monkeypatch: pytest.MonkeyPatch, scripted_server: ScriptedServer) -> Around:
    """A machine, paths and models that are the same everywhere."""
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(stage.home.parent)
    paths = user_paths()
    relative = {
        each.name: getattr(paths, each.name).relative_to(stage.home.parent) for each in msgspec.structs.fields(Paths)
    }
    monkeypatch.setattr("tui.app.user_paths", lambda: Paths(**relative))
    monkeypatch.setattr("tui.paths.user_paths", lambda: Paths(**relative))
    monkeypatch.setattr(Models, "_survey", lambda self: (MODELS, [ADAPTER]))
    # The time to the first token is measured; in a picture it is always the same.
    since_started = property(lambda answer: None if answer.first_token_s is None else 100.0)
    monkeypatch.setattr("tui.services.answer.Answer.first_token_ms", since_started)
    # Notes in the corner stay until the picture is taken.
    monkeypatch.setattr("tui.app.LlmTuiApp.NOTIFICATION_TIMEOUT", 1000.0)
    return Around(stage, monkeypatch, scripted_server)


@pytest.fixture
def french() -> Iterator[None]:
    """What an app says in French is over with the test."""
    yield
    speak("en")


async def perform(play: Play, scene: Scene) -> None:
    """Wait until the app stands still, then play."""
    await play.until(lambda: play.app.screen_stack[0].is_furnished and play.app.workspace.is_open)
    await play.until(lambda: play.app.screen_stack[0].query_one(LiveNumbers)._machine_bytes)
    if scene.is_idle:
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.until(lambda: play.app.screen_stack[0].query_one(LiveNumbers)._stats)
    await scene.play(play)
    await play.until(lambda: type(play.app.screen) is scene.screen)


@dataclass
class Comparison:
    """Looks that were kept, and how it looks now."""

    file: Path
    updates: bool
    kept: Looks = field(init=False)
    now: Looks = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept = {} if self.updates else read_looks(self.file)

    async def take(self, play: Play, *key: str) -> None:
        """What is on screen as soon as it is what was kept, else when it no longer changes."""
        kept = self.kept.get((key[0], key[1]))
        still_s = PATIENT_S if kept and self.kept.items() >= self.now.items() else SETTLED_S
        seen, since_s = look_of(play.app), time.monotonic()
        limit_s = since_s + PATIENCE_S
        while seen != kept and time.monotonic() - since_s < still_s:
            assert time.monotonic() < limit_s, f"the screen never stands still:\n{play.text()}"
            await play.pilot.pause(0.02)
            before, seen = seen, look_of(play.app)
            since_s = since_s if seen == before else time.monotonic()
        self.now[key[0], key[1]] = seen

    def judge(self) -> None:
        """Keep what was taken, or fail with what is another."""
        if self.updates:
            PICTURES.mkdir(exist_ok=True)
            write_looks(self.file, self.now)
            return
        assert self.kept, f"{self.file.stem} was never kept: `make pictures` takes it"
        assert not (told := difference(self.kept, self.now)), told


@pytest.fixture
def updates() -> bool:
    """Whether pictures are taken anew."""
    return "LLM_TUI_TAKE_PICTURES" in os.environ


@pytest.mark.parametrize("name", SCENES)
async def test_it_looks_as_it_was_kept(around: Around, name: str, updates: bool) -> None:
    scene, comparison = SCENES[name], Comparison(PICTURES / f"{name}.txt", updates)
    around.stage.set_script(**{"answers": [ANSWER], **scene.script})
    (around.stage.home / "settings.toml").write_text(f"[chat]\nmodel_titles = false\n{scene.settings}")
    scene.before(around)
    for themes in [[theme] for theme in THEMES] if scene.keeps_theme else [THEMES]:
        async with around.stage.running(SIZES[0], **scene.options) as play:
            play.app.theme = themes[0]
            await perform(play, scene)
            for width, height in SIZES:
                await play.pilot.resize_terminal(width, height)
                for theme in themes:
                    play.app.theme = theme
                    await comparison.take(play, f"{width}×{height}", theme)
    comparison.judge()


async def test_french_fits_where_there_is_little_room(around: Around, french: None, updates: bool) -> None:
    comparison = Comparison(PICTURES / f"{FRENCH}.txt", updates)
    around.stage.set_script(answers=[ANSWER])
    (around.stage.home / "settings.toml").write_text('[app]\nlanguage = "fr"\n[chat]\nmodel_titles = false\n')
    width, height = SIZES[0]
    async with around.stage.ready(SIZES[0]) as play:
        await play.until(lambda: play.app.screen.query_one(LiveNumbers)._machine_bytes)
        await play.ask("Bonjour")
        for name, (screen, *keys) in IN_FRENCH.items():
            await play.press(*keys)
            await play.until(lambda screen=screen: type(play.app.screen) is screen)
            await comparison.take(play, f"{width}×{height}", name)
            await play.press("escape")
            await play.until(lambda: type(play.app.screen) is MainScreen)
            await play.press("escape")
            await play.until(lambda: play.app.focused is play.app.screen.query_one(PromptBox))
            play.app.screen.query_one(PromptBox).clear()
    comparison.judge()


def test_no_screen_is_left_out() -> None:
    found = set()
    for module in pkgutil.walk_packages(tui.screens.__path__, "tui.screens."):
        members = vars(import_module(module.name)).values()
        found |= {each for each in members if isinstance(each, type) and issubclass(each, Screen)}
    bases = {base for each in found for base in each.__mro__[1:]} | {Dialog, FetchingDialog}
    assert found - bases - {scene.screen for scene in SCENES.values()} == set()


def test_no_picture_is_of_a_scene_that_is_gone() -> None:
    assert {file.stem for file in PICTURES.iterdir()} == {*SCENES, FRENCH}
