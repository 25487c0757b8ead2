"""A byte-level tokenizer made in code: bytes alone, or byte pairs learnt from a corpus."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ponder.text import R1_ZERO_TEMPLATE

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_PREAMBLE = R1_ZERO_TEMPLATE.split("User: {prompt}")[0]

CHAT_TEMPLATES = {
    "r1_zero": (
        "{{- '" + _PREAMBLE.rstrip() + "' -}}"
        "{%- for message in messages -%}"
        "{%- if message.role == 'assistant' -%}{{- ' Assistant: ' + message.content -}}"
        "{%- else -%}{{- ' User: ' + message.content -}}{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- ' Assistant:' -}}{%- endif -%}"
    ),
    # Reasoning of earlier turns is left out, as in the released template.
    "r1": (
        "{%- for message in messages -%}"
        f"{{%- if message.role == 'user' -%}}{{{{- '{USER}' + message.content -}}}}"
        f"{{%- elif message.role == 'assistant' -%}}{{{{- '{ASSISTANT}' + message.content.split('</think>')[-1] + '{END}' -}}}}"
        "{%- else -%}{{- message.content -}}{%- endif -%}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT}<think>\\n' -}}}}{{%- endif -%}}"
    ),
}


def make_tokenizer(corpus: Iterable[str], vocab_size: int, chat_template: str) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `vocab_size` tokens learnt from `corpus`; an empty corpus leaves one token for each byte.

    Numbers of up to three digits are cut out first, as in DeepSeek-V3's tokenizer, here with the space and the sign or operator before them.
    Merges may cross spaces, so that the fixed sentences of a small world become few tokens (SuperBPE, arXiv 2503.13423), but not
    colons, so that a prompt is cut in the same way with and without what follows it, nor the ends of sentences, so that a
    sentence is cut in the same way wherever it stands.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?(?:[+-] ?)?\p{N}{1,3}"), "isolated"),
            pre_tokenizers.Split(Regex(r"[:：.!?。！？\n]+"), "merged_with_previous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [BEGIN, END, PAD, USER, ASSISTANT, *TAGS]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(_without_tags(corpus), trainer)
    # The tags are ordinary text to a reader: they stay when special tokens are left out of a decoded answer.
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATES[chat_template]
    return made


def _without_tags(corpus: Iterable[str]) -> Iterable[str]:
    """The stretches between the tags, which are tokens of their own and must not be learnt in pieces."""
    for document in corpus:
        for tag in TAGS:
            document = document.replace(tag, "\x00")
        yield from document.split("\x00")
