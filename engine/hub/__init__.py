"""Models on the Hugging Face hub: what a reference names, which files to take, and fetching them."""

from engine.hub.fetching import fetch
from engine.hub.reference import HubReference, read_reference

__all__ = ["HubReference", "fetch", "read_reference"]
