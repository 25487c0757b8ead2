"""Published results of DeepSeek-R1, to stand beside those of a run.

R1 is arXiv 2501.12948, v1 of January 2025; Nature is Nature 645:633 (2025), whose supplement is the appendix of v2. Percentages,
but for Codeforces ratings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """A model, or a benchmark."""

    name: str
    values: Sequence[float | None]
    """One for each column; None where nothing was published."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was published."""

    title: str
    source: str
    columns: Sequence[str]
    rows: Sequence[Row]


RL_AGAINST_DISTILLATION: Final = Table(
    title="Reinforcement on a small base against distillation",
    source="DeepSeek-R1, table 6 (v1), table 16 (v2): more than 10,000 RL steps on Qwen2.5-32B",
    columns=("AIME 2024", "AIME 2024 cons@64", "MATH-500", "GPQA Diamond", "LiveCodeBench"),
    rows=(
        Row("QwQ-32B-Preview", (50.0, 60.0, 90.6, 54.5, 41.9)),
        Row("R1-Zero-Qwen-32B (RL)", (47.0, 60.0, 91.6, 55.0, 40.2)),
        Row("R1-Distill-Qwen-32B", (72.6, 83.3, 94.3, 62.1, 57.2)),
    ),
)

DISTILLED: Final = Table(
    title="Distilled models",
    source="DeepSeek-R1, table 5 (v1), table 15 (v2)",
    columns=("AIME 2024", "AIME 2024 cons@64", "MATH-500", "GPQA Diamond", "LiveCodeBench", "Codeforces rating"),
    rows=(
        Row("GPT-4o-0513", (9.3, 13.4, 74.6, 49.9, 32.9, 759)),
        Row("Claude-3.5-Sonnet-1022", (16.0, 26.7, 78.3, 65.0, 38.9, 717)),
        Row("o1-mini", (63.6, 80.0, 90.0, 60.0, 53.8, 1820)),
        Row("QwQ-32B-Preview", (50.0, 60.0, 90.6, 54.5, 41.9, 1316)),
        Row("R1-Distill-Qwen-1.5B", (28.9, 52.7, 83.9, 33.8, 16.9, 954)),
        Row("R1-Distill-Qwen-7B", (55.5, 83.3, 92.8, 49.1, 37.6, 1189)),
        Row("R1-Distill-Qwen-14B", (69.7, 80.0, 93.9, 59.1, 53.1, 1481)),
        Row("R1-Distill-Qwen-32B", (72.6, 83.3, 94.3, 62.1, 57.2, 1691)),
        Row("R1-Distill-Llama-8B", (50.4, 80.0, 89.1, 49.0, 39.6, 1205)),
        Row("R1-Distill-Llama-70B", (70.0, 86.7, 94.5, 65.2, 57.5, 1633)),
    ),
)

STAGES: Final = Table(
    title="The stages of DeepSeek-R1",
    source="DeepSeek-R1, Nature, table 2",
    columns=("R1-Zero", "Dev1 (cold start)", "Dev2 (reasoning RL)", "Dev3 (curated SFT)", "R1"),
    rows=(
        Row("MMLU", (88.8, 89.1, 91.2, 91.0, 90.8)),
        Row("MMLU-Redux", (85.6, 90.0, 93.0, 93.1, 92.9)),
        Row("MMLU-Pro", (68.9, 74.1, 83.8, 83.1, 84.0)),
        Row("DROP", (89.1, 89.8, 91.1, 88.7, 92.2)),
        Row("IF-Eval", (46.6, 71.7, 72.0, 78.1, 83.3)),
        Row("GPQA Diamond", (75.8, 66.1, 70.7, 71.2, 71.5)),
        Row("SimpleQA", (30.3, 17.8, 28.2, 24.9, 30.1)),
        Row("FRAMES", (82.3, 78.5, 81.8, 81.9, 82.5)),
        Row("AlpacaEval 2.0", (24.7, 50.1, 55.8, 62.1, 87.6)),
        Row("Arena-Hard", (53.6, 77.0, 73.2, 75.6, 92.3)),
        Row("LiveCodeBench", (50.0, 57.5, 63.5, 64.6, 65.9)),
        Row("Codeforces percentile", (80.4, 84.5, 90.5, 92.1, 96.3)),
        Row("Codeforces rating", (1444, 1534, 1687, 1746, 2029)),
        Row("SWE-bench Verified", (43.2, 39.6, 44.6, 45.6, 49.2)),
        Row("Aider-Polyglot", (12.2, 6.7, 25.6, 44.8, 53.3)),
        Row("AIME 2024", (77.9, 59.0, 74.0, 78.1, 79.8)),
        Row("MATH-500", (95.9, 94.2, 95.9, 95.4, 97.3)),
        Row("CNMO 2024", (88.1, 58.0, 73.9, 77.3, 78.8)),
        Row("CLUEWSC", (93.1, 92.8, 92.6, 91.6, 92.8)),
        Row("C-Eval", (92.8, 85.7, 91.9, 86.4, 91.8)),
        Row("C-SimpleQA", (66.4, 58.8, 64.2, 66.9, 63.7)),
    ),
)

STAGES_READING: Final = (
    "Cold start makes the model follow instructions and costs reasoning (AIME 77.9 to 59.0); reasoning RL brings it back (74.0); "
    "the curated SFT adds general skills (Aider 25.6 to 44.8); the last RL lifts preferences most (AlpacaEval 62.1 to 87.6)."
)
PROMPT_SENSITIVITY: Final = "DeepSeek-R1, section 5: few-shot prompting consistently makes it worse; state the problem and the format, zero-shot."
