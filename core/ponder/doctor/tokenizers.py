"""Checks of policies' tokenizers: ends that are learnt, tags that survive, a vocabulary that fits the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Final

from ponder.chat_templates import QUESTION
from ponder.doctor.findings import Check, Finding
from ponder.doctor.patient import Patient
from ponder.prompts import render_prompt
from ponder.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

TAGS: Final = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)


def _has_policy(patient: Patient) -> Hashable | None:
    return patient.starting_point if patient.has("policy") else None


def examine_tokenizer(patient: Patient) -> Iterator[Finding]:
    """Whether the tokenizer can say where a text ends, keeps the tags, and fits its model."""
    policy, tokenizer = patient.policy(), patient.tokenizer()
    if tokenizer is None:
        return
    yield from _ends(policy, tokenizer)
    yield from _tags(tokenizer)
    yield from _size(policy, tokenizer)
    yield from _template(patient, tokenizer)


def _ends(policy: Any, tokenizer: Any) -> Iterator[Finding]:
    for name, what in (("eos_token", "end-of-sequence"), ("pad_token", "padding")):
        if getattr(tokenizer, name) is None:
            yield Finding(
                "problem",
                f"the tokenizer has no {what} token: batches cannot be made, or completions never end",
                f"set the tokenizer's {name} and save it with the policy",
            )
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if end is not None and end == pad:
        yield Finding(
            "problem",
            f"padding and end of sequence are the same token ({tokenizer.eos_token!r}): whatever masks padding in fine-tuning "
            "masks the end as well, and the policy does not learn to stop",
            "give the tokenizer a padding token of its own",
        )
    declared = getattr(getattr(policy.model, "generation_config", None), "eos_token_id", None)
    ends = set(declared) if isinstance(declared, list | tuple) else {declared}
    if end is not None and ends - {None} and end not in ends:
        yield Finding(
            "problem",
            f"the model's generation settings end a text at token {declared}, the tokenizer at {end} ({tokenizer.eos_token!r})",
            "set both to the same token and save the policy",
        )


def _tags(tokenizer: Any) -> Iterator[Finding]:
    for tag in TAGS:
        read = tokenizer.decode(tokenizer(tag, add_special_tokens=False)["input_ids"], skip_special_tokens=False)
        if read.strip() != tag:
            yield Finding(
                "problem",
                f"the tokenizer reads {tag} as {read!r}: no completion could be in the format",
                "add the tag to the tokenizer and resize the model's embeddings",
            )


def _size(policy: Any, tokenizer: Any) -> Iterator[Finding]:
    rows = getattr(getattr(policy.model, "config", None), "vocab_size", None)
    if isinstance(rows, int) and len(tokenizer) > rows:
        yield Finding(
            "problem",
            f"the tokenizer has {len(tokenizer):,} tokens and the model embeddings for {rows:,}",
            "take the tokenizer that belongs to the model, or resize its embeddings",
        )


def _template(patient: Patient, tokenizer: Any) -> Iterator[Finding]:
    if not getattr(tokenizer, "chat_template", None):
        return
    rendered, chosen = render_prompt(tokenizer, QUESTION), patient.template()
    named = f"chat_template_file {chosen}" if isinstance(chosen, Path) else "the chat template"
    if tokenizer.eos_token and rendered.rstrip().endswith(tokenizer.eos_token):
        yield Finding(
            "problem",
            f"{named} ends the prompt with {tokenizer.eos_token!r}: a policy that has learnt to stop there says nothing",
            "let the template open the assistant's turn behind it",
        )
    if QUESTION[0]["content"] not in rendered:
        yield Finding(
            "problem",
            f"{named} leaves the question out of the prompt",
            "let the template write every message's content",
        )


TOKENIZER_CHECKS: Final = (
    Check("tokenizer", "Do end, padding, tags and chat template of the policy agree?", _has_policy, examine_tokenizer),
)
