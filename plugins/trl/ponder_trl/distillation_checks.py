"""What can be wrong with a teacher, or with the responses it is to comment, found before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ponder import Example, Policy
from ponder.errors import InputError
from ponder_trl.checks import Say
from ponder_trl.conversations import read_conversations
from ponder_trl.distillation_config import OnPolicyDistillationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_same_tokenizer(student: Policy, teacher: Policy, config: OnPolicyDistillationConfig, say: Say) -> None:
    """Raise InputError unless a token means the same to both; say so when they are used to different chat templates."""
    both = f"the student {config.policy!r} and the teacher {config.teacher!r}"
    if config.policy == config.teacher:
        say(f"the teacher is the student {config.policy!r} as it begins: it has nothing to learn from itself")
    remedy = "their next tokens can only be compared over one vocabulary: take a teacher of the student's family"
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours != theirs:
        different = min(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
        raise InputError(
            f"{both} have different tokenizers, of {len(ours):,} and {len(theirs):,} tokens: {different!r} is "
            f"{ours.get(different, 'unknown')} to the one and {theirs.get(different, 'unknown')} to the other; {remedy}"
        )
    rows, others = _rows(student.model), _rows(teacher.model)
    if rows != others:
        raise InputError(
            f"{both} have one tokenizer, but output layers of {rows:,} and {others:,} tokens, padding included; {remedy}"
        )
    if student.tokenizer.chat_template != teacher.tokenizer.chat_template:
        say(f"{both} have different chat templates: the teacher reads prompts in the student's")


def check_responses(
    examples: Sequence[Example], student: Policy, teacher: Policy, config: OnPolicyDistillationConfig
) -> None:
    """Raise InputError for responses of the task that cannot be learnt, or are longer than what both can read."""
    conversations = read_conversations(examples, student.tokenizer, config.task)
    contexts = [getattr(each.model.config, "max_position_embeddings", None) for each in (student, teacher)]
    limit = min((context for context in contexts if context), default=None)
    too_long = [number for number, each in enumerate(conversations, start=1) if limit and len(each) > limit]
    if too_long:
        shown = ", ".join(map(str, too_long[:5]))
        raise InputError(
            f"task {config.task!r}: {len(too_long):,} of {len(conversations):,} prompts with their response are longer than the "
            f"{limit:,} tokens that student and teacher can read (row {shown}): leave them out"
        )


def _rows(model: PreTrainedModel) -> int:
    """Tokens that the model tells probabilities of."""
    return int(model.config.get_text_config().vocab_size)
