"""The tokens that the model weighs: how likely each is, what the samplers make of it, and what to take instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from engine.protocol import Abilities, Candidate
from tui.language import N_, _, ngettext
from tui.messages import Place, Weighed
from tui.text import safe_text

N_CANDIDATES = 6
"""How many are told with a token that is being written."""

PAGE_TOKENS = 10

_BAR_WIDTH = 5
_EXPLANATION = N_("The likeliest next tokens, while an answer is written and afterwards.")
_NOT_GIVEN = N_("This server does not tell how likely its tokens are.")
_ONLY_LIVE = N_("While an answer is written: its likeliest next tokens. This server does not tell them afterwards.")
_FOLLOWED = "\N{BULLET}"
_END = "\N{LEFT ONE EIGHTH BLOCK}"


def visible_token(text: str) -> str:
    """A token's text with what would not show: spaces and line breaks."""
    # The engine has put pictures in place of breaks and tabs: others than the line above the candidates has.
    return one_line(text).replace("␊", "⏎").replace("␉", "⇥").replace(" ", "␣") or "∅"


class CandidatesPane(Widget, can_focus=True):
    """One line a candidate: its text, a bar, and its probability in the model and after the samplers, in per cent.

    While nothing is written, a place in the last answer stands above them, and one of them may be taken there instead.
    """

    DEFAULT_CSS = """
    CandidatesPane { height: 1fr; min-height: 6; width: 1fr; color: $foreground; }
    CandidatesPane > .candidates--bar { color: $primary; }
    CandidatesPane > .candidates--cut { color: $foreground 60%; }
    CandidatesPane > .candidates--around { color: $foreground 65%; }
    CandidatesPane > .candidates--here { text-style: bold underline; color: $text-accent; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "candidates--bar",
        "candidates--cut",
        "candidates--around",
        "candidates--here",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Token before", id="candidates.before", tooltip="To the token before"),
        Binding("right", "step(1)", "Token after", id="candidates.after", tooltip="To the token after"),
        Binding(
            "enter", "take", "Branch", id="candidates.take", tooltip="Take this token instead, and write on from it"
        ),
        Binding("up,k", "cursor(-1)", id="candidates.up", tooltip="To the candidate above", show=False),
        Binding("down,j", "cursor(1)", id="candidates.down", tooltip="To the candidate below", show=False),
        Binding("pageup", f"step(-{PAGE_TOKENS})", id="candidates.page_before", tooltip="Ten tokens back", show=False),
        Binding("pagedown", f"step({PAGE_TOKENS})", id="candidates.page_after", tooltip="Ten tokens on", show=False),
        Binding("home", "go(0)", id="candidates.first", tooltip="To the answer's first token", show=False),
        Binding("end", "go(-1)", id="candidates.end", tooltip="To the answer's end", show=False),
    ]
    HELP = (
        "A line a candidate: its probability in the model, an arrow, what the sliders make of it, in per cent; those"
        " that they cut off are dim. Left and right go through the last answer token by token, page keys by ten, home"
        " and end to its ends; the bullet marks what followed there. Up and down choose another token, and enter writes"
        " a new answer that goes on with it; the old one stays beside it."
    )

    @dataclass
    class Stepped(Message):
        """The user goes so many tokens on, or back."""

        n_tokens: int

    @dataclass
    class Went(Message):
        """The user goes to the answer's first token, or to its end."""

        to_end: bool

    @dataclass
    class Taken(Message):
        """The user wants this token at a place instead of the one that followed."""

        place: Place
        token_id: int

    @dataclass
    class ReadingWanted(Message):
        """The user wants to see what the engine has not read yet."""

    def __init__(self) -> None:
        super().__init__()
        self._candidates: list[Candidate] = []
        self._explanation = _EXPLANATION
        self._latest: list[Candidate] = []
        self._place: Place | None = None
        self._n_unread = 0
        self._note = ""
        self._cursor = 0
        self._top = 0

    @property
    def place(self) -> Place | None:
        """Where in the last answer this is; None while one is written."""
        return self._place

    @property
    def is_unread(self) -> bool:
        """Whether something is to be read first."""
        return self._n_unread > 0

    @property
    def shown(self) -> list[Candidate]:
        """The candidates, the likeliest first; what followed, when it was not among them, last."""
        return self._candidates

    def take(self, candidates: list[Candidate]) -> None:
        """The candidates of the latest token, to be shown with its text."""
        self._latest = candidates[:N_CANDIDATES]

    def show_latest(self) -> None:
        """Show what was taken last."""
        if self._latest and self._latest != self._candidates:
            self._candidates = self._latest
            self.refresh()

    def show_weighed(self, weighed: Weighed) -> None:
        """Show a place that was looked at; the cursor stands on what followed there, else on the likeliest."""
        moved = weighed.place is None or self._place is None or weighed.place.at != self._place.at
        had_any = self._place is not None and bool(self._candidates)
        self._place, self._candidates = weighed.place, weighed.candidates
        self._n_unread, self._note = weighed.n_unread, weighed.note
        self._latest = []
        if moved or not had_any:
            self._cursor = self._top = 0
            ids = [candidate.id for candidate in self._candidates]
            if weighed.place is not None and weighed.place.followed_by in ids:
                self._cursor = ids.index(weighed.place.followed_by)
        self._put_cursor(self._cursor)

    def begin_live(self) -> None:
        """An answer is being written: from now on its own tokens."""
        self._place, self._note, self._n_unread, self._cursor, self._top = None, "", 0, 0, 0
        self.refresh()

    def show_abilities(self, abilities: Abilities) -> None:
        """Say why there are none where a server gives no probabilities."""
        if abilities.logprobs is False:
            self._explanation = _NOT_GIVEN
        else:
            self._explanation = _EXPLANATION if abilities.look else _ONLY_LIVE
        self.refresh()

    def forget_unread(self) -> None:
        """There is nobody any more who could read what is not read."""
        if self._n_unread:
            self.clear()

    def clear(self) -> None:
        """Another session."""
        self._candidates = self._latest = []
        self.begin_live()

    # What the user does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show a key only while it does something."""
        if action in ("step", "go", "cursor"):
            return self._place is not None
        return self._place is not None and bool(self._candidates or self._n_unread) if action == "take" else True

    def action_step(self, n_tokens: int) -> None:
        """Go through the answer."""
        self.post_message(self.Stepped(n_tokens))

    def action_go(self, at: int) -> None:
        """Go to one of its ends."""
        self.post_message(self.Went(at < 0))

    def action_cursor(self, n_lines: int) -> None:
        """Choose another candidate."""
        self._put_cursor(self._cursor + n_lines)

    def action_take(self) -> None:
        """Take the chosen candidate, or have the engine read what it has not read yet."""
        if self._n_unread:
            self.post_message(self.ReadingWanted())
        elif self._candidates and self._place is not None:
            self.post_message(self.Taken(self._place, self._candidates[self._cursor].id))

    def on_click(self, event: events.Click) -> None:
        """A candidate is chosen by one click and taken by two; the line above goes a token back or on."""
        if self._place is None:
            return
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if self._n_unread:
            self.action_take()
        elif offset.y == 0:
            self.action_step(-1 if offset.x < self.content_size.width // 2 else 1)
        elif self._top + offset.y - 1 < len(self._candidates):
            self._put_cursor(self._top + offset.y - 1)
            if event.chain == 2:
                self.action_take()

    def _put_cursor(self, at: int) -> None:
        self._cursor = min(max(at, 0), max(len(self._candidates) - 1, 0))
        n_lines = max(self.content_size.height - 1, 1)
        self._top = min(max(self._top, self._cursor - n_lines + 1), self._cursor)
        self.refresh()

    # What is shown

    def render(self) -> RenderResult:
        """All lines."""
        if self._note:
            return Content.styled(safe_text(self._note), ".candidates--around")
        if self._n_unread:
            unread = ngettext(
                "{n} token of this session is not read yet. Enter here has it read.",
                "{n} tokens of this session are not read yet. Enter here has them read.",
                self._n_unread,
            )
            return Content.styled(unread, ".candidates--around")
        if not self._candidates:
            return Content.styled(_(self._explanation), ".candidates--around")
        if self._place is None:
            return Content("\n").join([self._line(candidate) for candidate in self._candidates])
        n_lines = max(self.content_size.height - 1, 1)
        shown = list(enumerate(self._candidates))[self._top : self._top + n_lines]
        lines = [self._chosen_line(at, candidate, self._place) for at, candidate in shown]
        return Content("\n").join([self._surroundings(self._place), *lines])

    def _surroundings(self, place: Place) -> Content:
        """The place with the text around it: what stands before it gets the room first."""
        width = self.content_size.width
        token = one_line(place.token)[: width // 2] if place.followed_by is not None else _END
        before = one_line(place.before)
        after = one_line(place.after)
        room = max(width - cell_len(token), 0)
        n_after = min(cell_len(after), room // 3)
        before = _last_cells(before, room - n_after)
        after = set_cell_size(after, min(cell_len(after), room - cell_len(before)))
        return Content.assemble(
            (before, ".candidates--around"), (token, ".candidates--here"), (after, ".candidates--around")
        )

    def _chosen_line(self, at: int, candidate: Candidate, place: Place) -> Content:
        mark = _FOLLOWED if candidate.id == place.followed_by else " "
        line = self._line(candidate, mark)
        return line.stylize("reverse") if at == self._cursor and self.has_focus else line

    def _line(self, candidate: Candidate, mark: str = "") -> Content:
        cut = candidate.sampler_p <= 0
        figures = f"{candidate.model_p * 100:3.0f}→{candidate.sampler_p * 100:<3.0f}"
        room = max(self.content_size.width - _BAR_WIDTH - cell_len(figures) - cell_len(mark) - 2, 1)
        text = mark + set_cell_size(visible_token(candidate.text), room)
        bar = _bar(candidate.model_p, candidate.sampler_p)
        if cut:
            return Content.styled(f"{text} {bar} {figures}", ".candidates--cut")
        return Content.assemble(text, " ", (bar, ".candidates--bar"), " ", figures)

    def on_focus(self) -> None:
        """The cursor shows only where keys would move it."""
        self.refresh()

    def on_blur(self) -> None:
        """The same."""
        self.refresh()


def _bar(model_p: float, sampler_p: float) -> str:
    """Solid up to the probability after the samplers, and shaded up to the model's where that is more."""
    solid, whole = round(sampler_p * _BAR_WIDTH), round(max(model_p, sampler_p) * _BAR_WIDTH)
    return ("█" * solid + "░" * (whole - solid)).ljust(_BAR_WIDTH)


def one_line(text: str) -> str:
    """Text as it is, but for what would break the line."""
    return safe_text(text).replace("\n", "⏎").replace("\t", "⇥")


def _last_cells(text: str, n_cells: int) -> str:
    """The end of a text that fits."""
    while text and cell_len(text) > n_cells:
        text = text[1:]
    return text
