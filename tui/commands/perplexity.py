"""`llm-tui perplexity`: how well a model predicts a text."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.errors import EngineError
from engine.protocol import Load, PromptProgress, Scored
from tui.commands.configured import chosen_load, user_settings
from tui.commands.engine_run import loaded_engine
from tui.commands.options import base_option, json_option, model_option, not_empty, threads_option
from tui.commands.output import CommandError, ProgressLine, percent, write_json, write_text
from tui.commands.stopping import run_stoppable
from tui.language import _
from tui.sentences import reason, system_words


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), callback=not_empty)
@model_option
@base_option
@click.option(
    "--context", "window", type=click.IntRange(min=8), default=512, show_default=True, help="Tokens of a window."
)
@threads_option
@json_option
def command(
    file: str, model_name: str | None, base: str | None, window: int, threads: int | None, as_json: bool
) -> None:
    """Measure how well a model predicts FILE: windows of the context, scored on each one's second half.

    - is standard input.
    """
    try:
        given = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(
            _("{file} cannot be read: {reason}. Check its name.", file=file, reason=system_words(error))
        ) from error
    text = given.decode("utf-8", "replace")
    load = chosen_load(model_name, user_settings(), threads=threads, context=window, base=base)
    scored = run_stoppable(score(load, text, window))
    if as_json:
        write_json({"perplexity": scored.perplexity, "tokens": scored.tokens, "stderr": scored.stderr})
    else:
        write_text(
            _(
                "perplexity {perplexity:.4f} ± {stderr:.4f} over {tokens} tokens",
                perplexity=scored.perplexity,
                stderr=scored.stderr,
                tokens=scored.tokens,
            )
        )


async def score(load: Load, text: str, window: int) -> Scored:
    """Open the model and score the text, showing how far it is."""
    async with loaded_engine(load) as (client, _card):
        with ProgressLine() as line:

            def show(progress: PromptProgress) -> None:
                line.show(_("Scoring … {percent}", percent=percent(progress.done, progress.total)))

            try:
                return await client.score(text, window, show)
            except EngineError as error:
                raise CommandError(reason(error)) from error
