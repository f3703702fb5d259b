"""The app: screens, widgets, command line."""
