"""The models of Ollama's folder: files that have their checksum's name, and manifests that say what they are called."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

BLOBS, MANIFESTS = "blobs", "manifests"

MAX_MANIFEST_BYTES = 1 << 20

_MODEL = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_OWN_REGISTRY = ("registry.ollama.ai", "library")


def ollama_models(folder: Path) -> dict[Path, list[str]]:
    """The model files of a folder with blobs and manifests that are there, each with its names, the shortest first.

    Adapters are passed over: what they are added to would be listed under their names.
    """
    found: dict[Path, list[str]] = {}
    for manifest in sorted((folder / MANIFESTS).glob("*/*/*/*")):
        blob = folder / BLOBS / _model_of(manifest)
        # A name may be too long for a file, or the folder closed to us.
        if blob.name != BLOBS and os.path.isfile(blob):
            found.setdefault(blob, []).extend(_names(manifest.relative_to(folder / MANIFESTS).parts))
    return {blob: sorted(names, key=lambda name: (len(name), name)) for blob, names in found.items()}


def ollama_names(path: Path) -> list[str]:
    """What Ollama calls a model file; nothing where it is none of Ollama's."""
    if path.parent.name != BLOBS or not path.name.startswith("sha256-"):
        return []
    return ollama_models(path.parent.parent).get(path, [])


def _model_of(manifest: Path) -> str:
    """The name of the file that holds the weights; empty where there is none, or something is added to it."""
    try:
        with manifest.open("rb") as file:
            layers = list(_layers(json.loads(file.read(MAX_MANIFEST_BYTES))))
    except (OSError, ValueError, RecursionError):
        return ""
    kinds = [kind for kind, _ in layers]
    if kinds.count(_MODEL) != 1 or _ADAPTER in kinds:
        return ""
    digest = layers[kinds.index(_MODEL)][1]
    # A manifest names files of its own folder alone.
    return digest.replace(":", "-") if digest.startswith("sha256:") and "/" not in digest else ""


def _layers(manifest: object) -> Iterator[tuple[str, str]]:
    """Each layer's kind and checksum."""
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        kind, digest = (layer.get("mediaType"), layer.get("digest")) if isinstance(layer, dict) else ("", "")
        if isinstance(kind, str) and isinstance(digest, str):
            yield kind, digest


def _names(parts: tuple[str, ...]) -> list[str]:
    """What `ollama run` takes: without what goes without saying there, and with the tag that does so too."""
    *where, model, tag = parts
    if tuple(where) == _OWN_REGISTRY:
        where = []
    elif where[0] == _OWN_REGISTRY[0]:
        where = where[1:]
    name = "/".join([*where, model])
    return [name, f"{name}:{tag}"] if tag == "latest" else [f"{name}:{tag}"]
