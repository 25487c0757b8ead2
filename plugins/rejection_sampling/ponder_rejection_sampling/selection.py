"""Takes drawn completions through the tests, counts what each removes, and makes rows of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ponder import Example
from ponder_rejection_sampling.candidates import Candidate, candidates, make_tests
from ponder_rejection_sampling.drawing import Chunk, Drawn
from ponder_rejection_sampling.funnel import Funnel
from ponder_rejection_sampling.rows import Row, Source, kept_row
from ponder_rejection_sampling.tally import Tally

if TYPE_CHECKING:
    from ponder_rejection_sampling import RejectionSamplingConfig

_SURPLUS = "keep_per_prompt"


class Selection:
    """Chooses rows, chunk after chunk, and counts: a function of the chunks alone, however often it is done."""

    def __init__(self, config: RejectionSamplingConfig, rewards: Sequence[str], source: Source) -> None:
        self._config = config
        self._source = source
        self._judge = rewards[0]
        self._tests = make_tests(config, self._judge)
        self.tally = Tally(rewards)
        surplus = () if config.keep_per_prompt is None else (_SURPLUS,)
        self.funnel = Funnel((*self._tests, *surplus))
        self._kept_tokens = 0
        self.first_removed: dict[str, str] = {}
        """The first response that each test removed."""

    def rows(self, chunk: Chunk, examples: Sequence[Example]) -> Iterator[Row]:
        """The rows of a chunk, in the order of its prompts and of their completions."""
        self.tally.add(chunk)
        for example, drawn in zip(examples, chunk.drawn, strict=True):
            passed = [one for one in candidates(self._config, example, drawn) if self._passes(one)]
            kept = passed[: self._config.keep_per_prompt]
            self._count(drawn, passed, kept)
            for candidate in kept:
                yield kept_row(candidate, self._source, chunk.seed)

    @property
    def unscored(self) -> int:
        """Completions that the first reward gave no score, and that therefore are not correct."""
        return self.tally.unscored(self._judge)

    def metrics(self) -> dict[str, float]:
        """All counts; lengths are in tokens."""
        funnel, tally = self.funnel, self.tally
        return {
            "sampled": float(funnel.sampled),
            "kept": float(funnel.kept),
            "yield": funnel.kept / funnel.sampled,
            "mean_length": self._kept_tokens / funnel.kept,
            "prompts": float(funnel.prompts),
            "prompts_kept": float(funnel.prompts_kept),
            "appended": float(funnel.appended),
            "rows": float(funnel.rows),
            "unscored": float(self.unscored),
            **{f"removed/{step.step}": float(step.removed) for step in funnel.tested()},
            "tokens": float(tally.tokens),
            "prompt_tokens": float(tally.prompt_tokens),
            "sampled_length": tally.tokens / funnel.sampled,
            **tally.rewards(),
        }

    def _passes(self, candidate: Candidate) -> bool:
        for name, passes in self._tests.items():
            if not passes(candidate):
                self.funnel.removed[name] += 1
                self.first_removed.setdefault(name, candidate.response)
                return False
        return True

    def _count(self, drawn: Sequence[Drawn], passed: Sequence[Candidate], kept: Sequence[Candidate]) -> None:
        funnel = self.funnel
        funnel.prompts += 1
        funnel.prompts_kept += bool(kept)
        funnel.sampled += len(drawn)
        funnel.kept += len(kept)
        if _SURPLUS in funnel.removed:
            funnel.removed[_SURPLUS] += len(passed) - len(kept)
        self._kept_tokens += sum(candidate.drawn.tokens for candidate in kept)
