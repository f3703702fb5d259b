"""The app: it paints first, then starts the services, and stores everything on whatever way it ends."""

from __future__ import annotations

from tui.before_textual import app_left, first_frame_shown, process_ends  # isort: split

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual._path import CSSPathType
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.screen import Screen

from tui import keyboard, output
from tui.drawing.sanitizer import Sanitizer
from tui.in_order import OrderlyApp
from tui.language import _, choose_language, language_setting, speak
from tui.one_size import OneSizeApp
from tui.options import AppOptions
from tui.paths import Paths, user_paths
from tui.screens.main.keys import APP_KEYS
from tui.screens.main.screen import MainScreen
from tui.settings import Settings, SettingsFile
from tui.sparing import SparingApp
from tui.speaking import SpeakingApp
from tui.terminal import show_period_s
from tui.text import safe_line, safe_text
from tui.themes import CHANGED_THEMES
from tui.told import Told

if TYPE_CHECKING:
    from tui.services.workspace import Workspace
    from tui.widgets.transcript import Transcript

LONGEST_NOTE = 1000
"""Characters of a notification: a longer one would cover the screen."""

LEAVING_SHOWN_S = 2.0
"""Where leaving takes longer, what it waits for is said."""

EXIT_GRACE_S = 10.0
"""After a signal, the process ends within this time even where the terminal no longer takes a byte."""


class LlmTuiApp(SpeakingApp, OrderlyApp, SparingApp, OneSizeApp):
    """One main screen, dialogs over it, and the workspace behind."""

    TITLE = "llm-tui"
    # Textual reads the style of the first screen from here, not from the screen.
    CSS_PATH: ClassVar[CSSPathType | None] = ["app.tcss", "screens/main/screen.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [*APP_KEYS]

    def __init__(
        self, options: AppOptions, *, paths: Paths | None = None, engine_command: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        for theme in CHANGED_THEMES:
            self.register_theme(theme)
        self._paths = paths or user_paths()
        speak(choose_language(language_setting(self._paths.settings_file), os.environ))
        self._settings_file = SettingsFile(self._paths.settings_file)
        self._problems = self._settings_file.problems
        self._options = options
        self._engine_command = engine_command
        self.workspace: Workspace | None = None
        self._main: MainScreen | None = None
        self._sanitizer = Sanitizer()
        self._few_colors: list[LineFilter] = []
        # Textual sends all colours to a terminal of which nothing is known (TERM=dumb).
        if (n_colors := {"256": 256, "standard": 16, None: 16}.get(self.console.color_system)) is not None:
            from tui.drawing.palette import FewColors

            self._few_colors.append(FewColors(n_colors))

    @property
    def settings(self) -> Settings:
        """What stands in settings.toml now."""
        return self._settings_file.settings

    def get_default_screen(self) -> Screen[None]:
        """The main screen is the first one, so that the first frame is the real one."""
        self._main = MainScreen(self._make_workspace, self._settings_file)
        return self._main

    def _make_workspace(self) -> Workspace:
        """Make the services; the database and the engine's client are imported here, behind the first frame."""
        from tui.services.workspace import Workspace

        first_frame_shown()
        self.workspace = Workspace(
            self._options,
            self._paths,
            self.settings,
            self._post,
            show_period_s=show_period_s(os.environ),
            waits=self._say_that_it_waits,
            engine_command=self._engine_command,
        )
        return self.workspace

    async def close(self) -> None:
        """Store everything and end the engine; safe in any state, and twice."""
        if self._main is not None and self._main.has_typed:
            # Perhaps before there was anybody to keep it.
            self._main.keep_last((self.workspace or self._make_workspace()).saving)
        if self.workspace is not None:
            said = asyncio.get_running_loop().call_later(LEAVING_SHOWN_S, self._say_what_it_waits_for, self.workspace)
            try:
                await self.workspace.close()
            finally:
                said.cancel()

    def on_mount(self) -> None:
        """Take over what the settings say about looks and keys."""
        if self.settings.app.theme in self.available_themes:
            self.theme = self.settings.app.theme
        else:
            self._problems.append(
                _("There is no theme {theme}; the default one is used.", theme=self.settings.app.theme)
            )
        self._take_keys()
        for problem in self._problems:
            self.notify(problem, severity="warning")

    def _take_keys(self) -> None:
        """Give actions the keys that the settings name, and say what cannot be."""
        if not self.settings.keys and self.settings.chat.enter_sends:
            return
        from tui.key_map import key_map, key_problems

        self._problems += key_problems(self.settings.keys)
        self.set_keymap(key_map(self.settings))

    async def on_unmount(self) -> None:
        """Every orderly way out comes here: store what is being written, end the engine."""
        try:
            await self.close()
        finally:
            app_left()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Tell something beside the work; it may name files and errors of strangers."""
        message = safe_text(message)
        if len(message) > LONGEST_NOTE:
            message = message[:LONGEST_NOTE] + "…"
        super().notify(message, title=safe_line(title), severity=severity, timeout=timeout, markup=markup)

    async def on_event(self, event: events.Event) -> None:
        """Make pasted text safe before any box gets it; a key's effect has to show before the engine goes on."""
        if isinstance(event, events.Paste):
            event.text = safe_text(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        elif isinstance(event, events.Key) and self.workspace is not None:
            self.workspace.engine.key_came()
        await super().on_event(event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Let no drawn line carry anything that the terminal would obey, nor colours that it would have to guess."""
        few_colors = () if self.is_headless else self._few_colors
        return [*super().get_line_filters(), *few_colors, self._sanitizer]

    def copy_to_clipboard(self, text: str, which: str = "") -> None:
        """Send a text to the terminal's clipboard, as the settings say, and tell what became of it.

        What was copied may be pasted into a shell: nothing in it that a terminal would obey goes along.
        which: words for what it is, which are told first.
        """
        from tui.clipboard import CopyError, copy_sequence, sent_words

        text = safe_text(text)
        self._clipboard = text
        try:
            sequence = copy_sequence(text, self.settings.app.clipboard, os.environ)
        except CopyError as error:
            self.notify(str(error), severity="warning")
            return
        if self._driver is not None:
            self._driver.write(sequence)
        self.notify(f"{which} {sent_words(text, os.environ)}".lstrip())

    def on_transcript_copied(self, event: Transcript.Copied) -> None:
        """Copy a message or a part of it."""
        self.copy_to_clipboard(event.text, event.which)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that a key does, by name."""
        yield from super().get_system_commands(screen)
        if self._main is not None and screen is self._main:
            from tui.screens.main.palette_commands import main_commands

            yield from main_commands(self._main)
        else:
            from tui.screens.key_commands import key_commands

            yield from key_commands(screen, of=(screen, screen.focused))

    def get_key_display(self, binding: Binding) -> str:
        """Spell keys as people say them: ctrl+r, not ^r."""
        return re.sub(r"\^(?=.)", "ctrl+", super().get_key_display(binding))

    async def action_quit(self) -> None:
        """Leave, with everything stored."""
        from tui.screens.text_dialog import TextDialog

        if isinstance(self.screen, TextDialog) and self.screen.warns_of_loss():
            return
        if self._main is not None:
            self._main.keep_draft()
        self.exit()

    def keep_written(self) -> None:
        """Keep what is written in a dialog: whoever is cut off cannot say whether it was wanted."""
        from tui.screens.text_dialog import TextDialog

        for screen in self.screen_stack:
            if isinstance(screen, TextDialog) and self.workspace is not None:
                self.workspace.saving.take_apart(screen.unkept)

    def action_help(self) -> None:
        """Show the keys."""
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def _post(self, message: Told) -> None:
        if self._main is not None:
            self._main.post_message(message)

    def _say_what_it_waits_for(self, workspace: Workspace) -> None:
        """The same where nobody holds anything, but a disk or the engine takes its time."""
        if workspace.still and not self.is_headless:
            _say(workspace.still)

    def _say_that_it_waits(self) -> None:
        """Say why the app is not gone yet; the terminal is the shell's again by then."""
        if not self.is_headless:
            _say(_("Another program holds the database. Waiting a moment …"))

    def _handle_exception(self, error: Exception) -> None:
        """End the app with an error; while it is leaving, what still goes on may miss what is gone: the log has it.

        What goes wrong in storing is not lost with that: `close` raises it to whoever runs the app.
        """
        if self._exit:
            from tui.log import start_log

            start_log().warning("While the app was leaving.", exc_info=error)
        else:
            super()._handle_exception(error)

    def _print_error_renderables(self) -> None:
        """Log an unexpected error and say it in one line, in place of Textual's traceback."""
        error = self._exception
        told = not self._exit_renderables
        self._exit_renderables.clear()
        if error is not None and not told and not self.is_headless:
            from tui.log import start_log

            start_log().error("The app ended.", exc_info=error)
            say = _(
                "llm-tui ended: {kind}: {error}. {log} has more.",
                kind=type(error).__name__,
                error=error,
                log=self._paths.app_log,
            )
            sys.stderr.write(f"{safe_line(say, 1000)}\n")


def run(options: AppOptions, *, engine_command: Sequence[str] | None = None) -> int:
    """Run the app and return the command's exit code. engine_command: another program that speaks the protocol."""
    keyboard.install()
    output.install()
    app = LlmTuiApp(options, engine_command=engine_command)
    asyncio.run(_run(app))
    process_ends()
    rescued = app.workspace.store.rescued if app.workspace else None
    if rescued is not None:
        _say(
            _("What could not be stored is in {file}. To store it later: llm-tui sessions import {file}", file=rescued)
        )
    session = app.workspace.open_session.session if app.workspace else None
    if session is not None and rescued is None:
        _say(_("Go on with this session: llm-tui --resume {id}", id=session.id))
    return app.return_code or 0


async def _run(app: LlmTuiApp) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _leave, app, number)

    def interrupted(*_: object) -> None:
        loop.call_soon_threadsafe(_leave, app, signal.SIGINT)

    # Not the loop's own handler, which would be called as well while an editor has the terminal and this one is away.
    before = signal.signal(signal.SIGINT, interrupted)
    watching = asyncio.create_task(_leave_with_the_terminal(app), name="watch the terminal")
    try:
        await app.run_async()
    finally:
        watching.cancel()
        try:
            await app.close()
        finally:
            signal.signal(signal.SIGINT, before)


async def _leave_with_the_terminal(app: LlmTuiApp) -> None:
    """Leave as after SIGHUP when the terminal goes without one."""
    if sys.__stdin__ is not None and sys.__stdin__.isatty():
        await output.hung_up(sys.__stdin__.fileno())
        _leave(app, signal.SIGHUP)


def _leave(app: LlmTuiApp, number: signal.Signals) -> None:
    """Leave in order after a signal; a terminal that is gone must not keep us."""
    if number == signal.SIGHUP:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                os.dup2(nowhere, stream.fileno())
    if app.workspace is not None:
        app.workspace.writing.is_cut_off = True
        app.keep_written()
    code = 128 + number
    watchdog = threading.Timer(EXIT_GRACE_S, os._exit, (code,))
    watchdog.daemon = True
    watchdog.start()
    app.exit(return_code=code)


def _say(text: str) -> None:
    try:
        sys.stdout.write(f"{safe_text(text)}\n")
        sys.stdout.flush()
    except OSError:
        return
