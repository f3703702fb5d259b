"""Conversations as a model wants to read them, and where its answers end."""

from engine.chat.format import ChatFormat, choose_format, format_names
from engine.chat.stops import StopMatcher

__all__ = ["ChatFormat", "StopMatcher", "choose_format", "format_names"]
