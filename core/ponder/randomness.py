"""Counter-based randomness: a draw is a function of what it is for, never of what ran before."""

from __future__ import annotations

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) that depends on every part and on their order, such as (run seed, stage, step, example, sample)."""
    digest = hashlib.blake2b(
        "\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode(), digest_size=8
    ).digest()
    return int.from_bytes(digest, "big") >> 1


def permutation(length: int, *parts: int | str) -> list[int]:
    """A shuffle of range(length) that depends on `parts` alone."""
    order = list(range(length))
    random.Random(derive_seed(*parts)).shuffle(order)
    return order


def shuffled_index(position: int, length: int, *parts: int | str) -> int:
    """The element at `position` of an endless stream of reshuffled epochs over range(length)."""
    epoch, offset = divmod(position, length)
    return permutation(length, *parts, "epoch", epoch)[offset]
