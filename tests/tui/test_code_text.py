"""Code in an answer: nothing of a line is out of sight, and what is copied is the code itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content
from textual.selection import Selection

from tui.widgets.code_fence import CodeFence
from tui.widgets.code_text import GOES_ON, CodeText

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


def drawn(code: CodeText, width: int) -> list[str]:
    return [line.plain for line in code._wrap_and_format(width)]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("short", ["short"]),
        ("0123456789", ["0123456789"]),
        ("0123456789a", ["0123456789", "↳ a"]),
        ("call(one, two)", ["call(one, ", "↳ two)"]),
        ("    0123456789", ["    012345", "↳ 6789"]),
        ("\tab", ["        ab"]),
        ("\tabc\nx", ["        ab", "↳ c", "x"]),
        ("漢字漢字漢字", ["漢字漢字漢", "↳ 字"]),
        ("a\n\nb\n", ["a", "", "b", ""]),
        ("か\u3099" * 7, ["か\u3099" * 5, "↳ か\u3099か\u3099"]),
        ("e\u0301" * 10, ["e\u0301" * 10]),
        ("👩\u200d👩\u200d👧" * 6, ["👩\u200d👩\u200d👧" * 5, "↳ 👩\u200d👩\u200d👧"]),
        ("x" + "e\u0301" * 10, ["x" + "e\u0301" * 9, "↳ e\u0301"]),
    ],
)
def test_long_lines_go_on_below(code: str, wanted: list[str]) -> None:
    assert drawn(CodeText(code), 10) == wanted


@given(st.lists(st.text("ab \t漢é\u0301👩\u200d", max_size=60), min_size=1), st.integers(1, 30))
def test_nothing_is_lost_and_nothing_sticks_out(lines: list[str], width: int) -> None:
    code = CodeText("\n".join(lines))
    rows = drawn(code, width)
    assert code.get_height({}, width) == len(rows)
    assert all(cell_len(row) <= max(width, 4) for row in rows)
    whole = "".join(row.removeprefix(GOES_ON) for row in rows)
    assert whole.split() == "".join(Content(line).expand_tabs().plain for line in lines).split()


def test_what_is_selected_is_the_code() -> None:
    code = CodeText("\tone two\nthree")
    assert len(drawn(code, 12)) == 3
    assert Selection(None, None).extract(str(code)) == "\tone two\nthree"
    (_first, rest, _last) = code._wrap_and_format(12)
    assert (rest.x + len(GOES_ON), rest.y) == (len("        one "), 0)


async def test_a_long_line_shows_to_its_end(stage: Stage) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    stage.set_script(answers=[f"```go\n\tprint({words})\nlast()\n```\n\nEnd."])
    async with stage.running(size=(100, 30)) as play:
        answer = await play.ask("hi")
        text = play.text()
        assert all(f"word{n}" in text for n in range(40))
        assert "last()" in text
        assert f"\tprint({words})" in answer


@pytest.mark.parametrize("language", ["go", "go title=x", "{.go}", "go:main.go"])
def test_colours_are_where_their_words_are(language: str) -> None:
    code = "func f() {\n\t\treturn 1\n\t\treturn 2\n}"
    coloured = CodeFence.highlight(code, language)
    words = {code[span.start : span.end] for span in coloured.spans}
    assert {"func", "return"} <= words
