"""Stage `rejection_sampling`: several completions of each prompt, of which the correct and readable ones become training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from ponder import Component, Stage, hookimpl, lazy, ref, refs
from ponder.text import LanguageChoice
from ponder.workloads import Workload, examples_of

if TYPE_CHECKING:
    from ponder.recipe import Recipe

Filter: TypeAlias = Literal["format", "mixed_language", "long_paragraphs", "code_blocks", "repetition", "duplicates"]

_FILTERS: Final[tuple[Filter, ...]] = (
    "format",
    "mixed_language",
    "long_paragraphs",
    "code_blocks",
    "repetition",
    "duplicates",
)
_SUMMARIES: Final = {"en": r"The answer is \boxed{{answer}}.", "zh": r"答案是 \boxed{{answer}}。"}


@dataclass(frozen=True, kw_only=True)
class RejectionSamplingConfig:
    """Draw several completions of each prompt and keep those that are correct and readable, as DeepSeek-R1 made its SFT data.

    A completion that reached the length limit, or says nothing, is never kept. Writes `data.jsonl`, a task that any stage can name, and
    `funnel.json`, how many completions each filter left.
    """

    example: ClassVar[Mapping[str, object]] = {"filters": ["repetition", "duplicates"]}

    policy: str | None = ref("policy", default=None)
    """The policy to sample, or the stage that made it; left out when the sampler has a model of its own, such as `openai`."""
    task: str = ref("task")
    """The prompts."""
    rewards: list[str] = refs("reward", default=["accuracy"])
    """The first decides what is correct; the scores of all are kept with each row."""
    correct_at: float = 1.0
    """A completion is correct when the first reward gives it this score or more; one it gives no score to is not correct."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 1.0})
    """How completions are drawn."""
    per_prompt: int = 4
    """Completions drawn for each prompt."""
    keep_per_prompt: int | None = None
    """Keep at most so many completions of a prompt: the first drawn of those that pass, which favours no length; null keeps all."""
    max_prompts: int | None = None
    """Take only the first so many prompts; null takes all."""
    prompts_per_chunk: int = 32
    """Prompts sampled at once; an interrupted stage continues after the last whole chunk."""
    filters: list[Filter] = field(default_factory=lambda: list(_FILTERS))
    """What correct completions must pass, in this order. All but `format` judge the response as it would be kept. format: reasoning
    and an answer in R1-Zero's or R1's style and nothing else; mixed_language, long_paragraphs, code_blocks, repetition: see the
    options below; duplicates: the same response to the same prompt, spaces aside, is kept once."""
    language: LanguageChoice = "question"
    """The language a response must be in: en, zh, or that of its question."""
    language_tolerance: float = 0.05
    """mixed_language removes a response with more than this share of words in other languages; one without words passes."""
    language_of: Literal["response", "reasoning"] = "response"
    """What mixed_language reads: all of the response, or its reasoning alone, for tasks that ask for an answer in another language."""
    paragraph_words: int = 300
    """long_paragraphs removes a response with a longer paragraph than this: words, numbers and Chinese characters each count one."""
    repetition_ngram: int = 8
    """Length of the n-grams that repetition counts: of words, sums and Chinese characters."""
    repetition_share: float = 0.5
    """repetition removes a response in which more than this share of the n-grams have occurred before in it. It always removes a
    passage that is said four times or more in a row. A sum worked out term by term (1 + 2 + 3 = 3 + 3 = 6) is no repetition."""
    rewrite: Literal["none", "r1"] = "none"
    """r1: keep each response in R1's own format, its reasoning between think tags and a summary made from its answer; what has no
    reasoning or no answer is removed. none: keep responses as they are."""
    summaries: dict[str, str] = field(default_factory=lambda: dict(_SUMMARIES))
    """The summary that rewrite writes, by language; the answer stands for {answer}."""
    also: list[str] = refs("task", default=[])
    """Further tasks, whose examples are appended as they are: data without reasoning. Each needs a `response` or an answer."""

    def __post_init__(self) -> None:
        for name in ("per_prompt", "prompts_per_chunk", "paragraph_words", "repetition_ngram"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("keep_per_prompt", "max_prompts"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, or null for all, not {limit}")
        for name in ("language_tolerance", "repetition_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        twice = [name for name in self.filters if self.filters.count(name) > 1]
        if twice:
            raise ValueError(f"filters names {twice[0]} twice; once is enough")
        self._check_summaries()

    def _check_summaries(self) -> None:
        needed = ("en", "zh") if self.language == "question" else (self.language,)
        for language in needed:
            if "{answer}" not in self.summaries.get(language, ""):
                raise ValueError(f"summaries needs a text for {language!r} with {{answer}} in it")

    def plan(self) -> str:
        """What is going to be sampled and kept, in one sentence."""
        prompts = "all prompts" if self.max_prompts is None else f"up to {self.max_prompts:,} prompts"
        most = "" if self.keep_per_prompt is None else f", at most {self.keep_per_prompt} of each prompt"
        passing = f" and passes {', '.join(self.filters)}" if self.filters else ""
        judge = self.rewards[0] if self.rewards else "the first reward"
        return (
            f"{prompts} of {self.task} x {self.per_prompt} completions, {self.prompts_per_chunk} prompts at a time; keeps what "
            f"ended, has {self.correct_at:g} or more in {judge}{passing}{most}"
        )

    def workload(self, recipe: Recipe) -> Workload:
        """The completions at their longest, for planning."""
        prompts = self.max_prompts or examples_of(recipe, self.task)
        return Workload.sampling(recipe, self.sampler, prompts and prompts * self.per_prompt)


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    """The stage of this plugin."""
    yield Component(
        "rejection_sampling", RejectionSamplingConfig, lazy("ponder_rejection_sampling.stage:RejectionSampling")
    )
