"""Records in tiktoken_ids.json what tiktoken makes of texts: `python record_tiktoken.py`, with tiktoken and tokenizers.

A few hundred ranks are learned from the texts below, cut into words as each model's own tokenizer cuts them. Source of
the patterns: tokenization_qwen.py of Qwen's first models, tokenization_moonshot.py of Moonlight, and Meta's llama3.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import tiktoken
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

END = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]", r"\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]"
HEAD = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "qwen": rf"{CONTRACTION}|{HEAD}\p{{L}}+|\p{{N}}|{END}",
    "llama-3": rf"{CONTRACTION}|{HEAD}\p{{L}}+|\p{{N}}{{1,3}}|{END}",
    "kimi": rf"[\p{{Han}}]+|{HEAD}[{UPPER}]*[{LOWER}]+{CONTRACTION}?|{HEAD}[{UPPER}]+[{LOWER}]*{CONTRACTION}?"
    rf"|\p{{N}}{{1,3}}|{END}",
}
LEARNED = [
    f"The river number {i} flows to the sea over {i * i} stones; it's wide, isn't it?\n我们在河边走了{i}里路。"
    f" riverStone_{i} = RiverStone(x{i})\n"
    for i in range(300)
]
TEXTS = [
    "The river's 12345 stones",
    "it isn't\n\n  wide; é \t x",
    "flows flows FLOWS!!! ...",
    "我们在 river 边走了99里路。",
    "seaStones = RiverStone(x1234)",
    "",
    "  \r\n",
]


def ranks_of(pattern: str) -> list[bytes]:
    """Bytes, then what is merged, in order."""
    library = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    library.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(LEARNED, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printable + [byte for byte in range(256) if byte not in printable]
    bytes_of = dict(zip(sorted(alphabet), order, strict=True))
    by_id = sorted(library.get_vocab().items(), key=lambda item: item[1])
    return [bytes(bytes_of[char] for char in token) for token, _ in by_id]


def main() -> None:
    found = {}
    for name, pattern in PATTERNS.items():
        ranks = ranks_of(pattern)
        encoding = tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks={token: i for i, token in enumerate(ranks)}, special_tokens={}
        )
        ids = [encoding.encode(text, disallowed_special=()) for text in TEXTS]
        found[name] = {
            "ranks": [base64.b64encode(token).decode() for token in ranks],
            "texts": [[text, its] for text, its in zip(TEXTS, ids, strict=True)],
        }
    path = Path(__file__).with_name("tiktoken_ids.json")
    path.write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
