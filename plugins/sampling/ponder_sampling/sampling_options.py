"""How tokens are drawn: the options that the samplers which run a policy have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How tokens are drawn; what every sampler here has in common."""

    temperature: float = 1.0
    """What logits are divided by; 0 takes the likeliest token (log-probabilities are then those at temperature 1)."""
    top_p: float = 1.0
    """Draw from the smallest set of likeliest tokens that holds this much probability; 1 draws from all."""
    top_k: int = 0
    """Draw from this many likeliest tokens; 0 draws from all."""
    max_new_tokens: int = 256
    """Longest completion, in tokens; a completion also ends where the model's context ends."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 (greedy) or a positive number, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1 (1 truncates nothing), not {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or a positive number of tokens, not {self.top_k}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
