"""Pictures of the main screens at three sizes; a change of one is looked at before it is kept (--snapshot-update)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest
from textual.pilot import Pilot

from engine.catalog import ModelInfo, Unreadable
from tui.paths import Paths, user_paths
from tui.services.models import Models

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

SIZES = [(80, 24), (120, 40), (200, 60)]
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

Compare = Callable[..., bool]


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


@dataclass
class Scene:
    """What is done before the picture; what the engine does; what the settings have; how the app is started."""

    play: Callable[[Play], Awaitable[None]]
    script: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    options: dict[str, Any] = field(default_factory=dict)


async def nothing(play: Play) -> None:
    pass


async def chat(play: Play) -> None:
    await play.ask("List three rivers")
    await play.until(lambda: "118 tok/s" in play.text() or play.app.size.width < 100)
    await play.until(lambda: play.app.screen.candidates.place or play.app.size.width < 100)


async def sliders(play: Play) -> None:
    await chat(play)
    await play.press("f3", "down", "1", "2")
    await play.until_shown("12▏")
    await play.until(lambda: play.app.screen.candidates.place)


async def candidates_and_tints(play: Play) -> None:
    await chat(play)
    await play.press("alt+t", "alt+c")
    await play.until(lambda: "Tokens that" in play.text() and play.app.screen.candidates.place)
    await play.press("left", "left")
    pane = play.app.screen.candidates
    await play.until(lambda: pane.place.at == pane.place.n_tokens - 2)
    await play.press("down")
    await play.until(lambda: pane.shown[1].text == " Lyon")


async def history(play: Play) -> None:
    await chat(play)
    await play.press("ctrl+n")
    await play.until(lambda: "New session" in play.shown("ChatHeader"))
    await play.until(lambda: play.app.screen.session_list.highlighted is None)
    await play.press("f2")
    await play.until(lambda: "List three rivers" in play.shown("#sessions"))


async def first_run(play: Play) -> None:
    await play.until_shown("Fetch the starter model")


async def engine_died(play: Play) -> None:
    await play.ask("List three rivers")
    await play.until(lambda: play.app.screen.status.trouble)


def opened(*keys: str, shows: str) -> Callable[[Play], Awaitable[None]]:
    """A screen that keys open."""

    async def play_it(play: Play) -> None:
        await play.press(*keys)
        await play.until_shown(shows)

    return play_it


MODELS = [model("models/Tiny-135M-Q4_1.gguf", "Q4_1", 0.1), model("models/Large-70B-Q4_0.gguf", "Q4_0", 38.9)]
ADAPTER = Unreadable(path="models/polite-lora.gguf", message="", hint="", needs_base=True)

SCENES = {
    "start": Scene(nothing),
    "chat": Scene(chat),
    "sliders": Scene(sliders),
    "candidates_and_tints": Scene(candidates_and_tints),
    "history": Scene(history),
    "help": Scene(opened("f1", shows="Everything works from the keyboard")),
    "first_run": Scene(first_run, options={"model": None}),
    "system_prompt": Scene(opened("f9", shows="System prompt of this session")),
    "engine_died": Scene(engine_died, script={"die_after": 9}),
}


@pytest.fixture(autouse=True)
def same_everywhere(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.delenv("NO_COLOR", raising=False)
    # Paths on screen are the same on any machine.
    monkeypatch.chdir(stage.home.parent)
    paths = user_paths()
    relative = {each.name: getattr(paths, each.name).relative_to(stage.home.parent) for each in fields(Paths)}
    monkeypatch.setattr("tui.app.user_paths", lambda: Paths(**relative))
    monkeypatch.setattr("tui.paths.user_paths", lambda: Paths(**relative))
    monkeypatch.setattr(Models, "_survey", lambda self: (MODELS, [ADAPTER]))


def prepare(stage: Stage, scene: Scene) -> None:
    stage.set_script(**{"answers": [ANSWER], **scene.script})
    (stage.home / "settings.toml").write_text(f"[chat]\nmodel_titles = false\n{scene.settings}")


async def perform(play: Play, scene: Scene) -> None:
    """Wait until the app stands still, then play."""
    await play.until(lambda: play.app.screen_stack[0].is_furnished and play.app.workspace.is_open)
    if scene.options.get("model", True):
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.until_shown("context 31 %")
    await play.until(lambda: play.app.screen_stack[0].numbers._machine_bytes)
    await scene.play(play)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCENES)
def test_picture(stage: Stage, snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    scene = SCENES[name]
    prepare(stage, scene)

    async def run(pilot: Pilot[int]) -> None:
        await perform(stage.play_of(pilot), scene)

    assert snap_compare(stage.app(**scene.options), terminal_size=size, run_before=run)
