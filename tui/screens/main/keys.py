"""The keys of the app and of its main screen: what each does, by which name settings may give it another key."""

from __future__ import annotations

from textual.binding import Binding

APP_KEYS = [
    Binding("ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave; everything is stored", show=False, priority=True),
]
"""Whichever screen is shown."""

MAIN_KEYS = [
    Binding("escape", "stop", "stop", id="answer.stop", tooltip="Stop the answer; what came stays"),
    Binding("escape", "back", "back", id="pane.back", tooltip="Back to the prompt box"),
    Binding("ctrl+r", "again", "again", id="answer.again", tooltip="Write another answer"),
    Binding("ctrl+g", "go_on", "go on", id="answer.go_on", tooltip="Continue the answer where it was cut short"),
    Binding("f5", "restart_engine", "restart", id="engine.restart", tooltip="Start the engine again"),
    Binding("tab", "app.focus_next", id="pane.next", tooltip="To the next pane or slider"),
    Binding("shift+tab", "app.focus_previous", id="pane.previous", tooltip="To the pane or slider before"),
    Binding("f2", "history", "history", id="pane.history", tooltip="To the sessions, or fold them away"),
    Binding("f3", "engine", "engine", id="pane.engine", tooltip="To the sliders, or fold them away"),
    Binding(
        "alt+c", "candidates", id="pane.candidates", tooltip="To the candidates: what else was likely, token by token"
    ),
    Binding("alt+t", "tint", id="chat.tint", tooltip="Tint answers by how likely each token was, or no longer"),
    Binding("ctrl+n", "new_session", id="session.new", tooltip="Begin a session"),
    Binding("f4", "choose_model", id="model.choose", tooltip="Open another model"),
    # The prompt box has another use for this key.
    Binding("f7", "stop_fetch", id="model.stop_fetch", tooltip="Stop the download; what came is kept", priority=True),
    Binding("alt+e", "editor", id="prompt.editor", tooltip="Write the message in your own editor"),
    Binding("alt+p", "choose_preset", id="sampling.preset", tooltip="Choose a preset of the sliders"),
    Binding("f9", "system_prompt", id="session.system", tooltip="Change what the model is told first"),
    Binding("f10", "rename", id="session.rename", tooltip="Give the session another title"),
    Binding("f8", "engine_log", id="engine.log", tooltip="Show the engine's last words"),
    Binding("ctrl+t", "fork", id="session.fork", tooltip="Fork the session: a copy up to here, to go on otherwise"),
    Binding("ctrl+o", "edit_message", id="message.edit", tooltip="Write another version of your message"),
    Binding("alt+left", "sibling(-1)", id="answer.before", tooltip="Show the version before"),
    Binding("alt+right", "sibling(1)", id="answer.after", tooltip="Show the version after"),
    Binding("ctrl+l", "app.repaint", id="app.repaint", tooltip="Draw the whole screen anew"),
    Binding("f1", "app.help", "help", id="app.help", tooltip="Keys and what they do"),
]
"""Those with a description stand in the footer."""
