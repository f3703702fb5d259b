"""Formulas in an answer: every character of them shows, and what is none is Markdown as ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.markdown import markdown_parser


def shown(text: str) -> str:
    """The text of all paragraphs, as lines."""
    inline = [token.children or [] for token in markdown_parser().parse(text) if token.type == "inline"]
    return "\n".join("".join("\n" if t.type == "hardbreak" else t.content for t in tokens) for tokens in inline)


@pytest.mark.parametrize(
    "text",
    [
        "$a*b*c$",
        "is $x_1$, $y_{*}z_{*}$-th and $$a_1 * b * c_1$$.",
        r"\(x^2\) and \[ \frac{a_1}{b_2} \\ x_{*} * y_{*} \\[2pt] \] here",
        r"$\$5 * 2 * 3$",
        r"\[ \frac{a_1}{b_2} \\ x_{*} * y_{*} \].",
        "$$\na\n= b\n+ c*d*e\n- \\{1\\}\n===\n# 1\n$$",
        "so:\n\\[\nx\n+ y\n\\]\nand",
        "\\[\nx*y*z\n+ it goes on",
    ],
)
def test_a_formula_stays_as_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("from $5 to *$6*", "from $5 to $6"),
        ("$5-$6 *a*", "$5-$6 a"),
        (r"\$5 and \$6 *a*", "$5 and $6 a"),
        ("$ x $ *a*", "$ x $ a"),
        ("`$x` *a* `$`", "$x a $"),
        (r"\\(a *b* c\\)", r"\(a b c\)"),
        ("$x\ny$ *a*", "$x\ny$ a"),
        ("$$a*b*c$$ and *d*", "$$a*b*c$$ and d"),
        ("$$\na*b*c\n\n*d*", "$$\na*b*c\nd"),
    ],
)
def test_the_rest_is_markdown(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_formulas_in_lists_and_quotes() -> None:
    text = "1. first\n   \\[\n   x\n   + y\n   \\]\n2. second\n\n> $$\n> a*b*c\n> $$\n"
    tokens = markdown_parser().parse(text)
    assert sum(token.type == "list_item_open" for token in tokens) == 2
    assert shown(text) == "first\n\\[\nx\n+ y\n\\]\nsecond\n$$\na*b*c\n$$"


@given(st.text("$\\()[] a*\n-=", max_size=40))
def test_a_formula_among_anything(text: str) -> None:
    assert "$x*y*z$" in shown(f"{text}\n\nwhere $x*y*z$")
