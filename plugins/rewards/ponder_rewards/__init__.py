"""DeepSeek-R1's rule-based rewards: `accuracy`, `format` and `language_consistency`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from ponder import Component, Reward, RewardConfig, hookimpl, lazy
from ponder.text import FormatStyle, LanguageChoice
from ponder_rewards.code_config import CodeConfig


@dataclass(frozen=True, kw_only=True)
class AccuracyConfig(RewardConfig):
    """1 when the answer equals the example's, else 0: numbers, fractions, LaTeX, sets, intervals, plain words."""

    needs_answer: ClassVar[bool] = True

    tolerance: float = 0.0
    """How far a decimal answer may be from the reference, as a share of the reference, where the two do not agree in six decimal
    places anyway; integers and fractions are exact."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance must be 0 (exact) or a positive number, not {self.tolerance}")


@dataclass(frozen=True, kw_only=True)
class FormatConfig(RewardConfig):
    """1 when the response is reasoning and an answer in the wanted format and nothing else, else 0."""

    style: FormatStyle = "r1_zero"
    """`r1_zero`: `<think>…</think> <answer>…</answer>`; `r1`: `<think>…</think>` and a summary in no tags."""
    prefilled: bool = False
    """The prompt's end already holds `<think>`, so that responses need not begin with it. Where that shows (the completion
    begins with the tag, or the prompt ends with it) this need not be said."""


@dataclass(frozen=True, kw_only=True)
class LanguageConsistencyConfig(RewardConfig):
    """The share of a response's words that are in one language."""

    language: LanguageChoice = "en"
    """The language to reason in: `en` (English), `zh` (Chinese), or that of each `question`."""
    of: Literal["reasoning", "response"] = "reasoning"
    """What is read: the reasoning alone, as in DeepSeek-R1, or all of the response. Where only the reasoning counts, nothing keeps
    the summary in the same language; where all of it counts, a summary that was asked for in another language costs."""


@hookimpl
def ponder_rewards() -> Iterator[Component[Reward]]:
    """The rewards of this distribution."""
    yield Component("accuracy", AccuracyConfig, lazy("ponder_rewards.accuracy:Accuracy"))
    yield Component("code", CodeConfig, lazy("ponder_rewards.code:Code"))
    yield Component("format", FormatConfig, lazy("ponder_rewards.format:Format"))
    yield Component(
        "language_consistency",
        LanguageConsistencyConfig,
        lazy("ponder_rewards.language_consistency:LanguageConsistency"),
    )
