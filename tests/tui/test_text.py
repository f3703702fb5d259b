"""Text from elsewhere is text: no control code, escape sequence or markup of it reaches the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it.token import Token

from tui.markdown import markdown_parser
from tui.text import first_line, fitted, human_bytes, human_count, safe_line, safe_text, short_path

FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def all_text(tokens: list[Token]) -> str:
    return "".join(token.content + token.info + all_text(token.children or []) for token in tokens)


@given(st.text(st.characters(codec=None)))
def test_safe_text_leaves_nothing_to_obey(text: str) -> None:
    assert not FORBIDDEN.search(safe_text(text))
    safe_text(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_safe_text_leaves_honest_text_alone(text: str) -> None:
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a␍b"),
        ("\x9b31m", "\N{REPLACEMENT CHARACTER}31m"),
        ("abc\u202edef", "abc\N{REPLACEMENT CHARACTER}def"),
        ("tab\there", "tab\there"),
        ("👩‍🚀 é", "👩‍🚀 é"),
    ],
)
def test_safe_text(text: str, expected: str) -> None:
    assert safe_text(text) == expected


def test_safe_line_is_one_short_line() -> None:
    assert safe_line("  a\n\n b\t c ") == "a b c"
    assert safe_line("x" * 500, 10) == "x" * 9 + "…"
    assert len(safe_line("x " * 100_000)) <= 200


@pytest.mark.parametrize(
    ("text", "n_cells", "expected"),
    [
        ("title", 5, "title"),
        ("a title", 5, "a ti…"),
        ("a title", 3, "a…"),
        ("漢字漢字", 5, "漢字…"),
        ("Reading …", 8, "Reading…"),
    ],
)
def test_a_line_is_fitted_into_its_cells(text: str, n_cells: int, expected: str) -> None:
    assert fitted(text, n_cells) == expected
    assert fitted(text, n_cells, least=n_cells + 1) == (text if text == expected else "")


def test_first_line_is_the_first_that_says_anything() -> None:
    assert first_line("\n  \n hello \nworld") == "hello"
    assert first_line("\n\n") == ""


def test_a_path_is_told_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert short_path("notes.md") == "~/notes.md"
    assert short_path(tmp_path / "here" / "notes.md") == "~/here/notes.md"
    assert short_path("/elsewhere/notes.md") == "/elsewhere/notes.md"


def test_a_path_is_told_where_nobody_knows_the_home(nobodys: None) -> None:
    assert short_path("/elsewhere/notes.md") == "/elsewhere/notes.md"


def test_sizes_and_counts_in_words() -> None:
    assert [human_bytes(n) for n in (812, 1_500, 98_362_432, 3_800_000_000, 25e9, 2e12)] == [
        "812 B",
        "1.5 kB",
        "98 MB",
        "3.8 GB",
        "25 GB",
        "2.0 TB",
    ]
    assert [human_count(n) for n in (512, 8_192, 135_000_000, 6_738_000_000)] == ["512", "8.2 k", "135 M", "6.7 B"]


def test_html_in_an_answer_stays_visible() -> None:
    assert "<b>bold</b>" in all_text(markdown_parser().parse("some <b>bold</b> text"))
    assert "<div>" in all_text(markdown_parser().parse("<div>\nblock\n</div>"))


def test_a_link_shows_where_it_goes_and_is_nothing_to_click() -> None:
    (inline,) = (token for token in markdown_parser().parse("[bank](https://evil.example)") if token.children)
    assert "".join(child.content for child in inline.children) == "bank (https://evil.example)"
    assert {child.type for child in inline.children} == {"text"}
    image = all_text(markdown_parser().parse("![cat](file:///etc/passwd)"))
    assert "[cat]" in image


@pytest.mark.parametrize("source", ["&#27;[31m", "&#x202E;x", "`\x1b[0m`", "```\x1b\n\x9b\n```", "# \x07", "&#155;"])
def test_no_way_around_through_markdown(source: str) -> None:
    assert not FORBIDDEN.search(all_text(markdown_parser().parse(safe_text(source))))


@pytest.mark.parametrize("step", ["- ", "1. ", "> ", "> - "])
def test_what_is_nested_too_deep_is_text(step: str) -> None:
    indent = "  " if step == "- " else "   "
    lines = [step * n if ">" in step else indent * n + step for n in range(1, 40)]
    text = "\n".join(f"{line}level{n}." for n, line in enumerate(lines)) + "\n\nThe end."
    shown = all_text(markdown_parser().parse(text))
    assert all(f"level{n}." in shown for n in range(39))
    assert "The end." in shown


def test_addresses_below_a_text_are_not_hidden() -> None:
    text = "See [it][1].\n\nSources:\n\n[1]: https://a.example\n[2]: https://b.example 'B'\n- [3]: https://c.example\n"
    shown = all_text(markdown_parser().parse(text))
    assert "it (https://a.example)" in shown
    assert all(source in shown for source in ("[1]: https://a.", "[2]: https://b.example 'B'", "[3]: https://c."))


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("| 1 | 2 |", "2"),
        ("| 1 | 2", "2"),
        ("1 | 2 |", "2"),
        ("| 1 |", ""),
        ("| 1 | 2 | 3 | more |", "2 | 3 | more"),
        ("| or | `a || b` |", "`a |  | b`"),
        ("| 1 | 2 \\| 3 |", "2 | 3"),
        ("| 1 | 2 | 3 \\|", "2 | 3 |"),
    ],
)
def test_what_a_table_has_no_column_for_is_in_the_last_one(row: str, wanted: str) -> None:
    tokens = markdown_parser().parse(f"| a | b |\n|---|---|\n{row}\n| x | y |\n\nThe end.")
    cells = [token.content for token in tokens if token.type == "inline"]
    assert (cells[3], cells[4:]) == (wanted, ["x", "y", "The end."])
