"""The options of the sampler `openai`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ponder.endpoint_options import EndpointOptions


@dataclass(frozen=True, kw_only=True)
class OpenaiConfig(EndpointOptions):
    """Ask a model behind an OpenAI-compatible endpoint: a teacher for `rejection_sampling`, or a model to `evaluate`.

    It has a model of its own, so these stages need no policy; it knows no log-probabilities, so nothing can be trained on its
    completions but by way of data.
    """

    own_model: ClassVar[bool] = True
    example: ClassVar[Mapping[str, object]] = {"model": "Qwen/Qwen3-8B", "temperature": 0.6, "top_p": 0.95}

    system: str = ""
    """A system message in front of each prompt that has none; empty sends none."""
    temperature: float = 1.0
    """Temperature of the replies; at 0 a prompt is asked once for all its completions."""
    top_p: float = 1.0
    """Draw from the smallest set of likeliest tokens that holds this much probability; 1 draws from all."""
    max_new_tokens: int = 4096
    """Longest reply, its reasoning included, in the model's own tokens."""
    key_variable: str = ""
    """The environment variable that holds the key, such as TEACHER_KEY; empty sends none. The key itself is never stored or logged."""
    concurrency: int = 16
    """Requests under way at once."""
    timeout_seconds: float = 600.0
    """Time for one request."""
    cache: str = ""
    """Directory where replies are kept, so that nothing is asked twice; empty takes `ponder/openai` in the user's cache directory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 (greedy) or a positive number, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1 (1 truncates nothing), not {self.top_p}")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
