"""The session that is open: what is shown of it, and how its answers are to be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from engine.protocol import ChatMessage, ChatPrompt, Sampling
from storage import sessions, tree
from storage.errors import NoSuchSessionError
from storage.records import PathMessage, Session
from tui.messages import PathChanged, Post, SettingsShown, TitleChanged
from tui.services.answer import sampling_of
from tui.services.claim import Claim
from tui.services.drafts import Drafts
from tui.services.engine_session import EngineSession
from tui.services.store import Store


@dataclass(frozen=True)
class Defaults:
    """What a new session begins with. sampling_for: the user's settings on top of a model's recommended ones."""

    system: str
    sampling_for: Callable[[Sampling], Sampling]


class OpenSession:
    """One session at a time, None while nothing was said in it yet; it is stored with its first message.

    lock: whoever does something to the session holds it meanwhile. path: the messages of the branch that is shown.
    claim, drafts: of whatever session is open.
    """

    def __init__(
        self, store: Store, engine: EngineSession, claim: Claim, drafts: Drafts, post: Post, defaults: Defaults
    ) -> None:
        self._store = store
        self._engine = engine
        self._claim = claim
        self._drafts = drafts
        self._post = post
        self._defaults = defaults
        self._has_unsaved_sampling = False
        self.lock = asyncio.Lock()
        self.session: Session | None = None
        self.path: list[PathMessage] = []
        self._unstored_system = defaults.system
        self._unstored_template: str | None = None
        self.default_sampling = self.sampling = defaults.sampling_for(Sampling())

    @property
    def id(self) -> str | None:
        """The session's, None while it is not stored."""
        return self.session.id if self.session is not None else None

    @property
    def head_id(self) -> str | None:
        """The last message's of the branch, None while there is none."""
        return self.path[-1].message.id if self.path else None

    # Which session it is

    def begin_new(self) -> None:
        """Have one open in which nothing was said yet."""
        self.session, self.path = None, []
        self._drafts.take_up("", stored="")
        self._unstored_system, self._unstored_template = self._defaults.system, None
        self.sampling = self.default_sampling
        self._has_unsaved_sampling = False

    async def adopt(self, session: Session, *, keep_typed: bool = False) -> None:
        """Have a stored session open, and claim it; its path is still to be read. keep_typed: behind its draft."""
        self.session = session
        self._drafts.take_up(session.id, session.draft, keep_typed=keep_typed)
        self.sampling = sampling_of(session.settings, self.default_sampling)
        self._has_unsaved_sampling = False
        await self._claim.take(session.id)

    async def create(self, title: str) -> Session:
        """Store the session, in which something is about to be said, and claim it."""
        self.session = session = await self.store_new(title)
        self._has_unsaved_sampling = False
        await self._claim.take(session.id)
        return session

    async def store_new(self, title: str) -> Session:
        """Store a session with the settings of this one, and leave this one as it is."""
        card = self._engine.card
        return await self._store.call(
            sessions.create_session,
            model=card.name if card else "",
            system=self.system,
            settings=msgspec.to_builtins(self.sampling),
            template=self.template,
            title=title,
        )

    async def part_from_deleted(self) -> bool:
        """Have no session open where it was deleted elsewhere; what is typed is kept, for a new one."""
        if self.session is None:
            return False
        try:
            await self._store.call(sessions.get_session, self.session.id)
        except NoSuchSessionError:
            self._unstored_system, self._unstored_template = self.system, self.template
            self.session, self.path = None, []
            self._drafts.lose_place()
            self._claim.give_up()
            return True
        return False

    # What is shown of it

    async def read(self) -> None:
        """Take over what the database has of the session."""
        assert self.session is not None
        before, self.session = self.session, await self._store.call(sessions.get_session, self.session.id)
        self.path = await self._store.call(tree.path, self.session.id)
        if self.session.settings != before.settings and not self._has_unsaved_sampling:
            self.sampling = sampling_of(self.session.settings, self.default_sampling)

    async def read_through(self, message_id: str | None, *, may_switch: bool) -> None:
        """Read the branch through a message, None for the stored one. may_switch: the session comes back to it, too."""
        assert self.session is not None
        path = await self._store.call(tree.path, self.session.id)
        if message_id is not None and all(item.message.id != message_id for item in path):
            if may_switch:
                await self._store.call(tree.switch_to, message_id)
                path = await self._store.call(tree.path, self.session.id)
            else:
                path = await self._store.call(tree.path_to, message_id)
        self.path = path

    async def show(self) -> None:
        """Read the session, and show it."""
        await self.read()
        self._post(PathChanged(self.session, self.path))

    def take_changed(self, session: Session) -> None:
        """A session was given another title, system prompt or chat format; perhaps this one."""
        if session.id == self.id:
            self.session = session
            self._post(TitleChanged(session.title))
            self._post(SettingsShown())

    # How its answers are written

    @property
    def system(self) -> str:
        """What the model is told first, "" for nothing."""
        return self._unstored_system if self.session is None else self.session.system

    @property
    def template(self) -> str | None:
        """The family in whose format the session is written, None for the model's own."""
        return self._unstored_template if self.session is None else self.session.template

    async def set_system(self, text: str) -> None:
        """Tell the model something else first, from the next answer on. Raises StorageError."""
        if (session := self.session) is None:
            self._unstored_system = text
            self._post(SettingsShown())
        else:
            await self._store.call(sessions.set_system, session.id, text)
            self.take_changed(await self._store.call(sessions.get_session, session.id))

    async def set_template(self, name: str | None) -> None:
        """Have the session written in another format, from the next answer on. Raises StorageError."""
        if (session := self.session) is None:
            self._unstored_template = name
        else:
            await self._store.call(sessions.set_template, session.id, name)
            self.take_changed(await self._store.call(sessions.get_session, session.id))

    def prompt_for(self, asked: Sequence[PathMessage]) -> ChatPrompt:
        """What the engine is told before it answers."""
        messages = [ChatMessage(role="system", content=self.system)] if self.system else []
        messages += [ChatMessage(role=m.message.role, content=m.message.content) for m in asked if m.message.content]
        return ChatPrompt(messages=messages, template=self.template)

    def choose(self, sampling: Sampling) -> None:
        """Have the next token chosen otherwise; it is unsaved until `save_sampling`."""
        self.sampling = sampling
        self._has_unsaved_sampling = True

    async def save_sampling(self, session_id: str) -> None:
        """Store how tokens are chosen. Raises StorageError; it is unsaved then as before."""
        if not self._has_unsaved_sampling:
            return
        self._has_unsaved_sampling = False
        try:
            await self._store.call(sessions.set_settings, session_id, msgspec.to_builtins(self.sampling))
        except BaseException:
            self._has_unsaved_sampling = True
            raise

    def take_recommended(self, recommended: Sampling) -> bool:
        """Another model is open: new sessions begin with what it recommends.

        True where this one should go over to that too: it has just begun, and nobody has chosen anything else for it.
        """
        before, after = self.default_sampling, self._defaults.sampling_for(recommended)
        self.default_sampling = after
        has_answers = any(shown.message.role == "assistant" for shown in self.path)
        return self.sampling == before and not has_answers and after != before
