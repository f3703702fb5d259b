"""Which files of a repository are taken."""

from __future__ import annotations

import pytest

from engine.errors import DownloadError
from engine.hub.choosing import Choice, HubFile, choose, type_of
from engine.hub.reference import HubReference, read_reference


def chosen(names: list[str], wanted: str = "hf:o/Some-Model") -> tuple[list[str], str]:
    reference = read_reference(wanted)
    assert isinstance(reference, HubReference)
    choice: Choice = choose([HubFile(path=name) for name in names], reference)
    return [file.path for file in choice.files], choice.folder


def refused(names: list[str], wanted: str = "hf:o/Some-Model") -> str:
    with pytest.raises(DownloadError) as caught:
        chosen(names, wanted)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (["README.md", "only.gguf"], "only.gguf"),
        (["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q4_0.gguf", "m-Q2_K.gguf"], "m-Q4_K_M.gguf"),
        (["m.fp16.gguf", "m.Q4_0.gguf", "m.Q8_0.gguf"], "m.Q4_0.gguf"),
        (["m-f16.gguf", "m-iq4_xs.gguf"], "m-f16.gguf"),
        (["m-F16.gguf", "m-mxfp4.gguf", "m-Q2_K.gguf"], "m-mxfp4.gguf"),
        (["m-MXFP4.gguf", "m-Q4_K_M.gguf"], "m-Q4_K_M.gguf"),
        (["m-F16.gguf", "m-TQ1_0.gguf", "m-TQ2_0.gguf"], "m-TQ2_0.gguf"),
        (["m-Q4_K_M.gguf", "mmproj-m-f16.gguf", "m.imatrix.gguf"], "m-Q4_K_M.gguf"),
        (["m-Q4_K_M.gguf", "m-UD-Q4_K_XL.gguf", "m-UD-Q2_K.gguf"], "m-Q4_K_M.gguf"),
        (["Q8_0/m-Q8_0.gguf", "Q4_K_M/m-Q4_K_M.gguf"], "Q4_K_M/m-Q4_K_M.gguf"),
        (["model.safetensors", "config.json", "m-Q8_0.gguf"], "m-Q8_0.gguf"),
        (["ggml-alpaca-7b-q4.bin", "README.md"], "ggml-alpaca-7b-q4.bin"),
        (["gpt4all-lora-quantized.bin"], "gpt4all-lora-quantized.bin"),
        (["m.ggmlv3.q4_0.bin", "m.ggmlv3.q8_0.bin"], "m.ggmlv3.q4_0.bin"),
    ],
)
def test_one_file(names: list[str], path: str) -> None:
    assert chosen(names) == ([path], "")


def test_a_type_or_a_file_can_be_named() -> None:
    names = ["a/m-Q8_0.gguf", "a/m-Q4_K_M.gguf", "tokenizer.model"]
    assert chosen(names, "hf:o/m:q8_0") == (["a/m-Q8_0.gguf"], "")
    assert chosen(names, "hf:o/m/a/m-Q8_0.gguf") == (["a/m-Q8_0.gguf"], "")
    assert chosen(names, "hf:o/m/M-q8_0.gguf") == (["a/m-Q8_0.gguf"], "")
    assert chosen(names, "hf:o/m/tokenizer.model") == (["tokenizer.model"], "")
    assert chosen(names, "hf:o/m/a") == (["a/m-Q4_K_M.gguf"], "")


def test_all_parts_of_a_split_model() -> None:
    parts = [f"q8/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert chosen([*reversed(parts), "m-Q5_K_M-00001-of-00002.gguf"]) == (parts, "")
    assert chosen([*parts, "m-Q4_0.gguf"], f"hf:o/m/{parts[1]}") == (parts, "")
    assert chosen([*parts, "m-Q4_0.gguf"])[0] == ["m-Q4_0.gguf"]


def test_a_folder_of_weights_with_what_belongs_to_it() -> None:
    names = ["README.md", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"]
    weights = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    others = ["pytorch_model.bin", "original/consolidated.00.pth", "training_args.bin", "onnx/model.onnx"]
    files, folder = chosen([*names, *weights, *others])
    assert folder == "Some-Model"
    assert files == [*sorted(names[1:]), *weights]
    assert chosen([*names, *weights], "hf:o/Some-Model/model-00002-of-00002.safetensors")[0] == files


def test_older_folders_and_adapters() -> None:
    assert chosen(["config.json", "pytorch_model.bin", "tokenizer.model"]) == (
        ["config.json", "tokenizer.model", "pytorch_model.bin"],
        "Some-Model",
    )
    assert chosen(["params.json", "tokenizer.model", "consolidated.00.pth", "consolidated.01.pth"])[1] == "Some-Model"
    for tokenizer in (["merges.txt", "vocab.json"], ["tiktoken.model"], ["qwen.tiktoken"]):
        files = ["config.json", *tokenizer, "pytorch_model.bin"]
        assert chosen(["README.md", *files, "eval.txt"])[0] == files
    adapter = (["adapter_config.json", "adapter_model.bin"], "Some-Model")
    assert chosen(["adapter_config.json", "adapter_model.bin", "README.md"]) == adapter
    assert chosen(["adapter_config.json", "adapter_model.bin"], "hf:o/Some-Model/adapter_model.bin") == adapter


def test_folders_of_auto_gptq() -> None:
    small = ["config.json", "quantize_config.json", "tokenizer.json"]
    one, other = "gptq_model-4bit-128g.safetensors", "gptq_model-4bit-32g.safetensors"
    assert chosen([*small, one, "README.md"]) == ([*small, one], "Some-Model")
    assert chosen([*small, one], f"hf:o/Some-Model/{one}") == ([*small, one], "Some-Model")
    assert chosen([*small, one, other], f"hf:o/Some-Model/{other}") == ([*small, other], "Some-Model")
    assert chosen([*small, one, "model.safetensors"])[0] == [*small, "model.safetensors"]
    assert f"has 2 models. There is {one}, {other}. Choose one" in refused([*small, one, other])
    assert "no model that opens here" in refused([one])


def test_what_cannot_be_decided_is_listed() -> None:
    said = refused(["small-Q4_K_M.gguf", "large-Q4_K_M.gguf"])
    assert "has 2 models" in said
    assert "large-Q4_K_M.gguf, small-Q4_K_M.gguf. Choose one: hf:o/Some-Model/FILE." in said
    assert "has 2 models" in refused(["m-iq2_xs.gguf", "m-iq4_xs.gguf"])
    assert "m-Q4_0.gguf" in refused(["m-Q4_0.gguf"], "hf:o/m/other.gguf")
    assert "no GGUF file of type Q6_K. There is m-Q4_0.gguf" in refused(["m-Q4_0.gguf"], "hf:o/m:Q6_K")
    assert refused([f"m{n:02}-Q4_0.gguf" for n in range(40)]).count("Q4_0") == 12


def test_what_is_no_model_is_told() -> None:
    assert refused(["README.md", "model.onnx"]).endswith("There is README.md, model.onnx.")
    assert refused([]).endswith("It is empty.")
    assert "no model that opens here" in refused(["model.safetensors", "README.md"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("phi-3-mini-32k-fp16.gguf", "F16"),
        ("qwen2.5-0.5b-instruct-q5_0-00001-of-00002.gguf", "Q5_0"),
        ("model.gguf", ""),
    ],
)
def test_types_in_names(name: str, kind: str) -> None:
    assert type_of(name) == kind
