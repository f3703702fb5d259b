"""The texts that a user may see, found in the sources: what is marked, and what stands where texts for users stand.

Marked are the arguments of `_`, `N_` and ngettext. Without a mark count: what a Binding, a Scale, a SlashCommand
or a Finding says, the class variables HELP, DIALOG_TITLE and ENTER, the help of commands and their options, and in
engine and storage the sentences of errors and notices, which know no language, also those that the file has under a
name; the values in them become {places}.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

FOR_PROGRAMS = CHECKOUT / "engine" / "server"
"""What the HTTP interface answers is the same in every language."""

ERRORS = "error"
"""The context of what engine and storage say: it is looked up by its form, everything else by its wording."""

_MARKS = {"_": 1, "N_": 1, "ngettext": 2}
_SAYING: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "Binding": ((2,), ("description", "tooltip")),
    "Finding": ((0,), ()),
    "Scale": ((), ("label", "off_text", "help")),
    "SlashCommand": ((1, 2), ()),
}
"""Calls whose arguments at these places and with these names are for users."""

_CLASS_TEXTS = {"HELP", "DIALOG_TITLE", "ENTER"}
_ERROR_CALLS = re.compile(r"(Error|Failed|EngineDied|Notice|ConversionNote|Refused|Refusal)$")
_ERROR_NAMES = {"hint", "message", "note", "notes"}
_WORDS = re.compile(r"[A-Za-z]{2}.* .*")


@dataclass(frozen=True)
class Text:
    """One text: what gettext calls msgid, msgid_plural and msgctxt, and the file that it is in."""

    message: str
    plural: str = ""
    context: str = ""
    file: str = field(default="", compare=False)


def all_texts() -> list[Text]:
    """Every text once, in the order of files and lines."""
    found: dict[Text, None] = {}
    for package in ("tui", "engine", "storage"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            if path.is_relative_to(FOR_PROGRAMS):
                continue
            for text in texts_of(path.read_text(encoding="utf-8"), str(path.relative_to(CHECKOUT))):
                found.setdefault(text)
    return list(found)


def texts_of(source: str, file: str) -> Iterator[Text]:
    """The texts of one file."""
    is_silent = not file.startswith("tui/")
    tree = ast.parse(source)
    named = {
        each.targets[0].id: each.value
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        yield from _marked(node, file)
        if is_silent:
            yield from _said(node, named, file)
        else:
            yield from _unmarked(node, file)


def _marked(node: ast.AST, file: str) -> Iterator[Text]:
    n_texts = _MARKS.get(_name(node), 0)
    if isinstance(node, ast.Call) and n_texts:
        texts = [_constant(argument) for argument in node.args[:n_texts]]
        if all(texts) and len(texts) == n_texts:
            yield Text(*texts, file=file)


def _unmarked(node: ast.AST, file: str) -> Iterator[Text]:
    if isinstance(node, ast.Call):
        places, names = _SAYING.get(_name(node), ((), ()))
        arguments = [node.args[place] for place in places if place < len(node.args)]
        if _name(node) in ("option", "command", "group"):
            names = ("help",)
        arguments += [keyword.value for keyword in node.keywords if keyword.arg in names]
        yield from (Text(_constant(argument), file=file) for argument in arguments if _constant(argument))
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id in _CLASS_TEXTS and node.value and _constant(node.value):
            yield Text(_constant(node.value), file=file)
    elif isinstance(node, ast.FunctionDef) and any(_name(one) in ("command", "group") for one in node.decorator_list):
        yield Text(inspect.cleandoc(ast.get_docstring(node) or ""), file=file)


def _said(node: ast.AST, named: Mapping[str, ast.expr], file: str) -> Iterator[Text]:
    """Sentences of the engine and the storage. named: what the file's own names stand for."""
    values: list[ast.expr] = []
    if isinstance(node, ast.Call) and _ERROR_CALLS.search(_name(node)):
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.Call) and _name(node) == "__init__":
        values = list(node.args)
    elif isinstance(node, ast.Call):
        values = [keyword.value for keyword in node.keywords if keyword.arg in _ERROR_NAMES]
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        values = [node.value] if node.targets[0].id.lower().strip("_") in _ERROR_NAMES else []
    for value in values:
        for part in _alternatives(value):
            form = sentence_form(named.get(part.id, part) if isinstance(part, ast.Name) else part)
            if _WORDS.search(form):
                yield Text(form, context=ERRORS, file=file)


def sentence_form(node: ast.expr) -> str:
    """A text with a {place} for each of its values, "" for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value.replace("{", "{{").replace("}", "}}") if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    names: dict[str, str] = {}
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append("{" + _place(part.value, names) + "}")
        elif isinstance(part, ast.Constant):
            parts.append(str(part.value).replace("{", "{{").replace("}", "}}"))
    return "".join(parts)


def _place(value: ast.expr, names: dict[str, str]) -> str:
    """A name for a value: the last word of what it is, with a number where two have the same."""
    spelled = ast.unparse(value)
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", spelled)) or ["value"]
    simple = isinstance(value, ast.Name | ast.Attribute | ast.Subscript)
    wanted = (words[-1] if simple and not isinstance(value, ast.Subscript) else words[0]).strip("_").lower() or "value"
    name, n = wanted, 1
    while names.setdefault(name, spelled) != spelled:
        n += 1
        name = f"{wanted}{n}"
    return name


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [*_alternatives(node.body), *_alternatives(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [part for value in node.values for part in _alternatives(value)]
    return [node]


def _name(node: ast.AST) -> str:
    """What is called, without what it belongs to."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
