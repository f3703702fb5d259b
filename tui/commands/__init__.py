"""The commands of `llm-tui`, one file a command or group of them; each is imported when it is called."""
