"""Where other programs keep models on this machine, so that nobody has to know these folders or fetch a model twice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

SERVICE_OF_OLLAMA = Path("/usr/share/ollama/.ollama/models")
"""Ollama's, where the system starts it."""


def folders_of_others(environment: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Programs and the folders of their models, of those that have any. Reads the disk."""
    from engine.checkpoints.finding import model_paths

    return [(name, path) for name, path in _folders(environment) if any(True for _ in model_paths(path))]


def _folders(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = Path(os.path.expanduser("~"))
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")

    def named(variable: str, otherwise: Path) -> Path:
        return Path(environment.get(variable) or otherwise)

    yield "Ollama", named("OLLAMA_MODELS", home / ".ollama" / "models")
    yield "Ollama", SERVICE_OF_OLLAMA
    yield "LM Studio", home / ".lmstudio" / "models"
    yield "LM Studio", home / ".cache" / "lm-studio" / "models"
    yield "llama.cpp", named("LLAMA_CACHE", cache / "llama.cpp")
    yield "Hugging Face", named("HF_HUB_CACHE", named("HF_HOME", cache / "huggingface") / "hub")
