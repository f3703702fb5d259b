"""The sliders: moved by the user, by a preset or by another session, and at which preset they stand."""

from __future__ import annotations

from engine.protocol import Sampling
from tui.language import _
from tui.messages import SettingsShown
from tui.presets import Presets
from tui.screens.main.interaction import Interaction, RefusedError
from tui.services.conversation import Conversation
from tui.services.looking import Looking
from tui.services.open_session import OpenSession
from tui.widgets.engine_pane import EnginePane
from tui.widgets.sampling_pane import SamplingPane


class Sliders:
    """How the open session's next token is chosen, in the conversation and on screen."""

    def __init__(
        self,
        conversation: Conversation,
        open_session: OpenSession,
        presets: Presets,
        looking: Looking,
        engine_pane: EnginePane,
        interaction: Interaction,
    ) -> None:
        self._conversation = conversation
        self._open = open_session
        self._presets = presets
        self._looking = looking
        self._engine_pane = engine_pane
        self._sampling_pane = engine_pane.query_one(SamplingPane)
        self._interaction = interaction

    def moved(self, sampling: Sampling) -> None:
        """The user moved one."""
        self._conversation.set_sampling(sampling)
        self.show_preset()

    def show_settings(self, event: SettingsShown) -> None:
        """They stand elsewhere in this session."""
        self._show()

    def _show(self) -> None:
        self._sampling_pane.show_sampling(self._open.sampling, self._open.default_sampling)
        self.show_preset()

    def show_preset(self) -> None:
        """Say at which preset they stand, and what the candidates are then."""
        self._engine_pane.show_preset(self._preset_now())
        self._looking.again()

    def _preset_now(self) -> str:
        return self._presets.name_of(self._open.sampling, self._open.default_sampling)

    def choose_preset(self) -> None:
        """Ask for a preset."""
        from tui.screens.preset_picker import PresetPickerScreen

        self._interaction.ask(
            PresetPickerScreen(self._presets, self._preset_now(), self._open.default_sampling), self._take_preset
        )

    def take_named(self, name: str) -> None:
        """Move all of them to the preset that was named. Raises RefusedError where there is none."""
        names = self._presets.names
        if name not in names:
            raise RefusedError(_("There is no preset {name}. There are: {names}.", name=name, names=", ".join(names)))
        self._take_preset(name)

    def _take_preset(self, name: str | None) -> None:
        """Move all of them to a preset; None leaves them."""
        sampling = self._presets.sampling(name or "", self._open.sampling, self._open.default_sampling)
        if name is None or sampling is None:
            return
        self._conversation.set_sampling(sampling)
        self._show()
        self._interaction.tell(f"{name}: {self._presets.words(name, self._open.default_sampling)}")
