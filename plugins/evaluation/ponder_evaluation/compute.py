"""What an evaluation cost, in floating-point operations."""

from __future__ import annotations

from collections.abc import Iterable

from ponder import Policy
from ponder.hf import FORWARD, active_parameters, encode_prompt
from ponder.types import Prompt


def sampling_flops(policy: Policy, prompts: Iterable[Prompt], generated: int) -> float:
    """2 x active parameters for every token read, each prompt once, and for every token generated."""
    read = sum(len(encode_prompt(policy.tokenizer, prompt)) for prompt in prompts)
    return float(FORWARD * active_parameters(policy.model) * (read + generated))
