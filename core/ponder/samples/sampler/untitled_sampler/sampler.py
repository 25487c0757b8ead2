"""The sampler itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from ponder import Completion, Example, Policy
from ponder.hf import encode_prompt, prefilled_text
from ponder.randomness import derive_seed
from untitled_sampler import UntitledConfig


class UntitledSampler:
    """Token by token; each draw depends on the seed, the example's place and the completion's place alone."""

    def __init__(self, config: UntitledConfig) -> None:
        self.temperature = config.temperature
        self._max_new_tokens = config.max_new_tokens

    def sample(self, policy: Policy, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        """`n` completions for each example, in order."""
        with _evaluating(policy):
            return [
                [self._draw(policy, example, derive_seed(seed, place, number)) for number in range(n)]
                for place, example in enumerate(examples)
            ]

    @torch.no_grad()
    def _draw(self, policy: Policy, example: Example, seed: int) -> Completion:
        tokenizer, generator = policy.tokenizer, torch.Generator().manual_seed(seed)
        prompt, end = encode_prompt(tokenizer, example.prompt), tokenizer.eos_token_id
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < self._max_new_tokens and (not tokens or tokens[-1] != end):
            logits = policy.model(input_ids=torch.tensor([prompt + tokens]), use_cache=False).logits[0, -1].float()
            known = (logits / self.temperature).log_softmax(-1)
            tokens.append(int(torch.multinomial(known.exp(), 1, generator=generator)))
            logprobs.append(float(known[tokens[-1]]))
        said = tokenizer.decode([token for token in tokens if token not in (end, tokenizer.pad_token_id)])
        text = prefilled_text(tokenizer, example.prompt) + str(said)
        return Completion(text, tokens, logprobs, "stop" if tokens[-1] == end else "length", policy.version)


@contextmanager
def _evaluating(policy: Policy) -> Iterator[None]:
    """Switch dropout off for a while, and put every module back into the mode it was in."""
    modes = [(module, module.training) for module in policy.model.modules()]
    policy.model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
