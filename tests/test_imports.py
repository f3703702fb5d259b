"""What a process imports decides how soon it paints and what can kill it: looked at in real processes.

And what imports what has an order, in which the files can be read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

HEAVY = {"numpy", "numba", "llvmlite", "sqlite_utils", "tokenizers", "sentencepiece", "jinja2"}
SCREEN = {"textual", "rich", "asyncio"}


def imported_by(program: str, *arguments: str) -> set[str]:
    """The top-level modules in memory after a program ran in a process of its own."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps([n for n in sys.modules if '.' not in n]), file=sys.stderr))\n"
        f"{program}"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=150
    )
    return set(json.loads(ran.stderr.splitlines()[-1]))


def test_the_app_imports_nothing_that_computes_or_stores() -> None:
    assert imported_by("import tui.app") & HEAVY == set()


def test_the_screens_import_nothing_that_computes() -> None:
    program = (
        "import importlib, pkgutil, tui.screens, tui.services, tui.widgets\n"
        "for package in (tui.screens, tui.services, tui.widgets):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
    )
    assert imported_by(program) & HEAVY == set()


def test_an_app_with_its_database_open_has_no_numpy(home: Path) -> None:
    program = (
        "import asyncio\n"
        "from contextlib import suppress\n"
        "from storage.errors import StorageError\n"
        "from storage.sessions import list_sessions\n"
        "from tui.app import LlmTuiApp\n"
        "from tui.options import AppOptions\n"
        "async def look():\n"
        "    app = LlmTuiApp(AppOptions())\n"
        "    async with app.run_test() as pilot:\n"
        "        found = None\n"
        "        while found is None:\n"
        "            await pilot.pause(0.01)\n"
        "            with suppress(StorageError):\n"
        "                found = app.workspace and await app.workspace.store.call(list_sessions)\n"
        "asyncio.run(look())\n"
    )
    found = imported_by(program)
    assert "sqlite_utils" in found
    assert found & {"numpy", "numba", "llvmlite", "pandas"} == set()


@pytest.mark.parametrize("argument", ["--help", "--version", "--nonsense"])
def test_help_imports_no_command_at_all(argument: str) -> None:
    assert imported_by("from tui.__main__ import main; main()", argument) & (HEAVY | SCREEN | {"engine"}) == set()


def test_the_storage_is_imported_without_its_slow_parts() -> None:
    assert imported_by("import storage.database, storage.sessions, storage.tree") & HEAVY == set()


def test_listing_sessions_needs_neither_engine_nor_screen(home: Path) -> None:
    found = imported_by("from tui.__main__ import main; main()", "sessions", "list")
    assert found & {"textual", "numpy", "numba", "tokenizers"} == set()


def test_tokenizing_needs_no_numpy(starter_model: Path, home: Path) -> None:
    found = imported_by("from tui.__main__ import main; main()", "tokenize", "-m", str(starter_model))
    assert "tokenizers" in found
    assert found & {"textual", "numpy", "numba", "llvmlite"} == set()


def test_the_engine_is_one_process_that_knows_no_screen() -> None:
    found = imported_by("import engine.process.serving, engine.client")
    assert found & {"textual", "sqlite3", "sqlite_utils", "tui", "storage"} == set()


def test_the_engine_computes_without_a_compiler_in_its_process(starter_model: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from engine.kernel_cache import use_kernel_cache\n"
        "from engine.loading import load\n"
        "from engine.protocol import Load\n"
        "use_kernel_cache(sys.argv[2])\n"
        "load(Load(path=sys.argv[1], context=64, threads=1), lambda *progress: None)\n"
        "from engine.machine_code.linking import MAGIC, _kept\n"
        "assert _kept\n"
    )
    found = imported_by(program, str(starter_model), str(tmp_path))
    assert "numpy" in found
    assert found & {"numba", "llvmlite"} == set()


def test_no_file_imports_itself_through_others() -> None:
    """Neither when it is loaded, nor within a function, nor for its types: a CycleError would name the files."""
    graph = grimp.build_graph("engine", "storage", "tui", cache_dir=None)
    order = TopologicalSorter({file: graph.find_modules_directly_imported_by(file) for file in graph.modules})
    assert {"engine.kept_caches", "tui.app"} <= set(order.static_order())
