"""What a GGUF's metadata and tensors say of a model."""

from __future__ import annotations

from pathlib import Path

from engine.architecture.config import ModelConfig
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint


def config_of(path: Path) -> ModelConfig:
    checkpoint = open_checkpoint(path)
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)
