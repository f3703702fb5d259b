"""What each slash command does on the main screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tui.language import _
from tui.screens.main.sessions import NO_TITLE_YET, NOTHING_TO_EXPORT
from tui.sentences import reason
from tui.slash import Call

if TYPE_CHECKING:
    from tui.screens.main.screen import MainScreen

Run = Callable[["MainScreen", str], Awaitable[None]]


class RefusedError(Exception):
    """A command that cannot be carried out; the message says why and what to do."""


def carry_out(screen: MainScreen, call: Call, typed: str) -> None:
    """Do what was typed; what goes wrong is said, and what was written behind the command comes back."""
    screen.run_worker(_carry_out(screen, call, typed), group="command")


async def _carry_out(screen: MainScreen, call: Call, typed: str) -> None:
    from storage.errors import StorageError
    from tui.services.attachments import AttachError

    word = call.command.word
    try:
        if call.rest and not call.command.takes:
            raise RefusedError(_("/{word} takes nothing behind it. A space before it sends all as text.", word=word))
        await RUN[word](screen, call.rest)
    except (StorageError, AttachError) as error:
        screen.tell_trouble(reason(error))
    except RefusedError as error:
        screen.notify(str(error), severity="warning", markup=False)
    else:
        return
    if call.rest:
        screen.give_back(typed)


async def _attach(screen: MainScreen, rest: str) -> None:
    if rest:
        await screen.attach(rest)
    else:
        raise RefusedError(_("Name the file: /attach FILE. Tab completes it."))


async def _detach(screen: MainScreen, rest: str) -> None:
    screen.detach(rest)


async def _export(screen: MainScreen, rest: str) -> None:
    if screen.workspace.conversation.session is None:
        raise RefusedError(_(NOTHING_TO_EXPORT))
    await screen.export(rest or "md")


async def _model(screen: MainScreen, rest: str) -> None:
    from tui.model_choice import ModelChoiceError

    models = screen.workspace.models
    if not rest:
        screen.action_choose_model()
    elif rest in models.servers:
        screen.open_model(rest)
    else:
        from engine.pulling import is_fetchable

        try:
            screen.open_model(await models.choose(rest))
        except ModelChoiceError as error:
            if is_fetchable(rest):
                screen.choose_model(fetch=rest)
            else:
                raise RefusedError(str(error)) from error


async def _preset(screen: MainScreen, rest: str) -> None:
    names = screen.workspace.presets.names
    if not rest:
        screen.action_choose_preset()
    elif rest in names:
        screen.take_preset(rest)
    else:
        raise RefusedError(_("There is no preset {name}. There are: {names}.", name=rest, names=", ".join(names)))


async def _system(screen: MainScreen, rest: str) -> None:
    if rest:
        await screen.workspace.conversation.set_system(rest)
    else:
        screen.action_system_prompt()


async def _template(screen: MainScreen, rest: str) -> None:
    # The formats bring a template language along, which nobody needs before this.
    from engine.chat import format_names
    from tui.services.completions import OWN_TEMPLATE

    conversation, card = screen.workspace.conversation, screen.workspace.engine.card
    names = [OWN_TEMPLATE, *format_names()]
    if not rest:
        own = _("the model's own, {template}", template=card.template) if card is not None else _("the model's own")
        screen.notify(
            _("Chat format: {name}. /template NAME chooses another.", name=conversation.template or own), markup=False
        )
    elif rest not in names:
        raise RefusedError(_("There is no chat format {rest}. There are: {names}.", rest=rest, names=", ".join(names)))
    elif card is not None and not card.abilities.template:
        raise RefusedError(_("The server writes conversations in its model's format; another one cannot be chosen."))
    else:
        await conversation.set_template(None if rest == OWN_TEMPLATE else rest)
        screen.notify(_("Chat format, from the next answer on: {rest}.", rest=rest), markup=False)


async def _title(screen: MainScreen, rest: str) -> None:
    if not rest:
        screen.action_rename()
    elif screen.workspace.conversation.session is None:
        raise RefusedError(_(NO_TITLE_YET))
    else:
        await screen.workspace.conversation.rename(rest)


def _action(name: str) -> Run:
    async def run(screen: MainScreen, rest: str) -> None:
        if not await screen.app.run_action(name, screen):
            raise RefusedError(_("There is nothing to do that with now."))

    return run


RUN: dict[str, Run] = {
    "attach": _attach,
    "detach": _detach,
    "edit": _action("editor"),
    "export": _export,
    "fork": _action("fork"),
    "help": _action("app.help"),
    "model": _model,
    "new": _action("new_session"),
    "preset": _preset,
    "quit": _action("app.quit"),
    "retry": _action("again"),
    "settings": _action("settings"),
    "system": _system,
    "template": _template,
    "tint": _action("tint"),
    "title": _title,
}
