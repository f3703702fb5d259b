"""What the app does behind its screens, with the engine, the database and files; it posts what comes of that."""
