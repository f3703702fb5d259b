"""The switches of what is running, turned by whoever takes in commands and looked at by whoever carries them out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from engine.protocol import Sampling


@dataclass
class Control:
    """The switches of one running task. Written by the reading thread, read by the working one.

    arrived_s: when the command came, on the monotonic clock.
    """

    sampling: Sampling = field(default_factory=Sampling)
    stopped: bool = False
    arrived_s: float = field(default_factory=time.monotonic)
