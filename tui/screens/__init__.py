"""One screen a file: the main one in a folder of its own, and the dialogs over it."""
