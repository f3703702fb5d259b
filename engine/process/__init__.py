"""The engine's process, from the inside and as the app sees it."""
