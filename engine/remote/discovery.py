"""What a server is and can do, as far as it tells: its models, its properties, its own description of its interface."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import msgspec

from engine.errors import ServerError
from engine.protocol import Abilities, ModelCard, Sampling
from engine.remote.refusals import RequestRefusedError
from engine.remote.transport import Transport

NO_SUCH_ADDRESS = frozenset({404, 405, 501})
MAX_NAMED = 8
"""So many models are named where one has to be chosen."""

LLAMA_CPP_EXTRAS = frozenset({"top_logprobs", "logprobs", "stream_options", "return_progress", "cache_prompt"})
"""What llama.cpp's server takes beside the parameters that its properties list."""

Table = dict[str, Any]


@dataclass(frozen=True)
class Discovery:
    """A server's model. known: the names of the parameters it takes, None where it does not list them."""

    model: str
    card: ModelCard
    known: frozenset[str] | None


async def discover(transport: Transport, wanted: str) -> Discovery:
    """Ask a server for its model and what it can do. Raises ServerError; what a server does not tell is no error."""
    entry = await _model(transport, wanted)
    root = transport.config.root_url
    properties, description, tokens = await asyncio.gather(
        _told(transport, f"{root}/props"), _told(transport, f"{root}/openapi.json"), _tokenizes(transport, entry["id"])
    )
    known = _known_parameters(properties, description)
    return Discovery(entry["id"], _card(transport, entry, properties, _abilities(known, properties, tokens)), known)


async def list_models(transport: Transport) -> list[Table]:
    """The server's own list; empty where it has none."""
    try:
        told = await transport.get(f"{transport.config.base_url.rstrip('/')}/models")
    except RequestRefusedError as error:
        if error.status in NO_SUCH_ADDRESS:
            return []
        raise
    entries = told.get("data") if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise ServerError(f"{transport.config.host} has no list of models at /models.", "Check base_url.")
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


async def _model(transport: Transport, wanted: str) -> Table:
    """The entry of the model to use."""
    entries = await list_models(transport)
    host = transport.config.host
    if not wanted:
        if len(entries) == 1:
            return entries[0]
        what = f"{len(entries)} models: {_some(entries)}" if entries else "no list of models"
        raise ServerError(f"{host} has {what}.", "Name one with model in the settings, or with -m.")
    found = [entry for entry in entries if entry["id"] == wanted]
    found = found or [entry for entry in entries if wanted in _short_names(entry)]
    if found:
        return found[0]
    if entries:
        raise ServerError(f"{host} has no model {wanted}. It has: {_some(entries)}.", "Name one of them.")
    return {"id": wanted}


def _short_names(entry: Table) -> set[str]:
    """What a user may call a model whose id is a path."""
    path = PurePath(entry["id"])
    aliases = entry.get("aliases")
    return {path.name, path.stem, *(map(str, aliases) if isinstance(aliases, list) else [])}


def _some(entries: list[Table]) -> str:
    names = [entry["id"] for entry in entries[:MAX_NAMED]]
    return ", ".join(names) + (" …" if len(entries) > MAX_NAMED else "")


async def _told(transport: Transport, url: str) -> Table:
    """What is at an address that not every server has."""
    try:
        told = await transport.get(url)
    except ServerError:
        return {}
    return told if isinstance(told, dict) else {}


async def _tokenizes(transport: Transport, model: str) -> bool:
    """Whether the server turns text into tokens for whoever asks."""
    try:
        told = await transport.post(f"{transport.config.root_url}/tokenize", tokenize_body(model, "a"))
    except ServerError:
        return False
    return isinstance(told, dict) and isinstance(told.get("tokens"), list)


def tokenize_body(model: str, text: str, *, add_bos: bool = False, parse_special: bool = False) -> Table:
    """The question for tokens, in the words of llama.cpp and of vLLM at once."""
    return {
        "model": model,
        "content": text,
        "prompt": text,
        "add_special": add_bos,
        "add_special_tokens": add_bos,
        "parse_special": parse_special,
        "with_pieces": True,
        "return_token_strs": True,
    }


def _known_parameters(properties: Table, description: Table) -> frozenset[str] | None:
    """The parameters that llama.cpp's properties or an OpenAPI description list; None where neither does."""
    listed = _at(properties, "default_generation_settings", "params")
    if isinstance(listed, dict):
        return frozenset(listed) | LLAMA_CPP_EXTRAS
    schema = _at(
        description,
        *("paths", "/v1/chat/completions", "post", "requestBody", "content", "application/json", "schema"),
    )
    names = frozenset(_properties(schema, description))
    return names or None


def _properties(schema: Any, description: Table) -> Iterable[str]:
    """The names in a schema, or in the one it refers to."""
    if not isinstance(schema, dict):
        return ()
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        schema = _at(description, *reference.removeprefix("#/").split("/"))
    named = schema.get("properties") if isinstance(schema, dict) else None
    return named if isinstance(named, dict) else ()


def _abilities(known: frozenset[str] | None, properties: Table, tokens: bool) -> Abilities:
    def takes(*names: str) -> bool | None:
        return None if known is None else not known.isdisjoint(names)

    return Abilities(
        top_k=takes("top_k"),
        min_p=takes("min_p"),
        repeat_penalty=takes("repeat_penalty", "repetition_penalty"),
        seed=takes("seed"),
        logprobs=takes("logprobs"),
        tokenize=tokens,
        go_on=(known is not None and bool(properties)) or takes("continue_final_message") or None,
        look=False,
        tune=False,
        template=False,
        memory=False,
    )


def _card(transport: Transport, entry: Table, properties: Table, abilities: Abilities) -> ModelCard:
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    trained = _count(meta, "n_ctx_train") or _count(entry, "max_model_len") or _count(entry, "context_length")
    provided = _count(_at(properties, "default_generation_settings"), "n_ctx") or _count(meta, "n_ctx")
    return ModelCard(
        name=PurePath(entry["id"]).name.removesuffix(".gguf"),
        path=transport.config.base_url,
        format="server",
        architecture="",
        quantization=_text(meta, "ftype"),
        parameters=_count(meta, "n_params"),
        size_bytes=_count(meta, "size"),
        context=provided or trained,
        max_context=trained or provided,
        layers=0,
        vocab=_count(meta, "n_vocab"),
        template="",
        template_source="file",
        weights_bytes=0,
        kv_bytes_per_token=0,
        threads=0,
        sampling=_recommended(entry),
        abilities=abilities,
    )


def _recommended(entry: Table) -> Sampling:
    """What `llm-tui serve` tells of how to sample; the usual settings where a server says nothing."""
    try:
        return msgspec.convert(entry.get("recommended_sampling", {}), Sampling)
    except msgspec.ValidationError:
        return Sampling()


def _at(table: Any, *keys: str) -> Any:
    """What lies at the end of a path of keys; None where it breaks off."""
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _count(table: Any, key: str) -> int:
    value = _at(table, key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text(table: Any, key: str) -> str:
    value = _at(table, key)
    return value if isinstance(value, str) else ""
