"""Which problems are held out: decided by the problem's own text, so that no generator and no seed can mix the two."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "held_out", "all"]


def is_held_out(question: str, percent: float) -> bool:
    """Whether this question belongs to the `percent` per cent that no training task may contain."""
    digest = hashlib.blake2b(question.encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest, "big") < percent / 100 * 2**64


def in_split(question: str, split: Split, percent: float) -> bool:
    """Whether this question belongs to the split."""
    return split == "all" or is_held_out(question, percent) == (split == "held_out")
