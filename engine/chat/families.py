"""Prompt families as data: what the models that come without a chat template were trained to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from engine.protocol import ChatMessage


class Slot(Enum):
    """What a prompt has besides its fixed text."""

    BOS = auto()
    EOS = auto()
    SYSTEM = auto()
    CONTENT = auto()
    INPUT = auto()


Pattern = tuple["str | Slot", ...]
Piece = str | Slot
"""Text, or BOS or EOS."""


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of models reads a conversation.

    system: its own preamble, which a system message replaces. opening: before the first turn; opening_without: the same
    if there is no system text. user, assistant: a finished turn of each; the next answer begins after `user`.
    before_next: before every user's turn but the first. input_mark: parts an instruction from its input
    in a message, which then is written as user_with_input after the preamble input_system.
    """

    name: str
    user: Pattern
    assistant: Pattern
    system: str = ""
    opening: Pattern = (Slot.BOS, Slot.SYSTEM)
    opening_without: Pattern = (Slot.BOS,)
    stops: tuple[str, ...] = ()
    input_mark: str = ""
    input_system: str = ""
    user_with_input: Pattern = ()
    before_next: Pattern = ()

    def pieces(self, messages: Sequence[ChatMessage]) -> list[Piece]:
        """The conversation up to where the assistant's next answer begins, adjacent texts joined."""
        turns = [message for message in messages if message.role != "system"]
        given = "\n\n".join(message.content for message in messages if message.role == "system")
        system = given or self._preamble(turns)
        pieces = _fill(self.opening if system else self.opening_without, {Slot.SYSTEM: system})
        for index, turn in enumerate(turns):
            if index and turn.role == "user":
                pieces += _fill(self.before_next, {})
            pieces += self._turn(turn)
        return _joined(pieces)

    def _preamble(self, turns: Sequence[ChatMessage]) -> str:
        with_input = any(self._parts_input(turn) for turn in turns[:1])
        return self.input_system if with_input else self.system

    def _parts_input(self, turn: ChatMessage) -> bool:
        return bool(self.input_mark) and turn.role == "user" and self.input_mark in turn.content

    def _turn(self, turn: ChatMessage) -> list[Piece]:
        if self._parts_input(turn):
            instruction, _, more = turn.content.partition(self.input_mark)
            return _fill(self.user_with_input, {Slot.CONTENT: instruction.strip(), Slot.INPUT: more.strip()})
        return _fill(self.user if turn.role == "user" else self.assistant, {Slot.CONTENT: turn.content})


def _fill(pattern: Pattern, values: Mapping[Slot, str]) -> list[Piece]:
    return [values.get(part, part) if isinstance(part, Slot) else part for part in pattern]


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece:
            joined.append(piece)
    return joined


_ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
_VIGOGNE_APRIL = (
    "Ci-dessous se trouve une instruction qui décrit une tâche. "
    "Écrivez une réponse qui complète correctement la demande."
)
_VIGOGNE_INPUT = (
    "Ci-dessous se trouve une instruction qui décrit une tâche, associée à une entrée qui fournit un contexte "
    "supplémentaire. Écrivez une réponse qui complète correctement la demande."
)
_VIGOGNE_MAY = (
    "Ci-dessous se trouve une instruction qui décrit une tâche à accomplir. "
    "Rédigez une réponse qui répond de manière précise à la demande."
)
_VICUNA_0 = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_VICUNA_1 = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def _instruct(name: str, system: str, input_system: str, response: str, entry: str) -> Family:
    """Alpaca and what was made after it."""
    return Family(
        name,
        system=system,
        opening=(Slot.BOS, Slot.SYSTEM, "\n\n"),
        user=("### Instruction:\n", Slot.CONTENT, f"\n\n### {response}:\n"),
        assistant=(Slot.CONTENT, "\n\n"),
        stops=("### Instruction",),
        input_mark=f"### {entry}:",
        input_system=input_system,
        user_with_input=(
            "### Instruction:\n",
            Slot.CONTENT,
            f"\n\n### {entry}:\n",
            Slot.INPUT,
            f"\n\n### {response}:\n",
        ),
    )


def _alpaca_cpp(name: str) -> Family:
    return Family(
        name,
        system=_ALPACA,
        opening=(Slot.BOS, " ", Slot.SYSTEM, "\n\n"),
        user=(Slot.BOS, "### Instruction:\n\n", Slot.CONTENT, "\n### Response:\n\n"),
        assistant=(Slot.CONTENT,),
    )


def _mistral(version: str, before: str, behind: str) -> Family:
    """Mistral's first formats: where a space stands before and behind the marks of an instruction."""
    begin = f"{before}[INST]{behind}"
    return Family(
        f"mistral-{version}",
        opening=(Slot.BOS, begin, Slot.SYSTEM, "\n\n"),
        opening_without=(Slot.BOS, begin),
        user=(Slot.CONTENT, f"{before}[/INST]"),
        assistant=(behind, Slot.CONTENT, Slot.EOS),
        before_next=(begin,),
    )


def _mistral_with_system(version: str, behind: str) -> Family:
    """Those since 2024, which have marks for the system text."""
    return Family(
        f"mistral-{version}",
        opening=(Slot.BOS, f"[SYSTEM_PROMPT]{behind}", Slot.SYSTEM, "[/SYSTEM_PROMPT]"),
        user=(f"[INST]{behind}", Slot.CONTENT, "[/INST]"),
        assistant=(behind, Slot.CONTENT, Slot.EOS),
    )


_FAMILIES = (
    Family("completion", opening=(Slot.BOS,), user=(Slot.CONTENT,), assistant=(Slot.CONTENT,)),
    _instruct("alpaca", _ALPACA, _ALPACA_INPUT, "Response", "Input"),
    _alpaca_cpp("alpaca.cpp"),
    _alpaca_cpp("gpt4all"),
    _instruct("vigogne", _VIGOGNE_APRIL, _VIGOGNE_INPUT, "Réponse", "Entrée"),
    _instruct("vigogne-may", _VIGOGNE_MAY, _VIGOGNE_INPUT, "Réponse", "Entrée"),
    Family(
        "vicuna-v0",
        system=_VICUNA_0,
        user=("\n### Human: ", Slot.CONTENT, "\n### Assistant:"),
        assistant=(" ", Slot.CONTENT),
        stops=("###",),
    ),
    Family(
        "vicuna",
        system=_VICUNA_1,
        opening=(Slot.BOS, Slot.SYSTEM, " "),
        user=("USER: ", Slot.CONTENT, " ASSISTANT:"),
        assistant=(" ", Slot.CONTENT, Slot.EOS),
    ),
    Family(
        "koala",
        system="BEGINNING OF CONVERSATION:",
        opening=(Slot.BOS, Slot.SYSTEM, " "),
        user=("USER: ", Slot.CONTENT, " GPT:"),
        assistant=(Slot.CONTENT, Slot.EOS),
    ),
    Family(
        "llama-2",
        opening=(Slot.BOS, "[INST] <<SYS>>\n", Slot.SYSTEM, "\n<</SYS>>\n\n"),
        opening_without=(Slot.BOS, "[INST] "),
        user=(Slot.CONTENT, " [/INST]"),
        assistant=(" ", Slot.CONTENT, " ", Slot.EOS),
        before_next=(Slot.BOS, "[INST] "),
    ),
    _mistral("v1", " ", " "),
    _mistral("v3", "", " "),
    _mistral("v3-tekken", "", ""),
    _mistral_with_system("v7", " "),
    _mistral_with_system("v7-tekken", ""),
    Family(
        "zephyr",
        opening=(Slot.BOS, "<|system|>\n", Slot.SYSTEM, Slot.EOS, "\n"),
        user=("<|user|>\n", Slot.CONTENT, Slot.EOS, "\n<|assistant|>\n"),
        assistant=(Slot.CONTENT, Slot.EOS, "\n"),
    ),
    Family(
        "openchat",
        opening=(Slot.BOS, Slot.SYSTEM, "<|end_of_turn|>"),
        user=("GPT4 Correct User: ", Slot.CONTENT, "<|end_of_turn|>GPT4 Correct Assistant:"),
        assistant=(" ", Slot.CONTENT, "<|end_of_turn|>"),
        stops=("<|end_of_turn|>",),
    ),
    Family(
        "gemma",
        opening=(Slot.BOS, "<start_of_turn>user\n", Slot.SYSTEM, "\n\n"),
        opening_without=(Slot.BOS, "<start_of_turn>user\n"),
        user=(Slot.CONTENT, "<end_of_turn>\n<start_of_turn>model\n"),
        assistant=(Slot.CONTENT, "<end_of_turn>\n"),
        stops=("<end_of_turn>",),
        before_next=("<start_of_turn>user\n",),
    ),
    Family(
        "gemma-4",
        opening=(Slot.BOS, "<|turn>system\n", Slot.SYSTEM, "<turn|>\n"),
        user=("<|turn>user\n", Slot.CONTENT, "<turn|>\n<|turn>model\n"),
        assistant=(Slot.CONTENT, "<turn|>\n"),
        stops=("<turn|>",),
    ),
    Family(
        "phi-2",
        opening=(Slot.BOS, Slot.SYSTEM, "\n"),
        user=("Instruct: ", Slot.CONTENT, "\nOutput:"),
        assistant=(" ", Slot.CONTENT, "\n"),
        stops=("\nInstruct:",),
    ),
    Family(
        "phi-3",
        opening=(Slot.BOS, "<|system|>\n", Slot.SYSTEM, "<|end|>\n"),
        user=("<|user|>\n", Slot.CONTENT, "<|end|>\n<|assistant|>\n"),
        assistant=(Slot.CONTENT, "<|end|>\n"),
        stops=("<|end|>",),
    ),
    Family(
        "llama-3",
        opening=(Slot.BOS, "<|start_header_id|>system<|end_header_id|>\n\n", Slot.SYSTEM, "<|eot_id|>"),
        user=(
            "<|start_header_id|>user<|end_header_id|>\n\n",
            Slot.CONTENT,
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        assistant=(Slot.CONTENT, "<|eot_id|>"),
        stops=("<|eot_id|>",),
    ),
    Family(
        "chatml",
        opening=("<|im_start|>system\n", Slot.SYSTEM, "<|im_end|>\n"),
        opening_without=(),
        user=("<|im_start|>user\n", Slot.CONTENT, "<|im_end|>\n<|im_start|>assistant\n"),
        assistant=(Slot.CONTENT, "<|im_end|>\n"),
        stops=("<|im_end|>", "<|im_start|>"),
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}

MISTRAL = "mistral"
"""Which of Mistral's formats it is, the tokens tell."""

_BY_NAME = (
    (r"gpt4all", "gpt4all"),
    (r"alpaca[.-]cpp|ggml-alpaca", "alpaca.cpp"),
    (r"vigogne.*(instruct|may|2)", "vigogne-may"),
    (r"vigogne", "vigogne"),
    (r"koala", "koala"),
    (r"vicuna.*(v0|delta-v0)|ggml-vicuna-\d+b-4bit|ggml-vic\d+b(?!.*(v1\.|-1\.\d))", "vicuna-v0"),
    (r"vicuna|vic\d+b", "vicuna"),
    (r"alpaca", "alpaca"),
    (r"llama-?2.*chat|codellama.*instruct", "llama-2"),
    (r"llama-?3.*instruct", "llama-3"),
    (r"chatml|dolphin|hermes", "chatml"),
    (r"zephyr|tinyllama.*chat", "zephyr"),
    (r"openchat|starling", "openchat"),
    (r"gemma-?4(?![\db]).*-it\b", "gemma-4"),
    (r"gemma.*-it\b", "gemma"),
    (r"\bphi-?2\b", "phi-2"),
    (r"phi-?3.*instruct", "phi-3"),
    (r"(mis|mix|minis|codes|maths)tral.*instruct|(magis|devs)tral", MISTRAL),
)
"""How a file or model is called, and its family; the first that fits."""


def recognise(names: Sequence[str], tokens: Sequence[str]) -> Family:
    """The family of a model without a template: by the first name that tells, else by its tokens, else completion."""
    for name in names:
        plain = re.sub(r"[\s_]+", "-", name.lower())
        for pattern, family in _BY_NAME:
            if re.search(pattern, plain):
                return FAMILIES[_mistral_by(tokens) if family == MISTRAL else family]
    for token, family in (("<|im_start|>", "chatml"), ("<|start_header_id|>", "llama-3")):
        if token in tokens:
            return FAMILIES[family]
    return FAMILIES["completion"]


def _mistral_by(tokens: Sequence[str]) -> str:
    """The version by the marks that are tokens, Tekken by words that do not begin as SentencePiece's do."""
    if "[INST]" not in tokens:
        return "mistral-v1"
    version = "mistral-v7" if "[SYSTEM_PROMPT]" in tokens else "mistral-v3"
    return version if "\u2581the" in tokens else f"{version}-tekken"
