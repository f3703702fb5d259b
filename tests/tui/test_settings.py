"""settings.toml: defaults, clear complaints, and writing that keeps what the user wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import Sampling
from engine.remote import ServerConfig
from tui.language import speak
from tui.settings import DEFAULT_SYSTEM_PROMPT, SamplingSettings, Settings, SettingsError, load_settings, save_settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_without_a_file(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path / "settings.toml")
    assert loaded.settings == Settings()
    assert loaded.problems == []
    assert loaded.settings.chat.system_prompt == DEFAULT_SYSTEM_PROMPT


def test_default_sampling_is_the_protocols() -> None:
    assert Settings().sampling.sampling() == Sampling()


def test_values_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, '[sampling]\ntemperature = 1\nmax_tokens = 9\n[models]\ndirectories = ["~/x"]\n')
    loaded = load_settings(path)
    assert loaded.problems == []
    assert loaded.settings.sampling.sampling() == Sampling(temperature=1.0, max_new_tokens=9)
    assert loaded.settings.model_directories(tmp_path) == [tmp_path, Path.home() / "x"]


def test_each_bad_value_is_told_with_its_line_and_the_rest_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, '[sampling]\ntemperature = "hot"\ntop_p = 7.0\ntop_k = 3\n\n[app]\nlanguage = "de"\n')
    loaded = load_settings(path)
    assert loaded.settings.sampling.temperature is None
    assert loaded.settings.sampling.top_p is None
    assert loaded.settings.sampling.top_k == 3
    assert loaded.settings.app.language == "auto"
    told = "\n".join(loaded.problems)
    assert len(loaded.problems) == 3
    assert "line 2: sampling.temperature: a number like 0.5 is needed, not a text; its default is used." in told
    assert "line 3: sampling.top_p: it must be at most 1.0; its default" in told
    assert 'line 7: app.language: "de" is none of "auto", "en", "fr"; its default' in told


@pytest.mark.parametrize(
    ("text", "english", "french"),
    [
        ("[sampling]\ntop_k = 2.5", "a whole number like 4 is needed, not a number with a fraction", "il faut"),
        ("[sampling]\ntop_p = 0", "it must be more than 0.0", "plus de 0.0"),
        ("[sampling]\nrepeat_penalty = 1e-40", "it must be at least 0.01", "au moins 0.01"),
        ("[chat]\nenter_sends = 'no'", "true or false is needed, not a text", "true ou false"),
        ("[engine]\nkv_type = 'f8'", '"f8" is none of "f16", "q8_0"', "fait pas partie"),
        ("[servers.home]\nmodel = 'big'", "base_url is missing", "manque"),
        ("sampling = 3", "a table of its own is needed, not a whole number", "une table"),
        ("[models]\ndirectories = 'x'", "a list in square brackets is needed, not a text", "une liste"),
    ],
)
def test_what_does_not_fit_is_said_in_words_of_a_person(tmp_path: Path, text: str, english: str, french: str) -> None:
    path = write(tmp_path, text)
    assert english in " ".join(load_settings(path).problems)
    speak("fr")
    try:
        assert french in " ".join(load_settings(path).problems)
    finally:
        speak("en")


@pytest.mark.parametrize(
    "text",
    ["sampling = 3\n", '[models]\ndirectories = [1, "a"]\n', "[keys]\nsend = 1\n", '[keys]\n"chat.send" = 1\n'],
)
def test_a_bad_shape_never_stops_the_start(tmp_path: Path, text: str) -> None:
    loaded = load_settings(write(tmp_path, text))
    assert loaded.settings == Settings()
    assert len(loaded.problems) == 1


def test_unknown_keys_are_told(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, "[sampling]\ntemprature = 1.0\n[colours]\nx = 1\n"))
    assert loaded.settings == Settings()
    assert [problem.partition("settings.toml")[2] for problem in loaded.problems] == [
        ", line 2: the setting sampling.temprature is unknown and ignored.",
        ", line 3: the setting colours is unknown and ignored.",
    ]


def test_broken_toml_gives_defaults_and_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path, "[sampling\n")
    loaded = load_settings(path)
    assert loaded.settings == Settings()
    assert "not valid TOML" in loaded.problems[0]
    with pytest.raises(SettingsError, match="cannot be changed"):
        save_settings(path, {"sampling.temperature": 1.0})
    assert path.read_text() == "[sampling\n"


def test_why_a_file_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    folder, other = tmp_path / "settings.toml", tmp_path / "latin.toml"
    folder.mkdir()
    other.write_bytes(b"# caf\xe9\n")
    for path, why in ((folder, "Is a directory"), (other, "not text in UTF-8")):
        assert load_settings(path).problems == [f"{path} cannot be read ({why}); the default settings are used."]
        with pytest.raises(SettingsError) as refused:
            save_settings(path, {"sampling.temperature": 1.0})
        assert str(refused.value).startswith(f"{path} cannot be changed ({why}). ")


def test_saving_keeps_comments_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, "# mine\n[sampling]\ntop_k = 5  # few\n\n[app]\n# dark at night\n")
    saved = save_settings(path, {"sampling.temperature": 0.25, "app.theme": "nord"})
    text = path.read_text()
    assert saved.sampling.temperature == 0.25
    assert saved.sampling.top_k == 5
    assert saved.app.theme == "nord"
    assert text.index("# mine") < text.index("top_k = 5  # few") < text.index("# dark at night")


def test_none_brings_the_default_back(tmp_path: Path) -> None:
    path = write(tmp_path, "[sampling]\ntop_k = 5\n")
    assert save_settings(path, {"sampling.top_k": None, "engine.threads": None}).sampling.top_k is None


def test_saving_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.toml"
    assert save_settings(path, {"keys": {"chat.send": "ctrl+s"}}).keys == {"chat.send": "ctrl+s"}
    assert [entry.name for entry in path.parent.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize("changes", [{"sampling.temperature": -1.0}, {"sampling.heat": 1.0}, {"app.language": "de"}])
def test_saving_refuses_what_does_not_fit(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write(tmp_path, "[sampling]\ntop_k = 5\n")
    with pytest.raises(SettingsError):
        save_settings(path, changes)
    assert path.read_text() == "[sampling]\ntop_k = 5\n"


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    real = write(tmp_path, "")
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    save_settings(link, {"engine.threads": 3})
    assert link.is_symlink()
    assert load_settings(real).settings.engine.threads == 3


SERVERS = """\
[servers.home]
base_url = "http://10.0.0.7:8000/v1"
model = "big"
api_key_env = "HOME_KEY"

[servers.away]
base_url = "https://example.org/v1"
ca_file = 3
"""


def test_servers_are_read_and_one_with_a_mistake_is_not_used_in_part(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, SERVERS))
    assert loaded.settings.servers == {
        "home": ServerConfig(base_url="http://10.0.0.7:8000/v1", model="big", api_key_env="HOME_KEY")
    }
    [problem] = loaded.problems
    assert problem.endswith(
        ", line 6: servers.away: ca_file: a text in quotes is needed, not a whole number; this server is left out."
    )


def test_a_key_in_the_settings_is_not_taken_and_not_repeated(tmp_path: Path) -> None:
    text = '[servers.home]\nbase_url = "http://localhost/v1"\napi_key = "sk-sesame"\n'
    loaded = load_settings(write(tmp_path, text))
    assert list(loaded.settings.servers) == ["home"]
    [problem] = loaded.problems
    assert problem.endswith(", line 3: the setting servers.home.api_key is unknown and ignored.")


@pytest.mark.parametrize("text", ["servers = 3\n", "[servers]\nhome = 3\n", "[servers.home]\nmodel = 3\n"])
def test_bad_servers_never_stop_the_start(tmp_path: Path, text: str) -> None:
    loaded = load_settings(write(tmp_path, text))
    assert loaded.settings == Settings()
    assert len(loaded.problems) == 1


def test_what_is_not_set_is_as_the_makers_recommend():
    recommended = Sampling(temperature=0.2, top_p=0.9)
    assert Settings().sampling.sampling(recommended) == recommended
    own = SamplingSettings(temperature=1.5, max_tokens=7)
    assert own.sampling(recommended) == Sampling(temperature=1.5, top_p=0.9, max_new_tokens=7)


def test_presets_are_read_and_one_with_a_mistake_is_left_out(tmp_path: Path) -> None:
    loaded = load_settings(write(tmp_path, "[presets.cold]\ntemperature = 0.1\n[presets.hot]\ntop_p = 7.0\nheat = 1\n"))
    assert loaded.settings.presets == {"cold": SamplingSettings(temperature=0.1)}
    told = "\n".join(loaded.problems)
    assert len(loaded.problems) == 2
    assert "line 5: the setting presets.hot.heat is unknown and ignored." in told
    assert "line 3: presets.hot: top_p: " in told
    assert told.endswith("this preset is left out.")
