"""The sampler `vllm`: completions from a vLLM server, whose weights follow the policy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from ponder import Completion, Example, Policy
from ponder.randomness import derive_seed
from ponder_sampling.asking import ask_all
from ponder_sampling.completions import build_completions, not_finite
from ponder_sampling.handing_over import check_servable
from ponder_sampling.prompts import PromptTokens, read_prompts
from ponder_sampling.served import Said, ServedPolicy
from ponder_sampling.server_requests import ServerAway
from ponder_sampling.servers import check_program
from ponder_sampling.vllm_options import VllmConfig


class Row(NamedTuple):
    """A completion to be drawn: the example's place among those asked for, and its own among the example's."""

    example: int
    sample: int


class VllmSampler:
    """Draws completions with a vLLM server."""

    def __init__(self, config: VllmConfig) -> None:
        check_program(config)
        self.config = config
        self.temperature = config.temperature
        self._served = ServedPolicy(config)

    def sample(self, policy: Policy, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        """`n` completions for each example, in order.

        What was answered before a server went away is kept, and the rest asked again when it is back.

        Raises:
            InputError: a prompt is empty or too long, the tokenizer lacks a token, or vLLM cannot serve the policy.
            StageError: the server is gone for good or refuses a request, or its log-probabilities are not the trainer's.
        """
        check_servable(policy)
        prompts = read_prompts(policy, examples, self.config.max_new_tokens, self._served.context)
        rows = [Row(example, sample) for example in range(len(prompts)) for sample in range(n)]
        said: dict[Row, Said] = {}
        while len(said) < len(rows):
            try:
                self._served.hold(policy, prompts)
                # The server may read less than the model.
                prompts = read_prompts(policy, examples, self.config.max_new_tokens, self._served.context)
                self._draw(policy, prompts, [row for row in rows if row not in said], seed, said)
            except ServerAway as problem:
                self._served.bring_back(problem)
        drawn = self._completions(policy, [prompts[row.example] for row in rows], [said[row] for row in rows])
        return [drawn[index * n : (index + 1) * n] for index in range(len(prompts))]

    def statistics(self) -> dict[str, float]:
        """Numbers since the last call.

        `vllm_gap` is the largest distance of a log-probability from the trainer's, in nats; `hand_overs` and `server_failures` count.
        """
        counted, self._served.counted = self._served.counted, {}
        return counted

    def close(self) -> None:
        """End a server that was started, and take away the files that carried weights."""
        self._served.close()

    def _draw(
        self, policy: Policy, prompts: Sequence[PromptTokens], rows: Sequence[Row], seed: int, said: dict[Row, Said]
    ) -> None:
        """Add to `said` what is answered for `rows`."""
        # For vLLM, too, a top_k of 0 is all of them.
        drawing = {"temperature": self.temperature, "top_p": self.config.top_p, "top_k": self.config.top_k}
        end = policy.tokenizer.eos_token_id

        def ask(row: Row) -> Said:
            prompt = prompts[row.example]
            return self._served.ask(prompt, prompt.room, end, drawing, derive_seed(seed, row.example, row.sample))

        said.update(ask_all(rows, ask, self.config.concurrency))

    def _completions(self, policy: Policy, prompts: Sequence[PromptTokens], said: Sequence[Said]) -> list[Completion]:
        if not said:
            return []
        steps, end = max(len(one.token_ids) for one in said), policy.tokenizer.eos_token_id
        tokens = torch.tensor([one.token_ids + [end] * (steps - len(one.token_ids)) for one in said])
        logprobs = torch.tensor([one.logprobs + [0.0] * (steps - len(one.logprobs)) for one in said])
        if not bool(logprobs.isfinite().all()):
            raise not_finite()
        made = build_completions(policy, prompts, tokens, logprobs)
        # vLLM tells those before the temperature or those after truncation: with both, neither is the untruncated policy's.
        is_truncated = self.config.top_p < 1 or self.config.top_k > 0
        if is_truncated and self.temperature not in (0, 1):
            return [replace(completion, logprobs=()) for completion in made]
        return made
