"""`llm-tui models convert`: any model that opens, to a GGUF of another type."""

from __future__ import annotations

from pathlib import Path

import click

from engine.conversion.messages import Conversion, ConversionNote, ConversionProgress
from engine.errors import UnsupportedModelError
from engine.quantize.mixes import MIXES, find_mix
from tui.commands.configured import chosen_model, user_settings
from tui.commands.options import file_place, json_option, not_empty, threads_option
from tui.commands.output import ProgressLine, percent, say, write_json, write_text
from tui.commands.stopping import stoppable
from tui.commands.targets import replaced_file
from tui.language import N_, _
from tui.paths import user_paths
from tui.sentences import reason, sentence
from tui.stages import LOADING
from tui.text import human_bytes

_STAGES = {"compiling": LOADING["compiling"], "saving": N_("Waiting for the disk")}


class _MixType(click.ParamType[str]):
    """The name of a type or a mix of types, in any case."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Find it, or say which there are."""
        try:
            return find_mix(value).name
        except UnsupportedModelError as error:
            self.fail(reason(error), param, ctx)


@click.command()
@click.argument("source", metavar="SRC", callback=not_empty)
@click.argument("place", metavar="DST", type=click.Path(), callback=file_place)
@click.option(
    "--type",
    "-t",
    "mix",
    type=_MixType(),
    required=True,
    help=_("What to store weights as: {types}.", types=", ".join(MIXES)),
)
@click.option(
    "--base", metavar="MODEL", callback=not_empty, help="What SRC, an adapter or a difference, is to be added to."
)
@click.option("--force", is_flag=True, help="Overwrite DST.")
@threads_option
@json_option
def command(
    source: str, place: str, mix: str, base: str | None, force: bool, threads: int | None, as_json: bool
) -> None:
    """Write the model SRC as a GGUF file DST with weights of another type.

    SRC is a file, a folder or a name from `models list`. DST appears when it is whole; interrupted, it leaves nothing
    behind.
    """
    from engine.conversion.client import convert

    if place == "-":
        raise click.UsageError(_("A model cannot be written to standard output: name a file."))
    target, paths, settings = Path(place), user_paths(), user_settings()
    conversion = Conversion(
        source=str(chosen_model(source, settings)),
        target=str(replaced_file(target) if force else target.absolute()),
        type=mix,
        base=None if base is None else str(chosen_model(base, settings)),
        force=force,
        threads=threads,
        cache_dir=str(paths.cache_dir),
    )
    before = _identity(target)

    def left() -> str:
        if _identity(target) != before:
            return _("Stopped, but {target} was whole already.", target=target)
        return _("Stopped; nothing of {target} is left.", target=target)

    with stoppable(left), ProgressLine() as line:

        def show(message: ConversionProgress | ConversionNote) -> None:
            if isinstance(message, ConversionNote):
                line.clear()
                say(sentence(message.text))
            else:
                line.show(_progress_text(message, target.name))

        line.show(_("Starting the engine …"))
        done = convert(conversion, paths.engine_log, show)
    if as_json:
        write_json(
            {
                "tensors": done.tensors,
                "bytes_in": done.bytes_in,
                "bytes_out": done.bytes_out,
                "seconds": done.seconds,
                "peak_rss_mb": done.peak_rss_mb,
            }
        )
    else:
        speed = human_bytes(int(done.bytes_in / max(done.seconds, 0.001)))
        write_text(
            _(
                "{target}: {size} after {seconds:.1f} s, {speed} of the source a second",
                target=target,
                size=human_bytes(done.bytes_out),
                seconds=done.seconds,
                speed=speed,
            )
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at a path, None for none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _progress_text(progress: ConversionProgress, name: str) -> str:
    """How far it is, how fast, and how long it will take."""
    if progress.stage in _STAGES:
        return f"{_(_STAGES[progress.stage])} …"
    text = _("Writing {name} … {percent}", name=name, percent=percent(progress.done_bytes, progress.total_bytes))
    if progress.left_s is None:
        return text
    minutes, seconds = divmod(round(progress.left_s), 60)
    speed = human_bytes(int(progress.bytes_per_second))
    return f"{text}, {_('{speed}/s, {left} left', speed=speed, left=f'{minutes}:{seconds:02}')}"
