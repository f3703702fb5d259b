"""How a command in the prompt box may go on: files, models, chat formats and presets."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.typed_path import typed_path
from tui.language import _
from tui.services.own_thread import on_own_thread
from tui.slash import Call, read_prompt, words_beginning
from tui.text import human_bytes
from tui.widgets.completion_menu import Completion

if TYPE_CHECKING:
    from tui.services.workspace import Workspace

OWN_TEMPLATE = "auto"
_MOST = 100
_MOST_ENTRIES = 10_000


async def completions(text: str, workspace: Workspace) -> list[Completion]:
    """The ways on from a text in the prompt box; none where it is no command."""
    if commands := words_beginning(text):
        return [
            Completion(
                f"/{command.word} " if command.takes else f"/{command.word}",
                f"/{command.word} {_(command.takes)}".rstrip(),
                _(command.about),
            )
            for command in commands
        ]
    call = read_prompt(text)
    if not isinstance(call, Call) or "\n" in text or " " not in text:
        return []
    before, typed = text.split(" ", 1)
    typed = typed.lstrip()
    found = await _arguments(call.command.word, typed, workspace)
    shown = _name if call.command.word == "attach" or _is_path(typed) else str
    # A model may be a folder: who has typed all of it, faster than it is looked for, means it.
    end = "/" if call.command.word == "model" else None
    return [
        Completion(f"{before} {word}", shown(word), about, f"{before} {word.rstrip(end)}" if end else None)
        for word, about in found[:_MOST]
    ]


def _name(word: str) -> str:
    """What tells a path from its neighbours: its last part."""
    return word[word.rstrip("/").rfind("/") + 1 :]


async def _arguments(command: str, typed: str, workspace: Workspace) -> list[tuple[str, str]]:
    match command:
        case "attach":
            return await on_own_thread(_files, typed)
        case "detach":
            names = [(file.path.name, file.words) for file in workspace.attachments.files]
            return _beginning(names, typed)
        case "preset":
            presets = workspace.presets
            new_session = workspace.open_session.default_sampling
            return _beginning([(name, presets.words(name, new_session)) for name in presets.names], typed)
        case "template":
            return _beginning(await asyncio.to_thread(_templates), typed)
        case "model" if _is_path(typed):
            return await on_own_thread(_model_files, typed)
        case "model":
            from engine.catalog import file_names

            found = await workspace.models.list()
            figures = [f"{model.quantization} · {human_bytes(model.size_bytes)}" for model in found]
            models = list(zip(file_names(found), figures, strict=True))
            servers = [
                (name, _("server · {host}", host=config.host)) for name, config in workspace.models.servers.items()
            ]
            return _beginning(models + servers, typed)
        case _:
            return []


def _is_path(typed: str) -> bool:
    return "/" in typed


def _beginning(found: list[tuple[str, str]], typed: str) -> list[tuple[str, str]]:
    return [(word, about) for word, about in found if word.lower().startswith(typed.lower())]


def _templates() -> list[tuple[str, str]]:
    # The formats bring a template language along, which nobody needs before this.
    from engine.chat import format_names

    return [(OWN_TEMPLATE, _("the model's own")), *((name, "") for name in format_names() if name != "file")]


def _model_files(typed: str) -> list[tuple[str, str]]:
    """What a folder has that goes on as typed and is a model, or a folder that may have some.

    A folder that is typed to its end is one of them as it stands: enter is not to lead on into it.
    """
    from engine.checkpoints.finding import files_by_name

    found = []
    for name, about in _files(typed):
        with suppress(OSError):
            if name == f"{typed}/":
                found.append((typed, about))
            elif name.endswith("/") or files_by_name(typed_path(name)):
                found.append((name, about))
    return found


def _files(typed: str) -> list[tuple[str, str]]:
    """What a folder has that goes on as typed, folders first; hidden files only after a dot.

    What cannot be looked at, like a link to nothing, is passed over.
    """
    folder, slash, begin = typed.rpartition("/")
    place = typed_path(f"{folder}{slash}" or ".")
    found: list[tuple[bool, str, str]] = []
    try:
        with os.scandir(place) as entries:
            for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False):
                name = entry.name
                if not name.startswith(begin) or (name.startswith(".") and not begin.startswith(".")):
                    continue
                with suppress(OSError):
                    if entry.is_dir():
                        found.append((False, f"{folder}{slash}{name}/", ""))
                    else:
                        found.append((True, f"{folder}{slash}{name}", human_bytes(entry.stat().st_size)))
    except OSError:
        return []
    return [(name, about) for _, name, about in sorted(found)]
