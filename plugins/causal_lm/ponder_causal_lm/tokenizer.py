"""Byte-level tokenizers of the small students, made in code in the manner of Qwen 2.5's and Llama 3's.

Both cut numbers of up to three digits first, with the space and the sign or operator before them: copying a sum is then
copying a sequence. Merges may cross spaces (SuperBPE, arXiv 2503.13423). They differ from each other, and from DeepSeek's, in
their special tokens and in

* where a merge ends. Qwen's: with a sentence or line, after a colon, and around brackets. Llama's: with a clause, too.
* `<think>`, `<answer>` and their closing tags. Qwen's: a token each. Llama's: text like any other, in the pieces that the
  corpus teaches, never glued to what stands beside them.

What neither does is cut a prompt in another way when something follows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_NUMBER = r" ?(?:[+-] ?)?\p{N}{1,3}"


@dataclass(frozen=True, slots=True)
class Family:
    """What makes a tokenizer Qwen's or Llama's."""

    special: tuple[str, ...]
    begin: str | None
    end: str
    """The end of the assistant's turn, which generation stops at."""
    pad: str
    boundaries: tuple[tuple[str, str], ...]
    """Where merges end: patterns, each with how the tokenizers library is to cut there."""
    tags: tuple[str, ...]
    """Those that are tokens of their own."""


QWEN = Family(
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    begin=None,
    end="<|im_end|>",
    pad="<|endoftext|>",
    boundaries=((r"[:：.!?。！？\n]+", "merged_with_previous"), (r"[(){}\[\]]", "isolated")),
    tags=TAGS,
)
LLAMA = Family(
    special=(
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
    ),
    begin="<|begin_of_text|>",
    end="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    boundaries=((r"</?[a-z]+>", "isolated"), (r"[.,:;?!。，：；？！\n]+", "merged_with_previous")),
    tags=(),
)


def make_tokenizer(family: Family, corpus: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `vocab_size` tokens learnt from `corpus`; an empty corpus leaves one token for each byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_NUMBER), "isolated"),
            *(pre_tokenizers.Split(Regex(pattern), behaviour) for pattern, behaviour in family.boundaries),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*family.special, *family.tags],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(_between_tags(corpus, family.tags), trainer)
    # The tags are ordinary text to a reader: they stay when special tokens are left out of a decoded answer.
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in family.tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.begin,
        eos_token=family.end,
        pad_token=family.pad,
        extra_special_tokens=[token for token in family.special if token not in (family.begin, family.end, family.pad)],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _between_tags(corpus: Iterable[str], tags: Iterable[str]) -> Iterable[str]:
    """The stretches between tags that are tokens of their own and must not be learnt in pieces."""
    for document in corpus:
        for tag in tags:
            document = document.replace(tag, "\x00")
        yield from document.split("\x00")
