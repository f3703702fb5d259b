"""`llm-tui tokenize`: text to token ids and back, with a model's vocabulary alone."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from tui.bases import base_of, remember_base
from tui.commands.configured import chosen_base, chosen_model, user_settings
from tui.commands.options import base_option, json_option, model_option
from tui.commands.output import CommandError, write_json, write_text
from tui.language import _
from tui.paths import user_paths

if TYPE_CHECKING:
    from engine.tokenizer import Tokenizer


MAX_DIGITS = 20
"""More than any id has; what is longer is none however it goes on."""


class _Written(msgspec.Struct):
    """What this command writes as JSON, as far as --decode needs it."""

    ids: list[int]


@click.command()
@model_option
@base_option
@click.option("--decode", is_flag=True, help="Turn the token ids on stdin into text.")
@click.option("--no-bos", is_flag=True, help="Leave out the token that begins a text.")
@click.option("--no-special", is_flag=True, help="Take special tokens written in the text as plain text.")
@json_option
def command(
    model_name: str | None, base: str | None, decode: bool, no_bos: bool, no_special: bool, as_json: bool
) -> None:
    """Turn the text on stdin into token ids.

    With --decode, turn ids into text; they may be separated by anything, so JSON works too. Bytes that are not UTF-8
    are tokens of their own in vocabularies that have such; in others each counts as U+FFFD.
    """
    tokenizer = _open_tokenizer(model_name, base)
    given = sys.stdin.buffer.read()
    if decode:
        text = _decode(tokenizer, given)
        if as_json:
            write_json({"text": text})
        else:
            write_text(text, newline=sys.stdout.isatty())
        return
    ids = tokenizer.encode(
        given.decode("utf-8", "surrogateescape"),
        add_bos=tokenizer.add_bos and not no_bos,
        parse_special=not no_special,
    )
    if as_json:
        write_json({"ids": ids, "pieces": [tokenizer.token_text(token_id) for token_id in ids]})
    else:
        write_text(" ".join(map(str, ids)))


def _open_tokenizer(model_name: str | None, base: str | None) -> Tokenizer:
    """Read the vocabulary in this process: neither NumPy nor an engine is needed for that."""
    from engine.checkpoints import open_checkpoint
    from engine.tokenizer import load_tokenizer

    settings, paths = user_settings(), user_paths()
    path = chosen_model(model_name, settings)
    named = chosen_base(base, settings)
    checkpoint = open_checkpoint(path, named or base_of(path, paths))
    if named is not None:
        remember_base(path, named, paths)
    return load_tokenizer(checkpoint.metadata)


def _read_ids(given: bytes) -> list[int]:
    """The ids in what `tokenize --json` wrote; of anything else all numbers that are in it.

    Raises CommandError for words without a number.
    """
    try:
        return msgspec.json.decode(given, type=_Written).ids
    except msgspec.DecodeError:
        ids = [int(sign + digits[:MAX_DIGITS]) for sign, digits in re.findall(rb"(-?)0*(\d+)", given)]
    if not ids and re.search(r"\w", given.decode("utf-8", "replace")):
        raise CommandError(_("There are no token ids on stdin. Without --decode, a text is turned into some."))
    return ids


def _decode(tokenizer: Tokenizer, given: bytes) -> str:
    ids = _read_ids(given)
    for token_id in ids:
        if not 0 <= token_id < tokenizer.vocab_size:
            raise CommandError(
                _(
                    "There is no token {id}: this model's ids go from 0 to {last}."
                    " Check that the ids are of the same model (-m).",
                    id=token_id,
                    last=tokenizer.vocab_size - 1,
                )
            )
    if tokenizer.add_bos and ids[:1] == [tokenizer.bos_id]:
        del ids[0]
    return tokenizer.decode(ids)
