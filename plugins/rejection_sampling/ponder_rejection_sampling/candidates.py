"""A completion on its way through the tests, and the tests in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ponder import Example
from ponder.text import THINK_OPEN, Language, readable_prompt, resolve_language, split_response
from ponder_rejection_sampling import filters
from ponder_rejection_sampling.drawing import Drawn
from ponder_rejection_sampling.rewriting import rewritten

if TYPE_CHECKING:
    from ponder_rejection_sampling import RejectionSamplingConfig


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion with what decides about it."""

    example: Example
    drawn: Drawn
    sample: int
    """Its number among the completions of its prompt."""
    language: Language
    """The language it must be in."""
    rewritten: str | None
    """What it would be kept as; None when it cannot be rewritten."""

    @property
    def response(self) -> str:
        """What the filters read: the response as it would be kept."""
        return self.drawn.text if self.rewritten is None else self.rewritten


Test: TypeAlias = Callable[[Candidate], bool]
"""Whether a candidate passes."""


def candidates(config: RejectionSamplingConfig, example: Example, drawn: Sequence[Drawn]) -> Iterator[Candidate]:
    """The completions of one prompt, in the sampler's order."""
    language = resolve_language(config.language, example)
    for sample, one in enumerate(drawn):
        text = rewritten(one.text, language, config.summaries) if config.rewrite == "r1" else one.text
        yield Candidate(example, one, sample, language, text)


def make_tests(config: RejectionSamplingConfig, judge: str) -> dict[str, Test]:
    """What a completion must pass, in order; `judge` names the reward that decides what is correct.

    Whether it can be rewritten comes last, so that the filters say first what is wrong with it.
    """
    tests: dict[str, Test] = {"finished": _is_finished, "correct": partial(_is_correct, judge, config.correct_at)}
    known = _filters(config)
    tests.update({name: known[name] for name in config.filters})
    if config.rewrite != "none":
        tests["rewritten"] = _is_rewritten
    return tests


def _filters(config: RejectionSamplingConfig) -> dict[str, Test]:
    return {
        "format": lambda candidate: filters.has_format(candidate.drawn.text),
        "mixed_language": partial(_is_in_its_language, config),
        "long_paragraphs": lambda candidate: not filters.has_long_paragraph(candidate.response, config.paragraph_words),
        "code_blocks": lambda candidate: not filters.has_code_block(candidate.response),
        "repetition": partial(_is_fresh, config.repetition_ngram, config.repetition_share),
        "duplicates": _Unseen(),
    }


def _is_finished(candidate: Candidate) -> bool:
    """It ended by itself, and said something besides what the chat template may have put into its mouth."""
    return candidate.drawn.finished and bool(candidate.drawn.text.replace(THINK_OPEN, "").strip())


def _is_correct(judge: str, threshold: float, candidate: Candidate) -> bool:
    score = candidate.drawn.scores[judge]
    return score is not None and score >= threshold


def _is_rewritten(candidate: Candidate) -> bool:
    return candidate.rewritten is not None


def _is_fresh(ngram: int, share: float, candidate: Candidate) -> bool:
    return not filters.is_repetitive(candidate.response, ngram, share)


def _is_in_its_language(config: RejectionSamplingConfig, candidate: Candidate) -> bool:
    text = candidate.response
    if config.language_of == "reasoning":
        text = split_response(text).reasoning or text
    return not filters.is_mixed(text, candidate.language, config.language_tolerance)


class _Unseen:
    """Passes the first of all candidates with the same prompt and response, spaces aside; remembers a digest of each."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, candidate: Candidate) -> bool:
        texts = (readable_prompt(candidate.example.prompt), candidate.response)
        joined = "\0".join(" ".join(text.split()) for text in texts)
        digest = hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        is_new = digest not in self._seen
        self._seen.add(digest)
        return is_new
