"""What the samplers here have in common: prompts are read, rows are drawn chunk by chunk, and one answer can be streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ponder import Completion, Example, Policy
from ponder_sampling import SamplingConfig
from ponder_sampling.completions import build_completions, sampling_mode
from ponder_sampling.drawing import row_keys
from ponder_sampling.prompts import PromptTokens, read_prompts
from ponder_sampling.recording import Recorder
from ponder_sampling.streaming import GrowingText


@dataclass(frozen=True, slots=True)
class Draws:
    """What was drawn for a chunk of rows, and what was recorded of it; tensors are [rows, steps]."""

    tokens: Tensor
    logprobs: Tensor
    recorder: Recorder = field(default_factory=Recorder)


class ChunkedSampler(ABC):
    """A sampler that draws at most `rows_at_once` completions at a time.

    A draw depends on (seed, example index, sample index, position) alone, so the text does not depend on what else is in the
    batch, as far as the logits don't (they may differ in the last bit with the number of rows).
    """

    def __init__(self, config: SamplingConfig, rows_at_once: int) -> None:
        self.config = config
        self.temperature = config.temperature
        self._rows_at_once = rows_at_once

    def sample(self, policy: Policy, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        """`n` completions for each example, in order.

        Raises:
            InputError: a prompt is empty or too long, or the tokenizer lacks a token.
            StageError: the policy's logits are not finite.
        """
        prompts = read_prompts(policy, examples, self.config.max_new_tokens)
        rows = [(example, sample) for example in range(len(prompts)) for sample in range(n)]
        completions: list[Completion] = []
        for start in range(0, len(rows), self._rows_at_once):
            chunk = rows[start : start + self._rows_at_once]
            chunk_prompts = [prompts[example] for example, _ in chunk]
            with sampling_mode(policy.model):
                draws = self.draw_rows(policy, chunk_prompts, row_keys(seed, chunk))
            made = build_completions(policy, chunk_prompts, draws.tokens, draws.logprobs)
            completions += draws.recorder.completed(made)
        return [completions[index * n : (index + 1) * n] for index in range(len(prompts))]

    def stream(self, policy: Policy, example: Example, seed: int) -> Generator[str, None, Completion]:
        """The text of one completion piece by piece while it is drawn; returns the completion that `sample` gives.

        No piece ends in the midst of a character. Closing the generator ends the drawing. Raises what `sample` raises.
        """
        [prompt] = read_prompts(policy, [example], self.config.max_new_tokens)
        text = GrowingText(policy.tokenizer, prompt.prefilled)
        yield from text.piece([])
        tokens, logprobs = [], []
        for token, logprob in self.draw_steps(policy, prompt, row_keys(seed, [(0, 0)])):
            tokens.append(token)
            logprobs.append(logprob)
            yield from text.piece(tokens)
        [completion] = build_completions(policy, [prompt], torch.tensor([tokens]), torch.tensor([logprobs]))
        yield from text.rest(completion.text)
        return completion

    @abstractmethod
    def draw_rows(self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor) -> Draws:
        """One completion for each of `prompts`, whose streams are `keys`."""

    @abstractmethod
    def draw_steps(self, policy: Policy, prompt: PromptTokens, keys: Tensor) -> Iterator[tuple[int, float]]:
        """The same of a single completion, a token at a time; nothing stays switched over between two of them."""
