"""`llm-tui models prepared`: what opening a model leaves in the cache folder can be seen and cleared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def test_a_model_that_was_opened_is_listed_and_cleared(cli: Cli, home: Path, starter_model: Path) -> None:
    assert "Nothing is prepared" in cli("models", "prepared").err
    assert cli("ask", "-m", starter_model, "--raw", "--max-tokens", "1", "One").code == 0
    listed = json.loads(cli("models", "prepared", "--json").out)
    assert listed["model"] == starter_model.stem
    assert Path(listed["path"]).stat().st_size == listed["size_bytes"] > 90_000_000
    assert starter_model.stem in cli("models", "prepared").out
    other = cli("models", "prepared", "another", "--clear")
    assert (other.code, other.out) == (1, "")
    assert "Nothing is prepared of another" in other.err
    assert Path(listed["path"]).exists()
    cleared = cli("models", "prepared", starter_model.stem, "--clear")
    assert "are free again" in cleared.err
    assert list(Path(listed["path"]).parent.iterdir()) == []
    assert cli("models", "prepared", "--json").out == ""


def test_what_cannot_be_deleted_is_told_by_its_name(cli: Cli, home: Path) -> None:
    folder = home / "cache" / "panels" / "model-1.panels"
    folder.mkdir(parents=True)
    ran = cli("models", "prepared", "--clear")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"llm-tui: A prepared file cannot be deleted: {folder}: ")
    assert "Errno" not in ran.err


def test_a_limit_keeps_the_weights_in_memory(cli: Cli, home: Path, starter_model: Path) -> None:
    (home / "settings.toml").write_text("[engine]\ncache_limit_gb = 0.01\n")
    assert cli("ask", "-m", starter_model, "--raw", "--max-tokens", "1", "One").code == 0
    assert cli("models", "prepared", "--json").out == ""
