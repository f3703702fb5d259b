"""Text to token ids and back, from the vocabulary that a model file carries."""

from engine.tokenizer.base import Tokenizer
from engine.tokenizer.loading import load_tokenizer
from engine.tokenizer.stream import TextStream

__all__ = ["TextStream", "Tokenizer", "load_tokenizer"]
