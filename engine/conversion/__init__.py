"""Any checkpoint to GGUF, in a process of its own: `client` starts it and hears `messages` from it."""
