"""One widget a file: what is drawn, and what the user does to it."""
