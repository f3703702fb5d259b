"""Records what llama.cpp makes of hard texts; needs xllamacpp and gguf: `record_token_ids.py STARTER.gguf [NAME …]`.

Writes token_ids.json beside itself: for the starter's vocabulary with every way to split words that this project knows,
and for the SentencePiece vocabulary in spm_vocabulary.json, with scores and with merges. Writes random_texts.json too,
and random_token_ids.json: of what llama.cpp makes of each of those, a checksum. With names, those alone are recorded,
the others' ids stay.
"""

# ruff: noqa: RUF001 - the texts have characters that look like ASCII ones

from __future__ import annotations

import json
import random
import sys
import tempfile
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import merged_vocabulary as merged
import numpy as np
import xllamacpp
from gguf import GGUFReader, GGUFValueType, GGUFWriter

HERE = Path(__file__).parent
SPLITS = (
    "smollm default llama-bpe qwen2 qwen35 tekken gpt-4o gpt-2 falcon deepseek-llm deepseek-coder deepseek-v3 "
    "bloom viking superbpe bailingmoe seed-coder dbrx minicpm5 ufakzeka tiny_aya exaone-moe afmoe kimi-k2 "
    "youtu jais-2 spark2_5 laguna k2-horizon chameleon"
).split()
DIM = 32
N_RANDOM = 250
PIECES = (
    "a b x I'm DON'T we'LL 'S the World é É ß ı ſ ǅ ﬁ Ω Привет שלום مرحبا हिन्दी ไทย 日本 漢 かな カ ｶ 한국 ㎏ ⳳ",
    "1 12 1234 3.14 1,000 ٣ Ⅷ ½ ² 𝟘 ① 0x1F",
    ". , ! ? : ; ' \" - _ / \\ | ` $ ^ + = < > ( ) [ ] { } # @ & % ~ … — “ ” « · € ° /* */ // :// '' ... ,， 。 ！",
    "😀 👍🏽 👨‍👩‍👧 🇩🇪 ❤️ ☺ ▁ Ġ Ċ <0x0A> \u0301 \u20e3 \ufffd \ue000 \u202e \u2060 \u034f \ufe0f",
    "<s> </s> <unk> <|im_start|> <|im_end|> <|endoftext|> <|im_ [INST] <reponame> <0x41>",
)
SPACES = (
    " ",
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n",
    "\n ",
    "\xa0",
    "\u2003",
    "\u3000",
    "\u200b",
    "\ufeff",
)
CONTROLS = tuple(map(chr, (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029)))


def random_texts() -> list[str]:
    """Texts that nobody would write: words, digits, signs, white space and control characters in any order."""
    chosen = random.Random(1)
    pools = [SPACES, SPACES, CONTROLS, *(tuple(pieces.split(" ")) for pieces in (PIECES[0], *PIECES))]
    lengths = (2, 3, 4, 6, 10, 20)
    return [
        "".join(chosen.choice(chosen.choice(pools)) for _ in range(chosen.choice(lengths))) for _ in range(N_RANDOM)
    ]


def checksum(plain: list[int], special: list[int]) -> int:
    """Of the ids of one text."""
    return zlib.crc32(json.dumps([plain, special]).encode())


def write_model(path: Path, vocabulary: list[tuple[str, Any, GGUFValueType]], n_tokens: int) -> None:
    """A whole model, as small as can be: a vocabulary alone does not load."""
    writer = GGUFWriter(path, "llama")
    for key, value, kind in vocabulary:
        if kind == GGUFValueType.ARRAY:
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, kind)
    writer.add_context_length(128)
    writer.add_embedding_length(DIM)
    writer.add_block_count(1)
    writer.add_feed_forward_length(DIM)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIM)
    writer.add_vocab_size(n_tokens)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((DIM, DIM), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(DIM, np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((n_tokens, DIM), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_ids(model: Path, texts: list[str], *, bos: bool, special: bool) -> list[list[int]]:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.port = 64, 1, False, 0
    server = xllamacpp.Server(parameters)
    ids = []
    for text in texts:
        body = json.dumps({"content": text, "add_special": bos, "parse_special": special}).encode()
        request = urllib.request.Request(
            server.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            ids.append(json.load(answer)["tokens"])
    return ids


def record(model: Path, texts: list[str]) -> dict[str, list[list[int]]]:
    return {
        "plain": llama_cpp_ids(model, texts, bos=False, special=False),
        "special": llama_cpp_ids(model, texts, bos=True, special=True),
    }


def starter_vocabulary(path: str) -> list[tuple[str, Any, GGUFValueType]]:
    fields = GGUFReader(path).fields
    return [
        (key, field.contents(), field.types[0])
        for key, field in fields.items()
        if key.startswith("tokenizer.") and key != "tokenizer.ggml.pre"
    ]


def spm_vocabulary() -> list[tuple[str, Any, GGUFValueType]]:
    pieces = json.loads((HERE / "spm_vocabulary.json").read_text("utf-8"))
    array, text, number = GGUFValueType.ARRAY, GGUFValueType.STRING, GGUFValueType.UINT32
    return [
        ("tokenizer.ggml.model", "llama", text),
        ("tokenizer.ggml.tokens", [piece[0] for piece in pieces], array),
        ("tokenizer.ggml.scores", [float(piece[1]) for piece in pieces], array),
        ("tokenizer.ggml.token_type", [piece[2] for piece in pieces], array),
        ("tokenizer.ggml.bos_token_id", 1, number),
        ("tokenizer.ggml.eos_token_id", 2, number),
        ("tokenizer.ggml.unknown_token_id", 0, number),
    ]


def merged_vocabulary(kind: str = "gemma4") -> list[tuple[str, Any, GGUFValueType]]:
    pieces = merged.pieces()
    array, text, number = GGUFValueType.ARRAY, GGUFValueType.STRING, GGUFValueType.UINT32
    return [
        ("tokenizer.ggml.model", kind, text),
        ("tokenizer.ggml.pre", "sarvam-moe" if kind == "gpt2" else kind, text),
        ("tokenizer.ggml.tokens", [piece[0] for piece in pieces], array),
        ("tokenizer.ggml.scores", [float(piece[1]) for piece in pieces], array),
        ("tokenizer.ggml.token_type", [piece[2] for piece in pieces], array),
        ("tokenizer.ggml.merges", merged.merges(), array),
        ("tokenizer.ggml.bos_token_id", 1, number),
        ("tokenizer.ggml.eos_token_id", 2, number),
        ("tokenizer.ggml.unknown_token_id", 0, number),
    ]


def plamo_vocabulary(kind: str) -> list[tuple[str, Any, GGUFValueType]]:
    texts, scores, types = zip(*merged.plamo_pieces(), strict=True)
    array = GGUFValueType.ARRAY
    return [
        ("tokenizer.ggml.model", kind, GGUFValueType.STRING),
        ("tokenizer.ggml.tokens", list(texts), array),
        ("tokenizer.ggml.scores", list(scores), array),
        ("tokenizer.ggml.token_type", list(types), array),
    ]


def main() -> None:
    texts = json.loads((HERE / "hard_texts.json").read_text("utf-8"))
    strange = random_texts()
    named = sys.argv[2:]
    recorded, checksums = (
        json.loads((HERE / name).read_text("utf-8")) if named else {}
        for name in ("token_ids.json", "random_token_ids.json")
    )

    def record_all(name: str, model: Path) -> None:
        recorded[name] = record(model, texts)
        found = record(model, strange)
        checksums[name] = [checksum(plain, special) for plain, special in zip(*found.values(), strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        for split in [split for split in named or SPLITS if split in SPLITS]:
            vocabulary = starter_vocabulary(sys.argv[1])
            model = Path(folder) / f"{split}.gguf"
            n_tokens = next(len(value) for key, value, _ in vocabulary if key == "tokenizer.ggml.tokens")
            write_model(model, [*vocabulary, ("tokenizer.ggml.pre", split, GGUFValueType.STRING)], n_tokens)
            record_all(split, model)
        wholes = {"sentencepiece": spm_vocabulary(), "gemma4": merged_vocabulary()}
        wholes["sarvam-moe"] = merged_vocabulary("gpt2")
        wholes |= {kind: plamo_vocabulary(kind) for kind in ("plamo2", "plamo3")}
        for name in [name for name in wholes if not named or name in named]:
            model, pieces = Path(folder) / f"{name}.gguf", wholes[name]
            n_tokens = next(len(value) for key, value, _ in pieces if key == "tokenizer.ggml.tokens")
            write_model(model, pieces, n_tokens)
            record_all(name, model)
    encoded = json.dumps(recorded, separators=(",", ":")).replace('},"', '},\n"').replace('],"special', '],\n"special')
    (HERE / "token_ids.json").write_text(encoded + "\n", "utf-8")
    (HERE / "random_texts.json").write_text(json.dumps(strange, indent=0) + "\n", "utf-8")
    encoded = json.dumps(checksums, separators=(",", ":")).replace('],"', '],\n"')
    (HERE / "random_token_ids.json").write_text(encoded + "\n", "utf-8")


if __name__ == "__main__":
    main()
