"""The prompts of models without a template, letter by letter."""

from __future__ import annotations

import pytest

from engine.chat import choose_format
from engine.chat.families import FAMILIES, Slot, recognise
from engine.protocol import ChatMessage
from engine.tokenizer import Tokenizer, load_tokenizer


def user(content: str) -> ChatMessage:
    return ChatMessage(role="user", content=content)


def assistant(content: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=content)


def system(content: str) -> ChatMessage:
    return ChatMessage(role="system", content=content)


def prompt(family: str, *messages: ChatMessage) -> str:
    """The prompt, with <s> and </s> for BOS and EOS."""
    names = {Slot.BOS: "<s>", Slot.EOS: "</s>"}
    return "".join(names.get(piece, piece) for piece in FAMILIES[family].pieces(messages))


ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)

PROMPTS = {
    "completion": "<s>Q1",
    "alpaca": f"<s>{ALPACA}\n\n### Instruction:\nQ1\n\n### Response:\n",
    "alpaca.cpp": f"<s> {ALPACA}\n\n<s>### Instruction:\n\nQ1\n### Response:\n\n",
    "gpt4all": f"<s> {ALPACA}\n\n<s>### Instruction:\n\nQ1\n### Response:\n\n",
    "vigogne": (
        "<s>Ci-dessous se trouve une instruction qui décrit une tâche. Écrivez une réponse qui complète correctement "
        "la demande.\n\n### Instruction:\nQ1\n\n### Réponse:\n"
    ),
    "vigogne-may": (
        "<s>Ci-dessous se trouve une instruction qui décrit une tâche à accomplir. Rédigez une réponse qui répond de "
        "manière précise à la demande.\n\n### Instruction:\nQ1\n\n### Réponse:\n"
    ),
    "vicuna-v0": (
        "<s>A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions.\n### Human: Q1\n### Assistant:"
    ),
    "vicuna": f"<s>{VICUNA} USER: Q1 ASSISTANT:",
    "koala": "<s>BEGINNING OF CONVERSATION: USER: Q1 GPT:",
    "llama-2": "<s>[INST] Q1 [/INST]",
    "mistral-v1": "<s> [INST] Q1 [/INST]",
    "mistral-v3": "<s>[INST] Q1[/INST]",
    "mistral-v3-tekken": "<s>[INST]Q1[/INST]",
    "mistral-v7": "<s>[INST] Q1[/INST]",
    "mistral-v7-tekken": "<s>[INST]Q1[/INST]",
    "zephyr": "<s><|user|>\nQ1</s>\n<|assistant|>\n",
    "openchat": "<s>GPT4 Correct User: Q1<|end_of_turn|>GPT4 Correct Assistant:",
    "gemma": "<s><start_of_turn>user\nQ1<end_of_turn>\n<start_of_turn>model\n",
    "gemma-4": "<s><|turn>user\nQ1<turn|>\n<|turn>model\n",
    "phi-2": "<s>Instruct: Q1\nOutput:",
    "phi-3": "<s><|user|>\nQ1<|end|>\n<|assistant|>\n",
    "llama-3": (
        "<s><|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "chatml": "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_question(family: str) -> None:
    assert prompt(family, user("Q1")) == PROMPTS[family]


@pytest.mark.parametrize(
    ("tokens", "family"),
    [
        (["\u2581the"], "mistral-v1"),
        (["\u2581the", "[INST]"], "mistral-v3"),
        (["\u0120the", "[INST]"], "mistral-v3-tekken"),
        (["\u2581the", "[INST]", "[SYSTEM_PROMPT]"], "mistral-v7"),
        (["\u0120the", "[INST]", "[SYSTEM_PROMPT]"], "mistral-v7-tekken"),
    ],
)
def test_which_of_mistrals_it_is_the_tokens_tell(tokens: list[str], family: str) -> None:
    assert recognise(["Mistral-Small-Instruct-2409"], tokens).name == family


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("mistral-v1", "<s> [INST] S\n\nQ1 [/INST] A1</s> [INST] Q2 [/INST]"),
        ("mistral-v3", "<s>[INST] S\n\nQ1[/INST] A1</s>[INST] Q2[/INST]"),
        ("mistral-v3-tekken", "<s>[INST]S\n\nQ1[/INST]A1</s>[INST]Q2[/INST]"),
        ("mistral-v7", "<s>[SYSTEM_PROMPT] S[/SYSTEM_PROMPT][INST] Q1[/INST] A1</s>[INST] Q2[/INST]"),
        ("mistral-v7-tekken", "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]Q1[/INST]A1</s>[INST]Q2[/INST]"),
        (
            "gemma",
            "<s><start_of_turn>user\nS\n\nQ1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n"
            "<start_of_turn>user\nQ2<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("phi-2", "<s>S\nInstruct: Q1\nOutput: A1\nInstruct: Q2\nOutput:"),
        (
            "phi-3",
            "<s><|system|>\nS<|end|>\n<|user|>\nQ1<|end|>\n<|assistant|>\nA1<|end|>\n"
            "<|user|>\nQ2<|end|>\n<|assistant|>\n",
        ),
        (
            "zephyr",
            "<s><|system|>\nS</s>\n<|user|>\nQ1</s>\n<|assistant|>\nA1</s>\n<|user|>\nQ2</s>\n<|assistant|>\n",
        ),
    ],
)
def test_a_conversation_with_a_system_text_is_llama_cpps(family: str, text: str) -> None:
    """Source: llama.cpp, src/llama-chat.cpp."""
    assert prompt(family, system("S"), user("Q1"), assistant("A1"), user("Q2")) == text


@pytest.mark.parametrize(
    ("family", "tail"),
    [
        ("completion", "<s>Q1A1Q2"),
        ("alpaca", "### Response:\nA1\n\n### Instruction:\nQ2\n\n### Response:\n"),
        ("alpaca.cpp", "### Response:\n\nA1<s>### Instruction:\n\nQ2\n### Response:\n\n"),
        ("vigogne-may", "### Réponse:\nA1\n\n### Instruction:\nQ2\n\n### Réponse:\n"),
        ("vicuna-v0", "### Assistant: A1\n### Human: Q2\n### Assistant:"),
        ("vicuna", " ASSISTANT: A1</s>USER: Q2 ASSISTANT:"),
        ("koala", " GPT:A1</s>USER: Q2 GPT:"),
        ("llama-2", "[INST] Q1 [/INST] A1 </s><s>[INST] Q2 [/INST]"),
        ("llama-3", "A1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|>"),
        ("chatml", "assistant\nA1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_the_second_question(family: str, tail: str) -> None:
    assert tail in prompt(family, user("Q1"), assistant("A1"), user("Q2"))


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("alpaca", "<s>S\n\n### Instruction:\nQ1"),
        ("alpaca.cpp", "<s> S\n\n<s>### Instruction:"),
        ("vicuna", "<s>S USER: Q1 ASSISTANT:"),
        ("vicuna-v0", "<s>S\n### Human: Q1"),
        ("llama-2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ1 [/INST]"),
        ("llama-3", "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"),
        ("chatml", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1"),
        ("completion", "<s>Q1"),
    ],
)
def test_a_system_message_takes_the_preamble_s_place(family: str, head: str) -> None:
    assert prompt(family, system("S"), user("Q1")).startswith(head)


def test_an_instruction_with_an_input() -> None:
    assert prompt("alpaca", user("Sum it up.\n### Input:\nLong text")) == (
        "<s>Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nSum it up.\n\n### Input:\nLong text"
        "\n\n### Response:\n"
    )
    assert prompt("vigogne", user("Résume.\n### Entrée:\nTexte")) == (
        "<s>Ci-dessous se trouve une instruction qui décrit une tâche, associée à une entrée qui fournit un contexte "
        "supplémentaire. Écrivez une réponse qui complète correctement la demande.\n\n### Instruction:\nRésume.\n\n"
        "### Entrée:\nTexte\n\n### Réponse:\n"
    )


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ggml-alpaca-7b-q4.bin", "alpaca.cpp"),
        ("models/alpaca-native-7B-ggml/model.bin", "alpaca"),
        ("gpt4all-lora-quantized.bin", "gpt4all"),
        ("vigogne-lora-7b.gguf", "vigogne"),
        ("Vigogne-Instruct-13b.gguf", "vigogne-may"),
        ("ggml-vicuna-13b-4bit-rev1.bin", "vicuna-v0"),
        ("vicuna-7b-delta-v0", "vicuna-v0"),
        ("ggml-vic13b-q5_1.bin", "vicuna-v0"),
        ("ggml-vic7b-uncensored-v1.1.bin", "vicuna"),
        ("vicuna-13b-v1.5.Q4_K_M.gguf", "vicuna"),
        ("koala-13B.ggml", "koala"),
        ("llama-2-7b-chat.Q4_0.gguf", "llama-2"),
        ("Llama 2 7B Chat", "llama-2"),
        ("Mistral-7B-Instruct-v0.1", "mistral-v1"),
        ("zephyr-7b-beta", "zephyr"),
        ("TinyLlama-1.1B-Chat-v1.0", "zephyr"),
        ("openchat_3.5", "openchat"),
        ("gemma-2-9b-it", "gemma"),
        ("gemma-4-E2B-it", "gemma-4"),
        ("gemma4-26b-a4b-it-Q4_K_M.gguf", "gemma-4"),
        ("gemma-4b-it", "gemma"),
        ("medgemma-4b-it-Q8_0.gguf", "gemma"),
        ("translategemma-4b-it", "gemma"),
        ("gemma-3-4b-it", "gemma"),
        ("gemma-2-9b", "completion"),
        ("Phi-3-mini-4k-instruct", "phi-3"),
        ("phi-2.Q4_K_M.gguf", "phi-2"),
        ("dolphin-2_6-phi-2", "chatml"),
        ("stablelm-zephyr-3b.gguf", "zephyr"),
        ("Meta-Llama-3-8B-Instruct.gguf", "llama-3"),
        ("llama-2-7b.Q4_0.gguf", "completion"),
        ("llama-7b-q4.gguf", "completion"),
    ],
)
def test_recognised_by_name(name: str, family: str) -> None:
    chosen = choose_format({}, name)
    assert (chosen.name, chosen.source) == (family, "family")


def test_recognised_by_the_name_inside_and_by_tokens() -> None:
    assert choose_format({"general.name": "LLaMA v2 chat Koala"}, "model.gguf").name == "koala"
    assert choose_format({}, "vicuna/koala.gguf").name == "koala"
    assert choose_format({"tokenizer.ggml.tokens": ["a", "<|im_start|>"]}, "model.gguf").name == "chatml"
    assert choose_format({"tokenizer.ggml.tokens": ["<|start_header_id|>"]}, "model.gguf").name == "llama-3"


class TestEncoding:
    """Families as token ids."""

    @pytest.fixture
    def tokenizer(self, spm_metadata: dict[str, object]) -> Tokenizer:
        return load_tokenizer(spm_metadata)

    @pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith(("alpaca.cpp", "gpt4all"))])
    def test_ids_decode_to_the_prompt(self, tokenizer: Tokenizer, family: str) -> None:
        ids = choose_format({}, "x", family).encode(tokenizer, [user("Q1"), assistant("A1"), user("Q2")])
        text = prompt(family, user("Q1"), assistant("A1"), user("Q2"))
        # The space of " [INST]" is the one that a tokenizer of this kind puts before a text anyway.
        as_decoded = text.replace("<s> ", "<s>").replace("</s> ", "</s>")
        assert tokenizer.decode(ids) == (as_decoded if text.startswith("<s>") else "<s>" + as_decoded)
        assert ids.count(1) == text.count("<s>") + (not text.startswith("<s>"))

    def test_the_space_of_alpaca_cpp_is_there_once(self, tokenizer: Tokenizer) -> None:
        ids = choose_format({}, "x", "alpaca.cpp").encode(tokenizer, [user("Q1")])
        assert tokenizer.piece_text(ids[1]).startswith(" B")
        assert ids[0] == 1
        assert ids.count(1) == 2

    def test_no_bos_where_the_model_wants_none(self, spm_metadata: dict[str, object]) -> None:
        tokenizer = load_tokenizer(spm_metadata | {"tokenizer.ggml.add_bos_token": False})
        assert 1 not in choose_format({}, "x", "llama-2").encode(tokenizer, [user("Q1")])
