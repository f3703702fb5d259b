"""What an engine says of the model that it has open."""

from __future__ import annotations

import msgspec

from engine.protocol.commands import Sampling


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can do of what the app may ask. None: a server has not shown yet whether it can.

    tune: new settings reach the answer that is being written. go_on: an interrupted answer is taken up in mid-sentence.
    look: it tells what is likely at a place of a conversation, and goes on from there with a token of one's choice.
    template: another chat template than the model's own. memory: EngineStats has figures of memory and processor.
    """

    top_k: bool | None = True
    min_p: bool | None = True
    repeat_penalty: bool | None = True
    seed: bool | None = True
    logprobs: bool | None = True
    tokenize: bool | None = True
    go_on: bool | None = True
    look: bool = True
    tune: bool = True
    template: bool = True
    memory: bool = True


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model is, in the words that a user would use.

    context: positions provided for; max_context: the model's own limit. template: the chat format's name;
    template_source: "file" (the model's own Jinja), "family" (recognised) or "chosen".
    sampling: what its makers recommend.
    Of a model on a server, path is its address, format is "server", and 0 or "" is what the server does not tell.
    """

    name: str
    path: str
    format: str
    architecture: str
    quantization: str
    parameters: int
    size_bytes: int
    context: int
    max_context: int
    layers: int
    vocab: int
    template: str
    template_source: str
    weights_bytes: int
    kv_bytes_per_token: int
    threads: int
    sampling: Sampling = Sampling()
    abilities: Abilities = Abilities()
