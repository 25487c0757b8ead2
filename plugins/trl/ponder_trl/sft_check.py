"""What `ponder doctor` looks at in a stage `sft`: the first rows of its task as the policy's tokenizer cuts them."""

from __future__ import annotations

from collections.abc import Iterator

from ponder.doctor import Finding, Patient
from ponder_trl.checks import check_ends, check_tokenizer
from ponder_trl.conversations import read_conversations


def examine_conversations(patient: Patient) -> Iterator[Finding]:
    """Make conversations of the rows; what is wrong with them is raised as InputError, with counts."""
    tokenizer = patient.tokenizer()
    (policy, *_), (task, *_) = patient.names("policy", "policy"), patient.names("task", "task")
    check_tokenizer(tokenizer, policy)
    conversations = read_conversations(patient.examples(), tokenizer, task)
    check_ends(conversations, int(tokenizer.eos_token_id), task)
    yield from ()
