"""Which problems are held out: decided by the problem's own text, so that no generator and no seed can mix the two."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "held_out", "all"]


def is_held_out(question: str, percent: float, seed: int) -> bool:
    """Whether this question belongs to the `percent` per cent that no training task may contain; each seed draws others."""
    person = b"held-out" + (b"%d" % seed if seed else b"")
    digest = hashlib.blake2b(question.encode(), digest_size=8, person=person).digest()
    return int.from_bytes(digest, "big") < percent / 100 * 2**64


def in_split(question: str, split: Split, percent: float, seed: int) -> bool:
    """Whether this question belongs to the split."""
    return split == "all" or is_held_out(question, percent, seed) == (split == "held_out")
