"""All services together: started beside the first paint, closed on every way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from engine.errors import EngineError
from engine.kept_caches import KEPT
from engine.protocol import Load
from storage.errors import StorageError
from tui.language import _
from tui.messages import HistoryChanged, ModelChosen, NoModelFound, Post, Trouble
from tui.model_choice import ModelChoiceError, last_model
from tui.options import AppOptions
from tui.paths import Paths
from tui.presets import Presets
from tui.sentences import reason
from tui.servers import choose_server, connect
from tui.services import background
from tui.services.attachments import Attachments
from tui.services.claim import Claim
from tui.services.conversation import Conversation
from tui.services.drafts import Drafts
from tui.services.engine_session import EngineSession
from tui.services.history import History
from tui.services.housekeeping import Housekeeping
from tui.services.looking import Looking
from tui.services.models import Models
from tui.services.open_session import Defaults, OpenSession
from tui.services.opening import Opening
from tui.services.prompt_history import PromptHistory
from tui.services.saving import Saving
from tui.services.store import Store
from tui.services.titles import Titles
from tui.services.writing import Writing
from tui.settings import Settings


class Workspace:
    """What the app works with behind its screens. `post` gets every message, also from threads.

    waits: called when the app's end has to wait for another program.
    """

    def __init__(
        self,
        options: AppOptions,
        paths: Paths,
        settings: Settings,
        post: Post,
        *,
        show_period_s: float,
        waits: Callable[[], None] = lambda: None,
        engine_command: Sequence[str] | None = None,
    ) -> None:
        self._options = options
        self._paths = paths
        self._settings = settings
        self._post = post
        defaults = Defaults(settings.chat.system_prompt, settings.sampling.sampling)
        self.store = Store(self._tell_stored, post=post, waits=waits)
        self.engine = EngineSession(post, paths.engine_log, engine_command)
        self.engine.on_ready.append(self._remember_model)
        self.models = Models(post, paths, settings)
        self.history = History(self.store, post, paths.cache_dir / KEPT)

        drafts = Drafts(self.store)
        self.claim = claim = Claim(self.store, post)
        self.open_session = open_session = OpenSession(self.store, self.engine, claim, drafts, post, defaults)
        self.saving = saving = Saving(self.store, open_session, claim, drafts, post)
        self.writing = writing = Writing(self.store, self.engine, open_session, post, show_period_s)
        self.opening = Opening(self.store, open_session, claim, drafts, saving, writing, post)
        self.conversation = Conversation(self.store, self.engine, open_session, claim, saving, writing, post)
        self.engine.on_answer = writing.take
        self.engine.on_ready.append(self.conversation.model_ready)

        wants_titles = settings.chat.model_titles
        titles = Titles(self.store, self.engine, open_session, claim, writing, post) if wants_titles else None
        self.housekeeping = Housekeeping(self.store, writing, self.opening, self.history, titles, post)
        self.looking = Looking(self.engine, open_session, writing, self.conversation, self.store, post)
        self.presets = Presets(settings.presets)
        self.prompts = PromptHistory(self.store)
        self.attachments = Attachments(self.engine)
        self.is_open = False
        self.still = ""
        """What the end of the app waits for, in words."""
        self.opened = asyncio.Event()
        self._wish = object()
        """Which model or server was wished for last; a disk may answer for an earlier one after that."""
        self._starting: asyncio.Task[None] | None = None
        self._remembering: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the engine and open the database, both in the background."""
        self._starting = background.begin(self._start(), "start services", self._post)

    async def _start(self) -> None:
        await asyncio.gather(self._start_engine(), self._open_sessions())

    async def _start_engine(self) -> None:
        if self._options.server is not None:
            await self.use_server(self._options.server, self._options.model or "")
            return
        path, _started = await asyncio.gather(self._choose_model(), self.engine.start())
        if path is not None:
            await self.load_model(path)

    async def _choose_model(self) -> Path | None:
        try:
            path = await self.models.choose(self._options.model)
            if self._options.base is not None:
                await self.models.choose_base(path, self._options.base)
            elif await self.models.look_in(path):
                self._post(NoModelFound(folder=path))
                return None
        except ModelChoiceError as error:
            had_one = bool(error.wanted) or last_model(self._paths) is not None
            self._post(NoModelFound(str(error) if error.wanted else "", may_come=had_one))
            return None
        except EngineError as error:
            self._post(NoModelFound(reason(error), may_come=True))
            return None
        return path

    async def restart_engine(self) -> None:
        """Start the engine again, and open the same model; one that was not there is looked for anew."""
        if self.engine.has_asked_for_model:
            await self.engine.restart()
            return
        path, _started = await asyncio.gather(self._choose_model(), self.engine.restart())
        if path is not None:
            await self.load_model(path)

    async def use_server(self, name: str, model: str = "") -> None:
        """Let a server of the settings answer from now on. model: "" for the settings', or the server's only one."""
        try:
            config = choose_server(name, self._settings)
        except EngineError as error:
            self._post(NoModelFound(reason(error)))
            return
        self._wish = object()
        self._post(ModelChosen(name))
        await self.engine.use(lambda: connect(config), Load(path=model))

    async def load_model(self, path: Path) -> None:
        """Open a model of this machine in place of the one before, which stays where this is no model at all."""
        wish = self._wish = object()
        if self.engine.card is not None:
            try:
                await self.models.check(path)
            except EngineError as error:
                self._post(Trouble(reason(error)))
                return
        self._post(ModelChosen(path.name))
        load = await self.models.load_command(path)
        if wish is not self._wish:
            return
        if self.engine.is_local:
            await self.engine.load(load)
        else:
            await self.engine.use(None, load)

    def _remember_model(self) -> None:
        """What has opened is the next start's model too; what has not would be refused there again."""
        if (path := self.engine.model_file) is not None:
            self._remembering = background.begin(self.models.remember(path), "remember the model", self._post)

    async def _open_sessions(self) -> None:
        try:
            await self._open_store()
            await self._open_last()
            self.is_open = True
            self.housekeeping.start()
            self._post(HistoryChanged())
        except StorageError as error:
            self._post(Trouble(reason(error)))
        finally:
            self.opened.set()

    async def _open_last(self) -> None:
        """Open the session that the options name, or one that a crash cut short; without it, begin a new one."""
        try:
            interrupted = await self.history.recover()
            session_id = self._options.resume
            if session_id is None and self._options.continue_last:
                session_id = await self.history.last()
            elif session_id is None and not self._options.new:
                session_id = interrupted
            if session_id is not None:
                await self.opening.open(session_id, keep_typed=True)
        except StorageError as error:
            self._post(Trouble(reason(error)))

    async def _open_store(self) -> None:
        """Open the database, or a temporary one with a word of warning: one can chat in any case."""
        try:
            await self.store.open(self._paths.database)
        except StorageError as error:
            from tui.services.shelter import can_pass

            if can_pass(error):
                self._tell_stored(error)
            else:
                told = _(
                    "{reason} Until then, what is said is kept in memory;"
                    " when you leave, it is stored, or written to a file where that does not work.",
                    reason=reason(error),
                )
                self._post(Trouble(told))
            await self.store.open_temporary(error)

    def _tell_stored(self, error: StorageError | None) -> None:
        if error is None:
            self.housekeeping.stored_again()
            self._post(Trouble(_("Everything is stored again."), severity="information"))
            self._post(HistoryChanged())
        else:
            meanwhile = _(
                "What is said is kept in memory, and stored as soon as that works; /export writes it to a file."
            )
            self._post(Trouble(f"{reason(error)} {meanwhile}"))

    async def close(self) -> None:
        """Store everything and end the engine; whoever calls second waits for the first."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="close services")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._starting is None and self.saving.has_draft:
            # Left before anything was started.
            self._starting = background.begin(self._open_sessions(), "open sessions", self._post)
        if self._starting is not None:
            if self.saving.has_draft:
                # What is typed goes into the database, or to a file when that cannot be opened.
                self.still = _("The database is still being opened, so that what is typed can be stored …")
                await self.opened.wait()
            self._starting.cancel()
            await asyncio.wait([self._starting])
        self.still = _("What was said is still being stored …")
        async with AsyncExitStack() as rest:
            # Last to first, each whatever became of the others; an error comes out at the end.
            rest.push_async_callback(self.store.close)
            rest.push_async_callback(self._end_engine)
            rest.push_async_callback(self.models.close)
            if self._remembering is not None:
                rest.push_async_callback(asyncio.wait, [self._remembering])
            rest.push_async_callback(self._leave)
            rest.push_async_callback(self.housekeeping.stop)

    async def _end_engine(self) -> None:
        before, self.still = self.still, _("The engine is still ending …")
        await self.engine.close()
        self.still = before

    async def _leave(self) -> None:
        self.looking.forget()
        with suppress(StorageError):
            await self.opening.close()
        with suppress(StorageError):
            await self.history.purge_own()
