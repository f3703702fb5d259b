"""The main screen: `screen` has its widgets and keys, each other file a duty of what happens there."""
