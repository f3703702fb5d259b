"""Messages between the app and the engine: commands are imperatives, events are what happened.

One message is one line of JSON. Commands go to the worker's stdin, events come from its stdout.
Everything here imports msgspec alone, so that the app stays light.
"""

from __future__ import annotations

import msgspec

from engine.protocol.card import Abilities, ModelCard
from engine.protocol.commands import (
    AnyCommand,
    ChatMessage,
    ChatPrompt,
    Command,
    Detokenize,
    Generate,
    KVType,
    Load,
    Look,
    Prompt,
    Role,
    Sampling,
    Score,
    Shutdown,
    Stop,
    TextPrompt,
    Tokenize,
    TokenPrompt,
    Tune,
    Unload,
)
from engine.protocol.events import (
    UNKNOWN_TOKEN,
    AnyEvent,
    Candidate,
    CardChanged,
    Detokenized,
    EngineDied,
    EngineState,
    EngineStats,
    Event,
    Failed,
    Finished,
    FinishReason,
    HeartbeatMissed,
    Hello,
    LoadProgress,
    LoadStage,
    Looked,
    ModelReady,
    Notice,
    PromptProgress,
    Scored,
    Token,
    Tokenized,
    TokenLogprob,
    Unloaded,
)

__all__ = [
    "PROTOCOL_VERSION",
    "UNKNOWN_TOKEN",
    "Abilities",
    "AnyCommand",
    "AnyEvent",
    "Candidate",
    "CardChanged",
    "ChatMessage",
    "ChatPrompt",
    "Command",
    "Detokenize",
    "Detokenized",
    "EngineDied",
    "EngineState",
    "EngineStats",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "Generate",
    "HeartbeatMissed",
    "Hello",
    "KVType",
    "Load",
    "LoadProgress",
    "LoadStage",
    "Look",
    "Looked",
    "ModelCard",
    "ModelReady",
    "Notice",
    "Prompt",
    "PromptProgress",
    "Role",
    "Sampling",
    "Score",
    "Scored",
    "Shutdown",
    "Stop",
    "TextPrompt",
    "Token",
    "TokenLogprob",
    "TokenPrompt",
    "Tokenize",
    "Tokenized",
    "Tune",
    "Unload",
    "Unloaded",
    "command_decoder",
    "command_encoder",
    "event_decoder",
    "event_encoder",
]

PROTOCOL_VERSION = 1

command_encoder = msgspec.json.Encoder()
command_decoder = msgspec.json.Decoder(AnyCommand)
event_encoder = msgspec.json.Encoder()
event_decoder = msgspec.json.Decoder(AnyEvent)
