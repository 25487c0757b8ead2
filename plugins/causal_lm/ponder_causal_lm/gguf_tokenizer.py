"""The tokenizer of a GGUF file, put right where transformers makes another one of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

TOKENS: Final = "tokenizer.ggml.tokens"
SPLITTING: Final = "tokenizer.ggml.pre"
WHOLE_WORDS: Final = "llama-bpe"
"""llama.cpp's name for Llama 3's way to cut text, where a word that is a token is one whatever the merges say."""
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


def cut_as_stored(tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Give a tokenizer that transformers made of a GGUF file the file's own vocabulary and way to apply merges.

    Transformers reads byte-level files through GPT-2's tokenizer, which adds `<|endoftext|>` where the file has no such token:
    one more than the model has embeddings.
    """
    from gguf import GGUFReader

    backend, fields = getattr(tokenizer, "_tokenizer", None), GGUFReader(path).fields
    if not isinstance(backend, Tokenizer) or TOKENS not in fields:
        return
    described = json.loads(backend.to_str())
    rows = len(fields[TOKENS].data)
    surplus = {token["content"] for token in described["added_tokens"] if token["id"] >= rows}
    whole_words = SPLITTING in fields and fields[SPLITTING].contents() == WHOLE_WORDS
    if whole_words and described["model"]["type"] == "BPE":
        described["model"]["ignore_merges"] = True
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < rows]
    for name in _NAMED:
        if getattr(tokenizer, name) in surplus:
            setattr(tokenizer, name, None)
    vars(tokenizer)["_tokenizer"] = Tokenizer.from_str(json.dumps(described))
