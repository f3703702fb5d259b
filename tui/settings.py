"""The user's settings: settings.toml as typed values, forgiving to read and careful to write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.protocol import LEAST_PENALTY, KVType, Sampling
from engine.remote.config import ServerConfig
from engine.typed_path import typed_path
from tui.clipboard import Clipboard
from tui.language import N_, LanguageSetting, _
from tui.options import MAX_THREADS
from tui.setting_mistakes import at_line, bad_entries, drop, reason_and_keys, unknown_keys
from tui.setting_reasons import reason_of

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."

USUAL_SAMPLING = Sampling()
"""Where neither the user nor the model's makers say anything."""

PanelStore = Literal["disk", "memory"]


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[models]`: folders to look for models in, beside llm-tui's own, and the model to open where none is named."""

    directories: list[str] = []
    default: str | None = None


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[chat]`: what a new session begins with, and whether the model makes its title when idle.

    enter_sends: whether enter sends and ctrl+j begins a new line, or the other way round.
    """

    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    model_titles: bool = True
    enter_sends: bool = True


class SamplingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[sampling]`: how a new session's answers are chosen; max_tokens 0 is up to the context's end.

    What is not set is as the model's makers recommend. `[presets.NAME]` has the same settings: what a preset leaves out
    is as in a new session.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(ge=LEAST_PENALTY, le=5)] | None = None
    repeat_last_n: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0

    def sampling(self, recommended: Sampling = USUAL_SAMPLING) -> Sampling:
        """What the user wants, else what is recommended, as the engine's protocol has it."""
        wanted = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        wanted["max_new_tokens"] = wanted.pop("max_tokens", 0) or None
        return msgspec.structs.replace(recommended, **wanted)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[engine]`: threads and context 0 leave the choice to the engine.

    panels: whether prepared weights are kept on disk and mapped, or in memory. cache_limit_gb: for all of them; what
    was used longest ago goes first. kv_type: what keys and values are kept as; q8_0 takes half the room of f16.
    """

    threads: Annotated[int, msgspec.Meta(ge=0, le=MAX_THREADS)] = 0
    context: Annotated[int, msgspec.Meta(ge=0)] = 0
    panels: PanelStore = "disk"
    cache_limit_gb: Annotated[float, msgspec.Meta(ge=0)] = 50.0
    kv_type: KVType = "f16"


class AppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[app]`: how it looks, which language it speaks, and how a text is sent to the terminal's clipboard."""

    theme: str = "textual-dark"
    language: LanguageSetting = "auto"
    clipboard: Clipboard = "auto"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in settings.toml; `[keys]` maps an action's id to its keys, `[servers.NAME]` is a server.

    `[presets.NAME]` are the user's own positions of all sliders.
    """

    models: ModelSettings = ModelSettings()
    chat: ChatSettings = ChatSettings()
    sampling: SamplingSettings = SamplingSettings()
    engine: EngineSettings = EngineSettings()
    app: AppSettings = AppSettings()
    servers: dict[str, ServerConfig] = {}
    presets: dict[str, SamplingSettings] = {}
    keys: dict[str, str] = {}

    def model_directories(self, models_dir: Path) -> list[Path]:
        """llm-tui's own model directory, then the user's."""
        return [models_dir, *map(typed_path, self.models.directories)]


class LoadedSettings(msgspec.Struct, frozen=True):
    """The settings, and a sentence for each thing in the file that could not be used."""

    settings: Settings
    problems: list[str] = []


class SettingsError(Exception):
    """The settings cannot be written; the message says why and what to do."""


def load_settings(path: Path) -> LoadedSettings:
    """Read settings.toml; what is wrong in it is replaced by its default and told, never fatal."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return LoadedSettings(Settings())
    except (OSError, UnicodeDecodeError) as error:
        return LoadedSettings(
            Settings(),
            [_("{path} cannot be read ({error}); the default settings are used.", path=path, error=_why(error))],
        )
    # Importing it takes time before the first frame, and most have no settings.
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return LoadedSettings(
            Settings(), [_("{path} is not valid TOML: {error}. The default settings are used.", path=path, error=error)]
        )
    problems = [
        _(
            "{path}{line}: the setting {name} is unknown and ignored.",
            path=path,
            line=at_line(text, keys),
            name=".".join(keys),
        )
        for keys in unknown_keys(table, Settings)
    ]
    for entries, kind, without in (
        ("servers", ServerConfig, N_("this server is left out.")),
        ("presets", SamplingSettings, N_("this preset is left out.")),
    ):
        for name, reason in bad_entries(table.get(entries), kind):
            where = f"{path}{at_line(text, (entries, name))}: {entries}.{name}"
            problems.append(f"{where}: {reason}; {_(without)}")
            drop(table, (entries, name))
    while True:
        try:
            return LoadedSettings(msgspec.convert(table, Settings), problems)
        except msgspec.ValidationError as error:
            reason, keys = reason_and_keys(error, table, Settings)
            problems.append(
                _(
                    "{path}{line}: {name}: {reason}; its default is used.",
                    path=path,
                    line=at_line(text, keys),
                    name=".".join(keys),
                    reason=reason,
                )
            )
            drop(table, keys)


def save_settings(path: Path, changes: Mapping[str, Any]) -> Settings:
    """Change some settings, named like "sampling.temperature"; comments and all else in the file stay as they are.

    A value of None removes the setting, which brings its default back. Raises SettingsError and changes nothing
    where the file is not valid TOML, a value does not fit, or the file cannot be written.
    """
    import tomllib

    import tomlkit
    import tomlkit.exceptions

    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        for name, value in changes.items():
            _set(document, name.split("."), value)
        changed = tomlkit.dumps(document)
    except (OSError, UnicodeDecodeError, tomlkit.exceptions.TOMLKitError) as error:
        raise SettingsError(
            _(
                "{path} cannot be changed ({error}). Correct or remove the file, then try again.",
                path=path,
                error=_why(error),
            )
        ) from error
    _refuse_invalid(path, tomllib.loads(changed), changes)
    try:
        _replace_file(path, changed)
    except OSError as error:
        raise SettingsError(
            _("{path} cannot be written ({error}). Make room or the folder writable.", path=path, error=_why(error))
        ) from error
    return load_settings(path).settings


def _why(error: Exception) -> str:
    """What is the matter with the file, in nobody's words but the system's, ours, or those of who reads TOML."""
    if isinstance(error, OSError):
        from tui.sentences import system_words

        return system_words(error)
    return _("not text in UTF-8") if isinstance(error, UnicodeDecodeError) else str(error)


class SettingsFile:
    """settings.toml, and what stands in it as far as this app knows; problems: what could not be used at the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        loaded = load_settings(path)
        self.settings, self.problems = loaded.settings, loaded.problems

    def read(self) -> None:
        """Take over what others have changed in it."""
        self.settings = load_settings(self.path).settings

    def change(self, name: str, value: Any) -> None:
        """Change a setting as `save_settings` does. Raises SettingsError."""
        self.settings = save_settings(self.path, {name: value})


def _refuse_invalid(path: Path, table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Raise SettingsError if one of the changes is unknown or has a value that does not fit."""
    unknown = {".".join(keys) for keys in unknown_keys(table, Settings)}
    for name in changes:
        if name in unknown:
            raise SettingsError(_("{path}: there is no setting {name}.", path=path, name=name))
    changed_only: dict[str, Any] = {}
    for name, value in changes.items():
        if value is not None:
            _set(changed_only, name.split("."), value)
    try:
        msgspec.convert(changed_only, Settings)
    except msgspec.ValidationError as error:
        reason, keys = reason_and_keys(error, changed_only, Settings)
        raise SettingsError(f"{'.'.join(keys)}: {reason}.") from error


def _set(table: Any, keys: list[str], value: Any) -> None:
    """Change one value, None to remove it. Raises SettingsError where something else stands in a table's place."""
    *parents, last = keys
    for key in parents:
        if key not in table:
            table[key] = {}
        table = table[key]
        try:
            msgspec.convert(table, dict)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{key}: {reason_of(error)}.") from error
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _replace_file(path: Path, text: str) -> None:
    """Write beside the file, then rename: a full disk leaves the old file whole. A symbolic link stays one."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
