"""The tokenizer that lies beside weights, as the tokenizer metadata of a GGUF."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from engine.checkpoints.sentencepiece_model import read_sentencepiece
from engine.checkpoints.small_files import read_json_object, read_small
from engine.checkpoints.tiktoken_model import is_llama_3, tiktoken_metadata
from engine.checkpoints.tokenizer_keys import ADDED_SCORE, MAX_VOCAB, PREFIX, AddedToken, TokenType
from engine.errors import ModelFileError, UnsupportedModelError

MAX_TEMPLATE_BYTES = 1 << 20


def sentencepiece_metadata(path: Path, n_vocab: int, added: Mapping[int, AddedToken]) -> dict[str, object]:
    """Keys of a GGUF for a `tokenizer.model`, with the tokens that were added and filled up to n_vocab."""
    model = read_sentencepiece(path)
    tokens, scores, types = list(model.tokens), array("f", model.scores), array("i", model.types)
    if len(tokens) > n_vocab:
        raise ModelFileError(
            f"{path} has {len(tokens)} tokens, but the model knows {n_vocab}.", "It is the tokenizer of another model."
        )
    for id_ in range(len(tokens), n_vocab):
        token = added.get(id_)
        tokens.append(token.text if token else f"[PAD{id_}]")
        scores.append(ADDED_SCORE)
        types.append(token.type if token else TokenType.UNUSED)
    for id_, token in added.items():
        if id_ < n_vocab and token.special:
            # Some models put what begins a turn into the place of a piece that nobody needs.
            tokens[id_] = token.text
            types[id_] = types[id_] if types[id_] == TokenType.UNKNOWN else TokenType.CONTROL
    keys: dict[str, object] = {
        PREFIX + "model": "llama",
        PREFIX + "tokens": tokens,
        PREFIX + "scores": scores,
        PREFIX + "token_type": types,
    }
    for name, id_of in (("unknown", model.unknown_id), ("bos", model.bos_id), ("eos", model.eos_id)):
        if id_of is not None:
            keys[f"{PREFIX}{name}_token_id"] = id_of
    if not model.adds_space_prefix:
        keys[PREFIX + "add_space_prefix"] = False
    return keys


@dataclass(frozen=True, slots=True)
class TokenizerFolder:
    """The tokenizer's files in a folder of Hugging Face's format.

    config: of the model. by_characters: see tokenizer_json_metadata, whose file then counts first.
    """

    folder: Path
    config: Mapping[str, Any]
    by_characters: bool = False

    def metadata(self, n_vocab: int) -> tuple[dict[str, object], list[Path]]:
        """Keys of a GGUF for a tokenizer of n_vocab tokens, and the files that they come from."""
        options_path = self.folder / "tokenizer_config.json"
        options = read_json_object(options_path) if options_path.is_file() else {}
        keys, files = self._vocabulary(n_vocab, options)
        keys |= self._special_ids(options, keys) | self._template(options)
        return keys, [*files, options_path] if options else files

    def _vocabulary(self, n_vocab: int, options: Mapping[str, Any]) -> tuple[dict[str, object], list[Path]]:
        from engine.checkpoints.older_tokenizers import older_metadata
        from engine.checkpoints.tokenizer_json import tokenizer_json_metadata

        model, json = self.folder / "tokenizer.model", self.folder / "tokenizer.json"
        if model.is_file() and not (self.by_characters and json.is_file()):
            try:
                return sentencepiece_metadata(model, n_vocab, self._added(options)), [model]
            except UnsupportedModelError:
                if not json.is_file() and is_llama_3(model, n_vocab):
                    return tiktoken_metadata(model, n_vocab), [model]
                if not json.is_file():
                    raise
        if json.is_file():
            return tokenizer_json_metadata(json, n_vocab, by_characters=self.by_characters), [json]
        older = older_metadata(self.folder, n_vocab, options, self.config, self._added(options))
        if older is not None:
            return older
        raise ModelFileError(
            f"{self.folder} has neither tokenizer.model nor tokenizer.json.",
            "Put the tokenizer's files that came with the model into this folder.",
        )

    def _added(self, options: Mapping[str, Any]) -> dict[int, AddedToken]:
        """Tokens beyond the model's own, from whichever file names them."""
        added: dict[int, AddedToken] = {}
        older = self.folder / "added_tokens.json"
        if older.is_file():
            for text, id_ in read_json_object(older).items():
                if _is_id(id_):
                    added[id_] = AddedToken(text, special=text.startswith(("<", "[")))
        decoder = options.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            for key, entry in decoder.items():
                if key.isdecimal() and len(key) < 9 and isinstance(entry, dict):
                    content = entry.get("content")
                    if isinstance(content, str) and _is_id(int(key)):
                        added[int(key)] = AddedToken(content, special=entry.get("special") is True)
        return added

    def _special_ids(self, options: Mapping[str, Any], keys: Mapping[str, object]) -> dict[str, object]:
        tokens = keys[PREFIX + "tokens"]
        ids = {text: id_ for id_, text in enumerate(tokens)} if isinstance(tokens, list) else {}
        found: dict[str, object] = {}
        for name, option in (("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token")):
            # The first LLaMA folders name no text, and ids in config.json that are not those of their tokenizer.model.
            is_known = f"{PREFIX}{name}_token_id" in keys and option in options
            by_id = None if is_known else self.config.get(f"{option}_id")
            id_ = ids.get(_token_text(options.get(option)) or "", by_id)
            if isinstance(id_, list) and id_:
                id_ = id_[0]
            if _is_id(id_) and id_ < len(ids):
                found[f"{PREFIX}{name}_token_id"] = id_
        if isinstance(options.get("add_bos_token"), bool) and PREFIX + "add_bos_token" not in keys:
            found[PREFIX + "add_bos_token"] = options["add_bos_token"]
        return found

    def _template(self, options: Mapping[str, Any]) -> dict[str, object]:
        own_file = self.folder / "chat_template.jinja"
        if own_file.is_file():
            text = read_small(own_file, MAX_TEMPLATE_BYTES).decode("utf-8", "replace")
            return {"tokenizer.chat_template": text}
        template = options.get("chat_template")
        if isinstance(template, list):
            named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
            template = named[0].get("template") if named else None
        return {"tokenizer.chat_template": template} if isinstance(template, str) else {}


def _token_text(value: object) -> str | None:
    """A special token as text, or as an object with its text."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_VOCAB
