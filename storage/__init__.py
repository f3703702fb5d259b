"""Sessions in SQLite: what was said, found again."""
