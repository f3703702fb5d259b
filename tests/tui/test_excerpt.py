"""The part of a branch that is mounted: around the reader, never too much, and nothing of what grows is lost."""

from __future__ import annotations

from storage.records import Message, MessageState, PathMessage
from tui.widgets.excerpt import MOST, PAGE, STEP, Excerpt


def message(number: int, content: str = "", state: MessageState = "complete") -> PathMessage:
    here = Message(
        id=f"m{number}",
        session_id="s",
        parent_id=f"m{number - 1}" if number else None,
        role="assistant" if number % 2 else "user",
        content=content or f"text {number}",
        state=state,
        created_utc="2026-01-01T00:00:00.000000Z",
    )
    return PathMessage(message=here, sibling_index=0, sibling_count=1)


def branch(n_messages: int) -> list[PathMessage]:
    return [message(number) for number in range(n_messages)]


def shown(excerpt: Excerpt) -> tuple[str, str]:
    ids = [item.message.id for item in excerpt.messages]
    return ids[0], ids[-1]


def test_a_session_begins_with_its_end_and_a_found_message_with_what_is_around_it() -> None:
    excerpt = Excerpt()
    assert excerpt.show(branch(200), from_start=True, at=None) is None
    assert shown(excerpt) == (f"m{200 - PAGE}", "m199")
    assert excerpt.n_later == 0
    assert excerpt.show(branch(200), from_start=True, at="m50") == 50
    assert shown(excerpt) == (f"m{50 - PAGE // 2}", f"m{50 + PAGE // 2 - 1}")
    assert excerpt.show(branch(5), from_start=True, at="m4") == 4
    assert shown(excerpt) == ("m0", "m4")


def test_going_up_and_down_goes_through_all_and_keeps_no_more_than_most() -> None:
    excerpt = Excerpt()
    excerpt.show(branch(200), from_start=True, at=None)
    came = [item.message.id for item in excerpt.messages]
    while excerpt.first:
        more = excerpt.go_up()
        assert len(more) <= STEP
        came[:0] = [item.message.id for item in more]
        assert len(excerpt.messages) <= MOST
    assert came == [f"m{number}" for number in range(200)]
    assert shown(excerpt) == ("m0", f"m{MOST - 1}")
    came = []
    while excerpt.n_later:
        came += [item.message.id for item in excerpt.go_down()]
        assert len(excerpt.messages) == MOST
    assert came == [f"m{number}" for number in range(MOST, 200)]
    assert shown(excerpt) == (f"m{200 - MOST}", "m199")


def test_its_two_ends_are_a_jump_away() -> None:
    excerpt = Excerpt()
    excerpt.show(branch(200), from_start=True, at=None)
    assert not excerpt.go_to_end()
    assert excerpt.go_to_beginning()
    assert shown(excerpt) == ("m0", f"m{PAGE - 1}")
    assert not excerpt.go_to_beginning()
    assert excerpt.go_to_end()
    assert shown(excerpt) == (f"m{200 - PAGE}", "m199")


def test_the_end_is_followed_only_from_the_end() -> None:
    excerpt = Excerpt()
    excerpt.show(branch(100), from_start=True, at=None)
    excerpt.show(branch(101), from_start=False, at=None)
    assert shown(excerpt) == (f"m{100 - PAGE}", "m100")
    excerpt.go_to_beginning()
    excerpt.show(branch(102), from_start=False, at=None)
    assert shown(excerpt) == ("m0", f"m{PAGE - 1}")
    excerpt.show(branch(3), from_start=False, at=None)
    assert shown(excerpt) == ("m0", "m2")


def test_an_answer_grows_out_of_sight_and_a_branch_read_anew_takes_nothing_of_it_away() -> None:
    excerpt = Excerpt()
    writing = [*branch(100)[:-1], message(99, "Once", "writing")]
    excerpt.show(writing, from_start=True, at=None)
    excerpt.go_to_beginning()
    grown = excerpt.grow("m99", " upon a time")
    assert grown is not None
    assert grown.message.content == "Once upon a time"
    assert excerpt.grow("elsewhere", "x") is None
    # The database is behind.
    excerpt.show(writing, from_start=False, at=None)
    assert excerpt.branch[-1].message.content == "Once upon a time"
    while excerpt.n_later:
        excerpt.go_down()
    assert excerpt.messages[-1].message.content == "Once upon a time"
    excerpt.settle(message(99, "Once upon a time."))
    assert excerpt.branch[-1].message.state == "complete"
    excerpt.show([*branch(100)[:-1], message(99, "Once", "writing")], from_start=False, at=None)
    assert excerpt.branch[-1].message.content == "Once"
