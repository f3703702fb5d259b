"""Messages as lines: how commands and events become JSON and come back.

Apart from the messages themselves, since making the decoders takes a millisecond of the time to the app's first frame.
"""

from __future__ import annotations

import msgspec

from engine.protocol.commands import AnyCommand
from engine.protocol.events import AnyEvent

MAX_LINE_BYTES = 64 << 20
"""The largest honest line is a tokenized book; more is an engine that writes without end."""

command_encoder = msgspec.json.Encoder()
command_decoder = msgspec.json.Decoder(AnyCommand)
event_encoder = msgspec.json.Encoder()
event_decoder = msgspec.json.Decoder(AnyEvent)
