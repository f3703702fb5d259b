"""What all messages of the services have in common; the first frame needs to know no more of them."""

from __future__ import annotations

from textual.message import Message


class Told(Message):
    """Something that a service tells the main screen."""
