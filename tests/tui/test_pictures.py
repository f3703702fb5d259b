"""Every screen at three sizes in three themes, kept as text; the main ones in the dark theme as pictures too.

What changes is looked at before it is kept: --snapshot-update writes both anew.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest
from rich.segment import Segment
from textual._compositor import LayoutUpdate
from textual.pilot import Pilot

from engine.catalog import ModelInfo, Unreadable
from tui.paths import Paths, user_paths
from tui.services.models import Models

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["textual-dark", "textual-light", "ansi-dark"]
LOOKS = Path(__file__).with_name("looks")
SETTLED_S = 0.8
"""How long a screen must not change to be written down: longer than the engine's beat."""

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
    """What is done before the picture is taken; what the engine does; what the settings have; how the app is started.

    in_svg: whether it is kept as a picture too.
    """

    play: Callable[[Play], Awaitable[None]]
    in_svg: bool = False
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


async def engine_log(play: Play) -> None:
    await engine_died(play)
    await play.press("f8")
    await play.until_shown("All of it")


async def delete(play: Play) -> None:
    await chat(play)
    play.app.screen.transcript.focus()
    await play.press("k", "d")
    await play.until_shown("For good")


async def edit(play: Play) -> None:
    await chat(play)
    await play.press("ctrl+o")
    await play.until_shown("Another version of this message")


async def complete(play: Play) -> None:
    await play.press(*"/se")
    await play.until_shown("/settings")


async def branches(play: Play) -> None:
    await chat(play)
    await play.press("ctrl+r")
    await play.until_shown("2/2")
    await play.answered()
    await play.press("shift+tab", "up")


def opened(*keys: str, shows: str) -> Callable[[Play], Awaitable[None]]:
    """A screen that keys open."""

    async def play_it(play: Play) -> None:
        await play.press(*keys)
        await play.until_shown(shows)

    return play_it


MODELS = [model("models/Tiny-135M-Q4_1.gguf", "Q4_1", 0.1), model("models/Large-70B-Q4_0.gguf", "Q4_0", 38.9)]
ADAPTER = Unreadable(path="models/polite-lora.gguf", message="", hint="", needs_base=True)
SERVERS = '[servers.cluster]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "big"\n'
DIES = {"die_after": 9, "last_words": "Illegal instruction\nin kernel 7"}

SCENES = {
    "start": Scene(nothing, in_svg=True),
    "chat": Scene(chat, in_svg=True),
    "branches": Scene(branches),
    "sliders": Scene(sliders, in_svg=True),
    "candidates_and_tints": Scene(candidates_and_tints, in_svg=True),
    "history": Scene(history, in_svg=True),
    "delete": Scene(delete),
    "help": Scene(opened("f1", shows="Everything works from the keyboard"), in_svg=True),
    "first_run": Scene(first_run, in_svg=True, options={"model": None}),
    "model_picker": Scene(opened("f4", shows="cluster"), settings=SERVERS),
    "settings": Scene(opened(*"/settings", "enter", shows="app.language")),
    "presets": Scene(opened("alt+p", shows="Presets of the sliders")),
    "system_prompt": Scene(opened("f9", shows="System prompt of this session"), in_svg=True),
    "edit_message": Scene(edit),
    "slash_commands": Scene(complete),
    "engine_died": Scene(engine_died, in_svg=True, script={"die_after": 9}),
    "engine_log": Scene(engine_log, script=DIES),
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
@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.in_svg])
def test_picture(stage: Stage, snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    scene = SCENES[name]
    prepare(stage, scene)

    async def run(pilot: Pilot[int]) -> None:
        await perform(stage.play_of(pilot), scene)

    assert snap_compare(stage.app(**scene.options), terminal_size=size, run_before=run)


# All themes, as text


def shown(play: Play) -> str:
    """The screen's text, a line a row, and its styles: what each letter means, then runs of cells, row by row."""
    app = play.app
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    assert isinstance(update, LayoutUpdate)
    rows = [[segment for strip in row for segment in strip if not segment.control] for row in update.strips]
    texts = [f"{at:2} {''.join(segment.text for segment in row)}".rstrip() for at, row in enumerate(rows)]
    letters: dict[str, str] = {}
    lines = [_runs(row, letters) for row in rows]
    legend = [f"{letter} = {style}" for style, letter in letters.items()]
    return "\n".join([*texts, *legend, *_row_numbers(lines)])


def _runs(row: list[Segment], letters: dict[str, str]) -> str:
    runs = []
    for style, segments in groupby(row, key=lambda segment: str(segment.style)):
        letter = letters.setdefault(style, _letter(len(letters)))
        runs.append(f"{letter}{sum(segment.cell_length for segment in segments)}")
    return " ".join(runs)


def _letter(at: int) -> str:
    return chr(ord("a") + at) if at < 26 else _letter(at // 26 - 1) + _letter(at % 26)


def _row_numbers(lines: list[str]) -> Iterator[str]:
    """One line for the rows that look alike."""
    for line, alike in groupby(enumerate(lines), key=lambda numbered: numbered[1]):
        numbers = [at for at, _ in alike]
        yield f"{numbers[0]}-{numbers[-1]}: {line}" if len(numbers) > 1 else f"{numbers[0]}: {line}"


def kept_looks(file: Path) -> dict[str, str]:
    """What each heading of a file has below it; nothing where there is no file."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    parts = re.split(r"^=== (.*)\n", text, flags=re.MULTILINE)[1:]
    return {heading: body.rstrip("\n") for heading, body in zip(parts[::2], parts[1::2], strict=True)}


async def settled(play: Play, kept: str | None) -> str:
    """What is on screen as soon as it is what was kept, else when it no longer changes."""
    seen, since_s = shown(play), time.monotonic()
    while seen != kept and time.monotonic() - since_s < SETTLED_S:
        await play.pilot.pause(0.02)
        before, seen = seen, shown(play)
        since_s = since_s if seen == before else time.monotonic()
    return seen


@pytest.mark.parametrize("name", SCENES)
async def test_look(stage: Stage, name: str, pytestconfig: pytest.Config) -> None:
    scene, file = SCENES[name], LOOKS / f"{name}.txt"
    prepare(stage, scene)
    kept, now = kept_looks(file), dict[str, str]()
    async with stage.running(**scene.options) as play:
        await perform(play, scene)
        for width, height in SIZES:
            await play.pilot.resize_terminal(width, height)
            for theme in THEMES:
                play.app.theme = theme
                heading = f"{width}×{height} {theme}"
                now[heading] = await settled(play, kept.get(heading))
    if pytestconfig.option.update_snapshots:
        LOOKS.mkdir(exist_ok=True)
        file.write_text("".join(f"=== {heading}\n{body}\n" for heading, body in now.items()), encoding="utf-8")
        return
    assert file.exists(), f"{name} was never kept: look at it, then run with --snapshot-update"
    different = [heading for heading in {**kept, **now} if kept.get(heading) != now.get(heading)]
    assert not different, "\n".join(_difference(h, kept.get(h, ""), now.get(h, "")) for h in different)


def _difference(heading: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{heading}, kept", f"{heading}, now", lineterm="", n=1
    )
    return "\n".join(lines)
