"""DeepSeek-R1's rule-based rewards, `accuracy`, `format` and `language_consistency`, and their relatives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ponder import BatchReward, Component, Reward, RewardConfig, hookimpl, lazy
from ponder.text import FormatStyle
from ponder_rewards.code_config import CodeConfig
from ponder_rewards.judge_options import JudgeConfig
from ponder_rewards.languages import SCRIPTS, Code, CodeOrQuestion
from ponder_rewards.options import (
    CosineLengthConfig,
    InstructionConfig,
    JsonSchemaConfig,
    LengthConfig,
    ReasoningStepsConfig,
    RepetitionConfig,
    SoftOverlongConfig,
    TagCountConfig,
    check_tags,
    default_tags,
)

__all__ = [
    "AccuracyConfig",
    "CodeConfig",
    "CosineLengthConfig",
    "FormatConfig",
    "InstructionConfig",
    "JsonSchemaConfig",
    "JudgeConfig",
    "LanguageConsistencyConfig",
    "LengthConfig",
    "ReasoningStepsConfig",
    "RepetitionConfig",
    "SoftOverlongConfig",
    "TagCountConfig",
]


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
    tags: list[str] = field(default_factory=default_tags)
    """What opens and closes the reasoning, and what opens and closes the answer. The style `r1` has no use for the last two, but
    does not allow them either."""

    def __post_init__(self) -> None:
        check_tags(self.tags)


@dataclass(frozen=True, kw_only=True)
class LanguageConsistencyConfig(RewardConfig):
    """The share of a response's words that are in one language."""

    language: CodeOrQuestion = "en"
    """The language to reason in, such as `en` (English), `zh` (Chinese), `de` (German), or that of each `question`."""
    told_from: list[Code] = field(default_factory=list)
    """Languages of the same script that it is told apart from. Empty takes for the Latin script English, German, Spanish and
    French, for the Cyrillic Russian and Ukrainian, for the Arabic Arabic and Persian. Each takes memory, and makes short texts less sure."""
    of: Literal["reasoning", "response"] = "reasoning"
    """What is read: the reasoning alone, as in DeepSeek-R1, or all of the response. Where only the reasoning counts, nothing keeps
    the summary in the same language; where all of it counts, a summary that was asked for in another language costs."""

    def __post_init__(self) -> None:
        if self.language != "question":
            strange = [code for code in self.told_from if SCRIPTS[code] != SCRIPTS[self.language]]
            if strange:
                raise ValueError(f"told_from: {strange[0]} is not written in the script of {self.language}")


@hookimpl
def ponder_rewards() -> Iterator[Component[Reward | BatchReward]]:
    """The rewards of this distribution."""
    yield Component("accuracy", AccuracyConfig, lazy("ponder_rewards.accuracy:Accuracy"))
    yield Component("code", CodeConfig, lazy("ponder_rewards.code:Code"))
    yield Component("format", FormatConfig, lazy("ponder_rewards.format:Format"))
    yield Component("tag_count", TagCountConfig, lazy("ponder_rewards.tag_count:TagCount"))
    yield Component(
        "language_consistency",
        LanguageConsistencyConfig,
        lazy("ponder_rewards.language_consistency:LanguageConsistency"),
    )
    yield Component("length", LengthConfig, lazy("ponder_rewards.lengths:Length"))
    yield Component("cosine_length", CosineLengthConfig, lazy("ponder_rewards.lengths:CosineLength"))
    yield Component("soft_overlong", SoftOverlongConfig, lazy("ponder_rewards.lengths:SoftOverlong"))
    yield Component("repetition", RepetitionConfig, lazy("ponder_rewards.repetition:Repetition"))
    yield Component("reasoning_steps", ReasoningStepsConfig, lazy("ponder_rewards.reasoning_steps:ReasoningSteps"))
    yield Component("json_schema", JsonSchemaConfig, lazy("ponder_rewards.json_schema:JsonSchema"))
    yield Component("instruction", InstructionConfig, lazy("ponder_rewards.instruction:Instruction"))
    yield Component("judge", JudgeConfig, lazy("ponder_rewards.judge:Judge"))
