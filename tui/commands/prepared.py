"""`llm-tui models prepared`: the weights that were arranged for this processor, and the room that they take."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from engine.new_file import clear_parts
from engine.prepared_files import PREPARED, PreparedFile, list_prepared, remove
from tui.commands.options import json_option, not_empty
from tui.commands.output import CommandError, say, table, write_json, write_text
from tui.language import _
from tui.paths import user_paths
from tui.sentences import system_words_of
from tui.text import human_bytes, safe_line


@click.command()
@click.argument("model", required=False, callback=not_empty)
@click.option("--clear", is_flag=True, help="Delete them: all, or those of MODEL. They are made again when needed.")
@json_option
def command(model: str | None, clear: bool, as_json: bool) -> None:
    """List the prepared weights in the cache folder, those of MODEL alone if it is named; or clear them.

    Opening a model arranges its weights for this processor once and keeps them there. How much all of them may take is
    `cache_limit_gb` under `[engine]` in the settings; what was used longest ago goes first.
    """
    folder = user_paths().cache_dir / PREPARED
    files = list_prepared(folder)
    if model is not None:
        files = [file for file in files if model in (file.model, file.path.name)]
        if not files:
            raise CommandError(
                _("Nothing is prepared of {model}. `llm-tui models prepared` lists what is.", model=model)
            )
    if as_json:
        for file in files:
            write_json(
                {
                    "model": file.model,
                    "path": str(file.path),
                    "size_bytes": file.size_bytes,
                    "used_utc": _utc(file.used_s),
                }
            )
    elif files and not clear:
        write_text(table([_row(file) for file in files], right=frozenset({1})))
    if clear:
        try:
            freed = remove(files) + clear_parts(folder)
        except OSError as error:
            raise CommandError(
                _("A prepared file cannot be deleted: {error}.", error=system_words_of(error))
            ) from error
        say(_("{n} deleted, {size} are free again.", n=len(files), size=human_bytes(freed)))
    elif not files:
        say(_("Nothing is prepared: that happens when a model is opened for the first time."))


def _row(file: PreparedFile) -> list[str]:
    used = datetime.fromtimestamp(file.used_s).strftime("%Y-%m-%d %H:%M")
    return [safe_line(file.model, 60), human_bytes(file.size_bytes), _("used {when}", when=used)]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
