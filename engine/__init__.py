"""The inference engine: what the app sees of it (client, protocol, errors), and the process behind that."""
