"""Stop texts that come in pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from engine.chat import StopMatcher


def test_a_stop_text_in_pieces() -> None:
    matcher = StopMatcher(["### Instruction"])
    assert matcher.feed("Paris.\n\n#") == ("Paris.\n\n", False)
    assert matcher.feed("## Ins") == ("", False)
    assert matcher.feed("truction: more") == ("", True)
    assert matcher.feed("anything") == ("", True)
    assert matcher.flush() == ""


def test_what_only_began_like_one_comes_after_all() -> None:
    matcher = StopMatcher(["###", "</s>"])
    assert matcher.feed("a #") == ("a ", False)
    assert matcher.feed("# heading <") == ("## heading ", False)
    assert matcher.flush() == "<"


def test_the_first_of_several_ends_it() -> None:
    assert StopMatcher(["world", "lo"]).feed("hello world") == ("hel", True)


def test_without_stop_texts_everything_passes() -> None:
    assert StopMatcher(["", ""]).feed("text") == ("text", False)


@example(pieces=["ba", "b"], stops=["a", "bab"])
@given(pieces=st.lists(st.text(alphabet="ab", max_size=4)), stops=st.lists(st.text(alphabet="ab", max_size=3)))
def test_the_cuts_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    got = ""
    for piece in pieces:
        text, stopped = matcher.feed(piece)
        got += text
        if stopped:
            break
    whole = "".join(pieces)
    found = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop and stop in whole]
    assert got + matcher.flush() == (whole[: min(found)[1]] if found else whole)
