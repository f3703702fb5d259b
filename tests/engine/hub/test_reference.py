"""What a user writes for a model on the hub."""

from __future__ import annotations

import pytest

from engine.errors import DownloadError
from engine.hub.reference import HubReference, read_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:bartowski/Llama-3.2-1B-GGUF", HubReference(repo="bartowski/Llama-3.2-1B-GGUF")),
        ("HF:owner/name/", HubReference(repo="owner/name")),
        ("hf://owner/name", HubReference(repo="owner/name")),
        ("hf:owner/name/a/b.Q8_0.gguf", HubReference(repo="owner/name", file="a/b.Q8_0.gguf")),
        ("hf:owner/name:Q8_0", HubReference(repo="owner/name", type="Q8_0")),
        ("hf:owner/name@v1.1/x.gguf", HubReference(repo="owner/name", revision="v1.1", file="x.gguf")),
        ("https://huggingface.co/owner/name", HubReference(repo="owner/name")),
        (" https://hf.co/owner/name/ ", HubReference(repo="owner/name")),
        ("https://huggingface.co/owner/name/tree/main", HubReference(repo="owner/name")),
        ("https://huggingface.co/owner/name/tree/main/Q8_0", HubReference(repo="owner/name", file="Q8_0")),
        ("https://huggingface.co/owner/name/discussions/4", HubReference(repo="owner/name")),
        (
            "https://huggingface.co/owner/name/blob/main/My%20Model.gguf",
            HubReference(repo="owner/name", file="My Model.gguf"),
        ),
        (
            "https://huggingface.co/owner/name/resolve/refs%2Fpr%2F1/x.gguf?download=true",
            HubReference(repo="owner/name", revision="refs/pr/1", file="x.gguf"),
        ),
        ("https://mirror.example/owner/name", HubReference(repo="owner/name")),
    ],
)
def test_what_is_meant(text: str, reference: HubReference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert read_reference(text) == reference


@pytest.mark.parametrize("text", ["smollm2", "https://example.org/owner/name/x.gguf", "/models/x.gguf", "owner/name"])
def test_what_is_nothing_of_the_hub(text: str) -> None:
    assert read_reference(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:name",
        "hf:../..",
        "hf:owner/na me",
        "hf:owner/name:",
        "https://huggingface.co/",
        "https://huggingface.co/owner",
        "https://huggingface.co/datasets/owner/name",
    ],
)
def test_what_names_no_model(text: str) -> None:
    with pytest.raises(DownloadError, match="names no model on the hub"):
        read_reference(text)


@pytest.mark.parametrize("text", ["hf:owner/name", "hf:owner/name@v1/a.gguf", "hf:owner/name:Q8_0"])
def test_a_reference_is_written_as_it_was_read(text: str) -> None:
    assert str(read_reference(text)) == text
