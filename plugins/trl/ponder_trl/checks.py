"""What can be wrong with a tokenizer or with rows, found before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ponder import Example
from ponder.errors import InputError
from ponder.text import THINK_CLOSE, THINK_OPEN
from ponder_trl.conversations import Conversation, response_of
from ponder_trl.sft_config import SftConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Say = Callable[[str], None]


@dataclass
class Counts:
    """What the rows of a task have in common."""

    tags: dict[str, int] = field(default_factory=lambda: {THINK_OPEN: 0, THINK_CLOSE: 0})
    """Responses that hold each tag."""
    plain_prompts: int = 0
    """Prompts that are text instead of messages."""


def count(examples: Iterable[Example]) -> Counts:
    """Read every row once."""
    counts = Counts()
    for example in examples:
        counts.plain_prompts += isinstance(example.prompt, str)
        text = str(response_of(example))
        for tag in counts.tags:
            counts.tags[tag] += tag in text
    return counts


def check_tokenizer(tokenizer: Any, policy: str) -> None:
    """Raise InputError for a tokenizer that cannot say where a response ends, or fill a row."""
    for name in ("eos_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            raise InputError(
                f"the tokenizer of policy {policy!r} has no {name}, and fine-tuning needs one: set it, save the tokenizer "
                "and load the policy from there"
            )


def check_output(model: PreTrainedModel) -> None:
    """Raise InputError for a model with low-rank adapters on its output.

    TRL multiplies by the output's weight itself, so that they would neither count nor be trained. It refuses them, but only
    in peft's own class of models.
    """
    if hasattr(model.get_output_embeddings(), "lora_A"):
        raise InputError(
            "the policy has LoRA adapters on its output, which trainers of TRL pass by, so that they would never be trained: "
            "take lm_head out of lora's targets, or train it whole with modules_to_save: [lm_head]"
        )


def check_tags(counts: Counts, tokenizer: PreTrainedTokenizerBase, policy: str, say: Say) -> None:
    """Say how many responses hold think tags that the tokenizer cuts into pieces; raise InputError if it loses them."""
    cut: list[str] = []
    for tag, rows in counts.tags.items():
        if not rows:
            continue
        ids = tokenizer(tag, add_special_tokens=False)["input_ids"]
        if tokenizer.unk_token_id in ids or tokenizer.decode(ids).strip() != tag:
            raise InputError(
                f"the tokenizer of policy {policy!r} cannot express {tag}, which {rows:,} response(s) hold: "
                f"it reads it as {tokenizer.decode(ids)!r}; add the tag to the tokenizer, and resize the model's embeddings"
            )
        if len(ids) > 1:
            cut.append(f"{tag} into {len(ids)} tokens ({rows:,} responses)")
    if cut:
        say(
            f"the tokenizer of policy {policy!r} cuts {' and '.join(cut)}: they are learnt piece by piece, as plain text"
        )


def check_prompts(counts: Counts, config: SftConfig, say: Say) -> None:
    """Say how many prompts a chat template that was asked for does not concern."""
    chosen = config.chat_template or config.chat_template_file
    if chosen is not None and counts.plain_prompts:
        say(
            f"task {config.task!r}: {counts.plain_prompts:,} prompts are plain text, which no chat template concerns, {chosen} "
            "neither: prompts to render are lists of messages (the task jsonl makes them so with as_chat: true)"
        )


def within_length(
    conversations: Sequence[Conversation], model: PreTrainedModel, config: SftConfig, say: Say
) -> list[Conversation]:
    """The conversations that are not too long, with a word on the others.

    Raises:
        InputError: some are too long and `too_long` refuses them, or all are.
    """
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (config.max_length, context) if limit is not None]
    kept = [conversation for conversation in conversations if not limits or len(conversation) <= min(limits)]
    dropped = len(conversations) - len(kept)
    if not dropped:
        return kept
    longest = max(map(len, conversations))
    found = f"{dropped:,} of {len(conversations):,} conversations are longer than {min(limits):,} tokens (the longest: {longest:,})"
    if not kept or config.too_long == "refuse":
        raise InputError(
            f"task {config.task!r}: {found}; raise max_length, give the policy a longer context, or shorten them"
        )
    say(f"{found} and left out")
    return kept


def check_ends(conversations: Sequence[Conversation], end: int, task: str) -> None:
    """Raise InputError unless the last token of every conversation is the end of the sequence, and learnt."""
    wrong = sum(int(conversation.tokens[-1]) != end or conversation.learnt < 1 for conversation in conversations)
    if wrong:
        raise InputError(
            f"task {task!r}: in {wrong:,} of {len(conversations):,} conversations the end of the sequence is missing or "
            "masked, so that the policy would not learn to stop"
        )


def check_unknown(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, say: Say) -> None:
    """Say how many conversations hold characters that the tokenizer does not know."""
    if tokenizer.unk_token_id is None:
        return
    rows = sum(bool((conversation.tokens == tokenizer.unk_token_id).any()) for conversation in conversations)
    if rows:
        say(
            f"{rows:,} of {len(conversations):,} conversations hold characters that the tokenizer reads as {tokenizer.unk_token!r}"
        )


@torch.no_grad()
def check_packing(model: PreTrainedModel, policy: str) -> None:
    """Raise InputError for a model whose conversations see each other when they share a row."""
    before, after = torch.arange(4), torch.arange(8)
    rows = (
        torch.stack([torch.cat([before, after]), torch.cat([before + 4, after])])
        % model.get_input_embeddings().num_embeddings
    )
    positions = torch.cat([torch.arange(4), torch.arange(8)]).repeat(2, 1)
    device = model.device
    logits = model(input_ids=rows.to(device), position_ids=positions.to(device), use_cache=False).logits[:, 4:].float()
    if not torch.allclose(logits[0], logits[1], rtol=1e-2, atol=1e-2 * float(logits.std())):
        raise InputError(
            f"policy {policy!r} cannot keep conversations that share a row apart (its attention does not read positions): "
            "set packing: false"
        )
